//! Normalization: raw messages of every market to ticks of one form.
//!
//! Role: reads the raw topics, writes `normalized.market.ticks.v1` and the table `market_ticks`. What bytes mean is
//! decided by crate `markets`, how records move by crate `stream`; here the two meet.
//! Invariants: INV-1, INV-4, INV-5. Failure: poison goes to the topic `dlq`, a dependency that is down is waited for.

pub mod config;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod replays;
pub mod stages;
pub mod validation;

use service::Definition;
use service::clients::{Dependency, Use};

use crate::config::Config;

/// The service, as `main` runs it.
pub const DEFINITION: Definition<Config> = Definition {
    name: "normalization",
    about: "Reads raw messages of every market, and writes ticks of one form to Kafka and ClickHouse.",
    routes: &[
        "GET /markets",
        "GET /quality-rules",
        "POST /validate",
        "GET /health/projections",
    ],
    default_port: 8080,
    uses: &[Use::required(Dependency::Kafka), Use::optional(Dependency::ClickHouse)],
    metrics: metrics::DECLARED,
    settings: config::read,
    build: pipeline::build,
};
