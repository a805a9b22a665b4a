//! The commands of `dp` as a user runs them: output, exit codes, and what they do to servers. `structure` is about their sources.
//!
//! Role: one program for all of them, since each test program must be linked with the clients of all servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alerts;
mod check_market;
mod curve;
mod examples;
mod gaps;
mod hints;
mod incident;
mod inspect;
mod probes;
mod replay;
mod schema;
mod sentinel;
mod stack;
mod structure;
mod top;
