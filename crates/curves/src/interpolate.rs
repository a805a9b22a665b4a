//! Interpolation: prices of cells from the levels of strips, as matrices over the quotes where the method is linear in them.
//!
//! A strip is a run of cells of one block that the same accepted quotes cover. All values here are levels: prices without their
//! seasonal shape.

use nalgebra::DMatrix;

use crate::CurveError;
use crate::grid::Cell;

/// Weight of first differences beside second ones: too small to bend a curve, large enough to make one quote's curve flat.
const LEVELLING: f64 = 1e-6;

/// A run of cells with one level.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Strip {
    pub cells: std::ops::Range<usize>,
    /// In months from the first day of the curve.
    pub middle: f64,
}

/// Where a cell lies between the middles of two strips; the same strip twice before the first and after the last middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Between {
    pub left: usize,
    pub right: usize,
    /// From 0 at the left middle to 1 at the right one.
    pub part: f64,
}

impl Between {
    /// The place of a time among the strips of one block, which are in order of time and not empty.
    pub fn of(strips: &[Strip], time: f64) -> Between {
        let right = strips.partition_point(|strip| strip.middle <= time);
        let left = right.saturating_sub(1);
        let right = right.min(strips.len().saturating_sub(1));
        let (from, to) = match (strips.get(left), strips.get(right)) {
            (Some(from), Some(to)) if to.middle > from.middle => (from.middle, to.middle),
            _ => (time, time + 1.0),
        };
        // Before the first middle both sides are the first strip.
        let part = if left == right {
            0.0
        } else {
            (time - from) / (to - from)
        };
        Between { left, right, part }
    }
}

/// Slopes at the middles by Fritsch and Butland (1984): the weighted harmonic mean of the slopes beside, zero at a turn. They satisfy the
/// condition of Fritsch and Carlson (1980), so that the cubic between two middles is monotone. `slopes` has the length of `levels`.
pub(crate) fn monotone_slopes(middles: &[f64], levels: &[f64], slopes: &mut [f64]) {
    slopes.fill(0.0);
    let secant = |left: usize| Some((levels.get(left + 1)? - levels.get(left)?) / width(middles, left)?);
    for at in 1..levels.len().saturating_sub(1) {
        let (Some(before), Some(after), Some(shorter), Some(longer)) =
            (secant(at - 1), secant(at), width(middles, at - 1), width(middles, at))
        else {
            continue;
        };
        if before * after > 0.0
            && let Some(slope) = slopes.get_mut(at)
        {
            let (first, second) = (2.0 * longer + shorter, longer + 2.0 * shorter);
            *slope = (first + second) / (first / before + second / after);
        }
    }
}

fn width(middles: &[f64], left: usize) -> Option<f64> {
    Some(middles.get(left + 1)? - middles.get(left)?)
}

/// The cubic of Hermite between two middles.
pub(crate) fn cubic(part: f64, width: f64, levels: (f64, f64), slopes: (f64, f64)) -> f64 {
    let rest = 1.0 - part;
    let (left, right) = (rest * rest * (1.0 + 2.0 * part), part * part * (3.0 - 2.0 * part));
    left * levels.0 + right * levels.1 + width * part * rest * (rest * slopes.0 - part * slopes.1)
}

/// The levels of least roughness with the given means, for each of the quotes at 1 and all others at 0.
///
/// Minimises the sum over inner cells of `(Δ²y)² h`, the integral of the squared second derivative by divided differences, subject to
/// `means * y = e`: one linear system, with multipliers for the means (Nocedal and Wright, Numerical Optimization, section 16.1).
/// `series` are the runs of cells that are smooth in themselves; `means` has one row for each accepted quote.
pub(crate) fn smoothest(
    cells: &[Cell],
    series: &[std::ops::Range<usize>],
    means: &DMatrix<f64>,
) -> Result<DMatrix<f64>, CurveError> {
    let (quotes, count) = means.shape();
    let size = count + quotes;
    let mut system = DMatrix::zeros(size, size);
    for run in series {
        let middles: Vec<f64> = cells
            .get(run.clone())
            .unwrap_or_default()
            .iter()
            .map(Cell::middle)
            .collect();
        add_roughness(&mut system, run.start, &middles);
    }
    // Cells outside every run stay at zero; their values are held from others later.
    for cell in 0..count {
        if !series.iter().any(|run| run.contains(&cell)) {
            add(&mut system, (cell, cell), 1.0);
        }
    }
    for quote in 0..quotes {
        for cell in 0..count {
            let weight = means.get((quote, cell)).copied().unwrap_or(0.0);
            add(&mut system, (count + quote, cell), weight);
            add(&mut system, (cell, count + quote), weight);
        }
    }
    let mut right = DMatrix::zeros(size, quotes);
    right.view_mut((count, 0), (quotes, quotes)).fill_with_identity();
    let solution = system.lu().solve(&right).ok_or(CurveError::Singular)?;
    Ok(solution.rows(0, count).into_owned())
}

fn add_roughness(system: &mut DMatrix<f64>, start: usize, middles: &[f64]) {
    for (at, pair) in middles.windows(2).enumerate() {
        let [left, right] = *pair else { continue };
        let scale = LEVELLING / (right - left);
        add_square(system, start + at, &[-1.0, 1.0], scale);
    }
    for (at, triple) in middles.windows(3).enumerate() {
        let [left, middle, right] = *triple else { continue };
        let (before, after) = (middle - left, right - middle);
        let span = (right - left) / 2.0;
        let weights = [1.0 / before, -1.0 / before - 1.0 / after, 1.0 / after].map(|weight| weight / span);
        add_square(system, start + at, &weights, span);
    }
}

/// Adds `scale` times the square of a weighted sum of neighbouring cells.
fn add_square(system: &mut DMatrix<f64>, start: usize, weights: &[f64], scale: f64) {
    for (row, first) in weights.iter().enumerate() {
        for (column, second) in weights.iter().enumerate() {
            add(system, (start + row, start + column), scale * first * second);
        }
    }
}

fn add(system: &mut DMatrix<f64>, at: (usize, usize), value: f64) {
    if let Some(entry) = system.get_mut(at) {
        *entry += value;
    }
}
