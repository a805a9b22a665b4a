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
}
