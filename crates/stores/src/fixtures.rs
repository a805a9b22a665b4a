//! A ClickHouse for tests of other crates: a server of its own, with the tables of the product.
//!
//! Only `dev-dependencies` turn on the feature `fixtures`, so no program can use it.
//! Failure: a server that does not start, or rejects a table, ends the test.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use localstack::{Server, Temporary};
use security::{Secret, Trust};

use crate::clickhouse::migrate;
use crate::{ClickHouse, ClickHouseConfig};

/// Longer than a start takes while other tests occupy all cores.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running ClickHouse. It is stopped, and its folder removed, when this is dropped.
pub struct Started {
    /// The stack in which it runs; a test may start further servers there.
    pub stack: Temporary,
    /// Its client.
    pub clickhouse: ClickHouse,
}

/// Starts a ClickHouse and creates all tables and views.
///
/// # Panics
/// If it does not start, or rejects a table.
pub async fn started() -> Started {
    let stack = Temporary::new().unwrap();
    stack.start(Server::ClickHouse).unwrap();
    stack.wait_ready(Server::ClickHouse, PATIENCE).unwrap();
    let clickhouse = ClickHouse::new(ClickHouseConfig {
        url: stack.env()["DATA_PROC_CLICKHOUSE_URL"].clone(),
        database: "market_data".into(),
        user: "default".into(),
        password: Secret::new(""),
        cluster: String::new(),
        trust: Trust::default(),
    })
    .unwrap();
    migrate(&clickhouse, "").await.unwrap();
    Started { stack, clickhouse }
}
