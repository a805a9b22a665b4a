//! Curves: from quotes to points.
//!
//! Rule for quotes that cannot all hold: of one contract, the newest counts (at equal times the later one of the input). Contracts are then
//! believed from the finest (fewest months and blocks) to the coarsest, and newer before older among equally fine ones. A contract that
//! believed ones imply is not used: it is consistent, or contradictory with its residual and the contracts that imply another price.
//! Failure: no quote can be used; everything else is reported with the quote.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use markets::contract::{Block, Contract, Month};

use crate::layout::{Basis, Layout, Scratch, Terms};
use crate::method::{Method, Shape};
use crate::quote::{Input, Quote, State};
use crate::{CurveError, DeliveryCalendar};

/// Layouts that a builder keeps: those of a few sets of contracts, of today and yesterday.
const KEPT: usize = 8;

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
}

/// Builds the curves of one market, and keeps the layouts of recent sets of contracts.
#[derive(Debug)]
pub struct Builder {
    calendar: DeliveryCalendar,
    method: Method,
    shape: Shape,
    tolerance: f64,
    is_exact: bool,
    layouts: Vec<(Key, Arc<Layout>)>,
    scratch: Scratch,
}

#[derive(Debug, PartialEq)]
struct Key {
    as_of: Date,
    until: Month,
    /// In the order in which they are believed.
    contracts: Vec<Contract>,
}

impl Builder {
    /// A builder. A quote that others imply contradicts them if it differs by more than `tolerance`, in the unit of the prices.
    pub fn new(calendar: DeliveryCalendar, method: Method, shape: Shape, tolerance: f64) -> Builder {
        Builder {
            calendar,
            method,
            shape,
            tolerance,
            is_exact: false,
            layouts: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// The same quotes give the same bits, whatever was built before: a layout of the same contracts in another order is not used. Prices
    /// differ by rounding only, but a snapshot that is made again must be equal.
    #[must_use]
    pub fn exact(self) -> Builder {
        Builder { is_exact: true, ..self }
    }

    /// The calendar of the market.
    pub fn calendar(&self) -> &DeliveryCalendar {
        &self.calendar
    }

    /// How months inside coarser contracts are priced.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The curve of the quotes on a day, with at least the months before `until`.
    ///
    /// # Errors
    /// No quote can be used, or a contract cannot be placed in the calendar.
    pub fn build(&mut self, as_of: Date, until: Month, quotes: &[Quote]) -> Result<Curve, CurveError> {
        let mut inputs = self.inputs(as_of, quotes)?;
        let order = believed(&inputs);
        let contracts: Vec<Contract> = order
            .iter()
            .filter_map(|at| Some(inputs.get(*at)?.quote.contract))
            .collect();
        let prices: Vec<f64> = order
            .iter()
            .filter_map(|at| Some(inputs.get(*at)?.quote.price))
            .collect();
        if contracts.is_empty() {
            return Err(CurveError::NoQuotes(format!(
                "all {} are superseded, or their delivery begins before the day after {as_of}",
                quotes.len()
            )));
        }
        // The layout may hold the contracts in another order that makes no difference.
        let (layout, kept) = self.layout(Key {
            as_of,
            until,
            contracts: contracts.clone(),
        })?;
        let at_kept = |contract: &Contract| contracts.iter().position(|other| other == contract);
        let places: Vec<usize> = kept.iter().filter_map(at_kept).collect();
        let prices: Vec<f64> = places.iter().filter_map(|at| prices.get(*at).copied()).collect();
        let order: Vec<usize> = places.iter().filter_map(|at| order.get(*at).copied()).collect();
        let mut values = Vec::new();
        layout.solve(&prices, &mut self.scratch, &mut values)?;
        self.judge(&layout, &order, &values, &mut inputs);
        let points = self.points(&layout, &order, &values, &inputs)?;
        Ok(Curve { points, inputs })
    }

    /// The quotes with what is known of them before the layout.
    fn inputs(&self, as_of: Date, quotes: &[Quote]) -> Result<Vec<Input>, CurveError> {
        let mut newest: BTreeMap<Contract, usize> = BTreeMap::new();
        for (at, quote) in quotes.iter().enumerate() {
            let known = newest.get(&quote.contract).and_then(|known| quotes.get(*known));
            if quote.price.is_finite() && known.is_none_or(|known| known.known_at <= quote.known_at) {
                newest.insert(quote.contract, at);
            }
        }
        let state = |at: usize, quote: &Quote| -> Result<State, CurveError> {
            let period = quote.contract.period;
            let is_due = match period.is_balance() {
                true => as_of.tomorrow().is_ok_and(|tomorrow| tomorrow == period.first),
                false => period.first > as_of,
            };
            Ok(match () {
                () if !quote.price.is_finite() => State::NotANumber,
                () if !is_due => State::InDelivery,
                () if newest.get(&quote.contract) != Some(&at) => State::Superseded,
                () if self.calendar.hours(period, quote.contract.block)? == 0 => State::NoDelivery,
                () => State::Repriced,
            })
        };
        let input = |(at, quote): (usize, &Quote)| {
            Ok(Input {
                state: state(at, quote)?,
                quote: quote.clone(),
                curve_price: None,
                implied_by: Vec::new(),
            })
        };
        quotes.iter().enumerate().map(input).collect()
    }

    /// The layout of these contracts and the order in which it has them.
    fn layout(&mut self, key: Key) -> Result<(Arc<Layout>, Vec<Contract>), CurveError> {
        let is_same = |known: &Key, layout: &Layout| {
            let same_days = known.as_of == key.as_of && known.until == key.until;
            let same_order = known.contracts == key.contracts;
            let same_set = || !layout.is_contested() && is_same_set(&known.contracts, &key.contracts);
            same_days && (same_order || (!self.is_exact && same_set()))
        };
        if let Some((known, layout)) = self.layouts.iter().find(|(known, layout)| is_same(known, layout)) {
            return Ok((layout.clone(), known.contracts.clone()));
        }
        let terms = Terms {
            calendar: &self.calendar,
            as_of: key.as_of,
            until: key.until,
            method: self.method,
            shape: &self.shape,
        };
        let layout = Arc::new(Layout::of(terms, &key.contracts)?);
        if self.layouts.len() >= KEPT {
            self.layouts.remove(0);
        }
        let contracts = key.contracts.clone();
        self.layouts.push((key, layout.clone()));
        Ok((layout, contracts))
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

    fn points(
        &self,
        layout: &Layout,
        order: &[usize],
        values: &[f64],
        inputs: &[Input],
    ) -> Result<Vec<Point>, CurveError> {
        let volume = |contract: Contract| {
            let same = |input: &&Input| input.quote.contract == contract && input.curve_price.is_some();
            inputs.iter().find(same).and_then(|input| input.quote.volume)
        };
        let cells = layout
            .cells()
            .iter()
            .zip(values)
            .zip(layout.bases())
            .zip(layout.sources());
        let mut points: Vec<Point> = cells
            .map(|(((cell, price), basis), sources)| {
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
            })
            .collect();
        let is_quoted = |contract: Contract| {
            let quoted = |input: &Input| input.quote.contract == contract && input.state == State::Repriced;
            inputs.iter().any(quoted)
        };
        let flat = self.flat_points(layout, &points, volume, is_quoted)?;
        points.extend(flat);
        points.sort_by_key(|point| (point.contract.period.first, point.contract.block));
        Ok(points)
    }

    /// Flat prices of a curve that has peak and off-peak ones: flat · H = peak · Hp + off · Ho.
    fn flat_points(
        &self,
        layout: &Layout,
        points: &[Point],
        volume: impl Fn(Contract) -> Option<f64>,
        is_quoted: impl Fn(Contract) -> bool,
    ) -> Result<Vec<Point>, CurveError> {
        let cells = layout.cells();
        let length = cells.iter().position(|cell| cell.block == Block::OffPeak).unwrap_or(0);
        let (peak, off) = points.split_at_checked(length).unwrap_or_default();
        let mut found = Vec::with_capacity(length);
        for (peak, off) in peak.iter().zip(off) {
            let hours = |block| {
                self.calendar
                    .hours(peak.contract.period, block)
                    .map(|hours| hours as f64)
            };
            let (on, rest) = (hours(Block::Peak)?, hours(Block::OffPeak)?);
            let contract = Contract {
                block: Block::Flat,
                ..peak.contract
            };
            let mut sources = [&*peak.sources, &*off.sources].concat();
            sources.sort_unstable();
            sources.dedup();
            let weaker = match peak.basis.confidence() < off.basis.confidence() {
                true => peak.basis,
                false => off.basis,
            };
            found.push(Point {
                contract,
                price: (peak.price * on + off.price * rest) / (on + rest),
                volume: volume(contract),
                basis: if is_quoted(contract) { Basis::Quoted } else { weaker },
                sources,
            });
        }
        Ok(found)
    }
}

/// The inputs that count, from the first to be believed to the last.
fn believed(inputs: &[Input]) -> Vec<usize> {
    let used = |at: &usize| inputs.get(*at).is_some_and(|input| input.state == State::Repriced);
    let mut order: Vec<usize> = (0..inputs.len()).filter(used).collect();
    order.sort_by_key(|at| {
        inputs.get(*at).map(|input| {
            let contract = input.quote.contract;
            let months = contract.period.end_month().since(contract.period.first_month()).max(1);
            let blocks = if contract.block == Block::Flat { 2 } else { 1 };
            (months * blocks, Reverse(input.quote.known_at), contract)
        })
    });
    order
}

fn is_same_set(left: &[Contract], right: &[Contract]) -> bool {
    let sorted = |contracts: &[Contract]| {
        let mut sorted = contracts.to_vec();
        sorted.sort_unstable();
        sorted
    };
    left.len() == right.len() && sorted(left) == sorted(right)
}
