//! The two passes of NYISO's repeated hour.
//!
//! Nothing marks them: the stamps of a name step back once, from the end of the first pass to the beginning of the second one.
//! Invariant: a row is assigned to a pass only by its place before or after that one step, and only if all other stamps of that name and
//! day ascend: of descending rows the second pass comes first. Names without such a step, or with another one, are undecided.

use std::collections::HashMap;

use crate::clock::{DAY, EASTERN, HOUR, Instants, Pass, Wall};

/// Most names of one document that are followed, so that memory is bounded. The market has about 700.
pub(super) const NAMES: usize = 65_536;

/// Where the passes of each name and day with a repeated hour are.
#[derive(Debug, Default)]
pub(super) struct Passes {
    stamps: HashMap<(String, Wall), Stamps>,
    /// The last day, and whether it has a repeated hour.
    last: Option<(Wall, bool)>,
}

/// The stamps of one name and day, in the order of the document.
#[derive(Debug)]
struct Stamps {
    last: Wall,
    /// What the row of the last stamp says.
    values: u64,
    /// Number of stamps in the repeated hour.
    repeated: usize,
    /// Where the second pass begins, as a number of them.
    step: Option<usize>,
    ascends: bool,
    /// Whether the rows are not in the order of time, or not once each.
    is_undecided: bool,
}

/// Counts the stamps of each name and day while rows are visited again.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<(String, Wall), usize>);

impl Passes {
    /// Notes a row; `values` is a hash of what it says. In an hourly report the repeated hour is one stamp printed twice.
    pub(super) fn note(&mut self, name: &str, wall: Wall, values: u64, is_hourly: bool) {
        let day = day(wall);
        // Neighbouring rows have the same day.
        let is_long = match self.last {
            Some((last, is_long)) if last == day => is_long,
            _ => is_repeated(day + HOUR),
        };
        self.last = Some((day, is_long));
        if !is_long {
            return;
        }
        let is_full = self.stamps.len() >= NAMES;
        let key = (name.to_owned(), day);
        match self.stamps.get_mut(&key) {
            Some(stamps) => stamps.add(wall, values, is_hourly),
            None if !is_full => _ = self.stamps.insert(key, Stamps::first(wall, values)),
            None => {}
        }
    }

    /// The pass of the next row of this name with a stamp that occurs twice.
    pub(super) fn next(&self, counts: &mut Counts, name: &str, wall: Wall) -> Option<Pass> {
        let key = (name.to_owned(), day(wall));
        let step = self.stamps.get(&key).and_then(Stamps::decided);
        let count = counts.0.entry(key).or_default();
        *count += 1;
        step.map(|step| if *count <= step { Pass::First } else { Pass::Second })
    }
}

impl Stamps {
    fn first(wall: Wall, values: u64) -> Stamps {
        Stamps {
            last: wall,
            values,
            repeated: usize::from(is_repeated(wall)),
            step: None,
            ascends: false,
            is_undecided: false,
        }
    }

    fn add(&mut self, wall: Wall, values: u64, is_hourly: bool) {
        let (are_repeated, back) = (is_repeated(wall) && is_repeated(self.last), self.last - wall);
        // A run that is printed out of order, or once more, steps back by less than the clock does. A row that says the same as the one
        // before may be that row once more.
        let is_step = are_repeated
            && if is_hourly {
                back == 0 && values != self.values
            } else {
                back >= HOUR / 2
            };
        if is_step && self.step.is_none() {
            self.step = Some(self.repeated);
        } else if back < 0 {
            self.ascends = true;
        } else if back > 0 || is_step || is_hourly && are_repeated {
            self.is_undecided = true;
        }
        self.repeated += usize::from(is_repeated(wall));
        (self.last, self.values) = (wall, values);
    }

    fn decided(&self) -> Option<usize> {
        self.step.filter(|_| self.ascends && !self.is_undecided)
    }
}

fn is_repeated(wall: Wall) -> bool {
    matches!(EASTERN.instants(wall), Instants::Twice(..))
}

fn day(wall: Wall) -> Wall {
    wall - wall.rem_euclid(DAY)
}
