//! The metrics of aggregation in addition to the shared ones. Handles are created once per worker and updated once per turn.

#![allow(clippy::disallowed_macros)]

mod of_curves;
mod of_derived;
mod of_markets;
mod of_restate;

use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use domain::Interval;
use service::metrics::{Declared, Kind};

use crate::core::partition_state::WindowCounts;
use of_markets::{CHECK_DIFFERENCE, CHECK_HOURS, INTERVALS_DUE, INTERVALS_MISSING, PRICES_MISSING};

pub use of_curves::CurveMeters;
pub use of_derived::DerivedMeters;
pub(crate) use of_markets::{completeness, completeness_unknown, market_checks, market_checks_unknown};
pub use of_restate::{RestateMeters, RestateTotals, Restated};

const LATE: &str = "ticks_late_total";
const CLOSINGS: &str = "bar_closings_by_table_total";
const REVISIONS: &str = "bar_revisions_total";
const BARS: &str = "bars_generated_total";
const BARS_CLOSED: &str = "bars_closed_total";
const CHECKPOINTS: &str = "aggregation_checkpoints_total";
const STATE_RECORDS: &str = "aggregation_state_records_total";
const CHECKPOINT: &str = "aggregation_checkpoint_seconds";
const OPEN: &str = "bar_windows_open";
const BY_STATE: &str = "bar_windows_by_state";

const INTERVAL: &[&str] = &["interval"];
const INTERVALS: &[&[(&str, &str)]] = &[
    &[("interval", "1m")],
    &[("interval", "5m")],
    &[("interval", "15m")],
    &[("interval", "1h")],
    &[("interval", "1d")],
];

const STATEMENT_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The metrics of this service.
pub const DECLARED: &[Declared] = &[
    Declared::new(
        INTERVALS_DUE,
        Kind::Gauge,
        "intervals",
        "Intervals of yesterday and today (market days) that should have a price by now; default tenant, every ten minutes.",
    )
    .labels(&["market", "product"]),
    Declared::new(
        INTERVALS_MISSING,
        Kind::Gauge,
        "intervals",
        "Of these, those without a price.",
    )
    .labels(&["market", "product"]),
    Declared::new(
        PRICES_MISSING,
        Kind::Gauge,
        "prices",
        "Prices of these days that are missing although the interval and the instrument have others.",
    )
    .labels(&["market", "product"]),
    Declared::new(
        CHECK_HOURS,
        Kind::Gauge,
        "hours",
        "Hours of nodes whose hourly price was compared with the mean of the fine prices (pair, such as rt5/rth), by result (agreeing, differing, partial): hours of which a price was stored within a day; default tenant, every ten minutes.",
    )
    .labels(&["market", "pair", "result"]),
    Declared::new(
        CHECK_DIFFERENCE,
        Kind::Gauge,
        "USD",
        "The largest absolute difference of these hours.",
    )
    .labels(&["market", "pair"]),
    Declared::new(
        LATE,
        Kind::Counter,
        "ticks",
        "Ticks with at least one window that is computed from the table: too late for the stream, or one more price of an interval.",
    )
    .with(&[&[]]),
    Declared::new(
        CLOSINGS,
        Kind::Counter,
        "bars",
        "Closings of windows whose bars are computed from the table, where the closed bar is computed again.",
    )
    .with(&[&[]]),
    Declared::new(
        REVISIONS,
        Kind::Counter,
        "ticks",
        "Ticks that the stream added to a window after its close, by interval.",
    )
    .labels(INTERVAL)
    .with(INTERVALS),
    Declared::new(
        BARS,
        Kind::Counter,
        "bars",
        "Bars sent, including open bars and revisions, by interval.",
    )
    .labels(INTERVAL)
    .with(INTERVALS),
    Declared::new(
        BARS_CLOSED,
        Kind::Counter,
        "bars",
        "Bars sent as closed, by interval: windows that went from open to closed, and revisions after it. The other bars are open.",
    )
    .labels(INTERVAL)
    .with(INTERVALS),
    Declared::new(
        CHECKPOINTS,
        Kind::Counter,
        "checkpoints",
        "Checkpoints of the aggregation state that became durable.",
    )
    .with(&[&[]]),
    Declared::new(STATE_RECORDS, Kind::Counter, "records", "Records sent to the state topic.").with(&[&[]]),
    Declared::new(
        CHECKPOINT,
        Kind::Histogram(STATEMENT_SECONDS),
        "seconds",
        "Time from the start of a checkpoint until it was durable.",
    )
    .with(&[&[]]),
    Declared::new(
        OPEN,
        Kind::Gauge,
        "windows",
        "Windows in memory whose end has not passed, by interval.",
    )
    .labels(INTERVAL)
    .with(INTERVALS),
    Declared::new(
        BY_STATE,
        Kind::Gauge,
        "windows",
        "Windows in memory, by interval and state (open, closed).",
    )
    .labels(&["interval", "state"]),
    of_restate::RESTATED,
    of_restate::RESTATE_EXPIRED,
    of_restate::RESTATE_REFUSED,
    of_restate::RESTATE_WAITING,
    of_restate::RESTATE_DELAY,
    of_restate::RESTATE_STATEMENT,
    of_derived::LEGS,
    of_derived::DERIVED,
    of_derived::SKIPPED,
    of_derived::EVICTED,
    of_derived::KEPT,
    of_curves::QUOTES,
    of_curves::MARKS,
    of_curves::SNAPSHOTS,
    of_curves::CONTRADICTORY,
    of_curves::RESIDUAL,
    of_curves::SKIPPED,
    of_curves::EVICTED,
    of_curves::KEPT,
];

/// Counts since the last turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ticks that the sequencer recognized as repetitions.
    pub duplicates: u64,
    /// Ticks with at least one window that is computed from the table.
    pub late: u64,
    /// Closed windows whose bars are computed from the table.
    pub closings_by_table: u64,
    /// Ticks added after the close, by interval.
    pub revisions: [u64; Interval::ALL.len()],
    /// Bars sent, by interval.
    pub bars: [u64; Interval::ALL.len()],
    /// Of these, closed ones.
    pub bars_closed: [u64; Interval::ALL.len()],
    /// Completed checkpoints.
    pub checkpoints: u64,
    /// Records sent to the state topic.
    pub state_records: u64,
    /// Legs of derived series sent.
    pub legs: u64,
    /// Quotes of curves sent.
    pub quotes: u64,
    /// Marks of the log clock sent, once for all partitions.
    pub clock_marks: u64,
}

/// Handles of one worker.
pub struct Meters {
    duplicates: Counter,
    late: Counter,
    closings_by_table: Counter,
    revisions: [Counter; Interval::ALL.len()],
    bars: [Counter; Interval::ALL.len()],
    bars_closed: [Counter; Interval::ALL.len()],
    checkpoints: Counter,
    state_records: Counter,
    legs: Counter,
    quotes: Counter,
    clock_marks: Counter,
    checkpoint: Histogram,
    latency: Histogram,
}

impl Meters {
    /// Handles for a worker that reads this topic.
    pub fn new(topic: &str) -> Meters {
        Meters {
            duplicates: counter!(stream::metrics::REPETITIONS_REFUSED, "topic" => topic.to_owned()),
            late: counter!(LATE),
            closings_by_table: counter!(CLOSINGS),
            revisions: Interval::ALL.map(|interval| counter!(REVISIONS, "interval" => interval.name())),
            bars: Interval::ALL.map(|interval| counter!(BARS, "interval" => interval.name())),
            bars_closed: Interval::ALL.map(|interval| counter!(BARS_CLOSED, "interval" => interval.name())),
            checkpoints: counter!(CHECKPOINTS),
            state_records: counter!(STATE_RECORDS),
            legs: counter!(of_derived::LEGS.name),
            quotes: counter!(of_curves::QUOTES.name),
            clock_marks: counter!(of_curves::MARKS.name),
            checkpoint: histogram!(CHECKPOINT),
            latency: histogram!(stream::metrics::END_TO_END_LATENCY, "stage" => "aggregation"),
        }
    }

    /// Adds the counts of one turn.
    pub fn add(&self, tally: &Tally) {
        self.duplicates.increment(tally.duplicates);
        self.late.increment(tally.late);
        self.closings_by_table.increment(tally.closings_by_table);
        self.checkpoints.increment(tally.checkpoints);
        self.state_records.increment(tally.state_records);
        self.legs.increment(tally.legs);
        self.quotes.increment(tally.quotes);
        self.clock_marks.increment(tally.clock_marks);
        for (counter, count) in self.revisions.iter().zip(tally.revisions) {
            counter.increment(count);
        }
        for (counter, count) in self.bars.iter().zip(tally.bars) {
            counter.increment(count);
        }
        for (counter, count) in self.bars_closed.iter().zip(tally.bars_closed) {
            counter.increment(count);
        }
    }

    /// Records how long a completed checkpoint took.
    pub fn checkpoint(&self, took: Duration) {
        self.checkpoint.record(took.as_secs_f64());
    }

    /// Records the latency of the newest message of a turn.
    pub fn latency(&self, micros: i64) {
        self.latency.record(micros.max(0) as f64 / 1e6);
    }
}

/// Sets the window gauges of this process.
pub fn show_windows(counts: &[WindowCounts; Interval::ALL.len()]) {
    for (interval, count) in Interval::ALL.into_iter().zip(counts) {
        let gauges: [(Gauge, u64); 3] = [
            (gauge!(OPEN, "interval" => interval.name()), count.open),
            (
                gauge!(BY_STATE, "interval" => interval.name(), "state" => "open"),
                count.open,
            ),
            (
                gauge!(BY_STATE, "interval" => interval.name(), "state" => "closed"),
                count.closed,
            ),
        ];
        gauges.into_iter().for_each(|(gauge, value)| gauge.set(value as f64));
    }
}
