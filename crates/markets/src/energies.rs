//! The energy component that a market does not publish.
//!
//! It is derived from the price and the other components, so the rows of one interval check each other: it must be the same
//! at every node.

use std::collections::HashMap;

use domain::{Decimal, Micros, QualityFlag, QualityFlags};

/// Maximum number of intervals of one document whose energy prices are compared. A day has 288.
const INTERVALS: usize = 4096;

/// The energy price in the first row of each interval of one document, for the first [`INTERVALS`] intervals.
#[derive(Debug, Default)]
pub(crate) struct Energies {
    first: HashMap<Micros, Decimal>,
}

impl Energies {
    /// Flags a row whose energy price differs from the first one of its interval.
    pub(crate) fn compare(
        &mut self,
        interval: Micros,
        energy: Decimal,
        tolerance: Decimal,
        remarks: &mut QualityFlags,
    ) {
        let first = match self.first.get(&interval) {
            Some(first) => *first,
            None => {
                if self.first.len() < INTERVALS {
                    self.first.insert(interval, energy);
                }
                energy
            }
        };
        if (energy.unscaled() - first.unscaled()).unsigned_abs() > tolerance.unscaled().unsigned_abs() {
            remarks.insert(QualityFlag::ComponentMismatch);
        }
    }
}
