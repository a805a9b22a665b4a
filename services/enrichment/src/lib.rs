//! Enrichment: tick → tick with commodity, region, tier, unit, sizes and curve.
//!
//! Role: joins the normalized stream with reference data held in memory, and writes `enriched_ticks` to ClickHouse.
//! Invariants: INV-2, INV-4, INV-7 by `stream::hop`; INV-6, INV-8 by `stream::table_writer`.
//! Failure: Postgres or Redis down means older reference data and flagged guesses, never a halt.

pub mod config;
pub mod http;
pub mod lookup;
pub mod metrics;
pub mod pipeline;
pub mod stages;
pub mod stored;
pub mod taxonomy;

use service::clients::{Dependency, Use};
use service::run::Definition;

/// The service.
pub const DEFINITION: Definition<config::Config> = Definition {
    name: "enrichment",
    about: "Adds commodity, region, tier, unit and sizes to normalized ticks, and writes them to Kafka and ClickHouse.",
    routes: &[
        "GET /taxonomy/{instrument_id}",
        "POST /enrich",
        "GET /cache/status",
        "POST /cache/refresh",
    ],
    default_port: 8081,
    uses: &[
        Use::required(Dependency::Kafka),
        Use::optional(Dependency::ClickHouse),
        Use::optional(Dependency::Postgres),
        Use::optional(Dependency::Redis),
    ],
    metrics: metrics::DECLARED,
    settings: config::read,
    build: pipeline::build,
};
