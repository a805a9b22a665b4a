//! Limits the number of open HTTP connections, and how long a client may leave a response unread.
//!
//! Role: counts connections as the server accepts them. Up to [`SPARE`] connections beyond the limit are served for
//! [`SPARE_TIME`] each, for probes and scrapes only; any more are closed at once.
//! Invariants: the limit is at most half of the descriptors that the process may open, so that Kafka and the stores keep
//! theirs. A connection whose client reads nothing of a response within the write time-out is closed. The kernel does
//! that (`TCP_USER_TIMEOUT`), since the server is blocked in a write then.
//! Failure: if socket options cannot be set, the connection is served without them, and this is logged.

use std::any::Any;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt;
use actix_web::rt::net::TcpStream;
use nix::sys::resource::{Resource, getrlimit};
use socket2::{SockRef, Socket};

use crate::metrics;

/// Connections beyond the limit that are served briefly, for probes.
const SPARE: usize = 32;
/// How long they are served.
const SPARE_TIME: Duration = Duration::from_millis(250);

/// The connections of the process.
#[derive(Debug)]
pub(super) struct Connections {
    open: AtomicUsize,
    max: usize,
    write_timeout: Duration,
}

/// One connection; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    all: Arc<Connections>,
    is_spare: bool,
}

impl Connections {
    /// Allows `wanted` connections, or fewer if the limit on descriptors requires it.
    pub(super) fn new(wanted: usize, write_timeout: Duration) -> Arc<Connections> {
        let max = allowed(wanted, descriptors());
        if max < wanted {
            tracing::info!(
                max,
                wanted,
                "ulimit -n allows fewer HTTP connections than DATA_PROC_HTTP_MAX_CONNECTIONS"
            );
        }
        metrics::http_connections(0, max);
        Arc::new(Connections {
            open: AtomicUsize::new(0),
            max,
            write_timeout,
        })
    }

    /// Number of open connections.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts an accepted connection, and limits or closes it.
    pub(super) fn opened(self: &Arc<Connections>, io: &dyn Any, extensions: &mut Extensions) {
        let Some(stream) = io.downcast_ref::<TcpStream>() else {
            return;
        };
        let socket = SockRef::from(stream);
        if let Err(error) = socket.set_tcp_user_timeout(Some(self.write_timeout)) {
            tracing::debug!(error = %error, "an HTTP connection has no write time-out");
        }
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let is_spare = before >= self.max;
        if is_spare {
            metrics::http_connection_refused();
            match socket.try_clone().ok().filter(|_| before < self.max + SPARE) {
                Some(socket) => drop(rt::spawn(async move {
                    rt::time::sleep(SPARE_TIME).await;
                    close(&socket);
                })),
                None => close(&socket),
            }
        }
        metrics::http_connections(before + 1, self.max);
        extensions.insert(Connection {
            all: Arc::clone(self),
            is_spare,
        });
    }
}

impl Connection {
    /// Whether the connection exceeds the limit.
    pub(super) fn is_spare(&self) -> bool {
        self.is_spare
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let before = self.all.open.fetch_sub(1, Ordering::Relaxed);
        metrics::http_connections(before - 1, self.all.max);
    }
}

/// The server then reads the end of the stream and drops the connection. A client that is already gone is not an error.
fn close(socket: &Socket) {
    if let Err(error) = socket.shutdown(Shutdown::Both) {
        tracing::trace!(error = %error, "an HTTP connection was closed by its client first");
    }
}

/// Descriptors that the process may open, if the system reports them.
fn descriptors() -> Option<usize> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    usize::try_from(soft).ok()
}

fn allowed(wanted: usize, descriptors: Option<usize>) -> usize {
    descriptors.map_or(wanted, |descriptors| {
        wanted.min((descriptors / 2).saturating_sub(SPARE)).max(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_half_of_the_descriptors_to_the_pipeline() {
        assert_eq!(allowed(4_096, Some(1_024)), 480);
        assert_eq!(allowed(100, Some(1_024)), 100);
        assert_eq!(allowed(4_096, Some(1 << 20)), 4_096);
        assert_eq!(allowed(4_096, Some(10)), 1);
        assert_eq!(allowed(4_096, None), 4_096);
    }
}
