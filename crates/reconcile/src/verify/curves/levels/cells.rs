//! The months of a curve, which quotes cover them, and the weight of each quote in each level. Pure.
//!
//! Role: part of the second opinion on curves. Everything here follows from the contracts, so one plan serves all snapshots of a set of them.
//! Invariants: cells are in order of time within a block, and one block follows the other. Accepted quotes are independent.
//! Failure: `None`: the market lacks a block, a delivery is outside the calendar, or accepted quotes depend on each other, which the check of
//! implied quotes reports.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Span;
use jiff::civil::Date;

use super::super::definition::Season;
use super::super::delivery::{Contract, Market};
use super::matrix::{self, Matrix};

/// Days of a month on average: the unit of time of the smooth method.
const DAYS_OF_MONTH: f64 = 30.4375;
/// The longest horizon with a number of months.
const MOST_MONTHS: i32 = 12;
/// Rows of accepted quotes have length one, and are far from dependent or dependent.
const DEPENDENT: f64 = 1e-10;
/// A weight or a rest of at most this is rounding.
const NONE: f64 = 1e-11;
/// And one of at least this is none. What lies between is not judged.
const SOME: f64 = 1e-7;

/// A month or the balance of one, in a block that has prices of its own.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub contract: Contract,
    pub hours: f64,
    /// Its price is `factor * level + summand`.
    pub factor: f64,
    summand: f64,
    /// Its first day and the day after its last one, in months from the day of the curve.
    pub start: f64,
    pub end: f64,
}

impl Cell {
    pub(super) fn middle(&self) -> f64 {
        self.start.midpoint(self.end)
    }

    pub(super) fn price(&self, level: f64) -> f64 {
        self.factor * level + self.summand
    }
}

/// A quote that is repriced.
#[derive(Debug)]
pub(super) struct Mean {
    pub contract: Contract,
    /// For each cell, its part of the delivered hours, times its factor: the weight of its level.
    pub weights: Vec<f64>,
    /// What the summands of its cells add to its price.
    pub summand: f64,
    hours: f64,
    /// Hours times factors.
    shaped_hours: f64,
}

/// How a point gets its price, from the most certain to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Basis {
    Extrapolated,
    Interpolated,
    Shaped,
    Implied,
    Quoted,
}

impl Basis {
    pub(super) fn name(self) -> &'static str {
        match self {
            Basis::Quoted => "quoted",
            Basis::Implied => "implied",
            Basis::Shaped => "shaped",
            Basis::Interpolated => "interpolated",
            Basis::Extrapolated => "extrapolated",
        }
    }

    pub(super) fn confidence(self) -> f64 {
        match self {
            Basis::Quoted => 1.0,
            Basis::Implied => 0.9,
            Basis::Shaped => 0.7,
            Basis::Interpolated => 0.5,
            Basis::Extrapolated => 0.3,
        }
    }
}

/// The cells of a curve with what the contracts say of them.
#[derive(Debug)]
pub(super) struct Cells {
    pub cells: Vec<Cell>,
    /// Of each block.
    pub series: Vec<Range<usize>>,
    /// Of each block, from the first to the last cell that a quote covers; empty if none does.
    pub inner: Vec<Range<usize>>,
    pub means: Vec<Mean>,
    /// For each cell, the weight of each quote in the level of the flat method; zero where no quote covers it.
    pub gain: Matrix,
    /// Cells before the first and after the last quote, and those whose level they take, in this order.
    pub held: Vec<(usize, usize)>,
}

impl Cells {
    /// The cells of the contracts that count on a day; those that are repriced are `accepted`.
    pub(super) fn of(market: &Market, day: Date, season: &Season, used: &[(Contract, bool)]) -> Option<Cells> {
        let (cells, series) = cells(market, (day, season), used)?;
        let means: Vec<Mean> = used
            .iter()
            .filter(|(_, is_accepted)| *is_accepted)
            .map(|(contract, _)| mean(contract, &cells))
            .collect();
        let gain = gain(&cells, &means)?;
        let covered: Vec<bool> = (0..cells.len())
            .map(|at| means.iter().any(|mean| mean.has(at)))
            .collect();
        let inner = series.iter().map(|series| inner(series, &covered)).collect();
        let mut found = Cells {
            cells,
            series,
            inner,
            means,
            gain,
            held: Vec::new(),
        };
        found.held = found.outside(season.is_given);
        Some(found)
    }

    pub(super) fn is_covered(&self, at: usize) -> bool {
        self.means.iter().any(|mean| mean.has(at))
    }

    /// Whether a cell has hours, and quotes say anything of its block. What is left of a month may be a weekend, so that a flat quote says
    /// nothing of peak hours.
    pub(super) fn has_price(&self, at: usize) -> bool {
        let blocks = self.series.iter().zip(&self.inner);
        let is_quoted = |(series, inner): (&Range<usize>, &Range<usize>)| series.contains(&at) && !inner.is_empty();
        self.cells.get(at).is_some_and(|cell| cell.hours > 0.0) && blocks.into_iter().any(is_quoted)
    }

    /// Levels that each cell outside the quotes takes: before the first quote the first one, after the last one the same month of the year
    /// before if no seasonal shape is given and the quotes reach back twelve months, else the last one.
    fn outside(&self, has_shape: bool) -> Vec<(usize, usize)> {
        let mut pairs = Vec::new();
        for (series, inner) in self
            .series
            .iter()
            .zip(&self.inner)
            .filter(|(_, inner)| !inner.is_empty())
        {
            let is_month = |at: &usize| self.cells.get(*at).is_some_and(|cell| !cell.contract.is_balance());
            let back = match !has_shape && inner.clone().filter(is_month).count() >= 12 {
                true => |at: usize, _: usize| at.saturating_sub(12),
                false => |_: usize, last: usize| last,
            };
            let last = inner.end.saturating_sub(1);
            pairs.extend((series.start..inner.start).map(|at| (at, inner.start)));
            pairs.extend((inner.end..series.end).map(|at| (at, back(at, last))));
        }
        pairs
    }

    /// How a cell gets its price; `None` if rounding would decide.
    pub(super) fn basis(&self, at: usize) -> Option<Basis> {
        let cell = self.cells.get(at)?;
        if self.means.iter().any(|mean| mean.is_of(&cell.contract)) {
            return Some(Basis::Quoted);
        }
        if !self.is_covered(at) {
            let is_between = self.inner.iter().any(|inner| inner.contains(&at));
            return Some(if is_between {
                Basis::Interpolated
            } else {
                Basis::Extrapolated
            });
        }
        // What the means leave of a price that only this cell has.
        let of_cell = self
            .means
            .iter()
            .map(|mean| mean.weights.get(at).copied().unwrap_or(0.0));
        let kept: f64 = self
            .gain
            .get(at)?
            .iter()
            .zip(of_cell)
            .map(|(gain, mean)| gain * mean)
            .sum();
        match (1.0 - kept).abs() {
            rest if rest <= NONE => Some(Basis::Implied),
            rest if rest >= SOME => Some(Basis::Shaped),
            _ => None,
        }
    }

    /// The quotes that the flat level of a cell is made from; an interpolated one also has those of the next cell with quotes. `None` if
    /// rounding would decide.
    pub(super) fn sources(&self, at: usize) -> Option<BTreeSet<usize>> {
        let from = self.level_of(at);
        let mut found = used(self.gain.get(from)?)?;
        if self.basis(at) == Some(Basis::Interpolated) {
            let next = (at..self.cells.len()).find(|next| self.is_covered(*next))?;
            found.extend(used(self.gain.get(next)?)?);
        }
        Some(found)
    }

    /// The cell whose level of the flat method this one takes: itself, the last one before a gap, or that of [`Cells::outside`].
    pub(super) fn level_of(&self, at: usize) -> usize {
        let mut from = at;
        while let Some((_, other)) = self.held.iter().find(|(to, _)| *to == from) {
            from = *other;
        }
        // A cell without quotes before it in its block is outside, so this ends at a covered one.
        while from > 0 && !self.is_covered(from) && self.inner.iter().any(|inner| inner.contains(&from)) {
            from -= 1;
        }
        from
    }
}

impl Mean {
    /// Whether it delivers a cell.
    pub(super) fn has(&self, at: usize) -> bool {
        self.weights.get(at).is_some_and(|weight| *weight > 0.0)
    }

    pub(super) fn is_of(&self, contract: &Contract) -> bool {
        let Contract { first, end, block, .. } = &self.contract;
        (*first, *end, *block) == (contract.first, contract.end, contract.block)
    }
}

fn used(weights: &[f64]) -> Option<BTreeSet<usize>> {
    let is_clear = |weight: &f64| weight.abs() <= NONE || weight.abs() >= SOME;
    let used = weights.iter().enumerate().filter(|(_, weight)| weight.abs() >= SOME);
    weights.iter().all(is_clear).then(|| used.map(|(at, _)| at).collect())
}

/// The first day of the month that lies so many months after that of a day.
pub(super) fn month_after(day: Date, months: i32) -> Option<Date> {
    day.first_of_month().checked_add(Span::new().months(months)).ok()
}

/// Blocks with prices of their own. Flat contracts beside others price both.
fn blocks(used: &[(Contract, bool)]) -> Vec<&'static str> {
    let all: BTreeSet<&'static str> = used.iter().map(|(contract, _)| contract.block).collect();
    match all.len() {
        1 => Vec::from_iter(all),
        _ => vec!["peak", "off_peak"],
    }
}

fn cells(
    market: &Market,
    (day, season): (Date, &Season),
    used: &[(Contract, bool)],
) -> Option<(Vec<Cell>, Vec<Range<usize>>)> {
    let (balances, others): (Vec<&Contract>, Vec<&Contract>) = used
        .iter()
        .map(|(contract, _)| contract)
        .partition(|contract| contract.is_balance());
    let last = others.iter().map(|contract| contract.end).max();
    let last = last.max(month_after(day, MOST_MONTHS + 1));
    let mut days: Vec<(Date, Date)> = balances.first().map(|one| (one.first, one.end)).into_iter().collect();
    let mut first = month_after(day, 1)?;
    while Some(first) < last {
        let end = month_after(first, 1)?;
        days.push((first, end));
        first = end;
    }
    let months = |of: Date| f64::from((of - day).get_days()) / DAYS_OF_MONTH;
    let (mut cells, mut series) = (Vec::new(), Vec::new());
    for block in blocks(used) {
        let start = cells.len();
        for (first, end) in &days {
            // The balance begins after the day of its quote, in the same month.
            let name = match first.day() {
                1 => format!("{:04}-{:02}", first.year(), first.month()),
                _ => "BALMO".to_owned(),
            };
            let (factor, summand) = season.of(first.month());
            cells.push(Cell {
                factor,
                summand,
                hours: market.hours(*first, *end, block)? as f64,
                contract: Contract {
                    name,
                    first: *first,
                    end: *end,
                    block,
                },
                start: months(*first),
                end: months(*end),
            });
        }
        series.push(start..cells.len());
    }
    Some((cells, series))
}

fn mean(contract: &Contract, cells: &[Cell]) -> Mean {
    let hours_in = |cell: &Cell| {
        let of = &cell.contract;
        let is_its = contract.block == "flat" || contract.block == of.block;
        let is_inside = contract.first <= of.first && of.end <= contract.end;
        if is_its && is_inside { cell.hours } else { 0.0 }
    };
    let sum = |of: fn(&Cell) -> f64| -> f64 { cells.iter().map(|cell| hours_in(cell) * of(cell)).sum() };
    let hours = sum(|_| 1.0);
    let weights = cells.iter().map(|cell| hours_in(cell) / hours * cell.factor);
    Mean {
        contract: contract.clone(),
        weights: weights.collect(),
        summand: sum(|cell| cell.summand) / hours,
        shaped_hours: sum(|cell| cell.factor),
        hours,
    }
}

/// Levels of the flat method have the least sum of hours times factor times squared level, so the level of a cell is a sum over the quotes that
/// cover it. What each of them adds follows from the means of all.
fn gain(cells: &[Cell], means: &[Mean]) -> Option<Matrix> {
    // A quote adds its own number to the level of each of its cells. In numbers times its hours by the root of the shaped ones, the matrix
    // has ones in its diagonal.
    let common = |one: &Mean, other: &Mean| -> f64 {
        let hours = cells.iter().zip(&one.weights).zip(&other.weights);
        let both = hours.filter(|((_, one), other)| **one > 0.0 && **other > 0.0);
        both.map(|((cell, _), _)| cell.hours * cell.factor).sum()
    };
    let mut system = matrix::zeros(means.len(), means.len());
    for (row, one) in means.iter().enumerate() {
        for (column, other) in means.iter().enumerate() {
            matrix::add(
                &mut system,
                row,
                column,
                common(one, other) / (one.shaped_hours * other.shaped_hours).sqrt(),
            );
        }
    }
    let inverse = matrix::inverse(system, DEPENDENT)?;
    let mut gain = matrix::zeros(cells.len(), means.len());
    for (at, row) in gain.iter_mut().enumerate() {
        for (mean, added) in means.iter().zip(&inverse).filter(|(mean, _)| mean.has(at)) {
            for ((weight, added), of) in row.iter_mut().zip(added).zip(means) {
                *weight += added * of.hours / (of.shaped_hours * mean.shaped_hours).sqrt();
            }
        }
    }
    Some(gain)
}

fn inner(series: &Range<usize>, covered: &[bool]) -> Range<usize> {
    let is_covered = |at: &usize| covered.get(*at) == Some(&true);
    let ends = series.clone().find(is_covered).zip(series.clone().rfind(is_covered));
    ends.map_or(series.start..series.start, |(first, last)| first..last + 1)
}
