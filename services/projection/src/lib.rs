//! Projection: the newest price of each instrument, snapshot of each curve and price of each derived series, in Postgres and Redis, for
//! readers.
//!
//! Role: reads enriched ticks; an instrument's tick of the highest rank (`domain::PriceRank`) is its latest price.
//! Invariants: INV-3 (a position is stored with its own sequencer state); rows and position share a Postgres transaction
//! with a compare-and-set; an older price never replaces a newer one in either store.
//! Failure: while Postgres is down, prices continue to Redis and the position waits. After an outage, Redis is refilled
//! from memory. Neither outage affects the other store. A second stage serves curve snapshots and derived prices, a third one carries out
//! requests to drop or rewrite copies. ClickHouse is only read, for earlier curve snapshots.

pub mod config;
pub mod core;
pub mod freshness;
pub mod http;
pub mod metrics;
pub mod pipeline;
pub mod rebuild;
pub mod rewrite;
pub mod stages;
pub mod verify_runs;

use service::Definition;
use service::clients::{Dependency, Use};

use crate::config::Config;

/// The service, as `main` runs it.
pub const DEFINITION: Definition<Config> = Definition {
    name: "projection",
    about: "Writes the newest price of each instrument, and the newest curves and derived prices, to PostgreSQL and Redis, and serves them over HTTP.",
    routes: &[
        "GET /prices/latest",
        "GET /curves/snapshots",
        "GET /health/projections",
        "GET /cache/status",
        "POST /cache/invalidate",
        "GET /ws/prices",
    ],
    default_port: 8083,
    uses: &[
        Use::required(Dependency::Kafka),
        Use::required(Dependency::Postgres).with_tables(&[
            "served_latest_prices",
            "served_curve_snapshots",
            "served_derived_prices",
            "projection_positions",
            "projection_topics",
        ]),
        Use::optional(Dependency::Redis),
        // Only for curve snapshots as they were known at an earlier time.
        Use::optional(Dependency::ClickHouse),
    ],
    metrics: metrics::DECLARED,
    deciding: &[],
    settings: config::read,
    build: pipeline::build,
};
