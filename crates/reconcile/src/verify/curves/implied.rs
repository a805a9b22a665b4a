//! Which quotes of a curve others imply. Pure.
//!
//! Role: part of the second opinion on curves. Contracts are believed from the finest (fewest months and blocks) to the coarsest, newer before
//! older, then in the order of delivery and block. One whose delivered hours are a combination of those of believed ones adds nothing: these
//! imply its price.
//! Invariant: hours are whole numbers and are eliminated modulo a prime, so that no rounding decides. What is a combination stays one; the
//! contrary becomes one only if the prime divides a determinant of hours, a chance of some 2⁻⁵⁵.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use domain::Micros;
use jiff::civil::Date;

use super::delivery::{BLOCKS, Contract, Market, months_between};

/// A Mersenne prime.
const PRIME: u64 = (1 << 61) - 1;

/// For each of these contracts and the times of their quotes, the contracts that imply it; empty if it is believed.
pub(super) fn implied(market: &Market, quotes: &[(Contract, Micros)]) -> Vec<BTreeSet<String>> {
    let cells = Cells::of(market, quotes);
    let mut order: Vec<(usize, &(Contract, Micros))> = quotes.iter().enumerate().collect();
    order.sort_by_key(|(_, (contract, known_at))| {
        let block = BLOCKS.iter().position(|block| *block == contract.block);
        (
            fineness(contract),
            Reverse(*known_at),
            contract.first,
            contract.end,
            block,
        )
    });
    let (mut believed, mut found) = (Believed::default(), vec![BTreeSet::new(); quotes.len()]);
    for (at, (contract, _)) in order {
        let by = believed.take(at, cells.hours_of(contract));
        if let Some(names) = found.get_mut(at) {
            let names_of = by.iter().filter_map(|by| Some(quotes.get(*by)?.0.to_string()));
            names.extend(names_of);
        }
    }
    found
}

/// Months times blocks.
fn fineness(contract: &Contract) -> i32 {
    let blocks = if contract.block == "flat" { 2 } else { 1 };
    months_between(contract.first, contract.end).max(1) * blocks
}

/// Deliveries that no contract divides: a run of days, its block, and its hours.
struct Cells(Vec<(Date, Date, &'static str, u64)>);

impl Cells {
    fn of(market: &Market, quotes: &[(Contract, Micros)]) -> Cells {
        let contracts = || quotes.iter().map(|(contract, _)| contract);
        let days: BTreeSet<Date> = contracts().flat_map(|one| [one.first, one.end]).collect();
        // Flat hours are those of both blocks, if one of them is quoted.
        let blocks = match contracts().all(|one| one.block == "flat") {
            true => vec!["flat"],
            false => vec!["peak", "off_peak"],
        };
        let mut cells = Vec::new();
        for (first, end) in days.iter().zip(days.iter().skip(1)) {
            for block in &blocks {
                let hours = market.hours(*first, *end, block).unwrap_or_default();
                cells.push((*first, *end, *block, hours.unsigned_abs()));
            }
        }
        Cells(cells)
    }

    /// The hours that a contract delivers of each.
    fn hours_of(&self, contract: &Contract) -> Vec<u64> {
        let hours = |(first, end, block, hours): &(Date, Date, &str, u64)| {
            let is_its = contract.block == "flat" || contract.block == *block;
            let is_inside = contract.first <= *first && *end <= contract.end;
            if is_its && is_inside { *hours } else { 0 }
        };
        self.0.iter().map(hours).collect()
    }
}

/// A row that is reduced by those before it, and the combination of contracts that it is.
struct Reduced {
    /// The column in which it is one, and later rows become zero.
    pivot: usize,
    values: Vec<u64>,
    parts: BTreeMap<usize, u64>,
}

/// The contracts that are believed.
#[derive(Default)]
struct Believed(Vec<Reduced>);

impl Believed {
    /// Takes the next contract; returns the believed ones of which its hours are a combination, none if it is believed from now on.
    fn take(&mut self, contract: usize, mut values: Vec<u64>) -> Vec<usize> {
        let mut parts: BTreeMap<usize, u64> = BTreeMap::new();
        for row in &self.0 {
            let factor = values.get(row.pivot).copied().unwrap_or_default();
            if factor == 0 {
                continue;
            }
            for (value, of_row) in values.iter_mut().zip(&row.values) {
                *value = less(*value, times(factor, *of_row));
            }
            for (part, of_row) in &row.parts {
                let value = parts.entry(*part).or_default();
                *value = less(*value, times(factor, *of_row));
            }
        }
        let Some((pivot, value)) = values.iter().copied().enumerate().find(|(_, value)| *value != 0) else {
            let used = parts.into_iter().filter(|(_, factor)| *factor != 0);
            return used.map(|(part, _)| part).collect();
        };
        parts.insert(contract, 1);
        let scale = inverse(value);
        values.iter_mut().for_each(|value| *value = times(*value, scale));
        parts.values_mut().for_each(|value| *value = times(*value, scale));
        self.0.push(Reduced { pivot, values, parts });
        Vec::new()
    }
}

fn less(left: u64, right: u64) -> u64 {
    match left >= right {
        true => left - right,
        false => left + PRIME - right,
    }
}

fn times(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    // 2^61 is one.
    let sum = (product as u64 & PRIME) + (product >> 61) as u64;
    if sum >= PRIME { sum - PRIME } else { sum }
}

/// `value` to the power of the prime less two (Fermat).
fn inverse(value: u64) -> u64 {
    let (mut found, mut power, mut exponent) = (1, value, PRIME - 2);
    while exponent > 0 {
        if exponent % 2 == 1 {
            found = times(found, power);
        }
        power = times(power, power);
        exponent /= 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::delivery::tests::market;
    use super::*;

    /// The contracts that imply each of these, quoted on 18 December 2026 at these times.
    fn of(quotes: &[(&str, &str, Micros)]) -> Vec<String> {
        let market = market("PJM");
        let contract = |(name, block, time): &(&str, &str, Micros)| {
            let Some(contract) = market.named(name, block, date(2026, 12, 18)) else {
                unreachable!("{name} {block}");
            };
            (contract, *time)
        };
        let quotes: Vec<_> = quotes.iter().map(contract).collect();
        let joined = |names: BTreeSet<String>| Vec::from_iter(names).join(", ");
        implied(&market, &quotes).into_iter().map(joined).collect()
    }

    #[test]
    fn the_coarsest_of_contracts_that_imply_each_other_is_implied() {
        let months = [("2027-01", "flat", 0), ("2027-02", "flat", 0), ("2027-03", "flat", 0)];
        let quarter = ("Q1-27", "flat", 9);
        let [first, second, third] = months;
        assert_eq!(
            of(&[quarter, first, second]),
            ["", "", ""],
            "they leave the third month"
        );
        let all = "2027-01 flat, 2027-02 flat, 2027-03 flat";
        assert_eq!(of(&[quarter, first, second, third]), [all, "", "", ""]);
        let year = [
            ("CAL-27", "flat", 0),
            ("Q2-27", "flat", 0),
            ("Q3-27", "flat", 0),
            ("Q4-27", "flat", 0),
        ];
        let found = of(&[&year[..], &months, &[quarter, ("BALMO", "flat", 0)]].concat());
        assert_eq!(found[0], format!("{all}, Q2-27 flat, Q3-27 flat, Q4-27 flat"));
        assert_eq!((&*found[7], found.iter().filter(|by| by.is_empty()).count()), (all, 7));
    }

    #[test]
    fn both_blocks_imply_the_flat_price() {
        let blocks = [
            ("2027-01", "flat", 5),
            ("2027-01", "peak", 0),
            ("2027-01", "off_peak", 0),
        ];
        assert_eq!(of(&blocks), ["2027-01 off_peak, 2027-01 peak", "", ""]);
        let other = [
            ("2027-02", "flat", 5),
            ("2027-01", "peak", 0),
            ("2027-01", "off_peak", 0),
        ];
        assert_eq!(of(&other), ["", "", ""]);
    }

    #[test]
    fn of_equally_fine_ones_the_older_is_implied_then_the_later() {
        let months = [("2027-01", "flat", 0), ("2027-02", "flat", 0), ("2027-03", "flat", 0)];
        let with = |peak: Micros, off_peak: Micros| {
            of(&[&months[..], &[("Q1-27", "peak", peak), ("Q1-27", "off_peak", off_peak)]].concat())
        };
        let flat = "2027-01 flat, 2027-02 flat, 2027-03 flat";
        assert_eq!(with(1, 2)[3..], [format!("{flat}, Q1-27 off_peak"), String::new()]);
        assert_eq!(with(2, 1)[3..], [String::new(), format!("{flat}, Q1-27 peak")]);
        assert_eq!(with(1, 1)[3..], [String::new(), format!("{flat}, Q1-27 peak")]);
    }
}
