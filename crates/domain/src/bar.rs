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

/// Prices of delivery intervals, weighted by the length of the interval. Trades add nothing: the time between two of them is not
/// delivered at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeWeighted {
    /// Sum of price × seconds, at scale 8.
    pub price_seconds: i128,
    /// Sum of the seconds.
    pub seconds: i64,
}

impl TimeWeighted {
    /// A price of an interval of this many seconds ([`crate::Product::priced_seconds`]).
    pub fn of(price: Decimal, seconds: u16) -> TimeWeighted {
        TimeWeighted {
            price_seconds: i128::from(price.unscaled()) * i128::from(seconds),
            seconds: seconds.into(),
        }
    }

    /// Time-weighted average price, rounded half to even at scale 8; `None` without a price of an interval.
    pub fn twap(self) -> Option<Decimal> {
        Turnover(self.price_seconds).vwap(i128::from(self.seconds))
    }
}

/// What the last tick that a version of a bar contains did to it. A function of the rows of the window up to that tick, in the
/// order of enriched offsets, and of the log clock. A close without a tick changes nothing, and neither does a price without effect: one
/// that is below the price that counts in its delivery interval, or that repeats its vintage, price, volume and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BarCause {
    /// A trade, or the first price of its delivery interval, before the close.
    Live,
    /// The same after the close.
    Late,
    /// A price of a better vintage than those that its delivery interval had: it replaces the one that counted.
    Vintage,
    /// Another price of its delivery interval, of the vintage that counted, with another value: it replaces that one.
    Correction,
    /// Another price of its delivery interval that does not count. Only bars that an earlier release made have it.
    Outranked,
}

impl BarCause {
    /// Every cause, in the order of the schema.
    pub const ALL: [BarCause; 5] = [
        BarCause::Live,
        BarCause::Late,
        BarCause::Vintage,
        BarCause::Correction,
        BarCause::Outranked,
    ];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            BarCause::Live => "live",
            BarCause::Late => "late",
            BarCause::Vintage => "vintage",
            BarCause::Correction => "correction",
            BarCause::Outranked => "outranked",
        }
    }

    /// The cause with this name.
    pub fn from_name(name: &str) -> Option<BarCause> {
        BarCause::ALL.into_iter().find(|cause| cause.name() == name)
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
    pub time_weighted: TimeWeighted,
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
    /// with A >= end + the `close after` of their product, those without effect ([`BarCause`]) excepted:
    /// `countIf(clock >= window_end + close_after AND NOT without_effect)` where `clock` is
    /// `max(appended_at) OVER (PARTITION BY src_partition ORDER BY src_offset)`.
    pub revision: i32,
    /// `None` if a release without causes made it.
    pub cause: Option<BarCause>,
    pub version: BarVersion,
    /// Append time of the newest raw message in it (for latency).
    pub last_appended_at: Micros,
}

impl Bar<'_> {
    /// What a reader must know about the bar: `complete`, `partial_start` and `gap` say how much of the window the prices of
    /// delivery intervals cover (trades have none of the three), `revised` that ticks came after its close, `no_volume` that
    /// nothing was traded.
    pub fn flags(&self) -> Vec<&'static str> {
        let (seconds, second) = (self.time_weighted.seconds, 1_000_000);
        let is_covered_from = |start: Micros| seconds.saturating_mul(second) >= self.window.end() - start;
        let flags = [
            ("complete", seconds > 0 && is_covered_from(self.window.start)),
            ("partial_start", seconds > 0 && self.open_time > self.window.start),
            (
                "gap",
                seconds > 0 && self.version.closed && !is_covered_from(self.open_time),
            ),
            ("revised", self.revision > 0),
            ("no_volume", self.volume == 0),
        ];
        flags.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
    }
}

#[cfg(all(test, feature = "fixtures"))]
mod tests {
    use super::*;
    use crate::Interval;

    const MINUTE: Micros = 60_000_000;

    /// An hour of prices of five minutes.
    fn bar(count: i64, open_time: Micros, closed: bool) -> Bar<'static> {
        let tick = crate::fixtures::tick();
        Bar {
            tenant_id: tick.tenant_id,
            instrument_id: tick.instrument_id,
            market: tick.market,
            window: Interval::OneHour.window_of(0),
            open: tick.price,
            high: tick.price,
            low: tick.price,
            close: tick.price,
            volume: 0,
            turnover: Turnover(0),
            vwap: None,
            time_weighted: TimeWeighted {
                price_seconds: 0,
                seconds: count * 300,
            },
            trade_count: count,
            open_time,
            open_sequence: None,
            first_origin: tick.origin,
            close_time: open_time,
            close_sequence: None,
            last_origin: tick.origin,
            revision: 0,
            cause: Some(BarCause::Live),
            version: BarVersion { last_offset: 1, closed },
            last_appended_at: 0,
        }
    }

    #[test]
    fn flags_say_how_much_of_the_window_the_prices_cover() {
        for (count, open_minute, closed, flags) in [
            (12, 0, true, vec!["complete", "no_volume"]),
            (3, 0, false, vec!["no_volume"]),
            (11, 0, true, vec!["gap", "no_volume"]),
            (2, 50, true, vec!["partial_start", "no_volume"]),
            (1, 50, true, vec!["partial_start", "gap", "no_volume"]),
        ] {
            assert_eq!(
                bar(count, open_minute * MINUTE, closed).flags(),
                flags,
                "{count} {open_minute} {closed}"
            );
        }
        let trades = Bar {
            time_weighted: TimeWeighted::default(),
            volume: 1,
            revision: 1,
            ..bar(1, 0, true)
        };
        assert_eq!((trades.flags(), trades.time_weighted.twap()), (vec!["revised"], None));
    }

    #[test]
    fn the_average_is_that_of_the_prices_and_rounds_half_to_even() {
        for (sum, count, twap) in [(5, 2, 2), (7, 2, 4), (-7, 2, -4), (10, 4, 2), (8, 3, 3)] {
            let weighted = TimeWeighted {
                price_seconds: sum * 300,
                seconds: count * 300,
            };
            assert_eq!(weighted.twap().map(Decimal::unscaled), Some(twap), "{sum}/{count}");
        }
    }

    /// Eight seconds at 100 and 292 seconds at 25: the short interval weighs little.
    #[test]
    fn each_price_weighs_as_long_as_its_interval() {
        let of = |price: &str, seconds| TimeWeighted::of(Decimal::parse(price.as_bytes()).unwrap(), seconds);
        let (short, long) = (of("100", 8), of("25", 292));
        let both = TimeWeighted {
            price_seconds: short.price_seconds + long.price_seconds,
            seconds: short.seconds + long.seconds,
        };
        assert_eq!((both.seconds, both.twap()), (300, Decimal::parse(b"27").ok()));
        assert_eq!(of("100", 0), TimeWeighted::default());
    }
}
