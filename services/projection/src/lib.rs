//! Projection: the newest price of every instrument, in Postgres and Redis, for readers.
//!
//! Role: reads enriched ticks; the newest of an instrument, in the order of prices, is its latest price.
//! Invariants: INV-3 (a position is stored with its own sequencer state); rows and position share a Postgres transaction
//! with a compare-and-set; an older time never replaces a newer one, in no store.
//! Failure: Postgres down, and prices continue to Redis while the position waits; Redis down, and it is filled again from
//! memory when it is back. Neither stops the other.

pub mod config;
pub mod copy_count;
pub mod core;
pub mod freshness;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod stages;

use service::clients::{Dependency, Use};
use service::run::Definition;

/// The service.
pub const DEFINITION: Definition<config::Config> = Definition {
    name: "projection",
    about: "Keeps the newest price of every instrument in PostgreSQL and Redis, and serves it.",
    routes: &["GET /prices/latest", "GET /health/projections", "GET /cache/status"],
    default_port: 8083,
    uses: &[
        Use::required(Dependency::Kafka),
        Use::required(Dependency::Postgres),
        Use::optional(Dependency::Redis),
    ],
    metrics: metrics::DECLARED,
    settings: config::read,
    build: pipeline::build,
};
