//! Enrichment: adds commodity, region, tier, unit, sizes and curve to each tick.
//!
//! Role: joins the normalized stream with reference data in memory, and writes `enriched_ticks` to ClickHouse.
//! Invariants: INV-2, INV-4, INV-7 by `stream::hop`; INV-6, INV-8 by `stream::table_writer`.
//! Failure: while Postgres or Redis is down, ticks get older reference data or flagged guesses; the stream never stops.

pub mod config;
pub mod core;
pub mod http;
pub mod lookup;
pub mod metrics;
pub mod pipeline;
pub mod stages;

use service::Definition;
use service::clients::{Dependency, Use};

use crate::config::Config;

/// The service, as `main` runs it.
pub const DEFINITION: Definition<Config> = Definition {
    name: "enrichment",
    about: "Adds commodity, region, tier, unit, sizes and curve to normalized ticks, and writes them to Kafka and ClickHouse.",
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
        Use::optional(Dependency::Postgres).with_tables(&[
            "taxonomy_instruments",
            "instrument_aliases",
            "taxonomy_commodity_rules",
            "taxonomy_region_rules",
            "curve_metadata",
        ]),
        Use::optional(Dependency::Redis),
    ],
    metrics: metrics::DECLARED,
    deciding: &["ENRICHMENT_CONFIDENCE_THRESHOLD"],
    settings: config::read,
    build: pipeline::build,
};
