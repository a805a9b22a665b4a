//! A session of PostgreSQL that has locked a table and forgotten it.
//!
//! Failure: the session ends with the server or with this value, whichever comes first.

use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::Pipeline;

/// The session; it ends when this is dropped.
pub(super) struct Lock(Child);

impl Lock {
    /// Locks the table in a session of its own.
    pub(super) fn take(pipeline: &Pipeline, table: &str) -> anyhow::Result<Lock> {
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
            .spawn();
        Ok(Lock(session.context("start psql")?))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // It has ended with the server.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
