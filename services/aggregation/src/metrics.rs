//! Metrics of aggregation, declared once; handles are made once per worker and added to once per turn.

#![allow(clippy::disallowed_macros)]

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use domain::Interval;
use service::metrics::{Declared, Kind};

use crate::core::partition_state::WindowCounts;

const LATE: &str = "ticks_late_total";
const CLOSINGS: &str = "bar_closings_by_table_total";
const REVISIONS: &str = "bar_revisions_total";
const BARS: &str = "bars_generated_total";
const CHECKPOINTS: &str = "aggregation_checkpoints_total";
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

/// What this service exports besides the shared metrics.
pub const DECLARED: &[Declared] = &[
    Declared::new(
        LATE,
        Kind::Counter,
        "ticks",
        "Ticks that take the table's way for at least one of their windows: too late for the stream, or another price of an interval.",
    )
    .with(&[&[]]),
    Declared::new(
        CLOSINGS,
        Kind::Counter,
        "bars",
        "Bars that closed and are made from the table: asked for there once more, closed.",
    )
    .with(&[&[]]),
    Declared::new(
        REVISIONS,
        Kind::Counter,
        "ticks",
        "Ticks counted by the stream in a window after its close, by interval.",
    )
    .labels(INTERVAL)
    .with(INTERVALS),
    Declared::new(
        BARS,
        Kind::Counter,
        "bars",
        "Bars sent, open ones and revisions included, by interval.",
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
];

/// What happened since the last turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ticks that the sequencer had had.
    pub duplicates: u64,
    /// Ticks that take the table's way for at least one window.
    pub late: u64,
    /// Windows that closed and whose bars are made from the table.
    pub closings_by_table: u64,
    /// By interval.
    pub revisions: [u64; Interval::ALL.len()],
    /// By interval.
    pub bars: [u64; Interval::ALL.len()],
    /// Completed.
    pub checkpoints: u64,
}

/// Handles of one worker.
pub struct Meters {
    duplicates: Counter,
    late: Counter,
    closings_by_table: Counter,
    revisions: [Counter; Interval::ALL.len()],
    bars: [Counter; Interval::ALL.len()],
    checkpoints: Counter,
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
            checkpoints: counter!(CHECKPOINTS),
            latency: histogram!(stream::metrics::END_TO_END_LATENCY, "stage" => "aggregation"),
        }
    }

    /// Adds up one turn.
    pub fn add(&self, tally: &Tally) {
        self.duplicates.increment(tally.duplicates);
        self.late.increment(tally.late);
        self.closings_by_table.increment(tally.closings_by_table);
        self.checkpoints.increment(tally.checkpoints);
        for (counter, count) in self.revisions.iter().zip(tally.revisions) {
            counter.increment(count);
        }
        for (counter, count) in self.bars.iter().zip(tally.bars) {
            counter.increment(count);
        }
    }

    /// One sample per turn: the newest message of the turn.
    pub fn latency(&self, micros: i64) {
        self.latency.record(micros.max(0) as f64 / 1e6);
    }
}

/// Shows the windows of all workers of the process.
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
