//! Normalization: converts the raw messages of all markets to ticks of one format.
//!
//! Role: reads the raw topics, writes `normalized.market.ticks.v1` and the table `market_ticks`. Crate `markets` parses
//! the bytes, crate `stream` moves the records; this crate connects them.
//! Invariants: INV-1, INV-4, INV-5.
//! Failure: poison goes to the topic `dlq`; the service waits for a dependency that is down.

pub mod config;
mod dead_letters;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod replays;
pub mod stages;

use service::Definition;
use service::clients::{Dependency, Use};

use crate::config::Config;

/// The service, as `main` runs it.
pub const DEFINITION: Definition<Config> = Definition {
    name: "normalization",
    about: "Converts the raw messages of all markets to ticks of one format, and writes them to Kafka and ClickHouse.",
    routes: &[
        "GET /markets",
        "GET /quality-rules",
        "POST /validate",
        "GET /health/projections",
    ],
    default_port: 8080,
    uses: &[Use::required(Dependency::Kafka), Use::optional(Dependency::ClickHouse)],
    metrics: metrics::DECLARED,
    deciding: &[
        "DATA_PROC_TENANT_ID",
        "DATA_PROC_RAW_TOPICS",
        "NORMALIZATION_VALIDATION_ENABLED",
        "NORMALIZATION_PRICE_SPIKE_THRESHOLD",
        "NORMALIZATION_VOLUME_SPIKE_THRESHOLD",
        "NORMALIZATION_MAX_PRICE",
        "NORMALIZATION_MIN_PRICE",
        "NORMALIZATION_MAX_VOLUME",
        "NORMALIZATION_LATE_AFTER_S",
        "NORMALIZATION_MAX_FUTURE_S",
        "NORMALIZATION_COMPONENT_TOLERANCE",
        "NORMALIZATION_MAX_NEW_INSTRUMENTS_PER_HOUR",
        "NORMALIZATION_VENUES",
        "NORMALIZATION_DEDUP_WINDOW_S",
        "NORMALIZATION_MAX_MESSAGE_BYTES",
        "NORMALIZATION_MAX_DOCUMENT_BYTES",
    ],
    settings: config::read,
    build: pipeline::build,
};
