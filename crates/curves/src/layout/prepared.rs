//! The independent quotes of a layout, and the flattest levels that have their means.

use nalgebra::{DMatrix, DVector};

use super::Row;
use crate::elimination::Elimination;
use crate::grid::Grid;
use crate::interpolate::Strip;

/// The independent quotes as rows over levels, and the flattest levels that satisfy them.
pub(super) struct Prepared {
    pub elimination: Elimination,
    /// Accepted quotes by cells: the weight of a level in a quote.
    pub means: DMatrix<f64>,
    /// Cells by accepted quotes: the levels of least `Σ hours · factor · level²`. Such levels are equal wherever the same quotes
    /// cover, which is the bootstrap.
    pub shortest: DMatrix<f64>,
}

impl Prepared {
    pub fn of(grid: &Grid, rows: &[Row], shapes: &[(f64, f64)]) -> Prepared {
        let count = grid.cells.len();
        let factor = |cell: usize| shapes.get(cell).map_or(1.0, |shape| shape.0);
        let size = |cell: usize| {
            let hours = grid.cells.get(cell).map_or(0.0, |cell| cell.hours);
            (hours * factor(cell)).sqrt()
        };
        let scaled = |row: &Row| {
            let mut values = DVector::zeros(count);
            for (cell, weight) in &row.weights {
                if let Some(value) = values.get_mut(*cell) {
                    *value = weight * factor(*cell) / size(*cell);
                }
            }
            values
        };
        let scaled: Vec<DVector<f64>> = rows.iter().map(scaled).collect();
        let elimination = Elimination::of(&scaled);
        let mut means = DMatrix::zeros(elimination.accepted.len(), count);
        for (at, row) in elimination.accepted.iter().enumerate() {
            for (cell, weight) in rows.get(*row).map_or(&[][..], |row| &row.weights) {
                if let Some(entry) = means.get_mut((at, *cell)) {
                    *entry = weight * factor(*cell);
                }
            }
        }
        let mut shortest = elimination.shortest();
        for (cell, mut levels) in shortest.row_iter_mut().enumerate() {
            let size = size(cell);
            levels /= if size > 0.0 { size } else { 1.0 };
        }
        Prepared {
            elimination,
            means,
            shortest,
        }
    }

    /// Whether an accepted quote covers a cell.
    pub fn covered(&self) -> Vec<bool> {
        let covers = |column: nalgebra::DVectorView<'_, f64>| column.iter().any(|weight| *weight > 0.0);
        (0..self.means.ncols())
            .map(|cell| covers(self.means.column(cell).as_view()))
            .collect()
    }

    /// The strips of each block, in order of time.
    pub fn strips(&self, grid: &Grid) -> Vec<Vec<Strip>> {
        let cover = |cell: usize| -> Vec<bool> { self.means.column(cell).iter().map(|weight| *weight > 0.0).collect() };
        let mut found = Vec::new();
        for series in grid.series() {
            let mut strips: Vec<Strip> = Vec::new();
            for cell in series.filter(|cell| cover(*cell).contains(&true)) {
                match strips.last_mut() {
                    Some(strip) if strip.cells.end == cell && cover(strip.cells.start) == cover(cell) => {
                        strip.cells.end = cell + 1;
                    }
                    _ => strips.push(Strip {
                        cells: cell..cell + 1,
                        middle: 0.0,
                    }),
                }
            }
            for strip in &mut strips {
                let cells = grid.cells.get(strip.cells.clone()).unwrap_or_default();
                let ends = cells.first().zip(cells.last());
                strip.middle = ends.map_or(0.0, |(first, last)| (first.start + last.end) / 2.0);
            }
            found.push(strips);
        }
        found
    }

    /// What the summands of the shape add to each accepted quote.
    pub fn shift(&self, rows: &[Row], shapes: &[(f64, f64)]) -> DVector<f64> {
        let summands: Vec<f64> = shapes.iter().map(|shape| shape.1).collect();
        let mean = |row: &usize| rows.get(*row).map_or(0.0, |row| row.mean(&summands));
        DVector::from_iterator(
            self.elimination.accepted.len(),
            self.elimination.accepted.iter().map(mean),
        )
    }

    /// Levels with every quote's mean restored, by the flattest change.
    pub fn corrected(&self, levels: DMatrix<f64>) -> DMatrix<f64> {
        let quotes = self.means.nrows();
        let missing = DMatrix::identity(quotes, quotes) - &self.means * &levels;
        levels + &self.shortest * missing
    }
}
