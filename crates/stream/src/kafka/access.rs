//! Checks whether brokers are available and accept this client: once at start, and before an administrator's calls.
//!
//! Failure: a refusal is fatal and names the setting. An unavailable broker is not a failure, since the client waits for it.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::probe::Probe;
use crate::StreamError;

/// A local or nearby process accepts a connection within this time.
const CONNECT_WITHIN: Duration = Duration::from_millis(300);
/// One request of the check at start.
const ONE_TRY: Duration = Duration::from_millis(500);

impl Probe {
    /// Whether the brokers accept this client. It is of no use afterwards: it would look for the empty topic for ever. `Ok` if a
    /// broker answers. Also `Ok` if none is
    /// available or answers within this time: the worker waits for it later.
    ///
    /// # Errors
    /// Fatal: the login, the certificate or the protocol is wrong; the message names the setting.
    pub fn check_access(self, within: Duration) -> Result<(), StreamError> {
        let deadline = Instant::now() + within;
        loop {
            if !accepts_connections(self.bootstrap.addresses()) {
                return Ok(());
            }
            if self.client.fetch_metadata(Some(""), ONE_TRY).is_ok() {
                self.bootstrap.troubles().clear();
                return Ok(());
            }
            self.clear_events();
            self.bootstrap.look_for_tls();
            let is_over = Instant::now() >= deadline;
            match self.bootstrap.trouble() {
                Some(trouble) if trouble.is_certain || is_over => {
                    let message = format!("kafka at {}: {}", self.bootstrap, self.bootstrap.in_full(&trouble));
                    return Err(StreamError::fatal(trouble.code, message));
                }
                _ if is_over => return Ok(()),
                _ => {}
            }
        }
    }
}

/// Whether a broker accepts connections. Check this before a call of the client: a pending admin request makes the client
/// reconnect without a pause while no broker is available, which costs a core.
pub(crate) fn accepts_connections(bootstrap: &str) -> bool {
    let addresses = bootstrap
        .split(',')
        .filter_map(|address| address.trim().to_socket_addrs().ok());
    addresses
        .flatten()
        .any(|address| TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok())
}
