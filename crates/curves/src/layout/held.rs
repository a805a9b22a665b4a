//! Cells without quotes: inside the quoted range they take the level before them, outside they hold what is nearest.
//!
//! Rule after the last quote: with a seasonal shape given, the last level is held and the shape goes on. Without one, each month repeats
//! the same month of the year before if the quotes reach back that far, so that the last year's own shape is held; else the last level.
//! Before the first quote the first level is held.

use std::ops::Range;

use nalgebra::DMatrix;

use crate::grid::Grid;

/// The cells from the first to the last covered one of each block; empty if none is.
pub(super) fn inner(grid: &Grid, is_covered: &[bool]) -> Vec<Range<usize>> {
    let run = |series: Range<usize>| {
        let covered = |cell: &usize| is_covered.get(*cell) == Some(&true);
        let first = series.clone().find(covered);
        let last = series.clone().rev().find(covered);
        first
            .zip(last)
            .map_or(series.start..series.start, |(first, last)| first..last + 1)
    };
    grid.series().map(run).collect()
}

/// Pairs of a cell outside the quoted range and the cell whose level it takes, in the order in which they are copied.
pub(super) fn held(grid: &Grid, is_covered: &[bool], has_shape: bool) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    for (series, run) in grid.series().zip(inner(grid, is_covered)) {
        if run.is_empty() {
            continue;
        }
        // The balance of a month is no month that can be repeated.
        let is_month = |cell: usize| grid.cells.get(cell).is_some_and(|cell| !cell.period.is_balance());
        let months = run.clone().filter(|cell| is_month(*cell)).count();
        let repeats_year = !has_shape && months >= 12;
        pairs.extend((series.start..run.start).map(|cell| (cell, run.start)));
        let last = run.end - 1;
        pairs.extend((run.end..series.end).map(|cell| (cell, if repeats_year { cell - 12 } else { last })));
    }
    pairs
}

/// Gives uncovered cells inside the quoted range the levels of the cell before them.
pub(super) fn fill_gaps(levels: &mut DMatrix<f64>, inner: &[Range<usize>], is_covered: &[bool]) {
    let gaps = inner
        .iter()
        .cloned()
        .flatten()
        .filter(|cell| is_covered.get(*cell) == Some(&false));
    let pairs: Vec<(usize, usize)> = gaps.map(|cell| (cell, cell.saturating_sub(1))).collect();
    copy(levels, &pairs);
}

/// Copies rows.
pub(super) fn copy(levels: &mut DMatrix<f64>, pairs: &[(usize, usize)]) {
    for (to, from) in pairs {
        let row = levels.row(*from).into_owned();
        levels.set_row(*to, &row);
    }
}
