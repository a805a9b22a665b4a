//! The energy component that a market does not publish.
//!
//! It is derived from the price and the other components, so the rows of one interval check each other: it must be the same at every
//! node, and most nodes decide which one is right.
//! Role: nearly always all rows agree. So the first row of an interval is compared with the ones behind it, and only if one of them, or a
//! later row, differs, or there is none, the energies of the whole document are counted, once.
//! Invariants: a row is flagged if it differs from the energy of more than half of its interval, and so is each row of an interval without
//! such an energy. If the first row and those that are read ahead all have the same wrong energy, they have been read before that is seen,
//! and only the rows behind them are judged right.

use std::collections::HashMap;

use domain::{Decimal, Micros, QualityFlag, QualityFlags};

/// Most intervals of one document whose energy prices are compared. A day has 288.
const INTERVALS: usize = 4096;
/// Most rows that are counted. The largest reports have about 50,000.
const ROWS: usize = 1 << 20;
/// Rows that are read ahead of an interval's first one.
pub(crate) const NEXT: usize = 2;

/// Reads energies ahead of the rows of a document.
pub(crate) trait Ahead {
    /// Those of at most [`NEXT`] rows of the same interval, right behind the row that is compared.
    fn next(&self, visit: &mut dyn FnMut(Decimal));

    /// Those of all rows, with their intervals.
    fn all(&self, visit: &mut dyn FnMut(Micros, Decimal));
}

/// The energy price of each interval of one document, for the first [`INTERVALS`] intervals. `None` if no energy is that of most rows.
#[derive(Debug, Default)]
pub(crate) struct Energies {
    known: HashMap<Micros, Option<Decimal>>,
    /// Whether all rows have been counted.
    are_counted: bool,
    /// The interval of the last row, which its neighbours share, and its energy price.
    last: Option<(Micros, Option<Decimal>)>,
}

impl Energies {
    /// Flags a row whose energy price differs from that of its interval.
    pub(crate) fn compare(
        &mut self,
        interval: Micros,
        energy: Decimal,
        tolerance: Decimal,
        remarks: &mut QualityFlags,
        ahead: &dyn Ahead,
    ) {
        let right = match self.last {
            Some((known, right)) if known == interval => right,
            _ => self.right(interval, energy, tolerance, ahead),
        };
        if right.is_some_and(|right| is_near(energy, right, tolerance)) {
            return;
        }
        if !self.are_counted {
            self.count(tolerance, ahead);
            return self.compare(interval, energy, tolerance, remarks, ahead);
        }
        remarks.insert(QualityFlag::ComponentMismatch);
    }

    /// The energy of an interval that the row before does not have.
    fn right(&mut self, interval: Micros, energy: Decimal, tolerance: Decimal, ahead: &dyn Ahead) -> Option<Decimal> {
        if !self.known.contains_key(&interval) {
            // Nothing is remembered of it, so each of its rows is right.
            if self.known.len() >= INTERVALS || self.are_counted {
                return Some(energy);
            }
            let (mut others, mut agree) = (0, true);
            ahead.next(&mut |other| {
                others += 1;
                agree &= is_near(energy, other, tolerance);
            });
            if others > 0 && agree {
                self.known.insert(interval, Some(energy));
            } else {
                self.count(tolerance, ahead);
            }
        }
        let right = self.known.get(&interval).copied().unwrap_or(Some(energy));
        self.last = Some((interval, right));
        right
    }

    #[cold]
    fn count(&mut self, tolerance: Decimal, ahead: &dyn Ahead) {
        let (mut energies, mut rows) = (HashMap::<Micros, Vec<Decimal>>::new(), 0);
        ahead.all(&mut |interval, energy| {
            let is_full = energies.len() >= INTERVALS && !energies.contains_key(&interval);
            if rows < ROWS && !is_full {
                energies.entry(interval).or_default().push(energy);
                rows += 1;
            }
        });
        let most = |(interval, mut energies): (Micros, Vec<Decimal>)| (interval, of_most(&mut energies, tolerance));
        self.known = energies.into_iter().map(most).collect();
        (self.last, self.are_counted) = (None, true);
    }
}

/// The energy that more than half of them have. The one in the middle is among those, if there are so many.
fn of_most(energies: &mut [Decimal], tolerance: Decimal) -> Option<Decimal> {
    energies.sort_unstable();
    let middle = *energies.get(energies.len() / 2)?;
    let near = energies.iter().filter(|energy| is_near(**energy, middle, tolerance));
    (near.count() * 2 > energies.len()).then_some(middle)
}

fn is_near(energy: Decimal, right: Decimal, tolerance: Decimal) -> bool {
    (energy.unscaled() - right.unscaled()).unsigned_abs() <= tolerance.unscaled().unsigned_abs()
}
