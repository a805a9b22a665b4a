//! The clients against real servers.
//!
//! Role: one program for all of them, since each test program must be linked with all clients. A test starts the servers that it needs
//! and shares them with no other; only `rows` has one ClickHouse for its tests, which ends with the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bars_asof;
mod clickhouse;
mod common;
mod curves_asof;
mod derived_asof;
mod market_days;
mod postgres;
mod rebuilds;
mod redis;
mod rows;
mod secured;
mod served;
mod verify_runs;
