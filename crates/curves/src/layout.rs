//! The layout of a curve: everything that depends on its contracts and not on their prices, computed once for a set of contracts.
//!
//! Role: the rows of the quotes, the independent ones among them, and the matrices of the method. A curve is then one product of a matrix
//! with the prices ([`Layout::solve`]), without an allocation.
//! Invariants: an independent quote is the mean of its cells for any prices; the order of the contracts decides which of several
//! dependent ones is kept; sums run in a fixed order, so that equal prices give equal bits.
//! Failure: a market without the block of a quote, a bad shape, or a contract without delivered hours.

use std::ops::Range;

use jiff::civil::Date;
use markets::contract::{Contract, Month, Period};
use nalgebra::DMatrix;

use crate::elimination::Elimination;
use crate::grid::{Cell, Grid};
use crate::interpolate::{Between, Strip, smoothest};
use crate::method::{Method, Shape};
use crate::{CurveError, DeliveryCalendar};

mod held;
mod prepared;
mod solve;

pub use solve::Scratch;

use prepared::Prepared;
use solve::{Levels, Solver};

/// How a point got its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A quote of this contract.
    Quoted,
    /// The only price that the quotes of other contracts leave.
    Implied,
    /// Quotes of coarser contracts, divided by the method and the seasonal shape.
    Shaped,
    /// No quote covers it; earlier and later ones exist.
    Interpolated,
    /// It lies before the first or after the last quote.
    Extrapolated,
}

impl Basis {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Basis::Quoted => "quoted",
            Basis::Implied => "implied",
            Basis::Shaped => "shaped",
            Basis::Interpolated => "interpolated",
            Basis::Extrapolated => "extrapolated",
        }
    }

    /// How far the price rests on quotes rather than on the method, from 0 to 1.
    pub fn confidence(self) -> f64 {
        match self {
            Basis::Quoted => 1.0,
            Basis::Implied => 0.9,
            Basis::Shaped => 0.7,
            Basis::Interpolated => 0.5,
            Basis::Extrapolated => 0.3,
        }
    }
}

/// One quote as the mean of cells.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Cells and their weights, which sum to 1.
    pub weights: Vec<(usize, f64)>,
}

impl Row {
    /// The mean of the prices of its cells.
    pub fn mean(&self, prices: &[f64]) -> f64 {
        let terms = self
            .weights
            .iter()
            .map(|(cell, weight)| weight * prices.get(*cell).unwrap_or(&f64::NAN));
        terms.sum()
    }
}

/// A curve without its prices.
#[derive(Debug)]
pub struct Layout {
    grid: Grid,
    rows: Vec<Row>,
    accepted: Vec<usize>,
    /// For each quote that others imply, the quotes that imply it.
    implied: Vec<(usize, Vec<usize>)>,
    bases: Vec<Basis>,
    /// Whether a quote says anything of the block of each cell.
    priced: Vec<bool>,
    sources: Vec<Vec<usize>>,
    is_contested: bool,
    solver: Solver,
}

/// What a layout is made for.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'t> {
    /// Delivered hours of the market.
    pub calendar: &'t DeliveryCalendar,
    /// The day of the curve; contracts begin after it.
    pub as_of: Date,
    /// The curve has at least the months before this one.
    pub until: Month,
    /// How months inside coarser contracts are priced.
    pub method: Method,
    /// Their seasonal shape.
    pub shape: &'t Shape,
}

impl Layout {
    /// The layout of contracts in the order in which they are believed: of contracts that imply each other, the last is left out.
    ///
    /// # Errors
    /// No contracts, a contract without delivered hours, a market without the block, or a bad shape.
    pub fn of(terms: Terms<'_>, contracts: &[Contract]) -> Result<Layout, CurveError> {
        if contracts.is_empty() {
            return Err(CurveError::NoQuotes(
                "no contract begins after the day of the curve".to_owned(),
            ));
        }
        let grid = Grid::new(terms.calendar, terms.as_of, terms.until, contracts)?;
        let rows = rows(&grid, contracts)?;
        let shapes = shapes(&grid, terms.shape)?;
        let prepared = Prepared::of(&grid, &rows, &shapes);
        let (is_covered, strips) = (prepared.covered(), prepared.strips(&grid));
        let held = held::held(&grid, &is_covered, *terms.shape != Shape::None);
        let inner = held::inner(&grid, &is_covered);
        let flat = {
            let mut levels = prepared.shortest.clone();
            held::fill_gaps(&mut levels, &inner, &is_covered);
            held::copy(&mut levels, &held);
            levels
        };
        let shift = prepared.shift(&rows, &shapes);
        let solver = match terms.method {
            Method::Flat => Solver::linear(&flat, &shapes, &shift),
            Method::Linear => {
                let through = between(&grid, &inner, &strips, &flat);
                let mut levels = prepared.corrected(through);
                held::copy(&mut levels, &held);
                Solver::linear(&levels, &shapes, &shift)
            }
            Method::Smooth => {
                let smooth = smoothest(&grid.cells, &inner, &prepared.means)?;
                let mut levels = prepared.corrected(smooth);
                held::copy(&mut levels, &held);
                Solver::linear(&levels, &shapes, &shift)
            }
            Method::Monotone => Solver::monotone(Levels {
                strips: &strips,
                inner: &inner,
                grid: &grid,
                flat: &flat,
                shortest: &prepared.shortest,
                means: &prepared.means,
                shapes: &shapes,
                shift: &shift,
                held,
            }),
        };
        let accepted = prepared.elimination.accepted.clone();
        let bases = bases(&grid, contracts, &prepared, &is_covered, &inner);
        Ok(Layout {
            sources: sources(&flat, &accepted, &bases),
            priced: priced(&grid, &inner),
            implied: named(&prepared.elimination),
            is_contested: is_contested(&prepared.elimination, &rows),
            bases,
            solver,
            accepted,
            rows,
            grid,
        })
    }

    /// The cells, in the order of the prices.
    pub fn cells(&self) -> &[Cell] {
        &self.grid.cells
    }

    /// The periods of the cells of each block, in order of time.
    pub(crate) fn periods(&self) -> impl Iterator<Item = Period> {
        self.grid.cells.iter().take(self.grid.length).map(|cell| cell.period)
    }

    /// Its size in memory, but for small parts.
    pub(crate) fn bytes(&self) -> usize {
        let weights: usize = self.rows.iter().map(|row| size_of_val(&*row.weights)).sum();
        let sources: usize = self
            .sources
            .iter()
            .map(|sources| size_of_val(sources) + size_of_val(&**sources))
            .sum();
        size_of::<Layout>()
            + size_of_val(&*self.grid.cells)
            + size_of_val(&*self.priced)
            + weights
            + sources
            + self.solver.bytes()
    }

    /// How each cell gets its price.
    pub fn bases(&self) -> &[Basis] {
        &self.bases
    }

    /// Whether a cell delivers an hour of a block that quotes say something of. A flat quote says nothing of peak hours if what is left of its
    /// month is a weekend.
    pub fn has_price(&self, at: usize) -> bool {
        self.priced.get(at) == Some(&true) && self.cells().get(at).is_some_and(|cell| cell.hours > 0.0)
    }

    /// The quotes that each cell's level is made from, as indexes of the contracts.
    pub fn sources(&self) -> &[Vec<usize>] {
        &self.sources
    }

    /// The contracts that earlier ones imply, and those that imply them.
    pub fn implied(&self) -> &[(usize, Vec<usize>)] {
        &self.implied
    }

    /// Whether another order of equally fine contracts could keep others of them.
    pub fn is_contested(&self) -> bool {
        self.is_contested
    }

    /// The price that the points give to a contract: their mean by delivered hours.
    pub fn price_of(&self, contract: usize, points: &[f64]) -> Option<f64> {
        Some(self.rows.get(contract)?.mean(points))
    }

    /// The prices of the cells from those of the contracts, in their order.
    ///
    /// # Errors
    /// Another number of prices than contracts.
    pub fn solve(&self, prices: &[f64], scratch: &mut Scratch, points: &mut Vec<f64>) -> Result<(), CurveError> {
        if prices.len() != self.rows.len() {
            return Err(CurveError::WrongLength {
                expected: self.rows.len(),
                given: prices.len(),
            });
        }
        scratch.quotes.clear();
        let accepted = self.accepted.iter().filter_map(|row| prices.get(*row));
        scratch.quotes.extend(accepted);
        self.solver.solve(scratch, points);
        Ok(())
    }
}

fn rows(grid: &Grid, contracts: &[Contract]) -> Result<Vec<Row>, CurveError> {
    let row = |contract: &Contract| {
        let hours = |cell: usize| grid.cells.get(cell).map_or(0.0, |cell| cell.hours);
        let total: f64 = grid.cells_of(*contract).map(hours).sum();
        if total <= 0.0 {
            return Err(CurveError::NoQuotes(format!("{contract} delivers no hour")));
        }
        let weights = grid.cells_of(*contract).map(|cell| (cell, hours(cell) / total));
        Ok(Row {
            weights: weights.filter(|(_, weight)| *weight > 0.0).collect(),
        })
    };
    contracts.iter().map(row).collect()
}

/// Factor and summand of each cell.
fn shapes(grid: &Grid, shape: &Shape) -> Result<Vec<(f64, f64)>, CurveError> {
    let of = |cell: &Cell| shape.of(cell.period.first_month());
    grid.cells.iter().map(of).collect()
}

fn priced(grid: &Grid, inner: &[Range<usize>]) -> Vec<bool> {
    let blocks = grid.series().zip(inner);
    blocks
        .flat_map(|(series, inner)| series.map(move |_| !inner.is_empty()))
        .collect()
}

/// Levels on straight lines between the middles of strips.
fn between(grid: &Grid, inner: &[Range<usize>], strips: &[Vec<Strip>], flat: &DMatrix<f64>) -> DMatrix<f64> {
    let mut levels = flat.clone();
    for (run, strips) in inner.iter().zip(strips) {
        for cell in run.clone() {
            let time = grid.cells.get(cell).map_or(0.0, Cell::middle);
            let place = Between::of(strips, time);
            let (Some(left), Some(right)) = (strips.get(place.left), strips.get(place.right)) else {
                continue;
            };
            let (left, right) = (flat.row(left.cells.start), flat.row(right.cells.start));
            levels.set_row(cell, &(left * (1.0 - place.part) + right * place.part));
        }
    }
    levels
}

fn bases(
    grid: &Grid,
    contracts: &[Contract],
    prepared: &Prepared,
    is_covered: &[bool],
    inner: &[Range<usize>],
) -> Vec<Basis> {
    let is_quoted = |cell: &Cell| {
        let same = |contract: &Contract| (contract.period, contract.block) == (cell.period, cell.block);
        let accepted = prepared
            .elimination
            .accepted
            .iter()
            .filter_map(|row| contracts.get(*row));
        accepted.into_iter().any(same)
    };
    let of = |(at, cell): (usize, &Cell)| match is_covered.get(at) {
        Some(true) if is_quoted(cell) => Basis::Quoted,
        Some(true) if prepared.elimination.determines(at, grid.cells.len()) => Basis::Implied,
        Some(true) => Basis::Shaped,
        _ if inner.iter().any(|run| run.contains(&at)) => Basis::Interpolated,
        _ => Basis::Extrapolated,
    };
    grid.cells.iter().enumerate().map(of).collect()
}

/// The quotes that the flat level of each cell is made from; an interpolated cell also has those of the next cell with quotes.
fn sources(flat: &DMatrix<f64>, accepted: &[usize], bases: &[Basis]) -> Vec<Vec<usize>> {
    let of = |cell: usize| -> Vec<usize> {
        let weights = flat.row(cell);
        let used = accepted
            .iter()
            .zip(weights.iter())
            .filter(|(_, weight)| weight.abs() > 1e-9);
        used.map(|(row, _)| *row).collect()
    };
    let with_next = |cell: usize| {
        let mut found = of(cell);
        if bases.get(cell) == Some(&Basis::Interpolated) {
            let next = (cell..bases.len()).find(|next| bases.get(*next) != Some(&Basis::Interpolated));
            found.extend(next.map(of).unwrap_or_default());
            found.sort_unstable();
            found.dedup();
        }
        found
    };
    (0..bases.len()).map(with_next).collect()
}

fn named(elimination: &Elimination) -> Vec<(usize, Vec<usize>)> {
    let pair = |dependent: &crate::elimination::Dependent| (dependent.row, dependent.implied_by.clone());
    elimination.dependent.iter().map(pair).collect()
}

fn is_contested(elimination: &Elimination, rows: &[Row]) -> bool {
    let fineness = |row: usize| rows.get(row).map_or(0, |row| row.weights.len());
    let ties = |dependent: &crate::elimination::Dependent| {
        let is_equal = |other: &usize| fineness(*other) >= fineness(dependent.row);
        dependent.implied_by.iter().any(is_equal)
    };
    elimination.dependent.iter().any(ties)
}
