//! The prices of each method, by the formulas of `docs/curves.md`. Pure.
//!
//! Role: part of the second opinion on curves: strips, lines and cubics between them, the shift that restores the means, and the least
//! roughness. No part of crate `curves` is used.
//! Failure: `None` for a method that is not known, or a system without a solution.

use super::cells::{Cell, Cells};
use super::matrix::{self, Matrix, dot};

/// Weight of first differences beside second ones in the smooth method.
const LEVELLING: f64 = 1e-6;

/// Cells in a run that the same quotes cover.
struct Strip {
    level: f64,
    middle: f64,
}

/// What a method needs besides the cells, which follows from the contracts only.
#[derive(Debug)]
pub(super) enum Method {
    Flat,
    Linear,
    Monotone,
    Smooth(Smooth),
}

/// The smoothest levels: the inverse of the conditions that they meet.
#[derive(Debug)]
pub(super) struct Smooth {
    /// The cells from the first to the last quote of each block.
    cells: Vec<usize>,
    system: Matrix,
    inverse: Matrix,
}

impl Method {
    pub(super) fn of(name: &str, cells: &Cells) -> Option<Method> {
        match name {
            "flat" => Some(Method::Flat),
            "linear" => Some(Method::Linear),
            "monotone" => Some(Method::Monotone),
            "smooth" => Smooth::of(cells).map(Method::Smooth),
            _ => None,
        }
    }

    /// Level of each cell, and by how much rounding may change it.
    pub(super) fn levels(&self, cells: &Cells, quotes: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let flat: Vec<f64> = cells.gain.iter().map(|gain| dot(gain, quotes)).collect();
        let mut rounding = vec![0.0; flat.len()];
        let mut levels = match self {
            Method::Flat => {
                let of = |at: usize| flat.get(cells.level_of(at)).copied().unwrap_or(f64::NAN);
                (0..flat.len()).map(of).collect()
            }
            Method::Linear => restored(cells, quotes, between(cells, &flat, line)),
            Method::Monotone => restored(cells, quotes, between(cells, &flat, cubic)),
            Method::Smooth(smooth) => {
                let (levels, bounds) = smooth.levels(quotes, flat.len());
                rounding = bounds;
                levels
            }
        };
        for (to, from) in &cells.held {
            for values in [&mut levels, &mut rounding] {
                let value = values.get(*from).copied().unwrap_or(f64::NAN);
                if let Some(held) = values.get_mut(*to) {
                    *held = value;
                }
            }
        }
        (levels, rounding)
    }
}

/// Strips are shifted until the means hold: by the levels of the flat method for what the means lack.
fn restored(cells: &Cells, quotes: &[f64], mut levels: Vec<f64>) -> Vec<f64> {
    let means = cells.means.iter().zip(quotes);
    let lacking: Vec<f64> = means.map(|(mean, quote)| quote - dot(&mean.weights, &levels)).collect();
    for (level, gain) in levels.iter_mut().zip(&cells.gain) {
        *level += dot(gain, &lacking);
    }
    levels
}

/// Levels between the middles of the strips of each block.
fn between(cells: &Cells, flat: &[f64], at_time: fn(&[Strip], f64) -> f64) -> Vec<f64> {
    let mut levels = vec![0.0; flat.len()];
    for inner in &cells.inner {
        let strips = strips(cells, inner.clone(), flat);
        for at in inner.clone() {
            if let (Some(level), Some(cell)) = (levels.get_mut(at), cells.cells.get(at)) {
                *level = at_time(&strips, cell.middle());
            }
        }
    }
    levels
}

fn strips(cells: &Cells, inner: std::ops::Range<usize>, flat: &[f64]) -> Vec<Strip> {
    let cover = |at: usize| -> Vec<bool> { cells.means.iter().map(|mean| mean.has(at)).collect() };
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in inner.filter(|at| cells.is_covered(*at)) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == at && cover(*last) == cover(at) => *last = at,
            _ => runs.push((at, at)),
        }
    }
    let strip = |(first, last): (usize, usize)| {
        let (start, end) = (cells.cells.get(first)?.start, cells.cells.get(last)?.end);
        Some(Strip {
            level: *flat.get(first)?,
            middle: start.midpoint(end),
        })
    };
    runs.into_iter().filter_map(strip).collect()
}

/// The level of the nearest strip before the first and after the last middle, else `None`, and the strips beside a time.
fn beside(strips: &[Strip], time: f64) -> Result<usize, f64> {
    let ends = strips.first().zip(strips.last());
    let Some((first, last)) = ends else {
        return Err(0.0);
    };
    match () {
        () if time <= first.middle => Err(first.level),
        () if time >= last.middle => Err(last.level),
        () => Ok(strips.iter().rposition(|strip| strip.middle <= time).unwrap_or(0)),
    }
}

/// On straight lines between the middles.
fn line(strips: &[Strip], time: f64) -> f64 {
    let left = match beside(strips, time) {
        Ok(left) => left,
        Err(level) => return level,
    };
    match strips.get(left..left + 2) {
        Some([left, right]) => {
            let slope = (right.level - left.level) / (right.middle - left.middle);
            left.level + slope * (time - left.middle)
        }
        _ => f64::NAN,
    }
}

/// On the cubic of Hermite between the middles: the sum of its four basis functions.
fn cubic(strips: &[Strip], time: f64) -> f64 {
    let at = match beside(strips, time) {
        Ok(at) => at,
        Err(level) => return level,
    };
    let Some([left, right]) = strips.get(at..at + 2) else {
        return f64::NAN;
    };
    let width = right.middle - left.middle;
    let part = (time - left.middle) / width;
    let (square, cube) = (part.powi(2), part.powi(3));
    left.level * (2.0 * cube - 3.0 * square + 1.0)
        + right.level * (3.0 * square - 2.0 * cube)
        + width * slope(strips, at) * (cube - 2.0 * square + part)
        + width * slope(strips, at + 1) * (cube - square)
}

/// The slope at a middle by Fritsch and Butland: a weighted harmonic mean of the slopes beside it, zero at turns and at both ends.
fn slope(strips: &[Strip], at: usize) -> f64 {
    let around = at.checked_sub(1).and_then(|before| strips.get(before..before + 3));
    let Some([before, own, after]) = around else {
        return 0.0;
    };
    let (left, right) = (own.middle - before.middle, after.middle - own.middle);
    let (rise, next) = ((own.level - before.level) / left, (after.level - own.level) / right);
    if rise * next <= 0.0 {
        return 0.0;
    }
    let (of_rise, of_next) = (left + 2.0 * right, 2.0 * left + right);
    3.0 * (left + right) / (of_rise / rise + of_next / next)
}

impl Smooth {
    /// The gradient of the roughness is a combination of the means, and the means hold: one equation for each cell and each quote.
    fn of(cells: &Cells) -> Option<Smooth> {
        let own: Vec<usize> = cells.inner.iter().cloned().flatten().collect();
        let size = own.len() + cells.means.len();
        let mut system = matrix::zeros(size, size);
        let mut start = 0;
        for inner in &cells.inner {
            rough(&mut system, start, cells.cells.get(inner.clone())?);
            start += inner.len();
        }
        for (quote, mean) in cells.means.iter().enumerate() {
            for (at, cell) in own.iter().enumerate() {
                let weight = mean.weights.get(*cell).copied().unwrap_or(0.0);
                matrix::add(&mut system, at, own.len() + quote, weight);
                matrix::add(&mut system, own.len() + quote, at, weight);
            }
        }
        Some(Smooth {
            inverse: matrix::inverse(system.clone(), 0.0)?,
            system,
            cells: own,
        })
    }

    /// The levels, and how far two solutions may lie apart: rounding in each equation, times the inverse.
    fn levels(&self, quotes: &[f64], count: usize) -> (Vec<f64>, Vec<f64>) {
        let mut right = vec![0.0; self.cells.len()];
        right.extend_from_slice(quotes);
        let solution: Vec<f64> = self.inverse.iter().map(|row| dot(row, &right)).collect();
        let terms = |row: &Vec<f64>| row.iter().zip(&solution).map(|(one, other)| (one * other).abs()).sum();
        let sizes: Vec<f64> = self.system.iter().map(terms).collect();
        let each = self.system.len() as f64 * f64::EPSILON;
        let (mut levels, mut rounding) = (vec![0.0; count], vec![0.0; count]);
        for ((cell, level), row) in self.cells.iter().zip(&solution).zip(&self.inverse) {
            let bound = row.iter().zip(&sizes).map(|(one, size)| one.abs() * size).sum::<f64>() * each;
            if let (Some(to), Some(bounds)) = (levels.get_mut(*cell), rounding.get_mut(*cell)) {
                (*to, *bounds) = (*level, bound);
            }
        }
        (levels, rounding)
    }
}

/// Adds the gradient of half the roughness of a run of cells: squared second derivatives times the time that each stands for, and a
/// little of the squared first ones.
fn rough(system: &mut Matrix, start: usize, cells: &[Cell]) {
    let mut add = |from: usize, parts: &[f64], weight: f64| {
        for (row, one) in parts.iter().enumerate() {
            for (column, other) in parts.iter().enumerate() {
                matrix::add(system, start + from + row, start + from + column, weight * one * other);
            }
        }
    };
    let times: Vec<f64> = cells.iter().map(Cell::middle).collect();
    for (from, pair) in times.windows(2).enumerate() {
        if let [left, right] = pair {
            let step = right - left;
            add(from, &[-1.0 / step, 1.0 / step], LEVELLING * step);
        }
    }
    for (from, triple) in times.windows(3).enumerate() {
        if let [left, own, right] = triple {
            let (before, after, span) = (own - left, right - own, (right - left) / 2.0);
            let parts = [1.0 / before, -(1.0 / before + 1.0 / after), 1.0 / after];
            add(from, &parts.map(|part| part / span), span);
        }
    }
}
