//! Which names a service on a loopback address answers to.
//!
//! Invariant: only programs of this machine reach such a service, and a browser is one of them. A web page whose name
//! resolves to 127.0.0.1 (DNS rebinding) is read by nobody: the browser sends the page's name as `Host`. A page that posts
//! to the loopback address itself sends its own site as `Origin`.
//! Failure: 421 for a foreign host, 403 for a foreign page, before the request is looked at any further.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::dev::RequestHead;
use actix_web::http::header::{HOST, ORIGIN};

use super::Problem;

/// Refuses a request that names a host or a page of another machine. One without a host (HTTP/1.0) is accepted.
pub(super) fn check(request: &RequestHead) -> Result<(), Problem> {
    let text = |value: &actix_web::http::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let named = request.headers().get_all(HOST).map(text);
    // A request line with a whole address beats the header.
    let in_line = request.uri.authority().map(ToString::to_string);
    if !named.chain(in_line).all(|host| is_loopback(&host)) {
        return Err(Problem::foreign_host());
    }
    let is_own = |origin: String| origin.split_once("://").is_some_and(|(_, host)| is_loopback(host));
    match request.headers().get_all(ORIGIN).map(text).all(is_own) {
        true => Ok(()),
        false => Err(Problem::foreign_page()),
    }
}

/// Refuses a client of another machine, wherever the service listens: for routes of operators.
pub(super) fn check_client(request: &HttpRequest) -> Result<(), Problem> {
    let is_here = |peer: SocketAddr| peer.ip().to_canonical().is_loopback();
    if !request.peer_addr().is_some_and(is_here) {
        return Err(Problem::other_machine());
    }
    // The service may listen on every address; a web page in a browser of this machine must not get through either.
    check(request.head())
}

/// Whether `name`, `name:port`, `address:port` or `[address]:port` is this machine.
fn is_loopback(host: &str) -> bool {
    if let Some((address, rest)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return is_port
            && address
                .parse::<Ipv6Addr>()
                .is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let name = match host.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_of_this_machine_are_accepted() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.8.9.10:1",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "127.0.0.1:80@evil.example",
            "0.0.0.0:8080",
            "10.0.0.1",
            "[::2]:80",
            "[::1]evil.example",
            "[::1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
