//! The independent oracle: computes the expected outputs of a raw log naively and compares them with every store.
//!
//! Role: the second judge of the end-to-end tests. It reads the raw topic with its own parsers, keeps all data in memory, and
//! queries each store with the simplest client (HTTP text, `psql`, a Redis socket).
//! Invariant: it uses no other crate of this project, so it cannot share a mistake with them.
//! Failure: input that it does not understand is an error or a finding, never a pass. Absent on purpose: speed.

pub mod alertmanager;
pub mod avro;
pub mod bars;
pub mod certificates;
pub mod check;
pub mod curves;
pub mod derived;
pub mod documents;
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
pub mod terminal;
pub mod times;
pub mod token_endpoint;

/// How long tests wait for what happens without further action: longer than any step takes while other tests occupy all cores.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(180);
