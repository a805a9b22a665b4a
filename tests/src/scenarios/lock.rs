//! A session of PostgreSQL that has locked a table and forgotten it, and clients that go on asking for its rows.
//!
//! Failure: the session ends with the server or with this value, whichever comes first.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use localstack::{Name, Service};

use crate::{Pipeline, http};

/// As many as a pool has connections, and some more.
const CLIENTS: usize = 30;
const PAUSE: Duration = Duration::from_millis(500);

/// The session and the clients; both end when it is dropped.
pub(super) struct Lock {
    session: Child,
    ended: Arc<AtomicBool>,
}

impl Lock {
    /// Locks the table in a session of its own, and starts the clients.
    pub(super) fn take(pipeline: &Pipeline, table: &str) -> anyhow::Result<Lock> {
        let port = pipeline.stack().port(Name::Service(Service::Projection, 1));
        let port = port.context("projection has no port")?;
        let statement = format!("BEGIN; LOCK TABLE {table}; SELECT pg_sleep(3600)");
        let session = Command::new("psql")
            .args([
                "--no-psqlrc",
                "--dbname",
                &pipeline.postgres.dsn,
                "--command",
                &statement,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start psql")?;
        let ended = Arc::<AtomicBool>::default();
        for _ in 0..CLIENTS {
            let ended = Arc::clone(&ended);
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // A refusal is an answer, too: the clients only keep asking.
                    _ = http::get(port, "/prices/latest?instrument_id=MISO.NODE1.RT5");
                    // A pace, not a wait for something.
                    std::thread::sleep(PAUSE);
                }
            });
        }
        Ok(Lock { session, ended })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        _ = self.session.kill();
        _ = self.session.wait();
    }
}
