//! Notifications behind a transaction pooler: one line of the log says that they are unavailable, and what happens instead.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use security::Secret;
use stores::Postgres;
use stores::postgres::{Notices, REFERENCE_CHANGED};
use testkit::secured::postgres::{PgBouncer, Postgres as Server};

use super::private;
use crate::common::eventually;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, whose log this is.
#[tokio::test]
async fn notifications_that_a_pooler_holds_back_are_one_warning_with_the_interval_that_replaces_them() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let private = private();
    let certificate = private.authority.server().unwrap();
    let server = Server::start(&certificate).unwrap();
    server.sql("CREATE ROLE reader LOGIN PASSWORD 'app-secret'").unwrap();
    let pooler = PgBouncer::start(&server, &certificate, &[("reader", "app-secret")]).unwrap();
    let dsn = format!("{}?sslmode=verify-full", pooler.dsn("reader", "app-secret"));
    let postgres = Postgres::connect(&Secret::new(dsn.as_str()), &private.trust, 2).unwrap();
    let mut notices = Notices::listen(&postgres, REFERENCE_CHANGED, Duration::from_secs(42));
    // Anything may have changed before.
    assert_eq!(notices.next().await.as_deref(), Some(""));
    eventually("the warning", async || !log.lines().is_empty()).await;
    let lines = log.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for words in [
        "WARN",
        "no notifications from PostgreSQL",
        "reference data is refreshed every refresh_seconds",
        "\"refresh_seconds\":42",
        "DATA_PROC_POSTGRES_DSN",
    ] {
        assert!(lines[0].contains(words), "'{words}' is missing: {}", lines[0]);
    }
}
