//! Prices from quotes: one product of a matrix and a vector, or the steps of the monotone method, which is not linear.

use std::ops::Range;

use nalgebra::{DMatrix, DVector};

use crate::grid::{Cell, Grid};
use crate::interpolate::{Between, Strip, cubic, monotone_slopes};

/// Buffers that are reused from curve to curve.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) quotes: Vec<f64>,
    missing: Vec<f64>,
    strips: Vec<f64>,
    slopes: Vec<f64>,
    levels: Vec<f64>,
}

/// A matrix by columns, applied in a fixed order.
#[derive(Debug)]
pub(super) struct Gain {
    rows: usize,
    values: Vec<f64>,
}

impl Gain {
    fn of(matrix: &DMatrix<f64>) -> Gain {
        Gain {
            rows: matrix.nrows(),
            values: matrix.as_slice().to_vec(),
        }
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.values)
    }

    /// Adds the product with a vector.
    fn add(&self, vector: &[f64], to: &mut [f64]) {
        for (column, factor) in self.values.chunks_exact(self.rows.max(1)).zip(vector) {
            for (sum, value) in to.iter_mut().zip(column) {
                *sum += value * factor;
            }
        }
    }
}

#[derive(Debug)]
pub(super) enum Solver {
    /// Prices are `offset + gain * quotes`.
    Linear { offset: Vec<f64>, gain: Gain },
    /// Levels of strips, a cubic between them, the means restored.
    Monotone(Box<Monotone>),
}

#[derive(Debug)]
pub(super) struct Monotone {
    shift: Vec<f64>,
    strip_levels: Gain,
    /// The strips of each block, as a range of all strips.
    series: Vec<Range<usize>>,
    middles: Vec<f64>,
    /// For each cell inside the quoted range: the cell, and its place among all strips.
    places: Vec<(usize, Between)>,
    means: Gain,
    shortest: Gain,
    held: Vec<(usize, usize)>,
    shapes: Vec<(f64, f64)>,
}

/// What the monotone method is made from.
pub(super) struct Levels<'l> {
    pub strips: &'l [Vec<Strip>],
    pub inner: &'l [Range<usize>],
    pub grid: &'l Grid,
    pub flat: &'l DMatrix<f64>,
    pub shortest: &'l DMatrix<f64>,
    pub means: &'l DMatrix<f64>,
    pub shapes: &'l [(f64, f64)],
    pub shift: &'l DVector<f64>,
    pub held: Vec<(usize, usize)>,
}

impl Solver {
    /// Levels are `levels * (quotes - shift)`, prices `factor * level + summand`.
    pub fn linear(levels: &DMatrix<f64>, shapes: &[(f64, f64)], shift: &DVector<f64>) -> Solver {
        let mut gain = levels.clone();
        for (mut row, (factor, _)) in gain.row_iter_mut().zip(shapes) {
            row *= *factor;
        }
        let shifted = &gain * shift;
        let offset = shapes
            .iter()
            .zip(shifted.iter())
            .map(|((_, summand), shifted)| summand - shifted);
        Solver::Linear {
            offset: offset.collect(),
            gain: Gain::of(&gain),
        }
    }

    pub fn monotone(from: Levels<'_>) -> Solver {
        let all: Vec<&Strip> = from.strips.iter().flatten().collect();
        let rows: Vec<_> = all
            .iter()
            .map(|strip| from.flat.row(strip.cells.start).into_owned())
            .collect();
        let (mut series, mut places) = (Vec::new(), Vec::new());
        for (run, strips) in from.inner.iter().zip(from.strips) {
            let start = series.last().map_or(0, |range: &Range<usize>| range.end);
            series.push(start..start + strips.len());
            for cell in run.clone() {
                let mut place = Between::of(strips, from.grid.cells.get(cell).map_or(0.0, Cell::middle));
                (place.left, place.right) = (place.left + start, place.right + start);
                places.push((cell, place));
            }
        }
        Solver::Monotone(Box::new(Monotone {
            shift: from.shift.iter().copied().collect(),
            strip_levels: Gain::of(&DMatrix::from_rows(&rows)),
            series,
            middles: all.iter().map(|strip| strip.middle).collect(),
            places,
            means: Gain::of(from.means),
            shortest: Gain::of(from.shortest),
            held: from.held,
            shapes: from.shapes.to_vec(),
        }))
    }

    /// The size of its matrices.
    pub fn bytes(&self) -> usize {
        match self {
            Solver::Linear { offset, gain } => size_of_val(&**offset) + gain.bytes(),
            Solver::Monotone(monotone) => {
                let gains = [&monotone.strip_levels, &monotone.means, &monotone.shortest];
                gains.map(Gain::bytes).iter().sum()
            }
        }
    }

    /// Prices of all cells from `scratch.quotes`.
    pub fn solve(&self, scratch: &mut Scratch, points: &mut Vec<f64>) {
        match self {
            Solver::Linear { offset, gain } => {
                points.clear();
                points.extend_from_slice(offset);
                gain.add(&scratch.quotes, points);
            }
            Solver::Monotone(monotone) => monotone.solve(scratch, points),
        }
    }
}

impl Monotone {
    fn solve(&self, scratch: &mut Scratch, points: &mut Vec<f64>) {
        let Scratch {
            quotes,
            missing,
            strips,
            slopes,
            levels,
        } = scratch;
        for (quote, shift) in quotes.iter_mut().zip(&self.shift) {
            *quote -= shift;
        }
        reset(strips, self.middles.len());
        self.strip_levels.add(quotes, strips);
        reset(slopes, strips.len());
        for range in &self.series {
            if let (Some(middles), Some(strips), Some(slopes)) = (
                self.middles.get(range.clone()),
                strips.get(range.clone()),
                slopes.get_mut(range.clone()),
            ) {
                monotone_slopes(middles, strips, slopes);
            }
        }
        reset(levels, self.shapes.len());
        for (cell, place) in &self.places {
            if let (Some(level), Some(value)) = (levels.get_mut(*cell), self.at(*place, strips, slopes)) {
                *level = value;
            }
        }
        reset(missing, quotes.len());
        self.means.add(levels, missing);
        for (missing, quote) in missing.iter_mut().zip(&*quotes) {
            *missing = quote - *missing;
        }
        self.shortest.add(missing, levels);
        for (to, from) in &self.held {
            if let Some(level) = levels.get(*from).copied()
                && let Some(held) = levels.get_mut(*to)
            {
                *held = level;
            }
        }
        points.clear();
        points.extend(
            self.shapes
                .iter()
                .zip(&*levels)
                .map(|((factor, summand), level)| factor * level + summand),
        );
    }

    fn at(&self, place: Between, strips: &[f64], slopes: &[f64]) -> Option<f64> {
        let (left, right) = (place.left, place.right);
        let width = self.middles.get(right)? - self.middles.get(left)?;
        let levels = (*strips.get(left)?, *strips.get(right)?);
        Some(cubic(
            place.part,
            width,
            levels,
            (*slopes.get(left)?, *slopes.get(right)?),
        ))
    }
}

fn reset(values: &mut Vec<f64>, length: usize) {
    values.clear();
    values.resize(length, 0.0);
}
