//! The two passes of NYISO's repeated hour.
//!
//! Nothing marks them: the stamps of a name step back once, from the end of the first pass to the beginning of the second one.
//! Invariant: a row is assigned to a pass only by its place before or after that one step. Names whose stamps never step back,
//! or more than once, are undecided.

use std::collections::HashMap;

use crate::clock::{DAY, EASTERN, Instants, Pass, Wall};

/// Most names of one document that are followed, so that memory is bounded. The market has about 700.
pub(super) const NAMES: usize = 65_536;

/// The stamps of each name in each repeated hour, in the order of the document.
#[derive(Debug, Default)]
pub(super) struct Passes {
    stamps: HashMap<String, Vec<Wall>>,
    /// Where the second pass begins, as a number of stamps of that name and day.
    steps: HashMap<(String, Wall), usize>,
    last: Option<(Wall, bool)>,
}

/// Counts the stamps of each name and day while rows are visited again.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<(String, Wall), usize>);

impl Passes {
    /// Notes a row.
    pub(super) fn note(&mut self, name: &str, wall: Wall) {
        // Neighbouring rows have the same stamp.
        let is_repeated = match self.last {
            Some((last, is_repeated)) if last == wall => is_repeated,
            _ => matches!(EASTERN.instants(wall), Instants::Twice(..)),
        };
        self.last = Some((wall, is_repeated));
        if !is_repeated {
            return;
        }
        let is_full = self.stamps.len() >= NAMES;
        match self.stamps.get_mut(name) {
            Some(stamps) => stamps.push(wall),
            None if !is_full => _ = self.stamps.insert(name.to_owned(), vec![wall]),
            None => {}
        }
    }

    /// Finds the steps. In an hourly report the repeated hour is one stamp printed twice.
    pub(super) fn decide(&mut self, is_hourly: bool) {
        for (name, stamps) in std::mem::take(&mut self.stamps) {
            let mut days: HashMap<Wall, Vec<Wall>> = HashMap::new();
            for wall in stamps {
                days.entry(day(wall)).or_default().push(wall);
            }
            for (day, stamps) in days {
                if let Some(step) = step(&stamps, is_hourly) {
                    self.steps.insert((name.clone(), day), step);
                }
            }
        }
    }

    /// The pass of the next row of this name with a stamp that occurs twice.
    pub(super) fn next(&self, counts: &mut Counts, name: &str, wall: Wall) -> Option<Pass> {
        let key = (name.to_owned(), day(wall));
        let step = self.steps.get(&key).copied();
        let count = counts.0.entry(key).or_default();
        *count += 1;
        step.map(|step| if *count <= step { Pass::First } else { Pass::Second })
    }
}

fn day(wall: Wall) -> Wall {
    wall - wall.rem_euclid(DAY)
}

fn step(stamps: &[Wall], is_hourly: bool) -> Option<usize> {
    let back = |earlier: &Wall, later: &Wall| later < earlier || (is_hourly && later == earlier);
    let mut steps = stamps
        .iter()
        .zip(stamps.iter().skip(1))
        .enumerate()
        .filter(|(_, (earlier, later))| back(earlier, later))
        .map(|(index, _)| index + 1);
    let first = steps.next()?;
    steps.next().is_none().then_some(first)
}
