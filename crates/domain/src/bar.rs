//! An OHLCV bar as aggregation emits it, and the version by which every store replaces it.

use crate::{Decimal, Micros, Origin, Turnover, Window};

/// Orders the versions of one bar: the enriched offset of its last tick, then whether it is closed.
///
/// A function of the log, so equal versions have equal content, whichever writer created them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BarVersion {
    /// Offset in the enriched topic of the last tick applied.
    pub last_offset: i64,
    /// Whether the window has closed: the log clock, as of the row at `last_offset` or of a later row, has reached its end
    /// plus the product's `close after`; or the idle clock of a partition without ticks has.
    pub closed: bool,
}

impl BarVersion {
    /// `last_offset * 2 + closed`: the `UInt64` by which `ReplacingMergeTree` replaces. Offsets are never negative.
    pub fn as_u64(self) -> u64 {
        self.last_offset.unsigned_abs() * 2 + u64::from(self.closed)
    }

    /// The inverse of [`BarVersion::as_u64`].
    pub fn from_u64(value: u64) -> BarVersion {
        BarVersion {
            last_offset: (value / 2) as i64,
            closed: value % 2 == 1,
        }
    }
}

/// A bar. Open and close are by [`crate::PriceRank`]; arrival order never matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Bar<'a> {
    pub tenant_id: &'a str,
    pub instrument_id: &'a str,
    pub market: &'a str,
    pub window: Window,
    pub open: Decimal,
    pub high: Decimal,
    pub low: Decimal,
    pub close: Decimal,
    /// Sum of volumes, scale 8; ticks without a volume add nothing.
    pub volume: i128,
    pub turnover: Turnover,
    pub vwap: Option<Decimal>,
    pub trade_count: i64,
    /// Event time, sequence and origin of the opening tick.
    pub open_time: Micros,
    pub open_sequence: Option<i64>,
    pub first_origin: Origin<'a>,
    /// Event time, sequence and origin of the closing tick.
    pub close_time: Micros,
    pub close_sequence: Option<i64>,
    pub last_origin: Origin<'a>,
    /// Ticks of the window that were appended after its close. A function of the rows of the enriched partition: with
    /// A = `max(appended_at)` over all rows up to and including the tick's, in the order of enriched offsets, the ticks
    /// with A >= end + the `close after` of their product:
    /// `countIf(clock >= window_end + close_after)` where `clock` is
    /// `max(appended_at) OVER (PARTITION BY src_partition ORDER BY src_offset)`.
    pub revision: i32,
    pub version: BarVersion,
    /// Append time of the newest raw message in it (for latency).
    pub last_appended_at: Micros,
}
