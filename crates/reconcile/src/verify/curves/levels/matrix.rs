//! Inverses of small matrices. Pure.
//!
//! Role: part of the second opinion on curves, without the linear algebra of crate `curves`.
//! Failure: `None` if the matrix has no inverse.

/// A square matrix by rows.
pub(super) type Matrix = Vec<Vec<f64>>;

pub(super) fn zeros(rows: usize, columns: usize) -> Matrix {
    vec![vec![0.0; columns]; rows]
}

pub(super) fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// Adds to one entry.
pub(super) fn add(matrix: &mut Matrix, row: usize, column: usize, value: f64) {
    if let Some(entry) = matrix.get_mut(row).and_then(|row| row.get_mut(column)) {
        *entry += value;
    }
}

/// The inverse by elimination with row exchanges (Gauss and Jordan). A pivot of at most `least` in size is none.
pub(super) fn inverse(matrix: Matrix, least: f64) -> Option<Matrix> {
    let size = matrix.len();
    let mut rows = matrix;
    for (at, row) in rows.iter_mut().enumerate() {
        let unit = (0..size).map(|column| if column == at { 1.0 } else { 0.0 });
        row.extend(unit);
    }
    for pivot in 0..size {
        let value = |rows: &Matrix, row: usize| rows.get(row).and_then(|row| row.get(pivot)).copied().unwrap_or(0.0);
        let largest =
            (pivot..size).max_by(|one, other| value(&rows, *one).abs().total_cmp(&value(&rows, *other).abs()))?;
        let scale = value(&rows, largest);
        if !scale.is_finite() || scale.abs() <= least {
            return None;
        }
        rows.swap(pivot, largest);
        let mut own = std::mem::take(rows.get_mut(pivot)?);
        // All columns before are those of the unit matrix.
        let of_own = own.get_mut(pivot..)?;
        for entry in of_own.iter_mut() {
            *entry /= scale;
        }
        for row in rows.iter_mut().filter(|row| !row.is_empty()) {
            let factor = row.get(pivot).copied()?;
            if factor != 0.0 {
                for (entry, own) in row.iter_mut().skip(pivot).zip(&*of_own) {
                    *entry -= factor * own;
                }
            }
        }
        *rows.get_mut(pivot)? = own;
    }
    Some(rows.into_iter().map(|mut row| row.split_off(size)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one_and_a_singular_one_has_none() {
        let matrix = vec![vec![0.0, 2.0, 1.0], vec![2.0, 1.0, 0.0], vec![1.0, 0.0, -3.0]];
        let Some(found) = inverse(matrix.clone(), 1e-12) else {
            unreachable!("it has an inverse");
        };
        for (at, row) in matrix.iter().enumerate() {
            for column in 0..3 {
                let of_column: Vec<f64> = found.iter().filter_map(|row| row.get(column).copied()).collect();
                let expected = if at == column { 1.0 } else { 0.0 };
                assert!((dot(row, &of_column) - expected).abs() < 1e-14, "{at} {column}");
            }
        }
        assert_eq!(inverse(vec![vec![1.0, 2.0], vec![2.0, 4.0]], 1e-12), None);
    }
}
