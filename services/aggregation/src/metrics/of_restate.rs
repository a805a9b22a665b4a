//! The metrics of stage `restate`: bars of late ticks, computed from the table.

#![allow(clippy::disallowed_macros)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use domain::{Interval, Micros};
use service::metrics::{Declared, Kind};

use super::{INTERVAL, INTERVALS, STATEMENT_SECONDS};

/// From a second to a day: the table's writer takes a second or two, an outage may take hours.
const DELAY_SECONDS: &[f64] = &[
    0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0,
];

pub(super) const RESTATED: Declared = Declared::new(
    "restate_windows_total",
    Kind::Counter,
    "windows",
    "Bars computed from table enriched_ticks for late ticks, and sent, by interval.",
)
.labels(INTERVAL)
.with(INTERVALS);
pub(super) const RESTATE_EXPIRED: Declared = Declared::new(
    "restate_expired_total",
    Kind::Counter,
    "windows",
    "Windows of late ticks whose rows may have expired; their bars do not count the late tick.",
)
.with(&[&[]]);
pub(super) const RESTATE_REFUSED: Declared = Declared::new(
    "restate_refused_total",
    Kind::Counter,
    "windows",
    "Windows of late ticks that were not restated for another reason (sum_overflow, row_missing).",
)
.labels(&["reason"])
.with(&[&[("reason", "sum_overflow")], &[("reason", "row_missing")]]);
pub(super) const RESTATE_WAITING: Declared = Declared::new(
    "restate_windows_waiting",
    Kind::Gauge,
    "windows",
    "Windows of late ticks in memory whose bars are not computed yet.",
)
.with(&[&[]]);
pub(super) const RESTATE_DELAY: Declared = Declared::new(
    "restate_delay_seconds",
    Kind::Histogram(DELAY_SECONDS),
    "seconds",
    "Time from the append of a late tick's raw message until its bar was sent.",
)
.with(&[&[]]);
pub(super) const RESTATE_STATEMENT: Declared = Declared::new(
    "restate_statement_seconds",
    Kind::Histogram(STATEMENT_SECONDS),
    "seconds",
    "Duration of a ClickHouse statement that computes windows.",
)
.with(&[&[]]);

/// The outcome of the windows of one statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restated {
    /// Bars sent, by interval.
    pub bars: [u64; Interval::ALL.len()],
    /// Windows whose rows may have expired.
    pub expired: u64,
    /// Windows whose late tick has no row in the table.
    pub missing: u64,
    /// Windows with a sum that does not fit its column.
    pub overflowed: u64,
    /// For each bar, the time since the append of its late tick.
    pub delays: Vec<Micros>,
}

/// Handles of the second stage's worker, and its totals for `/stats`.
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

/// Totals of the second stage for `/stats`.
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
    /// Creates the handles; `totals` is shown in `/stats`.
    pub fn new(totals: Arc<RestateTotals>) -> RestateMeters {
        RestateMeters {
            windows: Interval::ALL.map(|interval| counter!(RESTATED.name, "interval" => interval.name())),
            expired: counter!(RESTATE_EXPIRED.name),
            overflowed: counter!(RESTATE_REFUSED.name, "reason" => "sum_overflow"),
            missing: counter!(RESTATE_REFUSED.name, "reason" => "row_missing"),
            waiting: gauge!(RESTATE_WAITING.name),
            delay: histogram!(RESTATE_DELAY.name),
            statement: histogram!(RESTATE_STATEMENT.name),
            totals,
        }
    }

    /// Counts an answered statement.
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

    /// Sets the number of windows that wait.
    pub fn waiting(&self, windows: usize) {
        self.waiting.set(windows as f64);
        self.totals.waiting.store(windows as u64, Ordering::Relaxed);
    }
}
