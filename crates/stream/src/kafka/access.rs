//! Whether brokers are there, and let this process in: asked once at start, and before an administrator's calls.
//!
//! Failure: a refusal is fatal and names the setting; a broker that is away is none, since it is waited for.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::probe::Probe;
use crate::StreamError;

/// A local process or a near one takes a connection at once.
const CONNECT_WITHIN: Duration = Duration::from_millis(300);
/// One question of the check at start.
const ONE_TRY: Duration = Duration::from_millis(500);

impl Probe {
    /// Whether the brokers let this client in; to be asked once at start. `Ok` where one answers, and where none is there or
    /// says anything within this time: that is waited for later.
    ///
    /// # Errors
    /// Fatal: the login, the certificate or the protocol is wrong; the message names the setting.
    pub fn check_access(&self, within: Duration) -> Result<(), StreamError> {
        let deadline = Instant::now() + within;
        loop {
            if !takes_connections(self.bootstrap.addresses()) {
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

/// Whether a broker is there. To be asked before the client is: an open question of its admin calls makes it try again
/// without a pause while no broker is there, which costs a core.
pub(crate) fn takes_connections(bootstrap: &str) -> bool {
    let addresses = bootstrap
        .split(',')
        .filter_map(|address| address.trim().to_socket_addrs().ok());
    addresses
        .flatten()
        .any(|address| TcpStream::connect_timeout(&address, CONNECT_WITHIN).is_ok())
}
