//! The metrics of derived series: legs that the first stage sends, and values of the third stage.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Gauge, counter, gauge};
use curves::derived::{Counts, Reason};
use domain::DerivedCause;
use service::metrics::{Declared, Kind};

/// Of the first stage.
pub(super) const LEGS: Declared = Declared::new(
    "legs_sent_total",
    Kind::Counter,
    "legs",
    "Ticks sent as legs of derived series, once for each leg.",
)
.with(&[&[]]);
/// Of the third stage.
pub(super) const DERIVED: Declared = Declared::new(
    "derived_prices_total",
    Kind::Counter,
    "values",
    "Derived prices sent, by cause: the first value of its time (first), another one after a price that came late (late) or that replaced a price of the same leg and time (correction).",
)
.labels(&["cause"])
.with(&[&[("cause", "first")], &[("cause", "late")], &[("cause", "correction")]]);
/// By [`Reason`].
pub(super) const SKIPPED: Declared = Declared::new(
    "derived_values_skipped_total",
    Kind::Counter,
    "values",
    "Prices of legs, and times of a series, that gave no value, by reason (docs/derived.md).",
)
.labels(&["reason"])
.with(&[
    &[("reason", "waiting")],
    &[("reason", "stale")],
    &[("reason", "undefined")],
    &[("reason", "too_large")],
    &[("reason", "unit_mismatch")],
    &[("reason", "missing_component")],
    &[("reason", "too_late")],
    &[("reason", "out_of_reach")],
    &[("reason", "unknown_leg")],
]);
/// Because there were too many.
pub(super) const EVICTED: Declared = Declared::new(
    "derived_legs_evicted_total",
    Kind::Counter,
    "legs",
    "Prices of legs that were forgotten before the hold time, because a series had more than AGGREGATION_DERIVED_PRICES.",
)
.with(&[&[]]);
/// Of all series of a worker.
pub(super) const KEPT: Declared = Declared::new(
    "derived_legs_kept",
    Kind::Gauge,
    "legs",
    "Prices of legs of derived series in memory.",
)
.with(&[&[]]);

/// Handles of the third stage's worker.
#[derive(Clone)]
pub struct DerivedMeters {
    sent: [Counter; DerivedCause::ALL.len()],
    skipped: [Counter; Reason::ALL.len()],
    evicted: Counter,
    kept: Gauge,
}

impl Default for DerivedMeters {
    fn default() -> DerivedMeters {
        DerivedMeters {
            sent: DerivedCause::ALL.map(|cause| counter!(DERIVED.name, "cause" => cause.name())),
            skipped: Reason::ALL.map(|reason| counter!(SKIPPED.name, "reason" => reason.name())),
            evicted: counter!(EVICTED.name),
            kept: gauge!(KEPT.name),
        }
    }
}

impl DerivedMeters {
    /// Adds the counts of one leg.
    pub fn add(&self, counts: &Counts) {
        let sent = self.sent.iter().zip(counts.sent);
        let skipped = self.skipped.iter().zip(counts.skipped);
        for (counter, count) in sent.chain(skipped).filter(|(_, count)| *count > 0) {
            counter.increment(count);
        }
        self.evicted.increment(counts.evicted);
    }

    /// Counts a leg that no series takes.
    pub fn skipped(&self, reason: Reason) {
        if let Some(counter) = self.skipped.get(reason as usize) {
            counter.increment(1);
        }
    }

    /// Sets the number of prices in memory.
    pub fn kept(&self, prices: usize) {
        self.kept.set(prices as f64);
    }
}
