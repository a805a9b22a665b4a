//! Aggregation: computes bars of 1m, 5m, 15m, 1h and 1d from enriched ticks, derived prices (spreads, heat rates) from their legs, and
//! snapshots of forward curves from their quotes.
//!
//! Role: [`crate::core`] contains the decisions (pure), [`stages`] connect it to the log, [`pipeline`] assembles the service.
//! Four stages: [`stages::aggregate`] computes bars in the stream and sends legs, [`stages::restate`] computes bars of late ticks from the
//! table, [`mod@stages::derived`] computes derived prices where legs meet, [`mod@stages::curves`] snapshots of curves.
//! Invariants: INV-1, INV-3, INV-4.
//! Failure: after a transient error the state is restored from the state topic; a fatal error ends the process and names the
//! remedy.

pub mod completeness;
pub mod config;
pub mod core;
pub mod hourly;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod stages;
pub mod view;

use service::Definition;
use service::clients::{Dependency, Use};

use crate::config::Config;

/// The service, as `main` runs it.
pub const DEFINITION: Definition<Config> = Definition {
    name: "aggregation",
    about: "Aggregates enriched ticks to bars, and writes them to Kafka and ClickHouse.",
    routes: &[
        "GET /windows",
        "GET /intervals",
        "GET /bars/{instrument_id}",
        "GET /completeness",
        "GET /derived/{series}",
        "GET /curves/{curve_id}",
    ],
    default_port: 8082,
    uses: &[Use::required(Dependency::Kafka), Use::optional(Dependency::ClickHouse)],
    metrics: metrics::DECLARED,
    deciding: &[
        "AGGREGATION_BAR_INTERVALS",
        "AGGREGATION_WATERMARK_DELAY_MS",
        "AGGREGATION_MAX_LATE_MS",
        "AGGREGATION_REAL_TIME_CLOSE_MS",
        "AGGREGATION_REAL_TIME_MAX_LATE_MS",
        "AGGREGATION_DERIVED_SERIES",
        "AGGREGATION_DERIVED_HOLD_S",
        "AGGREGATION_DERIVED_PRICES",
        "AGGREGATION_CURVES_INTERVAL_S",
        "AGGREGATION_CURVES_HOLD_S",
        "AGGREGATION_CURVES_MAX_AGE_S",
        "AGGREGATION_CURVES_QUOTES",
    ],
    settings: config::read,
    build: pipeline::build,
};
