//! Fine prices of a market against its own hourly report.
//!
//! Role: an hourly price is the mean of the market's prices of five or fifteen minutes in that hour, so the two check each other.
//! A stamp that is read as the wrong end of its interval, an hour that is off by a change of clocks, or a sign that is turned shows at once.
//! Invariants: exact arithmetic; fine prices count by the length of their intervals, because additional runs have shorter ones. An
//! hour is compared only if its fine prices cover it exactly once.
//! Absent on purpose: ERCOT, whose settlement prices are no means of its dispatch prices, and markets without both reports.

use domain::{Decimal, Micros};
use serde::Serialize;

use crate::clock::HOUR;
use crate::registry::MARKETS;

/// The product of hourly real-time prices.
pub const HOURLY: &str = "rth";
/// The largest difference that rounding explains, USD at scale 8: that of a sum of components.
pub const TOLERANCE: i64 = 2_000_000;
/// Products that an hourly price may be the mean of.
const FINE: [&str; 2] = ["rt5", "rt15"];

/// Markets that publish both, each with the product of its fine prices.
pub fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    let both = MARKETS.iter().filter(|market| market.products.contains(&HOURLY));
    both.flat_map(|market| {
        let fine = FINE.into_iter().filter(|fine| market.products.contains(fine));
        fine.map(|fine| (market.name, fine))
    })
}

/// One hour at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hour {
    /// The instrument id without market and product.
    pub node: String,
    /// Beginning of the hour, UTC.
    pub start: Micros,
    /// The price of the hourly report.
    pub hourly: Decimal,
    /// Sum of price × length over the fine prices: price at scale 8, length in microseconds.
    pub weighted: i128,
    /// Sum of the lengths of the fine intervals.
    pub covered: Micros,
}

/// An hour whose prices differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// See [`Hour::node`].
    pub node: String,
    /// Beginning of the hour, in microseconds since 1970.
    pub start: Micros,
    /// The price of the hourly report, USD.
    pub hourly: String,
    /// The mean of the fine prices, rounded to 8 decimals.
    pub mean: String,
    /// Hourly price - mean.
    pub difference: String,
}

/// The result for one market.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Compared {
    /// Hours of nodes that were compared.
    pub compared: u64,
    /// Those of them that differ by more than the tolerance.
    pub differing: u64,
    /// Hours that the fine prices do not cover exactly once.
    pub partial: u64,
    /// The largest differences beyond the tolerance, largest first.
    pub worst: Vec<Difference>,
}

/// Compares hour after hour.
#[derive(Debug)]
pub struct Comparison {
    tolerance: i128,
    /// Differences that are kept.
    most: usize,
    found: Compared,
    /// Sizes of `found.worst`.
    sizes: Vec<u128>,
}

impl Comparison {
    /// A comparison with this largest difference that is none, and this number of differences that are kept.
    pub fn new(tolerance: Decimal, most: usize) -> Comparison {
        Comparison {
            tolerance: i128::from(tolerance.unscaled().abs()),
            most,
            found: Compared::default(),
            sizes: Vec::new(),
        }
    }

    /// Compares one hour.
    pub fn add(&mut self, hour: &Hour) {
        if hour.covered != HOUR {
            self.found.partial += 1;
            return;
        }
        self.found.compared += 1;
        let hours = i128::from(HOUR);
        // Times an hour, so that nothing is rounded.
        let difference = i128::from(hour.hourly.unscaled()) * hours - hour.weighted;
        let size = difference.unsigned_abs();
        if size <= (self.tolerance * hours).unsigned_abs() {
            return;
        }
        self.found.differing += 1;
        let place = self.sizes.partition_point(|larger| *larger >= size);
        if place < self.most {
            self.sizes.insert(place, size);
            self.found.worst.insert(
                place,
                Difference {
                    node: hour.node.clone(),
                    start: hour.start,
                    hourly: hour.hourly.to_string(),
                    mean: shown(hour.weighted),
                    difference: shown(difference),
                },
            );
            self.sizes.truncate(self.most);
            self.found.worst.truncate(self.most);
        }
    }

    /// What was found.
    pub fn found(self) -> Compared {
        self.found
    }
}

// A sum over an hour as a mean. Values beyond the range of prices cannot occur in rows that were read as prices.
fn shown(weighted: i128) -> String {
    let hours = i128::from(HOUR);
    let rounded = (weighted + weighted.signum() * hours / 2) / hours;
    match i64::try_from(rounded)
        .ok()
        .and_then(|mean| Decimal::from_unscaled(mean).ok())
    {
        Some(mean) => mean.to_string(),
        None => format!("{rounded}e-8"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn price(text: &str) -> Decimal {
        Decimal::parse(text.as_bytes()).unwrap()
    }

    /// An hour of fine prices, each with its length in minutes.
    fn hour(node: &str, hourly: &str, fine: &[(&str, i64)]) -> Hour {
        let minute = HOUR / 60;
        Hour {
            node: node.to_owned(),
            start: 0,
            hourly: price(hourly),
            weighted: fine
                .iter()
                .map(|(text, minutes)| i128::from(price(text).unscaled()) * i128::from(minutes * minute))
                .sum(),
            covered: fine.iter().map(|(_, minutes)| minutes * minute).sum(),
        }
    }

    #[test]
    fn an_hour_is_compared_with_the_mean_by_length_and_the_tolerance_is_allowed() {
        let mut comparison = Comparison::new(price("0.02"), 9);
        // 10 for 45 minutes and 14 for 15 minutes are 11.
        comparison.add(&hour("a", "11", &[("10", 45), ("14", 15)]));
        comparison.add(&hour("b", "11.02", &[("10", 45), ("14", 15)]));
        comparison.add(&hour("c", "10.97999999", &[("10", 45), ("14", 15)]));
        comparison.add(&hour("d", "-11", &[("10", 45), ("14", 15)]));
        // A third of a cent less than the whole.
        comparison.add(&hour("e", "11", &[("10", 45), ("14", 10)]));
        comparison.add(&hour("f", "11", &[("10", 45), ("14", 20)]));
        let found = comparison.found();
        assert_eq!((found.compared, found.differing, found.partial), (4, 2, 2));
        let worst: Vec<_> = found
            .worst
            .iter()
            .map(|one| (&*one.node, &*one.mean, &*one.difference))
            .collect();
        assert_eq!(worst, [("d", "11", "-22"), ("c", "11", "-0.02000001")]);
    }

    #[test]
    fn the_largest_differences_are_kept_in_order() {
        let mut comparison = Comparison::new(Decimal::ZERO, 3);
        for (number, hourly) in ["3", "9", "-7", "1", "8", "0"].into_iter().enumerate() {
            comparison.add(&hour(&number.to_string(), hourly, &[("0", 60)]));
        }
        let found = comparison.found();
        assert_eq!((found.compared, found.differing), (6, 5));
        let worst: Vec<&str> = found.worst.iter().map(|one| &*one.hourly).collect();
        assert_eq!(worst, ["9", "8", "-7"]);
    }

    #[test]
    fn markets_with_both_reports_are_those_of_the_registry() {
        assert_eq!(
            pairs().collect::<Vec<_>>(),
            [("MISO", "rt5"), ("PJM", "rt5"), ("NYISO", "rt5")]
        );
    }
}
