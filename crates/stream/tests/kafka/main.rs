//! Workers, producers and readers against real brokers.
//!
//! Role: one program for all of them, since each test program must be linked with the Kafka client. A test starts a broker of its own;
//! only the tests of `secured` share one, which ends with the program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod acknowledgements;
mod atomic_records;
mod broker;
mod handover;
mod no_broker_listed;
mod paused;
mod questions;
mod revoked;
mod secured;
mod static_members;
mod topic_policy;
