//! What a merged bar must be, from the bars of its hours. Pure.
//!
//! Invariants: sums are exact; averages are computed from them and rounded half to even at scale 8; values are the texts that ClickHouse prints.
//! Failure: `None`: a sum has more digits than a bar can hold.

use domain::Micros;
use ops::present::iso;
use stores::clickhouse::Merged;

use super::calendar::{Extent, HOUR};
use crate::explain::numbers::digits;

const SECOND: Micros = 1_000_000;
/// A value that is null.
pub(super) const NULL: &str = "\\N";

/// A bar of an hour: its newest version. Prices and sums of prices are integers at scale 8, turnovers at scale 16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hour {
    pub instrument: String,
    pub market: String,
    pub start: Micros,
    pub open: i128,
    pub high: i128,
    pub low: i128,
    pub close: i128,
    pub volume: i128,
    pub turnover: i128,
    pub price_seconds: i128,
    pub priced_seconds: i128,
    pub trade_count: i128,
    pub revision: i128,
    pub is_closed: bool,
    pub open_time: Micros,
    pub close_time: Micros,
}

/// A compared column of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Market,
    FirstHour,
    Open,
    High,
    Low,
    Close,
    Volume,
    Turnover,
    Vwap,
    PriceSeconds,
    PricedSeconds,
    Twap,
    TradeCount,
    Revision,
    Hours,
    HoursOfDay,
    HoursOfBlock,
    IsPeak,
    Ends,
    Closed,
    IsComplete,
    FirstTime,
    Flags,
}

impl Column {
    /// All compared columns of a view.
    pub(super) fn of(kind: Merged) -> Vec<Column> {
        let own: &[Column] = match kind {
            Merged::FourHours => &[Column::Market, Column::Open, Column::Close, Column::FirstTime],
            Merged::MarketDays => &[
                Column::FirstHour,
                Column::Open,
                Column::Close,
                Column::FirstTime,
                Column::HoursOfDay,
                Column::Ends,
                Column::IsComplete,
            ],
            Merged::Blocks => &[Column::IsPeak, Column::HoursOfBlock, Column::IsComplete],
        };
        let sums = [
            Column::High,
            Column::Low,
            Column::Volume,
            Column::Turnover,
            Column::Vwap,
            Column::PriceSeconds,
            Column::PricedSeconds,
            Column::Twap,
            Column::TradeCount,
            Column::Revision,
            Column::Hours,
            Column::Closed,
            Column::Flags,
        ];
        own.iter().copied().chain(sums).collect()
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Column::Market => "market",
            Column::FirstHour => "first_hour",
            Column::Open => "open",
            Column::High => "high",
            Column::Low => "low",
            Column::Close => "close",
            Column::Volume => "volume",
            Column::Turnover => "turnover",
            Column::Vwap => "vwap",
            Column::PriceSeconds => "price_seconds",
            Column::PricedSeconds => "priced_seconds",
            Column::Twap => "twap",
            Column::TradeCount => "trade_count",
            Column::Revision => "revision",
            Column::Hours => "hours",
            Column::HoursOfDay => "hours_of_day",
            Column::HoursOfBlock => "hours_of_block",
            Column::IsPeak => "is_peak",
            Column::Ends => "ends",
            Column::Closed => "closed",
            Column::IsComplete => "is_complete",
            Column::FirstTime => "first_time",
            Column::Flags => "flags",
        }
    }

    /// The value as text: times in microseconds since 1970, booleans as 0 and 1.
    pub(super) fn sql(self) -> String {
        let name = self.name();
        match self {
            Column::FirstHour | Column::Ends | Column::FirstTime => {
                format!("toString(toUnixTimestamp64Micro(toDateTime64({name}, 6, 'UTC')))")
            }
            Column::IsPeak | Column::Closed | Column::IsComplete => format!("toString(toUInt8({name}))"),
            Column::Flags => format!("arrayStringConcat({name}, ' ')"),
            _ => format!("ifNull(toString({name}), '\\\\N')"),
        }
    }

    /// The value as people read it.
    pub(super) fn shown(self, value: &str) -> String {
        match (self, value.parse()) {
            (Column::FirstHour | Column::Ends | Column::FirstTime, Ok(time)) => iso(time),
            _ if value == NULL => "null".to_owned(),
            _ => value.to_owned(),
        }
    }
}

/// The values of the columns, when the server's clock is at `asked`. `market` is that of a bar of four hours.
pub(super) fn wanted(
    kind: Merged,
    hours: &[&Hour],
    (extent, block): (Extent, &str),
    market: &str,
    asked: Micros,
) -> Option<Vec<String>> {
    let sum = |of: fn(&Hour) -> i128| hours.iter().try_fold(0_i128, |sum, hour| sum.checked_add(of(hour)));
    let mut bar = Bar {
        kind,
        extent,
        market,
        block,
        count: i64::try_from(hours.len()).ok()?,
        first: hours.iter().copied().min_by_key(|hour| hour.open_time)?,
        last: hours.iter().copied().max_by_key(|hour| hour.close_time)?,
        first_hour: hours.iter().map(|hour| hour.start).min()?,
        high: hours.iter().map(|hour| hour.high).max()?,
        low: hours.iter().map(|hour| hour.low).min()?,
        volume: sum(|hour| hour.volume)?,
        turnover: sum(|hour| hour.turnover)?,
        price_seconds: sum(|hour| hour.price_seconds)?,
        priced_seconds: sum(|hour| hour.priced_seconds)?,
        trade_count: sum(|hour| hour.trade_count)?,
        revision: sum(|hour| hour.revision)?,
        is_closed: hours.iter().all(|hour| hour.is_closed),
    };
    bar.is_closed &= bar.count == extent.hours || asked >= extent.end + HOUR;
    Some(Column::of(kind).into_iter().map(|column| bar.text(column)).collect())
}

struct Bar<'h> {
    kind: Merged,
    extent: Extent,
    market: &'h str,
    block: &'h str,
    count: i64,
    /// The hour with the first price.
    first: &'h Hour,
    /// The hour with the last price.
    last: &'h Hour,
    first_hour: Micros,
    high: i128,
    low: i128,
    volume: i128,
    turnover: i128,
    price_seconds: i128,
    priced_seconds: i128,
    trade_count: i128,
    revision: i128,
    is_closed: bool,
}

impl Bar<'_> {
    fn text(&self, column: Column) -> String {
        let flag = |is: bool| u8::from(is).to_string();
        match column {
            Column::Market => self.market.to_owned(),
            Column::FirstHour => self.first_hour.to_string(),
            Column::Open => digits(self.first.open, 8),
            Column::High => digits(self.high, 8),
            Column::Low => digits(self.low, 8),
            Column::Close => digits(self.last.close, 8),
            Column::Volume => digits(self.volume, 8),
            Column::Turnover => digits(self.turnover, 16),
            Column::Vwap => mean(self.turnover, self.volume),
            Column::PriceSeconds => digits(self.price_seconds, 8),
            Column::PricedSeconds => self.priced_seconds.to_string(),
            Column::Twap => mean(self.price_seconds, self.priced_seconds),
            Column::TradeCount => self.trade_count.to_string(),
            Column::Revision => self.revision.to_string(),
            Column::Hours => self.count.to_string(),
            Column::HoursOfDay | Column::HoursOfBlock => self.extent.hours.to_string(),
            Column::IsPeak => flag(["5x16", "6x16"].contains(&self.block)),
            Column::Ends => self.extent.end.to_string(),
            Column::Closed => flag(self.is_closed),
            Column::IsComplete => flag(self.is_complete()),
            Column::FirstTime => self.first.open_time.to_string(),
            Column::Flags => self.flags(),
        }
    }

    fn is_complete(&self) -> bool {
        self.priced_seconds >= i128::from(self.extent.hours) * 3600
    }

    /// Of a block, a missing price is a gap wherever it is; of the others, one after the first price.
    fn flags(&self) -> String {
        let is_block = self.kind == Merged::Blocks;
        let (is_priced, first_time) = (self.priced_seconds > 0, self.first.open_time);
        let since_first = i128::from(self.extent.end.div_euclid(SECOND) - first_time.div_euclid(SECOND));
        let lacks = match is_block {
            true => !self.is_complete(),
            false => self.priced_seconds < since_first,
        };
        let flags = [
            ("complete", self.is_complete()),
            (
                "partial_start",
                !is_block && is_priced && first_time > self.extent.start,
            ),
            ("gap", is_priced && self.is_closed && lacks),
            ("revised", self.revision > 0),
            ("no_volume", self.volume == 0),
        ];
        let given = flags.into_iter().filter(|(_, is)| *is);
        given.map(|(name, _)| name).collect::<Vec<_>>().join(" ")
    }
}

/// `sum / weight`, rounded half to even at scale 8; null without a weight. The scale of `sum` is that of `weight` and 8 more digits.
fn mean(sum: i128, weight: i128) -> String {
    if weight == 0 {
        return NULL.to_owned();
    }
    let (whole, rest) = (sum.div_euclid(weight), sum.rem_euclid(weight));
    let is_up = match rest.cmp(&(weight - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => whole % 2 != 0,
        std::cmp::Ordering::Greater => true,
    };
    digits(whole + i128::from(is_up), 8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    const START: Micros = 1_790_812_800_000_000;

    /// An hour of full prices, so many hours after 2026-10-01T00:00Z.
    pub(in super::super) fn hour(number: i64) -> Hour {
        let start = START + number * HOUR;
        let price = i128::from(number + 1) * 100_000_000;
        Hour {
            instrument: "I".to_owned(),
            market: "PJM".to_owned(),
            start,
            open: price,
            high: price + 3,
            low: price - 3,
            close: price + 1,
            volume: 200_000_000,
            turnover: price * 200_000_000,
            price_seconds: price * 3600,
            priced_seconds: 3600,
            trade_count: 12,
            revision: 0,
            is_closed: true,
            open_time: start,
            close_time: start + HOUR / 2,
        }
    }

    fn value(kind: Merged, hours: &[Hour], column: Column, asked: Micros) -> String {
        let hours: Vec<&Hour> = hours.iter().collect();
        let extent = Extent {
            start: START,
            end: START + 4 * HOUR,
            hours: 4,
        };
        let values = wanted(kind, &hours, (extent, "7x8"), "PJM", asked).unwrap();
        let at = Column::of(kind).iter().position(|one| *one == column).unwrap();
        values.get(at).unwrap().clone()
    }

    #[test]
    fn sums_are_exact_and_averages_round_half_to_even() {
        let hours: Vec<Hour> = (0..4).map(hour).collect();
        let of = |column| value(Merged::FourHours, &hours, column, START);
        for (column, expected) in [
            (Column::Open, "1"),
            (Column::High, "4.00000003"),
            (Column::Low, "0.99999997"),
            (Column::Close, "4.00000001"),
            (Column::Volume, "8"),
            (Column::Turnover, "20"),
            (Column::Vwap, "2.5"),
            (Column::Twap, "2.5"),
            (Column::PricedSeconds, "14400"),
            (Column::TradeCount, "48"),
            (Column::Hours, "4"),
            (Column::Closed, "1"),
            (Column::Flags, "complete"),
        ] {
            assert_eq!(of(column), expected, "{column:?}");
        }
        assert_eq!(
            (mean(5, 2), mean(7, 2), mean(-5, 2)),
            (
                "0.00000002".to_owned(),
                "0.00000004".to_owned(),
                "-0.00000002".to_owned()
            )
        );
        assert_eq!(
            (mean(2, 3), mean(1, 3), mean(9, 0)),
            ("0.00000001".to_owned(), "0".to_owned(), NULL.to_owned())
        );
    }

    #[test]
    fn a_bar_with_few_hours_is_closed_an_hour_after_its_end_and_says_what_it_lacks() {
        let hours = [hour(1), hour(3)];
        let end = START + 4 * HOUR;
        let flags = |kind, asked| value(kind, &hours, Column::Flags, asked);
        assert_eq!(flags(Merged::FourHours, end + HOUR - 1), "partial_start");
        assert_eq!(flags(Merged::FourHours, end + HOUR), "partial_start gap");
        assert_eq!(flags(Merged::Blocks, end + HOUR), "gap");
        let closed = |hours: &[Hour]| value(Merged::MarketDays, hours, Column::Closed, end + HOUR);
        let mut open = hours.clone();
        open[1].is_closed = false;
        assert_eq!((closed(&hours), closed(&open)), ("1".to_owned(), "0".to_owned()));
        // Trades have no gaps.
        let trade = Hour {
            priced_seconds: 0,
            price_seconds: 0,
            revision: 2,
            ..hour(2)
        };
        let flags = value(
            Merged::FourHours,
            std::slice::from_ref(&trade),
            Column::Flags,
            end + HOUR,
        );
        assert_eq!(flags, "revised");
        assert_eq!(value(Merged::FourHours, &[trade], Column::Twap, end), NULL);
    }

    #[test]
    fn a_sum_that_no_bar_can_hold_is_none() {
        let large = Hour {
            turnover: i128::MAX / 2 + 1,
            ..hour(0)
        };
        let extent = Extent {
            start: START,
            end: START + 4 * HOUR,
            hours: 4,
        };
        assert_eq!(
            wanted(Merged::FourHours, &[&large, &large], (extent, ""), "PJM", START),
            None
        );
    }
}
