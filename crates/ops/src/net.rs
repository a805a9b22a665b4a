//! The way to each server, step by step: name, connection, TLS, and the first exchange of its protocol, each with its time.
//!
//! Role: [`endpoints`] is pure. A server may have several addresses; the last step uses them as the services do, so it is one for each
//! server.
//! Failure: a step that fails is a result with its reason. The later steps of that address are not tried.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use security::examine_certificate;
use serde::Serialize;
use service::Settings;
use tokio::net::{TcpStream, lookup_host};

use crate::connection::Connection;
use crate::health::{self, State};

const LIMIT: Duration = Duration::from_secs(3);

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

/// What became of the steps to one address. Times in milliseconds; `None` means not tried or failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Path {
    pub server: &'static str,
    pub address: String,
    pub resolve_ms: Option<f64>,
    pub connect_ms: Option<f64>,
    pub tls_ms: Option<f64>,
    /// Login included.
    pub hello_ms: Option<f64>,
    /// The step that failed, and why.
    pub problem: Option<String>,
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

/// Tries every step to every server, all servers at the same time.
///
/// # Errors
/// A client cannot be created with these settings.
pub async fn check(connection: &Connection) -> anyhow::Result<Vec<Path>> {
    let asked = join_all(
        endpoints(&connection.settings)
            .into_iter()
            .map(|endpoint| reached(connection, endpoint)),
    );
    let (mut paths, servers) = tokio::join!(asked, health::ask_servers(connection));
    for server in servers? {
        for path in paths
            .iter_mut()
            .filter(|path| path.server == server.name && path.problem.is_none())
        {
            match server.state {
                State::Up => path.hello_ms = Some(server.duration_ms as f64),
                _ => path.problem = server.reason.as_ref().map(|reason| format!("hello: {reason}")),
            }
        }
    }
    Ok(paths)
}

async fn reached(connection: &Connection, endpoint: Endpoint) -> Path {
    let mut path = Path {
        server: endpoint.server,
        address: endpoint.address.clone(),
        resolve_ms: None,
        connect_ms: None,
        tls_ms: None,
        hello_ms: None,
        problem: None,
    };
    path.problem = steps(connection, &endpoint, &mut path).await.err();
    path
}

async fn steps(connection: &Connection, endpoint: &Endpoint, path: &mut Path) -> Result<(), String> {
    let silent = |step: &str| format!("{step}: no answer within {} s", LIMIT.as_secs());
    let began = Instant::now();
    let found = tokio::time::timeout(LIMIT, lookup_host(&endpoint.address)).await;
    let found: Vec<_> = found
        .map_err(|_| silent("name"))?
        .map_err(|error| format!("name: {error}"))?
        .collect();
    path.resolve_ms = Some(millis(began));
    let began = Instant::now();
    let connected = tokio::time::timeout(LIMIT, TcpStream::connect(found.as_slice())).await;
    drop(
        connected
            .map_err(|_| silent("connect"))?
            .map_err(|error| format!("connect: {error}"))?,
    );
    path.connect_ms = Some(millis(began));
    if endpoint.begins_with_tls {
        let (address, trust, began) = (
            endpoint.address.clone(),
            connection.settings.trust.clone(),
            Instant::now(),
        );
        let examined = tokio::task::spawn_blocking(move || examine_certificate(&address, &trust, LIMIT)).await;
        if let Some(wrong) = examined.map_err(|error| format!("tls: {error}"))? {
            return Err(format!("tls: the certificate is not accepted: {wrong}"));
        }
        path.tls_ms = Some(millis(began));
    }
    Ok(())
}

fn millis(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e4).round() / 10.0
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
