//! The points of a snapshot against those that its quotes and its method give. Pure.
//!
//! Role: part of the second opinion on curves: [`cells`] says which quotes cover a month, [`methods`] which prices follow, and this module
//! which points a snapshot must have, with price, `method`, confidence, sources and volume. The quotes are those of the snapshot that are
//! repriced; whether these are the right ones, the other checks say. No code of crate `curves` is used.
//! Invariants: a price is the expected one within [`EQUAL`] of the largest price. What rounding would decide is not judged.
//! Failure: a definition with a part that is not known, or points of a release that did not store these fields, are not checked, and counted.

mod cells;
mod matrix;
mod methods;

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use self::cells::{Basis, Cells, month_after};
use self::methods::Method;
use super::definition::{Definition, Season};
use super::delivery::{Contract, Market};
use super::pricing::{Point, Quoted};
use super::rules::{Fate, Input};

/// Largest difference of a price, as a part of the largest one of the curve, or of one. Points are rounded to eight decimals, which is half of
/// it; the rest is for sums in another order, of which binary numbers keep some 1e-15.
const EQUAL: f64 = 1e-8;

/// A snapshot, as far as its points follow from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub market: &'s Market,
    pub day: Date,
    pub horizon: &'s str,
    pub definition: &'s str,
    pub points: &'s [Point],
    pub inputs: &'s [Quoted],
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Found {
    pub differences: Vec<String>,
    /// Whether everything was compared.
    pub is_whole: bool,
}

/// The same contracts on the same day have the same plan.
#[derive(Debug, PartialEq)]
struct Key {
    market: String,
    day: Date,
    method: String,
    season: Season,
    /// Which of them are repriced.
    used: Vec<(Contract, bool)>,
}

#[derive(Debug)]
struct Plan {
    cells: Cells,
    method: Method,
}

/// The plan of the last snapshot.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    last: Option<(Key, Option<Plan>)>,
}

/// A point that a snapshot must have.
#[derive(Debug)]
struct Expected {
    contract: Contract,
    /// With the largest difference of another one.
    price: (f64, f64),
    /// Not judged if rounding would decide.
    basis: Option<Basis>,
    /// Indexes of repriced quotes, likewise.
    sources: Option<BTreeSet<usize>>,
}

impl Plans {
    /// Compares the points of a snapshot with those that follow from its quotes.
    pub(crate) fn check(&mut self, subject: Subject<'_>) -> Found {
        let not_checked = Found::default();
        let Some(definition) = Definition::of(subject.definition) else {
            return not_checked;
        };
        let mut used = Vec::new();
        for quoted in subject.inputs.iter().filter(|quoted| quoted.is_used()) {
            let contract = subject.market.named(&quoted.contract, &quoted.block, subject.day);
            let Some(contract) = contract else {
                return not_checked;
            };
            used.push((contract, quoted));
        }
        let accepted: Vec<&Quoted> = used
            .iter()
            .map(|(_, quoted)| *quoted)
            .filter(|one| is_repriced(one))
            .collect();
        let until = until(subject.horizon, subject.day, used.iter().map(|(contract, _)| contract));
        let used = used
            .into_iter()
            .map(|(contract, quoted)| (contract, is_repriced(quoted)));
        let plan = self.plan(subject, &definition, used.collect());
        let (Some(plan), Some(until)) = (plan, until) else {
            return not_checked;
        };
        let mut expected = plan.expected(&accepted);
        expected.retain(|one| one.contract.first < until);
        compared(subject.points, &expected, &accepted, &definition.method)
    }

    fn plan(&mut self, subject: Subject<'_>, definition: &Definition, used: Vec<(Contract, bool)>) -> Option<&Plan> {
        let key = Key {
            market: subject.market.name.clone(),
            day: subject.day,
            method: definition.method.clone(),
            season: definition.season,
            used,
        };
        if self.last.as_ref().is_none_or(|(known, _)| *known != key) {
            let plan = Plan::of(subject.market, &key);
            self.last = Some((key, plan));
        }
        self.last.as_ref()?.1.as_ref()
    }
}

impl Plan {
    fn of(market: &Market, key: &Key) -> Option<Plan> {
        let is_any = key.used.iter().any(|(_, is_accepted)| *is_accepted);
        let cells = Cells::of(market, key.day, &key.season, &key.used).filter(|_| is_any)?;
        Some(Plan {
            method: Method::of(&key.method, &cells)?,
            cells,
        })
    }

    /// Every point of the curve, of the peak and off-peak ones also the flat ones.
    fn expected(&self, accepted: &[&Quoted]) -> Vec<Expected> {
        let cells = &self.cells;
        let means = accepted.iter().zip(&cells.means);
        let quotes: Vec<f64> = means.map(|(quoted, mean)| quoted.price - mean.summand).collect();
        let (levels, rounding) = self.method.levels(cells, &quotes);
        let prices: Vec<f64> = cells
            .cells
            .iter()
            .zip(&levels)
            .map(|(cell, level)| cell.price(*level))
            .collect();
        let sizes = quotes.iter().chain(&levels).chain(&prices);
        let scale = sizes.fold(1.0_f64, |largest, price| largest.max(price.abs()));
        let of = |at: usize| -> Option<Expected> {
            let cell = cells.cells.get(at)?;
            Some(Expected {
                contract: cell.contract.clone(),
                price: (*prices.get(at)?, EQUAL * scale + cell.factor * rounding.get(at)?),
                basis: cells.basis(at),
                sources: cells.sources(at),
            })
        };
        let mut expected: Vec<Expected> = (0..cells.cells.len())
            .filter(|at| cells.has_price(*at))
            .filter_map(of)
            .collect();
        if let [peak, off_peak] = cells.series.as_slice() {
            let pairs = peak.clone().zip(off_peak.clone());
            expected.extend(pairs.filter_map(|(peak, off_peak)| self.flat(&[peak, off_peak].map(|at| (at, of(at))))));
        }
        expected
    }

    /// The flat point of both blocks of a month: their mean, as sure as the less certain one unless it is quoted itself. None if a block with
    /// hours has no price.
    fn flat(&self, blocks: &[(usize, Option<Expected>)]) -> Option<Expected> {
        let hours = |at: usize| self.cells.cells.get(at).map_or(0.0, |cell| cell.hours);
        let parts: Vec<(f64, &Expected)> = blocks
            .iter()
            .filter_map(|(at, part)| Some((hours(*at), part.as_ref()?)))
            .filter(|(hours, _)| *hours > 0.0)
            .collect();
        if blocks
            .iter()
            .any(|(at, _)| hours(*at) > 0.0 && !self.cells.has_price(*at))
        {
            return None;
        }
        let contract = Contract {
            block: "flat",
            ..parts.first()?.1.contract.clone()
        };
        let total: f64 = parts.iter().map(|(hours, _)| hours).sum();
        let mean = |of: fn((f64, f64)) -> f64| {
            let sum: f64 = parts.iter().map(|(hours, part)| hours * of(part.price)).sum();
            sum / total
        };
        let weaker: Option<Vec<Basis>> = parts.iter().map(|(_, part)| part.basis).collect();
        let sources: Option<Vec<_>> = parts.iter().map(|(_, part)| part.sources.clone()).collect();
        let is_quoted = self.cells.means.iter().any(|mean| mean.is_of(&contract));
        Some(Expected {
            price: (mean(|(price, _)| price), mean(|(_, most)| most)),
            basis: match is_quoted {
                true => Some(Basis::Quoted),
                false => weaker.and_then(|bases| bases.into_iter().min()),
            },
            sources: sources.map(|all| all.into_iter().flatten().collect()),
            contract,
        })
    }
}

fn is_repriced(quoted: &Quoted) -> bool {
    quoted.state == "repriced"
}

/// The first month that a snapshot does not reach.
fn until<'c>(horizon: &str, day: Date, used: impl Iterator<Item = &'c Contract>) -> Option<Date> {
    match horizon {
        "1m" => month_after(day, 2),
        "3m" => month_after(day, 4),
        "6m" => month_after(day, 7),
        "1y" => month_after(day, 13),
        "all" => used.map(|contract| contract.end).max(),
        _ => None,
    }
}

fn compared(points: &[Point], expected: &[Expected], accepted: &[&Quoted], method: &str) -> Found {
    let name = |point: &Point| format!("{} {}", point.contract, point.block);
    let mut wanted: BTreeMap<String, &Expected> = expected.iter().map(|one| (one.contract.to_string(), one)).collect();
    let mut found = Found {
        differences: Vec::new(),
        is_whole: true,
    };
    for point in points {
        let Some(expected) = wanted.remove(&name(point)) else {
            let is_twice = expected.iter().any(|one| one.contract.to_string() == name(point));
            let why = if is_twice {
                "is in it twice"
            } else {
                "is none of this horizon"
            };
            found.differences.push(format!("point {} {why}", name(point)));
            continue;
        };
        found.is_whole &= point.has_fields();
        found.differences.extend(of_price(point, expected, method));
        found.differences.extend(of_fields(point, expected, accepted));
    }
    let missing = wanted.into_keys().map(|name| format!("point {name} is missing"));
    found.differences.extend(missing);
    found
}

fn of_price(point: &Point, expected: &Expected, method: &str) -> Option<String> {
    let (price, most) = expected.price;
    // A number that cannot be compared is a difference.
    let is_equal = (point.price - price).abs() <= most;
    (!is_equal).then(|| {
        format!(
            "point {} is {} instead of {price}, which the quotes give by method {method}",
            expected.contract, point.price
        )
    })
}

fn of_fields(point: &Point, expected: &Expected, accepted: &[&Quoted]) -> Vec<String> {
    let mut differences = Vec::new();
    let name = &expected.contract;
    if let Some(basis) = expected.basis {
        if point.method != basis.name() {
            differences.push(format!("point {name} is {} instead of {}", point.method, basis.name()));
        }
        let (of, confidence) = (basis.name(), basis.confidence());
        if let Some(found) = point
            .confidence
            .filter(|found| (found - confidence).abs() > f64::EPSILON)
        {
            differences.push(format!(
                "confidence of point {name} is {found} instead of {confidence}, as it is {of}"
            ));
        }
        let is_outside = basis == Basis::Extrapolated;
        if let Some(found) = point.extrapolated.filter(|found| *found != is_outside) {
            differences.push(format!(
                "extrapolated of point {name} is {found} instead of {is_outside}, as it is {of}"
            ));
        }
    }
    if let (Some(wanted), Some(found)) = (&expected.sources, &point.sources) {
        let of = |at: &usize| accepted.get(*at).map(|quoted| quoted.source.as_str());
        let wanted: BTreeSet<&str> = wanted.iter().filter_map(of).collect();
        let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
        if wanted != found {
            let listed = |all: BTreeSet<&str>| Vec::from_iter(all).join(", ");
            differences.push(format!(
                "sources of point {name} are {} instead of {}",
                listed(found),
                listed(wanted)
            ));
        }
    }
    differences
}

/// Points whose volume is not that of the quote of the same contract. `inputs` are the quotes of the ticks.
pub(super) fn volumes(points: &[Point], inputs: &[Input]) -> Vec<String> {
    let of = |figure: Option<f64>| figure.map_or_else(|| "none".to_owned(), |figure| figure.to_string());
    let unlike = |point: &Point| {
        let is_its = |input: &&Input| {
            input.fate == Fate::Used
                && (&*input.contract.name, input.contract.block) == (&*point.contract, &*point.block)
        };
        let wanted = inputs.iter().find(is_its).and_then(|input| input.volume);
        let wanted = wanted.map(|figure| figure as f64 / 1e8);
        let is_equal = match (point.volume, wanted) {
            (Some(found), Some(wanted)) => (found - wanted).abs() <= 4.0 * f64::EPSILON * wanted.abs(),
            (found, wanted) => found.is_none() && wanted.is_none(),
        };
        (!is_equal).then(|| {
            format!(
                "volume of point {} {} is {} instead of {}",
                point.contract,
                point.block,
                of(point.volume),
                of(wanted)
            )
        })
    };
    let stored = points.iter().filter(|point| point.has_fields());
    stored.filter_map(unlike).collect()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::delivery::tests::market;
    use super::super::pricing::tests::{DAY, quoted};
    use super::*;

    fn point(contract: &str, block: &str, price: f64, basis: Basis, sources: &[&str]) -> Point {
        Point {
            contract: contract.to_owned(),
            block: block.to_owned(),
            delivery_start: String::new(),
            delivery_end: String::new(),
            price,
            volume: None,
            confidence: Some(basis.confidence()),
            method: basis.name().to_owned(),
            extrapolated: Some(basis == Basis::Extrapolated),
            sources: Some(sources.iter().map(|source| (*source).to_owned()).collect()),
        }
    }

    fn check(day: Date, definition: &str, points: &[Point], inputs: &[Quoted]) -> Found {
        Plans::default().check(Subject {
            market: &market("PJM"),
            day,
            horizon: "all",
            definition,
            points,
            inputs,
        })
    }

    #[test]
    fn a_year_of_one_quote_is_flat_and_a_slow_rise_in_it_is_reported() {
        let inputs = [quoted("CAL-27", 40.0, 0.0, "repriced")];
        for method in ["flat", "linear", "monotone", "smooth"] {
            let of = |step: f64| {
                let month = |at: u32| {
                    let price = 40.0 + step * (f64::from(at) - 6.5);
                    point(&format!("2027-{at:02}"), "flat", price, Basis::Shaped, &["raw/0/1/0"])
                };
                check(DAY, method, &(1..=12).map(month).collect::<Vec<_>>(), &inputs)
            };
            let right = of(0.0);
            assert_eq!((right.differences, right.is_whole), (Vec::new(), true), "{method}");
            assert_eq!(of(0.01).differences.len(), 12, "{method}");
        }
    }

    #[test]
    fn a_block_of_which_no_quote_says_anything_has_no_point() {
        // After Friday 29 May 2026 the month has a weekend left, so the flat quote says nothing of peak hours.
        let off_peak = Quoted {
            block: "off_peak".to_owned(),
            source: "raw/0/2/0".to_owned(),
            ..quoted("2026-06", 35.0, 0.0, "repriced")
        };
        let inputs = [quoted("BALMO", 30.0, 0.0, "repriced"), off_peak];
        let points = [
            point("BALMO", "flat", 30.0, Basis::Quoted, &["raw/0/1/0"]),
            point("BALMO", "off_peak", 30.0, Basis::Implied, &["raw/0/1/0"]),
            point("2026-06", "off_peak", 35.0, Basis::Quoted, &["raw/0/2/0"]),
        ];
        let found = |points: &[Point]| check(date(2026, 5, 29), "smooth", points, &inputs);
        assert_eq!(
            (found(&points).differences, found(&points).is_whole),
            (Vec::new(), true)
        );
        let with_peak = [&points[..], &[point("2026-06", "peak", 0.0, Basis::Extrapolated, &[])]].concat();
        assert_eq!(
            found(&with_peak).differences,
            ["point 2026-06 peak is none of this horizon"]
        );
    }
}
