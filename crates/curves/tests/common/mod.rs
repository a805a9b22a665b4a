//! Delivered hours for the tests, counted hour by hour and shared with no code of the crate.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::OnceLock;

use curves::{Block, Commodity, Contract, Quote, Tenor};
use jiff::ToSpan;
use jiff::civil::{Date, Weekday, date};
use jiff::tz::TimeZone;

/// Peak and off-peak hours of a day.
pub type Hours = (f64, f64);

/// Markets of the tests: zone, hour at which the on-peak hours begin, whether Saturday has some.
const MARKETS: [(&str, &str, i8, bool); 4] = [
    ("PJM", "America/New_York", 7, false),
    ("ERCOT", "America/Chicago", 6, false),
    ("CAISO", "America/Los_Angeles", 6, true),
    ("GAS", "America/Chicago", 0, false),
];

/// As NERC publishes them, for weekdays and Saturdays.
fn is_holiday(day: Date) -> bool {
    const MEMORIAL: [i8; 10] = [25, 31, 29, 28, 27, 26, 31, 30, 29, 28];
    const LABOR: [i8; 10] = [7, 6, 4, 3, 2, 1, 6, 5, 4, 3];
    const THANKSGIVING: [i8; 10] = [26, 25, 23, 22, 28, 27, 25, 24, 23, 22];
    let at = usize::try_from(day.year() - 2026).unwrap();
    let moved = |month: i8, of_month: i8| {
        let holiday = date(day.year(), month, of_month);
        holiday == day || (holiday.weekday() == Weekday::Sunday && holiday.tomorrow().unwrap() == day)
    };
    moved(1, 1)
        || moved(7, 4)
        || moved(12, 25)
        || day == date(day.year(), 5, MEMORIAL[at])
        || day == date(day.year(), 9, LABOR[at])
        || day == date(day.year(), 11, THANKSGIVING[at])
}

/// Hours of each day from 2026 to 2035.
pub fn hours_of(market: &str) -> &'static HashMap<Date, Hours> {
    static ALL: OnceLock<HashMap<&'static str, HashMap<Date, Hours>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let of = |(name, zone, first, saturday): (&'static str, &str, i8, bool)| {
            let zone = TimeZone::get(zone).unwrap();
            let mut days: HashMap<Date, Hours> = HashMap::new();
            let mut hour = date(2026, 1, 1).to_zoned(zone.clone()).unwrap();
            let end = date(2036, 1, 1).to_zoned(zone).unwrap();
            while hour < end {
                let day = hour.date();
                let is_working = match day.weekday() {
                    Weekday::Sunday => false,
                    Weekday::Saturday => saturday && !is_holiday(day),
                    _ => !is_holiday(day),
                };
                let entry = days.entry(day).or_default();
                if name != "GAS" && is_working && (first..first + 16).contains(&hour.hour()) {
                    entry.0 += 1.0;
                } else {
                    entry.1 += 1.0;
                }
                hour = hour.checked_add(1.hour()).unwrap();
            }
            if name == "GAS" {
                days.values_mut().for_each(|hours| *hours = (0.0, 24.0));
            }
            (name, days)
        };
        MARKETS.into_iter().map(of).collect()
    });
    &all[market]
}

/// The hours of a contract in one month, or in the part of it that the contract delivers.
pub fn hours_in(market: &str, first: Date, end: Date) -> Hours {
    let days = hours_of(market);
    let each = first.series(1.day()).take_while(|day| *day < end).map(|day| days[&day]);
    each.fold((0.0, 0.0), |sum, hours| (sum.0 + hours.0, sum.1 + hours.1))
}

/// The contract of a tenor.
pub fn contract(tenor: &str, block: Block, as_of: Date, commodity: Commodity) -> Contract {
    Contract {
        period: tenor.parse::<Tenor>().unwrap().resolve(as_of, commodity).unwrap(),
        block,
    }
}

/// A quote of a contract.
pub fn quote(contract: Contract, price: f64, known_at: i64) -> Quote {
    Quote {
        contract,
        price,
        volume: None,
        known_at,
        source: format!("test {contract}"),
    }
}
