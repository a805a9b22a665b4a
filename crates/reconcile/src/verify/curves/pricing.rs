//! What the points of a snapshot give, against what it says of its quotes. Pure.
//!
//! Invariants: the price of a contract is the mean of its points, weighted by delivered hours. A quote that counts as repriced has that
//! price within [`EQUAL`] and [`SOLVED`]; every other one has the residual that the points give, and is one that others imply. Flat hours are peak and off-peak hours, in price too.
//! Failure: a point or quote that cannot be read is a difference.

use std::collections::BTreeSet;

use domain::Micros;
use jiff::civil::Date;
use serde::Deserialize;

use super::delivery::{Contract, Market};
use super::implied::implied;

/// Largest difference of a repriced quote, in the unit of the prices.
const EQUAL: f64 = 1e-8;
/// How exactly a linear system is solved, as a part of the largest price: it matters above 1,000.
const SOLVED: f64 = 1e-12;
/// Two numbers that were rounded to eight decimals may differ by one more half of the last one.
const ROUNDED: f64 = 1.5e-8;
/// A quote that others imply contradicts them beyond this.
const TOLERANCE: f64 = 0.005;

/// A point of a snapshot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Point {
    pub contract: String,
    pub block: String,
    pub delivery_start: String,
    pub delivery_end: String,
    pub price: f64,
    /// Of the quote of this very contract.
    #[serde(default)]
    pub volume: Option<f64>,
    /// `None` in snapshots that lack the field, as are the two below.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// How it got its price.
    pub method: String,
    #[serde(default)]
    pub extrapolated: Option<bool>,
    /// The ticks that it is made from.
    #[serde(default)]
    pub sources: Option<Vec<String>>,
}

impl Point {
    /// Whether it has all fields: one of an older row may not.
    pub(crate) fn has_fields(&self) -> bool {
        self.confidence.is_some() && self.extrapolated.is_some() && self.sources.is_some()
    }
}

/// A quote of a snapshot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Quoted {
    pub contract: String,
    pub block: String,
    pub price: f64,
    pub curve_price: Option<f64>,
    pub residual: Option<f64>,
    pub state: String,
    /// The contracts that imply its price, or another one.
    pub implied_by: Vec<String>,
    /// The tick.
    pub source: String,
    /// Its event time in microseconds.
    pub known_at: i64,
}

impl Quoted {
    /// Whether the curve is made from it, or compared with it.
    pub(crate) fn is_used(&self) -> bool {
        matches!(self.state.as_str(), "repriced" | "consistent" | "contradictory")
    }
}

impl std::fmt::Display for Quoted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.contract, self.block, self.price)
    }
}

struct Weighted {
    contract: Contract,
    hours: i64,
    price: f64,
}

/// The points of a snapshot with their hours.
pub(crate) struct Weights<'m> {
    market: &'m Market,
    day: Date,
    points: Vec<Weighted>,
    differences: Vec<String>,
}

/// What the points give for a contract.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mean {
    pub price: f64,
    /// Delivered hours: its weight.
    pub hours: i64,
    /// The largest price in its sum, without its sign: a binary sum is as exact as its largest summand, however small the mean is.
    pub largest: f64,
}

impl<'m> Weights<'m> {
    pub(crate) fn of(market: &'m Market, day: Date, points: &[Point]) -> Weights<'m> {
        let mut weights = Weights {
            market,
            day,
            points: Vec::with_capacity(points.len()),
            differences: Vec::new(),
        };
        for point in points {
            let name = format!("{} {}", point.contract, point.block);
            let contract = market.named(&point.contract, &point.block, day);
            let hours = contract
                .as_ref()
                .and_then(|one| market.hours(one.first, one.end, one.block));
            let (Some(contract), Some(hours)) = (contract, hours) else {
                weights
                    .differences
                    .push(format!("point {name} is none of {}", market.name));
                continue;
            };
            for (what, found, day) in [
                ("begins", &point.delivery_start, contract.first),
                ("ends", &point.delivery_end, contract.end),
            ] {
                if let Some(wanted) = market.start_of(day).filter(|wanted| wanted != found) {
                    weights
                        .differences
                        .push(format!("point {name} {what} at {found} instead of {wanted}"));
                }
            }
            weights.points.push(Weighted {
                contract,
                hours,
                price: point.price,
            });
        }
        weights
    }

    /// The mean of the points of a contract; `None` if they do not cover it, or it has no hours.
    pub(crate) fn mean(&self, contract: &Contract) -> Option<Mean> {
        let hours = self.market.hours(contract.first, contract.end, contract.block)?;
        let is_inside = |point: &&Weighted| {
            let of = &point.contract;
            of.block == contract.block && of.first >= contract.first && of.end <= contract.end
        };
        let inside: Vec<&Weighted> = self.points.iter().filter(is_inside).collect();
        let covered: i64 = inside.iter().map(|point| point.hours).sum();
        if hours == 0 || covered != hours {
            return None;
        }
        let sum: f64 = inside.iter().map(|point| point.hours as f64 * point.price).sum();
        Some(Mean {
            price: sum / hours as f64,
            hours,
            largest: largest(inside.iter().map(|point| point.price)),
        })
    }

    /// The same for a quote of the snapshot.
    pub(crate) fn of_quote(&self, quoted: &Quoted) -> Option<Mean> {
        self.mean(&self.market.named(&quoted.contract, &quoted.block, self.day)?)
    }

    /// Everything of these quotes that the points do not give. `is_whole`: the points reach to the last quote.
    pub(crate) fn differences(&self, inputs: &[Quoted], is_whole: bool) -> Vec<String> {
        let mut found = self.differences.clone();
        for quoted in inputs {
            if !quoted.is_used() {
                let says = quoted.curve_price.is_some() || quoted.residual.is_some();
                found.extend(says.then(|| format!("quote {quoted} has a residual, but is {}", quoted.state)));
                continue;
            }
            match self.of_quote(quoted) {
                Some(mean) => found.extend(of_mean(quoted, mean)),
                None if is_whole => found.push(format!("quote {quoted} is not covered by the points")),
                None => {}
            }
        }
        found.extend(self.implied(inputs));
        found.extend(self.blocks());
        found
    }

    /// Quotes that are repriced although others imply them, or not although none do.
    fn implied(&self, inputs: &[Quoted]) -> Vec<String> {
        let named = |quoted: &Quoted| self.market.named(&quoted.contract, &quoted.block, self.day);
        let used = inputs.iter().filter(|quoted| quoted.is_used());
        let (used, quotes): (Vec<&Quoted>, Vec<(Contract, Micros)>) = used
            .filter_map(|quoted| Some((quoted, (named(quoted)?, quoted.known_at))))
            .unzip();
        let wanted = implied(self.market, &quotes);
        let different = |(quoted, by): (&&Quoted, &BTreeSet<String>)| of_implied(quoted, by);
        used.iter().zip(&wanted).filter_map(different).collect()
    }

    /// Flat points beside on-peak and off-peak ones.
    fn blocks(&self) -> Vec<String> {
        let mut found = Vec::new();
        for flat in self.points.iter().filter(|point| point.contract.block == "flat") {
            let of = |block: &str| {
                let is_it =
                    |point: &&Weighted| point.contract.block == block && point.contract.first == flat.contract.first;
                self.points.iter().find(is_it)
            };
            let (Some(peak), Some(rest)) = (of("peak"), of("off_peak")) else {
                continue;
            };
            let sum = peak.price * peak.hours as f64 + rest.price * rest.hours as f64;
            let wanted = sum / flat.hours as f64;
            if !is_near(flat.price, wanted, ROUNDED, largest([peak.price, rest.price])) {
                let (name, price) = (&flat.contract, flat.price);
                found.push(format!(
                    "point {name} is {price} instead of {wanted}, the mean of its blocks"
                ));
            }
        }
        found
    }
}

fn largest(prices: impl IntoIterator<Item = f64>) -> f64 {
    prices.into_iter().map(f64::abs).fold(0.0, f64::max)
}

/// `largest`: see [`Mean::largest`].
fn is_near(left: f64, right: f64, tolerance: f64, largest: f64) -> bool {
    let bits = 8.0 * f64::EPSILON * largest.max(left.abs()).max(right.abs());
    (left - right).abs() <= tolerance + bits
}

/// What a quote says of itself and this mean does not give.
fn of_mean(quoted: &Quoted, mean: Mean) -> Option<String> {
    let Mean {
        price: mean, largest, ..
    } = mean;
    let is_near = |left: f64, right: f64, tolerance: f64| is_near(left, right, tolerance, largest);
    if quoted.state == "repriced" && !is_near(quoted.price, mean, EQUAL + SOLVED * largest) {
        return Some(format!("quote {quoted} is not repriced: its points give {mean}"));
    }
    let (Some(price), Some(residual)) = (quoted.curve_price, quoted.residual) else {
        return Some(format!("quote {quoted} has no residual: its points give {mean}"));
    };
    if !is_near(price, mean, ROUNDED) {
        return Some(format!("curve price of quote {quoted} is {price} instead of {mean}"));
    }
    let wanted = quoted.price - mean;
    if !is_near(residual, wanted, ROUNDED) {
        return Some(format!("residual of quote {quoted} is {residual} instead of {wanted}"));
    }
    let is_wrong = match quoted.state.as_str() {
        "consistent" => wanted.abs() > TOLERANCE + ROUNDED,
        "contradictory" => wanted.abs() < TOLERANCE - ROUNDED,
        _ => false,
    };
    is_wrong.then(|| format!("quote {quoted} is {}, but its residual is {wanted}", quoted.state))
}

/// What a quote says of the others, if these imply it instead.
fn of_implied(quoted: &Quoted, by: &BTreeSet<String>) -> Option<String> {
    let listed = |names: &BTreeSet<String>| Vec::from_iter(names.iter().cloned()).join(", ");
    let found: BTreeSet<String> = quoted.implied_by.iter().cloned().collect();
    match (quoted.state.as_str(), by.is_empty()) {
        ("repriced", false) => Some(format!("quote {quoted} is repriced, but implied by {}", listed(by))),
        ("repriced", true) if found.is_empty() => None,
        (state, true) => Some(format!("quote {quoted} is {state}, but no others imply it")),
        (_, false) if found == *by => None,
        (_, false) => Some(format!(
            "quote {quoted} is implied by {} instead of {}",
            listed(&found),
            listed(by)
        )),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::civil::date;

    use super::super::delivery::tests::market;
    use super::*;

    pub(in super::super) const DAY: Date = date(2026, 12, 18);

    pub(in super::super) fn point(contract: &str, price: f64) -> Point {
        let market = market("PJM");
        let Some(one) = market.named(contract, "flat", DAY) else {
            unreachable!("{contract}");
        };
        Point {
            contract: contract.to_owned(),
            block: "flat".to_owned(),
            delivery_start: market.start_of(one.first).unwrap_or_default(),
            delivery_end: market.start_of(one.end).unwrap_or_default(),
            price,
            volume: None,
            confidence: None,
            method: "quoted".to_owned(),
            extrapolated: None,
            sources: None,
        }
    }

    pub(in super::super) fn quoted(contract: &str, price: f64, residual: f64, state: &str) -> Quoted {
        Quoted {
            contract: contract.to_owned(),
            block: "flat".to_owned(),
            price,
            curve_price: Some(price - residual),
            residual: Some(residual),
            state: state.to_owned(),
            implied_by: Vec::new(),
            source: "raw/0/1/0".to_owned(),
            known_at: 0,
        }
    }

    const FIFTY: Mean = Mean {
        price: 50.0,
        hours: 744,
        largest: 50.0,
    };

    fn differences(points: &[Point], quotes: &[Quoted]) -> String {
        let market = market("PJM");
        Weights::of(&market, DAY, points).differences(quotes, true).join("; ")
    }

    #[test]
    fn a_quote_is_the_mean_of_its_points_by_delivered_hours() {
        // 744, 672 and 743 hours: the clock changes in March.
        let points = [point("2027-01", 50.0), point("2027-02", 40.0), point("2027-03", 30.0)];
        let mean = (744.0 * 50.0 + 672.0 * 40.0 + 743.0 * 30.0) / 2_159.0;
        assert_eq!(differences(&points, &[quoted("Q1-27", mean, 0.0, "repriced")]), "");
        let by_days = (31.0 * 50.0 + 28.0 * 40.0 + 31.0 * 30.0) / 90.0;
        let found = differences(&points, &[quoted("Q1-27", by_days, 0.0, "repriced")]);
        assert!(
            found.starts_with("quote Q1-27 flat") && found.contains("is not repriced: its points give 40.00"),
            "{found}"
        );
        let found = differences(&points, &[quoted("Q2-27", 1.0, 0.0, "repriced")]);
        assert!(found.ends_with("is not covered by the points"), "{found}");
    }

    #[test]
    fn a_residual_is_what_the_points_give_and_fits_its_state() {
        let of = |price: f64, residual: f64, state: &str| {
            of_mean(&quoted("2027-01", price, residual, state), FIFTY).unwrap_or_default()
        };
        assert_eq!(of(50.5, 0.5, "contradictory"), "");
        assert_eq!(of(50.004, 0.004, "consistent"), "");
        assert!(of(50.5, 0.5, "consistent").contains("but its residual is 0.5"));
        assert!(of(50.001, 0.001, "contradictory").contains("is contradictory, but its residual is"));
        assert!(
            of(50.5, 0.4, "contradictory").contains("curve price of quote 2027-01 flat 50.5 is 50.1 instead of 50")
        );
        let wrong = Quoted {
            residual: Some(0.4),
            ..quoted("2027-01", 50.5, 0.5, "contradictory")
        };
        let said = of_mean(&wrong, FIFTY).unwrap_or_default();
        assert!(
            said.contains("residual of quote 2027-01 flat 50.5 is 0.4 instead of 0.5"),
            "{said}"
        );
        let unused = quoted("2027-01", 50.5, 0.5, "in_delivery");
        assert!(differences(&[point("2027-01", 50.0)], &[unused]).contains("has a residual, but is in_delivery"));
    }

    #[test]
    fn a_quote_that_others_imply_is_not_repriced_and_names_them() {
        let months = ["2027-01", "2027-02", "2027-03"];
        let points = months.map(|month| point(month, 40.0));
        let of = |state: &str, by: &[&str]| {
            let quarter = Quoted {
                implied_by: by.iter().map(|name| (*name).to_owned()).collect(),
                ..quoted("Q1-27", 40.0, 0.0, state)
            };
            let months = months.map(|month| quoted(month, 40.0, 0.0, "repriced"));
            differences(&points, &[&[quarter][..], &months].concat())
        };
        let all = ["2027-01 flat", "2027-02 flat", "2027-03 flat"];
        assert_eq!(of("consistent", &all), "");
        assert!(of("repriced", &[]).ends_with("is repriced, but implied by 2027-01 flat, 2027-02 flat, 2027-03 flat"));
        let wrong = of("consistent", &["2027-01 flat"]);
        assert!(
            wrong.contains("is implied by 2027-01 flat instead of 2027-01 flat, 2027-02"),
            "{wrong}"
        );
        let alone = differences(&[point("2027-01", 40.0)], &[quoted("2027-01", 40.0, 0.0, "consistent")]);
        assert!(alone.ends_with("is consistent, but no others imply it"), "{alone}");
    }

    #[test]
    fn points_have_the_times_of_the_market_and_blocks_that_fit() {
        let mut late = point("2027-01", 50.0);
        late.delivery_start = "2027-01-01T00:00:00Z".to_owned();
        assert!(differences(&[late], &[]).contains("instead of 2027-01-01T00:00:00-05:00"));
        let of = |block: &str, price: f64| Point {
            block: block.to_owned(),
            ..point("2027-01", price)
        };
        // 320 of 744 hours are on-peak.
        let flat = (320.0 * 60.0 + 424.0 * 40.0) / 744.0;
        let points = |flat: f64| [of("flat", flat), of("peak", 60.0), of("off_peak", 40.0)];
        assert_eq!(differences(&points(flat), &[]), "");
        assert!(differences(&points(50.0), &[]).contains("the mean of its blocks"));
        assert!(differences(&[of("half", 1.0)], &[]).contains("is none of PJM"));
    }

    /// Binary numbers of this size are 7e-9 apart, so the mean is no more exact than that, although it is small.
    #[test]
    fn blocks_whose_large_prices_cancel_have_a_mean_as_exact_as_they_are() {
        let of = |block: &str, price: f64| Point {
            block: block.to_owned(),
            ..point("2027-01", price)
        };
        let blocks = [of("peak", 60_000_000.0), of("off_peak", -45_283_020.0)];
        let flat = (320.0 * 60_000_000.0 - 424.0 * 45_283_020.0) / 744.0;
        let with = |error: f64| [&[of("flat", flat + error)][..], &blocks].concat();
        assert_eq!(differences(&with(3e-8), &[]), "");
        assert!(differences(&with(3e-7), &[]).contains("the mean of its blocks"));
    }
}
