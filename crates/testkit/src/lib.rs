//! The independent oracle: what ought to have become of a raw log, computed naively, and compared with every store.
//!
//! Role: the second opinion of the end-to-end tests. It reads the raw topic with its own client and its own parsers, keeps
//! everything in memory, and asks each store in the plainest way there is (HTTP text, `psql`, a Redis socket).
//! Invariant: it names no other crate of this project, so a mistake there cannot hide by being made here too.
//! Failure: whatever it does not understand is an error or a finding, never a pass. Absent on purpose: speed.

pub mod avro;
pub mod bars;
pub mod certificates;
pub mod check;
pub mod expect;
pub mod hostile;
pub mod http;
pub mod kafka;
pub mod load;
pub mod numbers;
mod objects;
pub mod parse;
pub mod process;
mod products;
pub mod proxy;
pub mod secured;
pub mod secured_kafka;
pub mod stores;
pub mod times;
pub mod token_endpoint;
