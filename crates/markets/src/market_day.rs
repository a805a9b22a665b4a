//! The local days of markets, and the intervals that a product has in one of them.
//!
//! Role: what completeness is measured against. A day has 23, 24 or 25 hours, by the market's own clock; MISO's data have 24 on
//! each day.

use domain::{Micros, Product};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZoneDatabase;

use crate::registry;

/// A market day in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketDay {
    /// Local midnight.
    pub start: Micros,
    /// The next local midnight.
    pub end: Micros,
}

impl MarketDay {
    /// The day of a market of the registry; `None` for any other market, and for a date that has no next one.
    pub fn of(market: &str, date: Date) -> Option<MarketDay> {
        MarketDay::in_zone(registry::market(market)?.zone, date)
    }

    /// The day on which contracts of a power market deliver, which may be in another zone than its prices; `None` for any other market.
    pub fn of_delivery(market: &str, date: Date) -> Option<MarketDay> {
        MarketDay::in_zone(registry::market(market)?.peak?.zone, date)
    }

    fn in_zone(zone: &str, date: Date) -> Option<MarketDay> {
        let zone = TimeZoneDatabase::bundled().get(zone).ok()?;
        let midnight = |date: Date| {
            let start = date.to_zoned(zone.clone()).ok()?;
            Some(start.timestamp().as_microsecond())
        };
        Some(MarketDay {
            start: midnight(date)?,
            end: midnight(date.checked_add(1.day()).ok()?)?,
        })
    }

    /// The starts of the intervals of a product, oldest first; none if the product has no fixed length.
    pub fn intervals(self, product: &str) -> impl Iterator<Item = Micros> {
        let length = interval_of(product).unwrap_or(Micros::MAX);
        let known = if length == Micros::MAX { self.start } else { self.end };
        (self.start..known).step_by(usize::try_from(length).unwrap_or(usize::MAX))
    }
}

/// The length of the intervals of a product; `None` if each of its prices counts, or if its documents have no prices on some days.
pub fn interval_of(product: &str) -> Option<Micros> {
    match Product::from_name(product)? {
        Product::Trade | Product::OtherInterval => None,
        product => Some(product.nominal()?.micros()),
    }
}

/// The products of a market's documents that have intervals of a fixed length.
pub fn products_of(market: &str) -> Vec<&'static str> {
    let products = registry::market(market).map_or(&[][..], |market| market.products);
    let has_length = |product: &&'static str| interval_of(product).is_some();
    products.iter().copied().filter(has_length).collect()
}

/// The market's local date at a time; `None` for a market that is not in the registry.
pub fn date_in(market: &str, time: Micros) -> Option<Date> {
    let zone = TimeZoneDatabase::bundled().get(registry::market(market)?.zone).ok()?;
    let time = jiff::Timestamp::from_microsecond(time).ok()?;
    Some(zone.to_datetime(time).date())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_has_the_hours_of_its_market() {
        for (market, day, hours) in [
            ("PJM", date(2025, 11, 2), 25),
            ("PJM", date(2026, 3, 8), 23),
            ("PJM", date(2026, 7, 4), 24),
            // Rules of 1987 to 2006: the last Sunday of October, the first of April.
            ("NYISO", date(2005, 10, 30), 25),
            ("NYISO", date(2005, 4, 3), 23),
            ("CAISO", date(2019, 11, 3), 25),
            ("ERCOT", date(2026, 3, 8), 23),
            ("MISO", date(2025, 11, 2), 24),
            ("MISO", date(2026, 3, 8), 24),
        ] {
            let of_day = MarketDay::of(market, day).unwrap();
            assert_eq!(of_day.intervals("da").count(), hours, "{market} {day}");
            assert_eq!(of_day.intervals("rt15").count(), hours * 4, "{market} {day}");
            assert_eq!(of_day.intervals("rt5").count(), hours * 12, "{market} {day}");
            assert_eq!(of_day.intervals("spot").count(), 0);
            assert_eq!(date_in(market, of_day.start), Some(day));
            assert_eq!(date_in(market, of_day.end - 1), Some(day));
        }
        assert_eq!(MarketDay::of("KRAKEN", date(2026, 3, 8)), None);
        let (fall, delivery) = (date(2025, 11, 2), |market| {
            MarketDay::of_delivery(market, date(2025, 11, 2))
        });
        assert_eq!(delivery("MISO"), MarketDay::of("PJM", fall));
        assert_eq!(
            (delivery("CAISO"), delivery("GAS")),
            (MarketDay::of("CAISO", fall), None)
        );
        assert!(products_of("MISO").contains(&"exante") && products_of("GAS").is_empty());
    }
}
