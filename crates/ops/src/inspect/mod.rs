//! Looks into the servers of the pipeline, for an operator who searches the cause of a problem.
//!
//! Role: one file for each server. Everything here reads; nothing is changed, and no data of the pipeline is loaded.
//! Failure: a server that does not answer is an error with its address. A server that does not keep what is asked for (no query log,
//! for example) is an error that says how to switch it on.

pub mod clickhouse;
pub mod kafka;
pub mod postgres;
pub mod projection;
pub mod redis;
pub mod sentinel;
pub mod silent;
pub mod statements;
