//! The addresses of the servers, from the settings. Pure.

use crate::settings::Settings;

/// An address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Endpoint {
    pub server: &'static str,
    /// `host:port`.
    pub address: String,
    /// Whether a connection begins with TLS. PostgreSQL begins it later, in its own protocol.
    pub begins_with_tls: bool,
}

/// The addresses of every server.
pub fn endpoints(settings: &Settings) -> Vec<Endpoint> {
    let (clickhouse, postgres, redis) = (
        settings.clickhouse.url.to_string(),
        settings.postgres_dsn.expose(),
        settings.redis_url.expose(),
    );
    let kafka = &settings.kafka_bootstrap;
    let is_http_tls = clickhouse.starts_with("https://");
    let of = |server, url: &str, default_port, begins_with_tls| {
        let endpoint = move |address| Endpoint {
            server,
            address,
            begins_with_tls,
        };
        hosts(url, default_port).into_iter().map(endpoint)
    };
    of("kafka", kafka.addresses(), 9092, kafka.security().protocol.uses_tls())
        .chain(of(
            "clickhouse",
            &clickhouse,
            if is_http_tls { 443 } else { 80 },
            is_http_tls,
        ))
        .chain(of("postgres", &postgres, 5432, false))
        .chain(of("redis", &redis, 6379, redis.starts_with("rediss://")))
        .collect()
}

/// `host:port` of every server in `scheme://user:password@host:port,host/path?query`, or in a plain list.
fn hosts(url: &str, default_port: u16) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or_default();
    // A password may contain an @ of its own.
    let list = rest.rsplit_once('@').map_or(rest, |(_, list)| list);
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            // In `[::1]:9092` only a colon after the bracket separates the port.
            let after = item.rsplit_once(']').map_or(item, |(_, after)| after);
            match after.contains(':') {
                true => item.to_owned(),
                false => format!("{item}:{default_port}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_url_has_a_port() {
        for (url, expected) in [
            ("a:1, b:2", &["a:1", "b:2"][..]),
            ("http://clickhouse", &["clickhouse:7"]),
            ("https://u:p%40x@host:8443/path?x=y", &["host:8443"]),
            ("postgresql://u:p@s@h1:1,h2/db?sslmode=require", &["h1:1", "h2:7"]),
            ("redis://[::1]:6379/0", &["[::1]:6379"]),
            ("redis://[::1]/0", &["[::1]:7"]),
            ("", &[]),
        ] {
            assert_eq!(hosts(url, 7), expected, "{url}");
        }
    }
}
