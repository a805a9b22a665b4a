//! The metrics of projection in addition to the shared ones.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use domain::Micros;
use service::metrics::{Declared, Kind};
use stores::Projection;
use stores::postgres::LastVerify;

use crate::core::ages::{Ages, LIMITS};
use crate::core::served_lane::{ServedAnswers, ServedWork};
use crate::core::work::Committed;

const UPDATED: &str = "projections_updated_total";
const LAG: &str = "projection_lag_seconds";
const STATUS: &str = "projection_status";
const CONFLICTS: &str = "projection_conflicts_total";
const EVICTED: &str = "redis_evicted_keys";
const REFILLS: &str = "projection_refills_total";
const VERIFY_RUN: &str = "verify_last_run_timestamp_seconds";
const VERIFY_SUCCESS: &str = "verify_last_success_timestamp_seconds";
const VERIFY_DIFFERENCES: &str = "verify_last_differences";
const INSTRUMENTS: &str = "instruments";
const SILENT: &str = "instruments_silent";
const SUBSCRIBERS: &str = "websocket_subscribers";
const ROWS: &str = "projection_rows_total";
const OLDER: &str = "projection_rows_older_total";
const LATEST: (&str, &str) = ("projection", "latest_price");
const CURVES: (&str, &str) = ("projection", "curve_snapshot");
const DERIVED: (&str, &str) = ("projection", "derived_price");

/// The metrics of this service.
pub const DECLARED: &[Declared] = &[
    Declared::new(UPDATED, Kind::Counter, "prices", "Latest prices written, by store.")
        .labels(&["store"])
        .with(&[&[("store", "postgres")], &[("store", "redis")]]),
    Declared::new(
        LAG,
        Kind::Gauge,
        "seconds",
        "Age of the oldest event that a store does not have yet, by its raw append time; 0 if there is none.",
    )
    .labels(&["projection"])
    .with(&[&[LATEST], &[CURVES], &[DERIVED]]),
    Declared::new(
        STATUS,
        Kind::Gauge,
        "state",
        "1 while the projection's stores answer and accept writes, 0 otherwise.",
    )
    .labels(&["projection"])
    .with(&[&[LATEST], &[CURVES], &[DERIVED]]),
    Declared::new(
        ROWS,
        Kind::Counter,
        "rows",
        "Curve snapshots and derived prices written, by projection and store.",
    )
    .labels(&["projection", "store"])
    .with(&[
        &[CURVES, ("store", "postgres")],
        &[CURVES, ("store", "redis")],
        &[DERIVED, ("store", "postgres")],
        &[DERIVED, ("store", "redis")],
    ]),
    Declared::new(
        OLDER,
        Kind::Counter,
        "records",
        "Curve snapshots and derived prices that were read and not served: a newer one, or the same, was there.",
    )
    .labels(&["projection"])
    .with(&[&[CURVES], &[DERIVED]]),
    Declared::new(
        CONFLICTS,
        Kind::Counter,
        "commits",
        "Commits rejected because another owner had moved the position.",
    )
    .with(&[&[]]),
    Declared::new(REFILLS, Kind::Counter, "refills", "Complete refills of Redis.").with(&[&[]]),
    Declared::new(
        EVICTED,
        Kind::Gauge,
        "keys",
        "Keys that Redis has evicted since it started; above 0, Redis has too little memory.",
    )
    .with(&[&[]]),
    Declared::new(
        SUBSCRIBERS,
        Kind::Gauge,
        "connections",
        "Open WebSocket connections of /ws/prices.",
    )
    .with(&[&[]]),
    Declared::new(
        INSTRUMENTS,
        Kind::Gauge,
        "instruments",
        "Instruments with a latest price in the partitions of this process; counted every 30 s.",
    )
    .with(&[&[]]),
    Declared::new(
        SILENT,
        Kind::Gauge,
        "instruments",
        "Of these, those without a tick for longer than 5m, 1h, 1d.",
    )
    .labels(&["longer_than"])
    .with(&[
        &[("longer_than", "5m")],
        &[("longer_than", "1h")],
        &[("longer_than", "1d")],
    ]),
    Declared::new(
        VERIFY_RUN,
        Kind::Gauge,
        "seconds",
        "End of the last `dp verify` that was recorded; no series until there is one.",
    ),
    Declared::new(
        VERIFY_SUCCESS,
        Kind::Gauge,
        "seconds",
        "End of the last `dp verify` that found no difference; no series until there is one.",
    ),
    Declared::new(
        VERIFY_DIFFERENCES,
        Kind::Gauge,
        "differences",
        "Differences that the last `dp verify` found. An undecided run does not count.",
    ),
];

/// Handles of one worker.
pub struct Meters {
    /// Prices written to Redis.
    pub redis: Counter,
    /// Prices written to Postgres.
    pub postgres: Counter,
    /// Lost compare-and-sets.
    pub conflicts: Counter,
    /// Complete refills of Redis.
    pub refills: Counter,
    /// Keys that Redis has evicted.
    pub evicted: Gauge,
    /// Repetitions rejected by sequencers.
    pub repetitions: Counter,
    latency: Histogram,
}

impl Meters {
    /// Handles for ticks of this topic.
    pub fn new(topic: &str) -> Meters {
        Meters {
            redis: counter!(UPDATED, "store" => "redis"),
            postgres: counter!(UPDATED, "store" => "postgres"),
            conflicts: counter!(CONFLICTS),
            refills: counter!(REFILLS),
            evicted: gauge!(EVICTED),
            repetitions: counter!(stream::metrics::REPETITIONS_REFUSED, "topic" => topic.to_owned()),
            latency: histogram!(stream::metrics::END_TO_END_LATENCY, "stage" => "latest_price"),
        }
    }

    /// Records the latency of a price that was written to Redis.
    pub fn reached_redis(&self, appended_at: Micros, now: Micros) {
        self.latency.record((now - appended_at).max(0) as f64 / 1e6);
    }
}

/// Handles of the stage that serves curve snapshots and derived prices.
pub struct ServedMeters {
    postgres: Counter,
    redis: Counter,
    /// Records that were not newer than what is served.
    pub older: Counter,
    conflicts: Counter,
    refills: Counter,
}

impl ServedMeters {
    /// Handles of this projection.
    pub fn new(projection: Projection) -> ServedMeters {
        let name = projection.name();
        ServedMeters {
            postgres: counter!(ROWS, "projection" => name, "store" => "postgres"),
            redis: counter!(ROWS, "projection" => name, "store" => "redis"),
            older: counter!(OLDER, "projection" => name),
            conflicts: counter!(CONFLICTS),
            refills: counter!(REFILLS),
        }
    }

    /// Counts what this work has written.
    pub fn wrote(&self, work: &ServedWork, answers: &ServedAnswers) {
        let rows = work.commit.as_ref().map_or(0, |commit| commit.rows.len() as u64);
        match answers.committed {
            Some(Committed::Yes) => {
                self.postgres.increment(rows);
                if answers.redis_ok {
                    self.redis.increment(rows);
                }
            }
            Some(Committed::Conflict) => self.conflicts.increment(1),
            Some(Committed::Unknown) | None => {}
        }
        if work.refill && answers.redis_ok {
            self.refills.increment(1);
        }
    }
}

/// Sets the gauges of status and lag.
pub fn show(projection: &'static str, is_well: bool, lag_seconds: f64) {
    gauge!(STATUS, "projection" => projection).set(f64::from(u8::from(is_well)));
    gauge!(LAG, "projection" => projection).set(lag_seconds);
}

/// Sets the gauges of the instruments' ages.
pub fn show_ages(ages: &Ages) {
    gauge!(INSTRUMENTS).set(ages.all as f64);
    for ((name, _), count) in LIMITS.into_iter().zip(ages.older) {
        gauge!(SILENT, "longer_than" => name).set(count as f64);
    }
}

/// A WebSocket was opened (1) or closed (-1).
pub(crate) fn subscribers(change: f64) {
    gauge!(SUBSCRIBERS).increment(change);
}

/// Sets the gauges of `dp verify`.
pub fn show_verify(last: &LastVerify) {
    gauge!(VERIFY_RUN).set(last.run);
    if let Some(success) = last.success {
        gauge!(VERIFY_SUCCESS).set(success);
    }
    if let Some(differences) = last.differences {
        gauge!(VERIFY_DIFFERENCES).set(differences as f64);
    }
}
