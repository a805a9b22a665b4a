//! Values that are checked beyond their type: addresses, and lists that must not be empty.

use std::net::Ipv6Addr;

use actix_web::http::Uri;
use security::Secret;

use super::{CONFIG_FILE, Peer, Reader, Variable};

/// Peers that one request may ask.
const MAX_PEERS: usize = 32;

impl Reader<'_> {
    /// A secret that is an absolute HTTP URL, or empty.
    pub fn http_url(&mut self, name: &str, default: &str, meaning: &'static str) -> Secret {
        let url = self.secret(name, default, meaning);
        if !url.is_empty() && !is_http_url(&url.expose()) {
            self.problem(format!(
                "{name} must begin with http:// or https:// and name a host, got '{url}'"
            ));
        }
        url
    }

    /// A list that must not be empty. An empty variable means the default, an empty array in the configuration file does not.
    pub fn list_of_some(&mut self, name: &str, default: &str, meaning: &'static str) -> Vec<String> {
        let items = self.list(name, default, meaning);
        match self.empty_array(name) {
            Some(at) => self.problem(format!("{name} must name at least one item, got an empty array ({at})")),
            None if items.is_empty() => self.problem(format!("{name} must name at least one item")),
            None => {}
        }
        items
    }

    /// The services of the pipeline, as `NAME=URL`. Their health needs no login, so an address has none that could be shown.
    pub(super) fn peers(&mut self, name: &str) -> Vec<Peer> {
        let meaning = "services that GET /health/cluster asks, this one included, as NAME=URL, separated by commas; a name with several addresses is asked at each; empty = this process alone";
        let items = self.list(name, "", meaning);
        let is_plain = |(_, url): &(&str, &str)| !url.contains('@');
        let peers: Vec<Peer> = items
            .iter()
            .filter_map(|item| named_url(item).filter(is_plain))
            .map(|(name, url)| Peer {
                name: name.to_owned(),
                url: url.to_owned(),
            })
            .collect();
        // The text itself may contain a password.
        if peers.len() < items.len() {
            self.problem(format!(
                "{name} must list services as NAME=URL without a login, such as aggregation=http://localhost:8082"
            ));
        }
        if peers.len() > MAX_PEERS {
            self.problem(format!(
                "{name} may name up to {MAX_PEERS} services, got {}",
                peers.len()
            ));
        }
        peers
    }
}

/// Reads `NAME=URL`.
pub fn named_url(text: &str) -> Option<(&str, &str)> {
    text.split_once('=')
        .filter(|(name, url)| !name.is_empty() && is_http_url(url))
}

/// Whether the text is `http://HOST…` or `https://HOST…`.
pub fn is_http_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let Some(authority) = uri.authority() else { return false };
    let place = authority.as_str().rsplit('@').next().unwrap_or_default();
    // `Uri` accepts any digits as a port.
    let port = place.strip_prefix(authority.host()).unwrap_or_default();
    has_scheme && !authority.host().is_empty() && (port.is_empty() || uri.port_u16().is_some_and(|port| port > 0))
}

/// Host and port of `HOST:PORT`; `None` of any other text. An IPv6 address is in brackets, and returned without them.
pub fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match inner {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(legal),
    };
    let digits = Some(port).filter(|port| is_host && port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = digits?.parse().ok().filter(|port| *port > 0)?;
    Some((inner.unwrap_or(host), port))
}

/// The path of the configuration file; empty without one.
pub(crate) fn config_file(variables: &[Variable]) -> &str {
    let path = variables.iter().find(|variable| variable.name == CONFIG_FILE);
    path.map_or("", |path| path.value.as_str())
}

/// The problems in the order of the lines of the configuration file; those of the environment come first.
pub(crate) fn in_order(mut problems: Vec<String>, path: &str) -> Vec<String> {
    problems.sort_by_key(|problem| place(problem, path));
    problems
}

/// Line and column in a problem that names `path:line:column`.
fn place(problem: &str, path: &str) -> Option<(usize, usize)> {
    let (_, after) = problem.rsplit_once(&format!("{path}:"))?;
    let mut numbers = after.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_url_is_absolute_and_names_a_host() {
        for url in [
            "http://a",
            "https://u:p@a.b:8081/x?y=z",
            "http://[::1]:8123",
            "http://10.0.0.1/",
        ] {
            assert!(is_http_url(url), "{url}");
        }
        for url in [
            "",
            "a",
            "registry:8081",
            "/registry",
            "http://",
            "http://:8081",
            "http://a:",
            "http://a:0",
            "http://a:99999",
            "ftp://a",
            "http//a",
            "http://a b",
        ] {
            assert!(!is_http_url(url), "{url}");
        }
    }

    #[test]
    fn a_broker_has_a_host_and_a_port() {
        for text in ["localhost:9092", "kafka-0.kafka.svc:9092", "[::1]:9092", "my_host:1"] {
            assert!(host_and_port(text).is_some(), "{text}");
        }
        for text in [
            "",
            "localhost",
            ":9092",
            "a:",
            "a:0",
            "a:70000",
            "a:+1",
            "::1:9092",
            "[x]:1",
            "kafka://a:9092",
            "a b:1",
        ] {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }

    #[test]
    fn problems_follow_the_lines_of_the_file() {
        let problems = [
            "C must (/f:10:1)",
            "/f:9:5: unknown key x",
            "E must be set",
            "A must (/f:9:1)",
        ];
        let ordered = in_order(problems.map(str::to_owned).to_vec(), "/f");
        assert_eq!(
            ordered,
            [
                "E must be set",
                "A must (/f:9:1)",
                "/f:9:5: unknown key x",
                "C must (/f:10:1)"
            ]
        );
    }
}
