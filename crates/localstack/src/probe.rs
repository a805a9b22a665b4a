//! Checks that a server responds as its clients expect. An open port is not enough: Kafka accepts connections long before it
//! serves requests.
//!
//! Each probe is one short request written manually, so that this crate needs no client library and starts no Java program.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);
/// No answer to a probe is longer.
const LONGEST_ANSWER: u64 = 64 << 10;

/// Queries Kafka's API versions. Kafka responds only once it has started fully (4.1 opens its request handlers last).
pub(crate) fn kafka(port: u16) -> bool {
    // Length 10, API 18 (ApiVersions) version 0, correlation id 254, no client id.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 254, 0xff, 0xff];
    let mut answer = [0_u8; 10];
    let answered = connect(port)
        .is_some_and(|mut stream| stream.write_all(&REQUEST).is_ok() && stream.read_exact(&mut answer).is_ok());
    // After the length: our correlation id, then error code 0.
    answered && answer.ends_with(&[0, 0, 0, 254, 0, 0])
}

/// The status of a `GET` over HTTP/1.1.
pub(crate) fn http_status(port: u16, path: &str) -> Option<u16> {
    let mut stream = connect(port)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head).ok()?;
    // To close before the end of the answer is an error in the server's log.
    _ = std::io::copy(&mut stream.take(LONGEST_ANSWER), &mut std::io::sink());
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// The reason that a service gives if it is not ready.
pub(crate) fn not_ready_reason(port: u16) -> Option<String> {
    let mut stream = connect(port)?;
    write!(
        stream,
        "GET /health/ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body.get("error")?.as_str().map(str::to_owned)
}

/// Whether Redis responds to PING; it returns an error while it loads its file.
pub(crate) fn redis(port: u16) -> bool {
    let mut answer = [0_u8; 5];
    connect(port)
        .is_some_and(|mut stream| stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut answer).is_ok())
        && &answer == b"+PONG"
}

fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that sends these bytes on every connection.
    fn answering(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 256];
                let _length = stream.read(&mut request);
                let _closed_early = stream.write_all(answer);
            }
        });
        port
    }

    #[test]
    fn a_server_with_an_unexpected_response_is_not_ready() {
        let port = answering(b"-LOADING Redis is loading the dataset in memory\r\n");
        assert!(!redis(port));
        assert!(!kafka(port));
        assert_eq!(http_status(port, "/ping"), None);
    }

    #[test]
    fn an_answer_is_read_to_its_end_so_that_the_server_logs_no_lost_client() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _length = stream.read(&mut [0; 256]);
            // A client that closes with unread bytes resets the connection.
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .and_then(|()| stream.write_all(&[b'x'; 4_096]))
                .unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // The rest of the request, and its end.
            stream.read_to_end(&mut Vec::new())
        });
        assert_eq!(http_status(port, "/ping"), Some(200));
        let ended = server.join().unwrap();
        assert!(ended.is_ok(), "{ended:?}");
    }

    #[test]
    fn the_status_of_an_http_response_is_parsed() {
        assert_eq!(
            http_status(answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "/health/ready"),
            Some(503)
        );
    }
}
