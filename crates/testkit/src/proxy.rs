//! A TCP proxy that delays each request of a request-response protocol.
//!
//! Role: sits between the services and ClickHouse's HTTP port. It delays the first bytes of a request. Bytes that the client
//! sends after a response begin a new request.
//! Failure: if one side of a connection breaks, the proxy closes the other side.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;

/// The proxy. It stops when dropped; open connections end with their clients.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    delay_ms: AtomicU64,
    requests: AtomicU64,
    ended: AtomicBool,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`, at first without delay.
    pub fn start(target: &str) -> anyhow::Result<Proxy> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the proxy")?;
        let proxy = Proxy {
            port: listener.local_addr()?.port(),
            shared: Arc::default(),
        };
        let (shared, target) = (Arc::clone(&proxy.shared), target.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                // If the server refuses the connection, the client's connection is closed.
                if let Ok(server) = TcpStream::connect(&target) {
                    join(client, server, &shared);
                }
            }
        });
        Ok(proxy)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the delay of each later request.
    pub fn delay(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Number of delayed requests so far.
    pub fn delayed(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts connections. If this fails, the thread has already ended.
        let _woken = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn join(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let answered = Arc::new(AtomicBool::new(true));
    let (shared, new_request) = (Arc::clone(shared), Arc::clone(&answered));
    std::thread::spawn(move || {
        pass(from_client, server, || {
            let delay = shared.delay_ms.load(Ordering::Relaxed);
            if new_request.swap(false, Ordering::Relaxed) && delay > 0 {
                shared.requests.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(delay));
            }
        });
    });
    std::thread::spawn(move || pass(from_server, client, || answered.store(true, Ordering::Relaxed)));
}

fn pass(mut from: TcpStream, mut to: TcpStream, before: impl Fn()) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        before();
        let bytes = buffer.get(..length).unwrap_or_default();
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // An error means that the side is already closed.
    let _closed = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn each_request_waits_and_every_byte_arrives() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let mut stream = server.accept().unwrap().0;
            let mut request = [0; 4];
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(&request).unwrap();
            }
        });
        let proxy = Proxy::start(&address).unwrap();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        let mut ask = |text: &[u8; 4]| {
            let begun = Instant::now();
            client.write_all(text).unwrap();
            let mut answer = [0; 4];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, text);
            begun.elapsed()
        };
        ask(b"fast");
        assert_eq!(proxy.delayed(), 0);
        proxy.delay(Duration::from_millis(300));
        for text in [b"one ", b"two "] {
            assert!(ask(text) >= Duration::from_millis(300));
        }
        assert_eq!(proxy.delayed(), 2);
    }
}
