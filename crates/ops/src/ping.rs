//! Asks a service whether it is alive, for probes in images without a shell.
//!
//! Role: one `GET` over plain HTTP. It reads no configuration except the port of the service in the same container.
//! Failure: everything that is not a positive answer is a reason.

use anyhow::bail;
use localstack::{Name, Stack};
use serde_json::Value;
use service::settings::with_file;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::connection::process_env;
use crate::definitions::DEFAULT_PORTS;

/// Port of a service in a container.
const CONTAINER_PORT: u16 = 8080;
/// A health response is shorter.
const MAX_RESPONSE: u64 = 64 << 10;

/// Host and port of a service of the stack. Any other address would make --dir and --port-offset ineffective.
///
/// # Errors
/// The stack has no such service.
pub fn of_stack(stack: &Stack, service: &str) -> anyhow::Result<(String, u16)> {
    let name = service
        .parse::<Name>()
        .ok()
        .filter(|name| matches!(name, Name::Service(..)));
    match name.and_then(|name| stack.port(name)) {
        Some(port) => Ok(("127.0.0.1".to_owned(), port)),
        None => bail!(
            "{service} is not a service of the local stack in {}: name normalization, enrichment, aggregation, projection, or a \
             replica that was started, such as normalization-2; -s HOST:PORT without --dir and --port-offset asks any other",
            stack.config().dir.display()
        ),
    }
}

/// Host and port of `HOST`, `HOST:PORT`, `[ADDRESS]:PORT` or the same with `http://`.
///
/// # Errors
/// It is none of them; the message says how to write it.
pub fn address(service: &str) -> Result<(String, u16), &'static str> {
    let authority = service.strip_prefix("http://").unwrap_or(service).trim_end_matches('/');
    if authority.contains("://") {
        return Err("only http:// is supported");
    }
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match authority.split_once(':') {
            // More than one colon without brackets: an IPv6 address.
            Some((_, rest)) if rest.contains(':') => (authority, None),
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.contains(['/', '@', ' ', '[']) {
        return Err("write it as HOST or HOST:PORT");
    }
    let port = match port {
        Some(port) => port.parse().map_err(|_| "the port must be a number from 1 to 65535")?,
        None => default_port(host),
    };
    Ok((host.to_owned(), port))
}

fn default_port(host: &str) -> u16 {
    let of_service = DEFAULT_PORTS.into_iter().find(|(name, _)| *name == host);
    let configured = || {
        with_file(&process_env())
            .get("DATA_PROC_HEALTH_PORT")?
            .trim()
            .parse()
            .ok()
    };
    of_service
        .map(|(_, port)| port)
        .or_else(configured)
        .unwrap_or(CONTAINER_PORT)
}

/// Asks once. It waits for as long as the service does not answer.
///
/// # Errors
/// The reason, if the answer is not positive.
pub async fn ask((host, port): &(String, u16), path: &str) -> Result<(), String> {
    let unreachable = |error: std::io::Error| format!("cannot be reached: {error}");
    let broken = |error: std::io::Error| format!("connection broke off: {error}");
    let mut stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut response = Vec::new();
    stream
        .take(MAX_RESPONSE)
        .read_to_end(&mut response)
        .await
        .map_err(broken)?;
    judge(&String::from_utf8_lossy(&response))
}

fn judge(response: &str) -> Result<(), String> {
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match status {
        Some("200") => Ok(()),
        Some(status) => {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            let reason = body.get("error").and_then(Value::as_str).unwrap_or("no reason given");
            Err(format!("status {status}: {reason}"))
        }
        None => Err("the answer is not HTTP; the port may belong to another program, or require TLS".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_the_port() {
        for (text, host, port) in [
            ("localhost:8082", "localhost", 8082),
            ("http://localhost:8082/", "localhost", 8082),
            ("normalization", "normalization", 8080),
            ("projection", "projection", 8083),
            ("[::1]:9", "::1", 9),
        ] {
            assert_eq!(address(text), Ok((host.to_owned(), port)), "{text}");
        }
        for (text, host) in [
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("aggregation-service", "aggregation-service"),
        ] {
            assert_eq!(address(text).map(|(host, _)| host), Ok(host.to_owned()), "{text}");
        }
        for text in ["", ":1", "a:b", "a:70000", "https://a", "u:p@a:1", "[::1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn with_a_stack_a_service_of_it_is_asked() {
        let folder = std::env::temp_dir().join(format!("dp-ping-{}", std::process::id()));
        let ports = localstack::Ports::with_offset(5_000).unwrap();
        let projection = ports.projection;
        let stack = Stack::new(localstack::StackConfig::new(&folder, ports)).unwrap();
        let found = of_stack(&stack, "projection");
        let refused = of_stack(&stack, "localhost").map(|_| ()).unwrap_err().to_string();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.unwrap(), ("127.0.0.1".to_owned(), projection));
        assert!(refused.contains("localhost is not a service"), "{refused}");
    }

    #[test]
    fn only_status_200_is_ok_and_the_reason_is_that_of_the_service() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\n\r\n{}"), Ok(()));
        for (response, reason) in [
            (
                "HTTP/1.1 503 Unavailable\r\n\r\n{\"error\":\"worker x is stuck\"}",
                "status 503: worker x is stuck",
            ),
            ("HTTP/1.1 404 Not Found\r\n\r\n<html>", "status 404: no reason given"),
            ("", "the answer is not HTTP"),
            ("\u{15}\u{3}", "the answer is not HTTP"),
        ] {
            let found = judge(response).unwrap_err();
            assert!(found.starts_with(reason), "{found}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_fails_with_the_reason() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let reason = ask(&("127.0.0.1".to_owned(), free.port()), "/health/live")
            .await
            .unwrap_err();
        assert!(reason.contains("refused"), "{reason}");
    }
}
