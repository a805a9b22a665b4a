//! A minimal HTTP client.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::PATIENCE;
use anyhow::Context as _;

/// Status and body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// Sends a request to `127.0.0.1:port`. `target` is sent unchanged, so it must be encoded already.
pub fn request(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("connect to port {port}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    // In HTTP 1.0 a response has no chunks, and its end closes the connection.
    write!(
        stream,
        "{method} {target} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP response")?;
    let status = head.split(' ').nth(1).context("no status line")?;
    Ok(Answer {
        status: status
            .parse()
            .with_context(|| format!("{status} is not a status code"))?,
        body: body.to_owned(),
    })
}

/// Percent-encodes every byte that is not a letter or digit, for any part of a URL.
pub fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
