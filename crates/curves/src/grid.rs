//! The cells of a curve: months (and the balance of the first one) of each block, with their delivered hours.
//!
//! Invariant: cells do not overlap, and every contract that begins after the day of the curve is a run of whole cells in each block that
//! it delivers.

use jiff::civil::Date;
use markets::contract::{Block, Contract, Month, Period};

use crate::{CurveError, DeliveryCalendar};

/// Days of a month on average: the unit of time in which curves are smooth.
const DAYS_OF_MONTH: f64 = 30.4375;

/// One price of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// A month, or the balance of one.
    pub period: Period,
    /// The hours that it delivers.
    pub block: Block,
    /// Their number.
    pub hours: f64,
    /// Its first day, in months from the first day of the curve.
    pub(crate) start: f64,
    /// Its end, likewise.
    pub(crate) end: f64,
}

impl Cell {
    pub(crate) fn middle(&self) -> f64 {
        (self.start + self.end) / 2.0
    }
}

/// The cells of a curve: all of the first block in order of time, then all of the second.
#[derive(Debug, Clone)]
pub(crate) struct Grid {
    pub cells: Vec<Cell>,
    /// Cells of each block.
    pub length: usize,
    blocks: Vec<Block>,
    has_balance: bool,
    first: Month,
}

impl Grid {
    /// The grid of contracts that begin after `as_of`; at least to the month before `until`.
    pub fn new(
        calendar: &DeliveryCalendar,
        as_of: Date,
        until: Month,
        contracts: &[Contract],
    ) -> Result<Grid, CurveError> {
        let first = Month::of(as_of).plus(1);
        let balance = contracts
            .iter()
            .map(|contract| contract.period)
            .find(|period| period.is_balance());
        let ends = contracts.iter().map(|contract| contract.period.end_month());
        let months = ends.fold(until, Month::max).since(first).max(0);
        let mut periods = Vec::from_iter(balance);
        for ahead in 0..months {
            periods.push(Period::month(first.plus(ahead))?);
        }
        let blocks = blocks(contracts);
        let mut cells = Vec::with_capacity(periods.len() * blocks.len());
        for block in &blocks {
            for period in &periods {
                let at = |day: Date| f64::from((day - as_of).get_days()) / DAYS_OF_MONTH;
                cells.push(Cell {
                    period: *period,
                    block: *block,
                    hours: calendar.hours(*period, *block)? as f64,
                    start: at(period.first),
                    end: at(period.end),
                });
            }
        }
        Ok(Grid {
            cells,
            length: periods.len(),
            blocks,
            has_balance: balance.is_some(),
            first,
        })
    }

    /// The ranges of cells of each block.
    pub fn series(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let length = self.length;
        (0..self.blocks.len()).map(move |block| block * length..(block + 1) * length)
    }

    /// The cells that a contract delivers.
    pub fn cells_of(&self, contract: Contract) -> impl Iterator<Item = usize> {
        let months = usize::from(self.has_balance);
        let column = |month: Month| usize::try_from(month.since(self.first)).unwrap_or(0) + months;
        let columns = match contract.period.is_balance() {
            true => 0..1,
            false => column(contract.period.first_month())..column(contract.period.end_month()),
        };
        let delivers = move |block: Block| contract.block == Block::Flat || block == contract.block;
        let blocks = self
            .blocks
            .iter()
            .enumerate()
            .filter(move |(_, block)| delivers(**block));
        blocks.flat_map(move |(at, _)| columns.clone().map(move |column| at * self.length + column))
    }
}

/// The blocks that have prices of their own. Flat contracts beside others price both.
fn blocks(contracts: &[Contract]) -> Vec<Block> {
    let has = |block| contracts.iter().any(|contract| contract.block == block);
    match (has(Block::Flat), has(Block::Peak), has(Block::OffPeak)) {
        (_, false, false) => vec![Block::Flat],
        (false, true, false) => vec![Block::Peak],
        (false, false, true) => vec![Block::OffPeak],
        _ => vec![Block::Peak, Block::OffPeak],
    }
}
