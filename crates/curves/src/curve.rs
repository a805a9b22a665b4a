//! Curves: from quotes to points.
//!
//! Rule for quotes that cannot all hold: of one contract, the newest counts (at equal times the later one of the input). Contracts are then
//! believed from the finest (fewest months and blocks) to the coarsest, and newer before older among equally fine ones. A contract that
//! believed ones imply is not used: it is consistent, or contradictory with its residual and the contracts that imply another price.
//! Which of them came first matters only if equally fine ones imply each other. Otherwise contracts have an order of their own, so that a new
//! price of one of them needs no new layout. The same quotes give the same bits, whatever was built before.
//! Failure: no quote can be used; everything else is reported with the quote.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use markets::contract::{Block, Contract, Month};

use crate::layout::{Basis, Layout, Terms};
use crate::layouts::{Key, Layouts, Shared};
use crate::method::{Method, Shape};
use crate::quote::{Input, Quote, State, is_plausible_number};
use crate::{Cell, CurveError, DeliveryCalendar};

/// One price of a curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Month or balance of a month, and its block.
    pub contract: Contract,
    /// In the unit of the quotes.
    pub price: f64,
    /// Volume of the quote of this very contract.
    pub volume: Option<f64>,
    /// How it got its price.
    pub basis: Basis,
    /// The inputs that it is made from, as indexes of [`Curve::inputs`].
    pub sources: Vec<usize>,
}

/// A curve on one day.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// In order of delivery, then block. If peak and off-peak have prices, the flat ones follow from them.
    pub points: Vec<Point>,
    /// Every quote, in the order in which they were given.
    pub inputs: Vec<Input>,
}

impl Curve {
    /// Whether a quote contradicts others.
    pub fn has_contradictions(&self) -> bool {
        self.inputs.iter().any(|input| input.state == State::Contradictory)
    }

    /// The month after the last one with a quote.
    pub(crate) fn quoted_until(&self) -> Option<Month> {
        let used = self.inputs.iter().filter(|input| input.curve_price.is_some());
        used.map(|input| input.quote.contract.period.end_month()).max()
    }
}

/// Builds the curves of one market.
#[derive(Debug)]
pub struct Builder {
    calendar: DeliveryCalendar,
    method: Method,
    shape: Shape,
    tolerance: f64,
    /// Those of the last curve: a change of prices needs no other, whatever the shared ones have forgotten.
    used: Vec<Arc<Shared>>,
    /// Of a builder that shares none.
    layouts: Layouts,
}

impl Builder {
    /// A builder. A quote that others imply contradicts them if it differs by more than `tolerance`, in the unit of the prices.
    pub fn new(calendar: DeliveryCalendar, method: Method, shape: Shape, tolerance: f64) -> Builder {
        Builder {
            calendar,
            method,
            shape,
            tolerance,
            used: Vec::new(),
            layouts: Layouts::default(),
        }
    }

    /// The calendar of the market.
    pub fn calendar(&self) -> &DeliveryCalendar {
        &self.calendar
    }

    /// How months inside coarser contracts are priced.
    pub fn method(&self) -> Method {
        self.method
    }

    /// How the months of a year differ.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The layout of the last curve.
    pub(crate) fn last_layout(&self) -> Option<&Arc<Shared>> {
        self.used.last()
    }

    /// The curve of the quotes on a day, with at least the months before `until`.
    ///
    /// # Errors
    /// No quote can be used, or a contract cannot be placed in the calendar.
    pub fn build(&mut self, as_of: Date, until: Month, quotes: &[Quote]) -> Result<Curve, CurveError> {
        let mut layouts = std::mem::take(&mut self.layouts);
        let built = self.build_with(&mut layouts, (as_of, until), quotes.to_vec());
        self.layouts = layouts;
        built
    }

    /// As [`Builder::build`], with layouts that other curves use too; day and first month that the curve may lack.
    ///
    /// # Errors
    /// As there.
    pub fn build_with(
        &mut self,
        layouts: &mut Layouts,
        (as_of, until): (Date, Month),
        quotes: Vec<Quote>,
    ) -> Result<Curve, CurveError> {
        let mut inputs = self.inputs(as_of, quotes)?;
        if !inputs.iter().any(|input| input.state == State::Repriced) {
            return Err(CurveError::NoQuotes(format!(
                "all {} are superseded, or their delivery begins before the day after {as_of}",
                inputs.len()
            )));
        }
        let (shared, order) = self.believed(layouts, (as_of, until), &inputs)?;
        let layout = &shared.layout;
        let prices: Vec<f64> = order
            .iter()
            .filter_map(|at| Some(inputs.get(*at)?.quote.price))
            .collect();
        let mut values = Vec::new();
        layout.solve(&prices, &mut layouts.scratch, &mut values)?;
        self.judge(layout, &order, &values, &mut inputs);
        let points = points(layout, &order, &values, &inputs);
        Ok(Curve { points, inputs })
    }

    /// The quotes with what is known of them before the layout.
    fn inputs(&self, as_of: Date, quotes: Vec<Quote>) -> Result<Vec<Input>, CurveError> {
        let mut newest: BTreeMap<Contract, usize> = BTreeMap::new();
        for (at, quote) in quotes.iter().enumerate() {
            let known = newest.get(&quote.contract).and_then(|known| quotes.get(*known));
            if is_plausible_number(quote.price) && known.is_none_or(|known| known.known_at <= quote.known_at) {
                newest.insert(quote.contract, at);
            }
        }
        let state = |at: usize, quote: &Quote| -> Result<State, CurveError> {
            let period = quote.contract.period;
            let is_due = match period.is_balance() {
                true => as_of.tomorrow().is_ok_and(|tomorrow| tomorrow == period.first),
                false => period.first > as_of,
            };
            // A whole month has hours of every block, and the layout refuses a block that the market lacks.
            let is_empty = || match period.is_balance() {
                true => self
                    .calendar
                    .hours(period, quote.contract.block)
                    .map(|hours| hours == 0),
                false => Ok(false),
            };
            Ok(match () {
                () if !quote.price.is_finite() => State::NotANumber,
                () if !is_plausible_number(quote.price) => State::TooLarge,
                () if !is_due => State::InDelivery,
                () if newest.get(&quote.contract) != Some(&at) => State::Superseded,
                () if is_empty()? => State::NoDelivery,
                () => State::Repriced,
            })
        };
        let input = |(at, quote): (usize, Quote)| {
            Ok(Input {
                state: state(at, &quote)?,
                quote,
                curve_price: None,
                implied_by: Vec::new(),
            })
        };
        quotes.into_iter().enumerate().map(input).collect()
    }

    /// The layout of the inputs that count, and their order in it.
    fn believed(
        &mut self,
        layouts: &mut Layouts,
        when: (Date, Month),
        inputs: &[Input],
    ) -> Result<(Arc<Shared>, Vec<usize>), CurveError> {
        let before = std::mem::take(&mut self.used);
        let order = ordered(inputs, |_| ());
        let shared = self.layout(layouts, &before, when, contracts(&order, inputs))?;
        if !shared.layout.is_contested() {
            return Ok((shared, order));
        }
        let order = ordered(inputs, |quote| Reverse(quote.known_at));
        let shared = self.layout(layouts, &before, when, contracts(&order, inputs))?;
        Ok((shared, order))
    }

    /// The layout of these contracts in this order.
    fn layout(
        &mut self,
        layouts: &mut Layouts,
        before: &[Arc<Shared>],
        (as_of, until): (Date, Month),
        contracts: Vec<Contract>,
    ) -> Result<Arc<Shared>, CurveError> {
        let terms = Terms {
            calendar: &self.calendar,
            as_of,
            until,
            method: self.method,
            shape: &self.shape,
        };
        let key = Key::of(terms, contracts);
        let shared = match before.iter().find(|known| *known.key == key) {
            Some(known) => Arc::clone(known),
            None => layouts.get(key, terms)?,
        };
        self.used.push(Arc::clone(&shared));
        Ok(shared)
    }

    /// Compares each used quote with the curve.
    fn judge(&self, layout: &Layout, order: &[usize], values: &[f64], inputs: &mut [Input]) {
        let contract_of = |at: &usize| {
            order
                .get(*at)
                .and_then(|at| inputs.get(*at))
                .map(|input| input.quote.contract)
        };
        let implied: Vec<(usize, Vec<Contract>)> = layout
            .implied()
            .iter()
            .map(|(row, by)| (*row, by.iter().filter_map(contract_of).collect()))
            .collect();
        for (row, at) in order.iter().enumerate() {
            if let Some(input) = inputs.get_mut(*at) {
                input.curve_price = layout.price_of(row, values);
            }
        }
        for (row, by) in implied {
            if let Some(input) = order.get(row).and_then(|at| inputs.get_mut(*at)) {
                let differs = input.residual().is_none_or(|residual| residual.abs() > self.tolerance);
                input.state = if differs {
                    State::Contradictory
                } else {
                    State::Consistent
                };
                input.implied_by = by;
            }
        }
    }
}

fn points(layout: &Layout, order: &[usize], values: &[f64], inputs: &[Input]) -> Vec<Point> {
    // Few quotes state one.
    let stated = inputs.iter().filter(|input| input.curve_price.is_some());
    let volumes: Vec<(Contract, f64)> = stated
        .filter_map(|input| Some((input.quote.contract, input.quote.volume?)))
        .collect();
    let volume = |contract: Contract| {
        let same = |(of, _): &&(Contract, f64)| *of == contract;
        volumes.iter().find(same).map(|(_, volume)| *volume)
    };
    let cells = layout
        .cells()
        .iter()
        .zip(values)
        .zip(layout.bases())
        .zip(layout.sources());
    let point = |(((cell, price), basis), sources): (((&Cell, &f64), &Basis), &Vec<usize>)| {
        let contract = Contract {
            period: cell.period,
            block: cell.block,
        };
        Point {
            contract,
            price: *price,
            volume: volume(contract),
            basis: *basis,
            sources: sources.iter().filter_map(|row| order.get(*row).copied()).collect(),
        }
    };
    let mut points: Vec<Point> = cells.map(point).collect();
    let is_quoted = |contract: Contract| {
        let quoted = |input: &Input| input.quote.contract == contract && input.state == State::Repriced;
        inputs.iter().any(quoted)
    };
    let flat = flat_points(layout, &points, volume, is_quoted);
    // The balance of a month may have no peak hour left, and a block no quote: that is no price.
    let mut cells = 0..layout.cells().len();
    points.retain(|_| cells.next().is_some_and(|at| layout.has_price(at)));
    points.extend(flat);
    points.sort_by_key(|point| (point.contract.period.first, point.contract.block));
    points
}

/// Flat prices of a curve that has peak and off-peak ones: flat · H = peak · Hp + off · Ho.
fn flat_points(
    layout: &Layout,
    points: &[Point],
    volume: impl Fn(Contract) -> Option<f64>,
    is_quoted: impl Fn(Contract) -> bool,
) -> Vec<Point> {
    let cells = layout.cells();
    let length = cells.iter().position(|cell| cell.block == Block::OffPeak).unwrap_or(0);
    let (peak, off) = points.split_at_checked(length).unwrap_or_default();
    let (on_cells, off_cells) = cells.split_at_checked(length).unwrap_or_default();
    let hours = on_cells.iter().zip(off_cells).map(|(on, off)| (on.hours, off.hours));
    let mut found = Vec::with_capacity(length);
    for (at, ((peak, off), (on, rest))) in peak.iter().zip(off).zip(hours).enumerate() {
        let lacks = |cell: usize, hours: f64| hours > 0.0 && !layout.has_price(cell);
        if lacks(at, on) || lacks(at + length, rest) {
            continue;
        }
        let contract = Contract {
            block: Block::Flat,
            ..peak.contract
        };
        // What delivers no hour says nothing of the flat price.
        let parts = [(peak, on), (off, rest)].map(|(part, hours)| (hours > 0.0).then_some(part));
        let parts = || parts.into_iter().flatten();
        let mut sources: Vec<usize> = parts().flat_map(|part| part.sources.iter().copied()).collect();
        sources.sort_unstable();
        sources.dedup();
        let weaker = parts().min_by(|one, other| one.basis.confidence().total_cmp(&other.basis.confidence()));
        let Some(weaker) = weaker.map(|part| part.basis) else {
            continue;
        };
        found.push(Point {
            contract,
            price: (peak.price * on + off.price * rest) / (on + rest),
            volume: volume(contract),
            basis: if is_quoted(contract) { Basis::Quoted } else { weaker },
            sources,
        });
    }
    found
}

/// The inputs that count, from the finest to the coarsest; equally fine ones by this key, then by contract.
fn ordered<K: Ord>(inputs: &[Input], key: impl Fn(&Quote) -> K) -> Vec<usize> {
    let used = |at: &usize| inputs.get(*at).is_some_and(|input| input.state == State::Repriced);
    let mut order: Vec<usize> = (0..inputs.len()).filter(used).collect();
    order.sort_by_key(|at| {
        inputs.get(*at).map(|input| {
            let contract = input.quote.contract;
            let months = contract.period.end_month().since(contract.period.first_month()).max(1);
            let blocks = if contract.block == Block::Flat { 2 } else { 1 };
            (months * blocks, key(&input.quote), contract)
        })
    });
    order
}

fn contracts(order: &[usize], inputs: &[Input]) -> Vec<Contract> {
    let of = |at: &usize| Some(inputs.get(*at)?.quote.contract);
    order.iter().filter_map(of).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use jiff::civil::date;
    use markets::contract::Tenor;

    use super::*;
    use crate::snapshot::rounded;

    /// Quotes of these contracts, known in this order.
    fn quotes(names: &[(&str, Block, f64)]) -> Vec<Quote> {
        let quote = |(known_at, (name, block, price)): (i64, &(&str, Block, f64))| {
            let tenor: Tenor = name.parse().unwrap();
            let period = tenor
                .resolve(date(2026, 12, 18), markets::contract::Commodity::Power)
                .unwrap();
            Quote {
                contract: Contract { period, block: *block },
                price: *price,
                volume: None,
                known_at,
                source: (*name).to_owned(),
            }
        };
        (0..).zip(names).map(quote).collect()
    }

    fn quote_on(day: Date, name: &str, block: Block, price: f64) -> Quote {
        let tenor: Tenor = name.parse().unwrap();
        Quote {
            contract: Contract {
                period: tenor.resolve(day, markets::contract::Commodity::Power).unwrap(),
                block,
            },
            price,
            volume: None,
            known_at: 0,
            source: name.to_owned(),
        }
    }

    fn builder() -> Builder {
        Builder::new(DeliveryCalendar::of("PJM").unwrap(), Method::Smooth, Shape::None, 0.005)
    }

    #[test]
    fn a_layout_is_kept_in_whatever_order_the_quotes_came_and_gives_the_same_bits() {
        let (day, until) = (date(2026, 12, 18), Month::new(2028, 1));
        let mut quotes = quotes(&[
            ("2027-01", Block::Flat, 40.0),
            ("2027-02", Block::Flat, 41.0),
            ("Q1-27", Block::Flat, 39.0),
            ("Q2-27", Block::Flat, 35.5),
            ("CAL-27", Block::Flat, 38.0),
        ]);
        let mut builder = builder();
        let first = builder.build(day, until, &quotes).unwrap();
        for turn in 1..20 {
            // Another quote is the newest one.
            let at = turn % quotes.len();
            quotes[at].known_at += 100 * turn as i64;
            let again = builder.build(day, until, &quotes).unwrap();
            assert!(again.points == first.points && !again.has_contradictions());
        }
        assert_eq!(builder.layouts.len(), 1);
    }

    #[test]
    fn of_equally_fine_contracts_that_imply_each_other_the_newest_is_believed() {
        let (day, until) = (date(2026, 12, 18), Month::new(2028, 1));
        // With the first two, each of the others gives the on-peak price of January.
        let mut quotes = quotes(&[
            ("2027-01", Block::OffPeak, 30.0),
            ("2027-02", Block::Peak, 60.0),
            ("2027-01", Block::Flat, 40.0),
            ("WIN-27", Block::Peak, 99.0),
        ]);
        let mut builder = builder();
        for (at, newest) in (10..).zip([3, 2, 3]) {
            quotes[newest].known_at = at;
            let curve = builder.build(day, until, &quotes).unwrap();
            let contradictory: Vec<usize> = (0..quotes.len())
                .filter(|at| curve.inputs[*at].state == State::Contradictory)
                .collect();
            assert_eq!(contradictory, [5 - newest]);
        }
        // The order of the contracts, and both others.
        assert_eq!(builder.layouts.len(), 3);
    }

    #[test]
    fn a_balance_without_a_peak_hour_has_no_peak_price_and_its_flat_one_follows() {
        // After Friday 29 May 2026 the month has a weekend left.
        let day = date(2026, 5, 29);
        let quotes = [
            quote_on(day, "BALMO", Block::OffPeak, 30.0),
            quote_on(day, "2026-06", Block::Peak, 55.0),
            quote_on(day, "2026-06", Block::OffPeak, 35.0),
        ];
        let curve = builder().build(day, Month::new(2026, 7), &quotes).unwrap();
        let balance = curve.points.iter().filter(|point| point.contract.period.is_balance());
        let shown: Vec<_> = balance
            .map(|point| (point.contract.block, point.price, point.basis, point.sources.clone()))
            .collect();
        let expected = [
            (Block::Flat, 30.0, Basis::Quoted, vec![0]),
            (Block::OffPeak, 30.0, Basis::Quoted, vec![0]),
        ];
        assert_eq!(shown, expected);
        assert_eq!(curve.points.len(), 2 + 3);
    }

    #[test]
    fn a_block_of_which_no_quote_says_anything_has_no_price() {
        // What is left of the month is a weekend, so its flat quote says nothing of peak hours.
        let day = date(2026, 5, 29);
        let quotes = [
            quote_on(day, "BALMO", Block::Flat, 30.0),
            quote_on(day, "2026-06", Block::OffPeak, 35.0),
        ];
        for method in Method::ALL {
            let mut builder = Builder::new(DeliveryCalendar::of("PJM").unwrap(), method, Shape::None, 0.005);
            let curve = builder.build(day, Month::new(2026, 8), &quotes).unwrap();
            let shown = curve.points.iter().map(|point| {
                let contract = point.contract;
                (
                    contract.period.to_string(),
                    contract.block,
                    rounded(point.price),
                    point.basis,
                )
            });
            let expected = [
                ("BALMO", Block::Flat, 30.0, Basis::Quoted),
                ("BALMO", Block::OffPeak, 30.0, Basis::Implied),
                ("2026-06", Block::OffPeak, 35.0, Basis::Quoted),
                ("2026-07", Block::OffPeak, 35.0, Basis::Extrapolated),
            ];
            let expected = expected.map(|(period, block, price, basis)| (period.to_owned(), block, price, basis));
            assert_eq!(Vec::from_iter(shown), expected, "{}", method.name());
        }
    }

    #[test]
    fn a_price_beyond_any_contract_is_left_out_and_the_others_reprice() {
        let (day, until) = (date(2026, 12, 18), Month::new(2028, 1));
        let mut quotes = quotes(&[
            ("CAL-27", Block::Flat, 35.0),
            ("CAL-28", Block::Flat, 9_999_999_999.0),
            ("CAL-29", Block::Flat, -9_999_999_999.0),
            ("Q1-27", Block::Flat, 100_000.0),
        ]);
        // An older price of the contract still counts.
        quotes.push(Quote {
            price: 40.0,
            known_at: -1,
            ..quotes[1].clone()
        });
        let curve = builder().build(day, until, &quotes).unwrap();
        let states: Vec<State> = curve.inputs.iter().map(|input| input.state).collect();
        let (held, too_large) = (State::Repriced, State::TooLarge);
        assert_eq!(states, [held, too_large, too_large, held, held]);
        let used = curve.inputs.iter().filter_map(Input::residual);
        assert!(used.clone().count() == 3 && used.into_iter().all(|residual| residual.abs() < 1e-8));
    }
}
