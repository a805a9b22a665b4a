//! The metrics of curves: quotes and marks that the first stage sends, and snapshots of stage `curves`.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Gauge, counter, gauge};
use curves::snapshots::{Counts, Reason};
use domain::DerivedCause;
use service::metrics::{Declared, Kind};

/// Of the first stage.
pub(super) const QUOTES: Declared = Declared::new(
    "curve_quotes_sent_total",
    Kind::Counter,
    "quotes",
    "Settlements sent as quotes of curves.",
)
.with(&[&[]]);
/// Of the first stage.
pub(super) const MARKS: Declared = Declared::new(
    "curve_clock_marks_total",
    Kind::Counter,
    "marks",
    "Marks of the log clock after an interval with quotes of curves, each sent to all partitions of legs.",
)
.with(&[&[]]);
/// Of stage `curves`.
pub(super) const SNAPSHOTS: Declared = Declared::new(
    "curve_snapshots_total",
    Kind::Counter,
    "snapshots",
    "Snapshots of curves sent, one for each horizon, by cause: of a new time (first), again after a quote that came late (late) or that replaced another one of its time (correction).",
)
.labels(&["cause"])
.with(&[&[("cause", "first")], &[("cause", "late")], &[("cause", "correction")]]);
/// Of stage `curves`.
pub(super) const CONTRADICTORY: Declared = Declared::new(
    "curve_snapshots_contradictory_total",
    Kind::Counter,
    "snapshots",
    "Snapshots of curves sent with a quote that contradicts others by more than half a cent, one for each horizon.",
)
.with(&[&[]]);
/// Of all curves of a worker.
pub(super) const RESIDUAL: Declared = Declared::new(
    "curve_residual_ratio",
    Kind::Gauge,
    "ratio",
    "Largest residual of a contradictory quote in the newest snapshots of all curves, as a part of the larger one of quoted and implied price; 0 without a contradiction.",
)
.with(&[&[]]);
/// By [`Reason`].
pub(super) const SKIPPED: Declared = Declared::new(
    "curve_quotes_skipped_total",
    Kind::Counter,
    "quotes",
    "Quotes, and times of a curve, that gave no snapshot, by reason (docs/curves.md).",
)
.labels(&["reason"])
.with(&[
    &[("reason", "undefined")],
    &[("reason", "unknown_market")],
    &[("reason", "not_a_contract")],
    &[("reason", "out_of_reach")],
    &[("reason", "too_late")],
    &[("reason", "stale")],
    &[("reason", "other_market")],
    &[("reason", "unit_mismatch")],
    &[("reason", "not_a_member")],
    &[("reason", "too_large")],
    &[("reason", "too_far")],
    &[("reason", "too_many")],
    &[("reason", "no_quotes")],
    &[("reason", "not_built")],
]);
/// Because there were too many.
pub(super) const EVICTED: Declared = Declared::new(
    "curve_quotes_evicted_total",
    Kind::Counter,
    "quotes",
    "Quotes that were forgotten before their time, because a curve had more than AGGREGATION_CURVES_QUOTES.",
)
.with(&[&[]]);
/// Of all curves of a worker.
pub(super) const KEPT: Declared = Declared::new(
    "curve_quotes_kept",
    Kind::Gauge,
    "quotes",
    "Quotes of curves in memory.",
)
.with(&[&[]]);

/// Handles of the stage's worker.
#[derive(Clone)]
pub struct CurveMeters {
    sent: [Counter; DerivedCause::ALL.len()],
    contradictory: Counter,
    residual: Gauge,
    skipped: [Counter; Reason::ALL.len()],
    evicted: Counter,
    kept: Gauge,
}

impl Default for CurveMeters {
    fn default() -> CurveMeters {
        CurveMeters {
            sent: DerivedCause::ALL.map(|cause| counter!(SNAPSHOTS.name, "cause" => cause.name())),
            contradictory: counter!(CONTRADICTORY.name),
            residual: gauge!(RESIDUAL.name),
            skipped: Reason::ALL.map(|reason| counter!(SKIPPED.name, "reason" => reason.name())),
            evicted: counter!(EVICTED.name),
            kept: gauge!(KEPT.name),
        }
    }
}

impl CurveMeters {
    /// Adds the counts of one record.
    pub fn add(&self, counts: &Counts) {
        let sent = self.sent.iter().zip(counts.sent);
        let skipped = self.skipped.iter().zip(counts.skipped);
        for (counter, count) in sent.chain(skipped).filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
        self.contradictory.increment(counts.contradictory);
        self.evicted.increment(counts.evicted);
    }

    /// Sets the largest residual of the newest snapshots.
    pub fn residual(&self, ratio: f64) {
        self.residual.set(ratio);
    }

    /// Sets the number of quotes in memory.
    pub fn kept(&self, quotes: usize) {
        self.kept.set(quotes as f64);
    }
}
