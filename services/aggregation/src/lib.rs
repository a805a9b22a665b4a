//! Aggregation: enriched ticks to bars of 1m, 5m, 15m, 1h and 1d.
//!
//! Role: [`crate::core`] decides (pure), [`stages`] connect it to the log, [`pipeline`] puts the service together. Two stages:
//! [`stages::aggregate`] makes bars in the stream, [`stages::restate`] computes those of late ticks from the table.
//! Invariants: INV-1, INV-3, INV-4.
//! Absent for now: curves, derived series, legs.
//! Failure: a transient error restores the state from the state topic; a fatal one ends the process with the remedy.

pub mod config;
pub mod core;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod stages;
pub mod view;

use service::Definition;
use service::clients::{Dependency, Use};

use crate::config::Config;

/// What this service is.
pub const DEFINITION: Definition<Config> = Definition {
    name: "aggregation",
    about: "Makes bars of enriched ticks, and writes them to Kafka and ClickHouse.",
    routes: &["GET /windows", "GET /intervals", "GET /bars/{instrument_id}"],
    default_port: 8082,
    uses: &[Use::required(Dependency::Kafka), Use::optional(Dependency::ClickHouse)],
    metrics: metrics::DECLARED,
    settings: config::read,
    build: pipeline::build,
};
