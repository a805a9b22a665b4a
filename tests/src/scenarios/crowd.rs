//! A program that opens connections to PostgreSQL and closes none.
//!
//! Failure: the sessions end with the server, by the cure or with this value, whichever comes first.

use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::Pipeline;

/// Its name, as the page gives it.
const APPLICATION: &str = "report";
/// Of the 300 that the local server permits.
const CONNECTIONS: usize = 250;

/// The sessions; they end when this is dropped.
pub(super) struct Crowd(Vec<Child>);

impl Crowd {
    /// Opens the connections.
    pub(super) fn gather(pipeline: &Pipeline) -> anyhow::Result<Crowd> {
        let mut crowd = Crowd(Vec::with_capacity(CONNECTIONS));
        for _ in 0..CONNECTIONS {
            let session = Command::new("psql")
                .args(["--no-psqlrc", "--dbname", &pipeline.postgres.dsn])
                .args(["--command", "SELECT pg_sleep(3600)"])
                .env("PGAPPNAME", APPLICATION)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            crowd.0.push(session.context("start psql")?);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for session in &mut self.0 {
            // It may have ended by the cure.
            _ = session.kill();
            _ = session.wait();
        }
    }
}
