//! Which quotes are independent, and what the others would have to be.
//!
//! A quote is one row of a matrix: the weights of the cells in its mean. Rows are taken in order; a row that is a combination of earlier
//! ones adds nothing, and the combination says which quotes imply its price.
//! Method: Gram-Schmidt with every row projected twice (Giraud, Langou, Rozložník, 2005), which keeps the basis orthogonal to the last
//! bits, so that "adds nothing" is a safe question: rows of contracts are either dependent or far from it.

use nalgebra::{DMatrix, DVector};

/// A row whose rest is smaller than this part of it is a combination of earlier rows.
const DEPENDENT: f64 = 1e-9;

/// A row that earlier rows imply.
#[derive(Debug, Clone)]
pub(crate) struct Dependent {
    /// Its index.
    pub row: usize,
    /// The indexes of the rows of which it is a combination.
    pub implied_by: Vec<usize>,
}

/// Rows `L Q`: `Q` has orthonormal rows, `L` is lower triangular.
#[derive(Debug)]
pub(crate) struct Elimination {
    basis: Vec<DVector<f64>>,
    lower: Vec<Vec<f64>>,
    /// Indexes of the independent rows.
    pub accepted: Vec<usize>,
    pub dependent: Vec<Dependent>,
}

impl Elimination {
    /// Takes the rows in order.
    pub fn of(rows: &[DVector<f64>]) -> Elimination {
        let mut found = Elimination {
            basis: Vec::new(),
            lower: Vec::new(),
            accepted: Vec::new(),
            dependent: Vec::new(),
        };
        let mut combined = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let (mut coefficients, rest) = found.project(row);
            let length = rest.norm();
            if length <= DEPENDENT * row.norm() {
                combined.push((index, coefficients));
                continue;
            }
            coefficients.push(length);
            found.lower.push(coefficients);
            found.basis.push(rest / length);
            found.accepted.push(index);
        }
        let inverse = found.inverse();
        for (row, coefficients) in combined {
            let weights = inverse.rows(0, coefficients.len()).transpose() * DVector::from_vec(coefficients);
            let implied_by = found.accepted.iter().zip(weights.iter());
            let implied_by = implied_by
                .filter(|(_, weight)| weight.abs() > DEPENDENT)
                .map(|(row, _)| *row);
            found.dependent.push(Dependent {
                row,
                implied_by: implied_by.collect(),
            });
        }
        found
    }

    /// Whether one cell is determined by the rows alone.
    pub fn determines(&self, cell: usize, cells: usize) -> bool {
        let mut unit = DVector::zeros(cells);
        if let Some(value) = unit.get_mut(cell) {
            *value = 1.0;
        }
        self.project(&unit).1.norm() <= DEPENDENT
    }

    /// The matrix that gives the shortest solution of the accepted rows from their right sides: `Qᵀ L⁻¹`.
    pub fn shortest(&self) -> DMatrix<f64> {
        match self.basis.is_empty() {
            true => DMatrix::zeros(0, 0),
            false => DMatrix::from_columns(&self.basis) * self.inverse(),
        }
    }

    fn project(&self, row: &DVector<f64>) -> (Vec<f64>, DVector<f64>) {
        let mut coefficients = vec![0.0; self.basis.len()];
        let mut rest = row.clone();
        for _ in 0..2 {
            for (coefficient, base) in coefficients.iter_mut().zip(&self.basis) {
                let along = base.dot(&rest);
                rest.axpy(-along, base, 1.0);
                *coefficient += along;
            }
        }
        (coefficients, rest)
    }

    /// `L⁻¹`; the diagonal has no zeros by construction.
    fn inverse(&self) -> DMatrix<f64> {
        let size = self.lower.len();
        let value = |row: usize, column: usize| self.lower.get(row).and_then(|row| row.get(column));
        let lower = DMatrix::from_fn(size, size, |row, column| value(row, column).copied().unwrap_or(0.0));
        let mut inverse = DMatrix::identity(size, size);
        lower.solve_lower_triangular_mut(&mut inverse);
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_others_imply_names_them() {
        let row = |values: [f64; 4]| DVector::from_row_slice(&values);
        let rows = [
            row([1.0, 0.0, 0.0, 0.0]),
            row([0.0, 0.0, 0.0, 3.0]),
            row([0.5, 0.5, 0.0, 0.0]),
            row([0.0, 2.0, 0.0, 0.0]),
            row([0.25, 0.25, 0.25, 0.25]),
        ];
        let found = Elimination::of(&rows);
        assert_eq!(found.accepted, [0, 1, 2, 4]);
        assert_eq!(
            (found.dependent[0].row, &*found.dependent[0].implied_by),
            (3, &[0, 2][..])
        );
        assert!((0..4).all(|cell| found.determines(cell, 4)));
        let solution = found.shortest() * DVector::from_row_slice(&[7.0, 6.0, 5.0, 4.0]);
        assert!((solution - row([7.0, 3.0, 4.0, 2.0])).norm() < 1e-12);
    }
}
