//! How much of a series is kept, and what is counted.

use domain::{DerivedCause, Micros};

use super::Reason;

const HOUR: Micros = 3_600_000_000;
/// How far ahead of its append a price may lie: day-ahead prices are published at most a day and a half before their interval ends.
pub(super) const AHEAD: Micros = 48 * HOUR;
/// The longest delivery interval: a market day with a repeated hour.
pub(super) const LONGEST_INTERVAL: Micros = 25 * HOUR;

/// How much of a series is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Times older than this on the log clock are not revised any more, in microseconds.
    pub hold: Micros,
    /// Most prices; beyond, the oldest are forgotten before their time.
    pub prices: usize,
}

/// How far back on the log clock the prices reach that a series with these settings may need. `longest_reach` is the largest
/// [`super::Definition::reach`].
pub fn read_back(hold: Micros, longest_reach: Micros) -> Micros {
    // The last hour is for clocks of hosts that differ.
    hold + longest_reach.max(LONGEST_INTERVAL) + AHEAD + HOUR
}

/// What became of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It counts.
    Used,
    /// A better price of the same leg and time is known, or it is this one.
    Superseded,
    /// It cannot be used.
    Skipped(Reason),
}

/// Counts since they were last taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Values sent, by [`DerivedCause`].
    pub sent: [u64; DerivedCause::ALL.len()],
    /// Prices and times without a value, by [`Reason`].
    pub skipped: [u64; Reason::ALL.len()],
    /// Prices forgotten before their time, because there were too many.
    pub evicted: u64,
}
