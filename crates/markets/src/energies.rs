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
    /// The interval of the last row, which its neighbours share, and its first energy price.
    last: Option<(Micros, Decimal)>,
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
        let first = match self.last {
            Some((known, first)) if known == interval => first,
            _ => self.first_of(interval, energy),
        };
        if (energy.unscaled() - first.unscaled()).unsigned_abs() > tolerance.unscaled().unsigned_abs() {
            remarks.insert(QualityFlag::ComponentMismatch);
        }
    }

    fn first_of(&mut self, interval: Micros, energy: Decimal) -> Decimal {
        let is_full = self.first.len() >= INTERVALS;
        let first = match self.first.get(&interval) {
            Some(first) => *first,
            // Nothing is remembered of it, so each of its rows is the first.
            None if is_full => return energy,
            None => *self.first.entry(interval).or_insert(energy),
        };
        self.last = Some((interval, first));
        first
    }
}
