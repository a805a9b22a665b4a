//! Rules of products: whether each price counts, how long the delivery interval is, and when prices are published.
//!
//! Invariant: a function of two fields of the tick (product and kind), so that all readers of a row decide alike (INV-1).

use crate::{Interval, Kind, Micros};

/// How far ahead of its append time an event may be, for any product. Day-ahead prices are up to 36 hours ahead; nine days
/// leave room for holidays.
pub const LONGEST_AHEAD: Micros = 9 * 86_400_000_000;

/// A product, as far as it matters for bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// Trades and quotes: each one counts. Every product that is not of kind `interval`.
    Trade,
    /// Hourly day-ahead prices.
    DayAhead,
    /// Real-time prices of five minutes.
    RealTimeFive,
    /// Real-time prices of a quarter of an hour.
    RealTimeFifteen,
    /// Hourly real-time prices.
    RealTimeHour,
    /// Prices that a real-time dispatch announces for its five minutes.
    ExAnte,
    /// An interval price of a product that is not in this table. It is treated as a real-time price of one minute, so that no
    /// bar omits it.
    OtherInterval,
}

/// When prices of a product reach the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Published {
    /// At their time, or before it.
    AtOnce,
    /// Minutes after the end of their interval: real-time documents of an ISO.
    AfterInterval,
}

impl Product {
    /// Every product.
    pub const ALL: [Product; 7] = [
        Product::Trade,
        Product::DayAhead,
        Product::RealTimeFive,
        Product::RealTimeFifteen,
        Product::RealTimeHour,
        Product::ExAnte,
        Product::OtherInterval,
    ];

    /// The product of a tick with this product name and kind.
    pub fn of(name: &str, kind: Kind) -> Product {
        match kind {
            Kind::Trade => Product::Trade,
            Kind::Interval => Product::from_name(name)
                .filter(|product| *product != Product::Trade)
                .unwrap_or(Product::OtherInterval),
        }
    }

    /// The name in ticks (for `OtherInterval` a name that cannot be confused with a producer's).
    pub fn name(self) -> &'static str {
        match self {
            Product::Trade => "trade",
            Product::DayAhead => "da",
            Product::RealTimeFive => "rt5",
            Product::RealTimeFifteen => "rt15",
            Product::RealTimeHour => "rth",
            Product::ExAnte => "exante",
            Product::OtherInterval => "interval",
        }
    }

    /// The product of that name.
    pub fn from_name(name: &str) -> Option<Product> {
        let product = match name {
            "trade" => Product::Trade,
            "da" => Product::DayAhead,
            "rt5" => Product::RealTimeFive,
            "rt15" => Product::RealTimeFifteen,
            "rth" => Product::RealTimeHour,
            "exante" => Product::ExAnte,
            "interval" => Product::OtherInterval,
            _ => return None,
        };
        Some(product)
    }

    /// Length of a delivery interval; none if each price counts. A price contributes to no bar shorter than this.
    pub fn nominal(self) -> Option<Interval> {
        match self {
            Product::Trade => None,
            Product::OtherInterval => Some(Interval::OneMinute),
            Product::RealTimeFive | Product::ExAnte => Some(Interval::FiveMinutes),
            Product::RealTimeFifteen => Some(Interval::FifteenMinutes),
            Product::DayAhead | Product::RealTimeHour => Some(Interval::OneHour),
        }
    }

    /// Whole seconds for which a price counts in averages: from the start of its delivery interval to its end, at most the nominal length,
    /// which is also that of an interval without a published end. 0 for trades, and for an end that is not after the start.
    pub fn priced_seconds(self, start: Micros, end: Option<Micros>) -> u16 {
        let Some(nominal) = self.nominal() else {
            return 0;
        };
        let nominal = nominal.micros();
        let length = end.map_or(nominal, |end| end.saturating_sub(start).clamp(0, nominal));
        // No product has more than the 3,600 seconds of an hour.
        (length / 1_000_000) as u16
    }

    /// When its prices reach the log.
    pub fn published(self) -> Published {
        match self {
            Product::Trade | Product::DayAhead => Published::AtOnce,
            Product::RealTimeFive
            | Product::RealTimeFifteen
            | Product::RealTimeHour
            | Product::ExAnte
            | Product::OtherInterval => Published::AfterInterval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_kind_decides_first() {
        for product in Product::ALL {
            assert_eq!(Product::from_name(product.name()), Some(product));
        }
        assert_eq!(Product::of("da", Kind::Interval), Product::DayAhead);
        assert_eq!(Product::of("da", Kind::Trade), Product::Trade);
        assert_eq!(Product::of("peak", Kind::Trade), Product::Trade);
        for unknown in ["trade", "rt1", ""] {
            assert_eq!(Product::of(unknown, Kind::Interval), Product::OtherInterval);
        }
    }

    #[test]
    fn only_trades_have_no_interval() {
        let without: Vec<Product> = Product::ALL
            .into_iter()
            .filter(|product| product.nominal().is_none())
            .collect();
        assert_eq!(without, [Product::Trade]);
    }

    #[test]
    fn a_price_counts_for_the_whole_seconds_of_its_interval_and_no_longer_than_its_product() {
        const SECOND: Micros = 1_000_000;
        for (end, seconds) in [
            (None, 300),
            (Some(300 * SECOND), 300),
            (Some(8 * SECOND), 8),
            (Some(8 * SECOND + 999_999), 8),
            (Some(346 * SECOND), 300),
            (Some(999_999), 0),
            (Some(0), 0),
            (Some(-SECOND), 0),
            (Some(Micros::MAX), 300),
        ] {
            let start = 1_700_000_112 * SECOND;
            let end = end.map(|end: Micros| end.saturating_add(start));
            assert_eq!(Product::RealTimeFive.priced_seconds(start, end), seconds, "{end:?}");
        }
        assert_eq!(Product::DayAhead.priced_seconds(0, Some(Micros::MIN)), 0);
        assert_eq!(Product::Trade.priced_seconds(0, Some(60 * SECOND)), 0);
        for product in Product::ALL {
            let nominal = product.nominal().map_or(0, Interval::micros) / SECOND;
            assert_eq!(i64::from(product.priced_seconds(0, None)), nominal, "{product:?}");
        }
    }
}
