//! Metrics of aggregation, declared once; handles are made once per worker and added to once per turn.

#![allow(clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use domain::{Interval, Micros};
use service::metrics::{Declared, Kind};

use crate::core::partition_state::WindowCounts;

const LATE: &str = "ticks_late_total";
const CLOSINGS: &str = "bar_closings_by_table_total";
const REVISIONS: &str = "bar_revisions_total";
const BARS: &str = "bars_generated_total";
const CHECKPOINTS: &str = "aggregation_checkpoints_total";
const RESTATED: &str = "restate_windows_total";
const RESTATE_EXPIRED: &str = "restate_expired_total";
const RESTATE_REFUSED: &str = "restate_refused_total";
const RESTATE_WAITING: &str = "restate_windows_waiting";
const RESTATE_DELAY: &str = "restate_delay_seconds";
const RESTATE_STATEMENT: &str = "restate_statement_seconds";
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

/// From a second to a day: the table's writer alone takes a second or two, and an outage hours.
const DELAY_SECONDS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0,
];
const STATEMENT_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

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
    Declared::new(
        RESTATED,
        Kind::Counter,
        "windows",
        "Bars computed from the table of enriched ticks for late ticks, and sent, by interval.",
    )
    .labels(INTERVAL)
    .with(INTERVALS),
    Declared::new(
        RESTATE_EXPIRED,
        Kind::Counter,
        "windows",
        "Windows of late ticks whose rows may have expired: their bars stay without the late tick.",
    )
    .with(&[&[]]),
    Declared::new(
        RESTATE_REFUSED,
        Kind::Counter,
        "windows",
        "Windows of late ticks that were not restated for another reason (sum_overflow, row_missing).",
    )
    .labels(&["reason"])
    .with(&[&[("reason", "sum_overflow")], &[("reason", "row_missing")]]),
    Declared::new(
        RESTATE_WAITING,
        Kind::Gauge,
        "windows",
        "Windows of late ticks in memory whose bars are still to be computed.",
    )
    .with(&[&[]]),
    Declared::new(
        RESTATE_DELAY,
        Kind::Histogram(DELAY_SECONDS),
        "seconds",
        "Time from the append of the raw message of a late tick until its bar was sent.",
    )
    .with(&[&[]]),
    Declared::new(
        RESTATE_STATEMENT,
        Kind::Histogram(STATEMENT_SECONDS),
        "seconds",
        "Time that ClickHouse took to compute the windows of one statement.",
    )
    .with(&[&[]]),
];

/// What became of the windows of one statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restated {
    /// Bars sent, by interval.
    pub bars: [u64; Interval::ALL.len()],
    /// Rows of them may have expired.
    pub expired: u64,
    /// The late tick's own row is not in the table.
    pub missing: u64,
    /// A sum fits no column.
    pub overflowed: u64,
    /// Of each bar, the time from the append of its late tick.
    pub delays: Vec<Micros>,
}

/// Handles of the worker that restates, and what `/stats` shows of it.
#[derive(Clone)]
pub struct RestateMeters {
    windows: [Counter; Interval::ALL.len()],
    expired: Counter,
    overflowed: Counter,
    missing: Counter,
    waiting: Gauge,
    delay: Histogram,
    statement: Histogram,
    totals: Arc<RestateTotals>,
}

/// What `/stats` shows of the second stage.
#[derive(Debug, Default)]
pub struct RestateTotals {
    windows: AtomicU64,
    not_restated: AtomicU64,
    waiting: AtomicU64,
}

impl RestateTotals {
    /// Windows restated, not restated, and waiting.
    pub fn counts(&self) -> [u64; 3] {
        [&self.windows, &self.not_restated, &self.waiting].map(|count| count.load(Ordering::Relaxed))
    }
}

impl RestateMeters {
    /// Handles; `totals` is shown by `/stats`.
    pub fn new(totals: Arc<RestateTotals>) -> RestateMeters {
        RestateMeters {
            windows: Interval::ALL.map(|interval| counter!(RESTATED, "interval" => interval.name())),
            expired: counter!(RESTATE_EXPIRED),
            overflowed: counter!(RESTATE_REFUSED, "reason" => "sum_overflow"),
            missing: counter!(RESTATE_REFUSED, "reason" => "row_missing"),
            waiting: gauge!(RESTATE_WAITING),
            delay: histogram!(RESTATE_DELAY),
            statement: histogram!(RESTATE_STATEMENT),
            totals,
        }
    }

    /// A statement was answered.
    pub fn statement(&self, restated: &Restated, took: Duration) {
        for (counter, count) in self.windows.iter().zip(restated.bars) {
            counter.increment(count);
        }
        self.expired.increment(restated.expired);
        self.overflowed.increment(restated.overflowed);
        self.missing.increment(restated.missing);
        for delay in &restated.delays {
            self.delay.record((*delay).max(0) as f64 / 1e6);
        }
        self.statement.record(took.as_secs_f64());
        let not_restated = restated.expired + restated.overflowed + restated.missing;
        let windows = restated.bars.iter().sum();
        self.totals.windows.fetch_add(windows, Ordering::Relaxed);
        self.totals.not_restated.fetch_add(not_restated, Ordering::Relaxed);
    }

    /// So many windows are still to be computed.
    pub fn waiting(&self, windows: usize) {
        self.waiting.set(windows as f64);
        self.totals.waiting.store(windows as u64, Ordering::Relaxed);
    }
}

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
