//! A minimal HTTP client: one request per connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::Context as _;

/// Generous, because services answer `/health` and `/metrics` from memory.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Status and body of `GET path` at this port of 127.0.0.1.
///
/// # Errors
/// If nothing listens on the port, or the response is not HTTP.
pub fn get(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("connect to {port}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("read {path} of {port}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no HTTP status")?;
    Ok((status.parse().context("no HTTP status")?, body.to_owned()))
}
