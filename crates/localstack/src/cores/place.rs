//! Whether the stack runs on one core or on all: a plain function of how idle the cores are.
//!
//! Invariants: only a machine that is quiet for [`QUIET_LOOKS`] looks in a row gets the stack on one core. A core without room is given
//! up after [`FULL_LOOKS`]; a burst that is over sooner needs no other core.

/// Looks in a row that have to be quiet: five seconds.
const QUIET_LOOKS: u32 = 10;
/// At most this much of one core is used by the whole machine when it is quiet, so the one core still has half its time.
const QUIET: f64 = 0.5;
/// Below this share of idle time, the one core is full.
const FULL: f64 = 0.2;
/// Looks in a row in which the one core is full: a second.
const FULL_LOOKS: u32 = 2;
/// Weight of the newest look in the average; about the last three seconds count.
const NEWEST: f64 = 0.3;

/// Where the stack should run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// On all cores.
    Everywhere,
    /// On the core with this number.
    Core(usize),
}

/// Follows the idle time of the cores.
#[derive(Debug)]
pub(super) struct Placing {
    place: Place,
    /// Average idle share by core; empty before the first look.
    average: Vec<f64>,
    quiet_looks: u32,
    full_looks: u32,
}

impl Placing {
    pub(super) fn new() -> Placing {
        Placing {
            place: Place::Everywhere,
            average: Vec::new(),
            quiet_looks: 0,
            full_looks: 0,
        }
    }

    /// Takes the idle share of each core since the look before, between 0 and 1; returns the place if it changes.
    pub(super) fn after(&mut self, idle: &[f64]) -> Option<Place> {
        if self.average.len() != idle.len() {
            self.average = idle.to_vec();
        }
        for (average, newest) in self.average.iter_mut().zip(idle) {
            *average += NEWEST * (newest - *average);
        }
        let place = match self.place {
            Place::Core(core) => self.kept_core(core, idle),
            Place::Everywhere => self.quiet_place(),
        };
        let is_new = place != self.place;
        self.place = place;
        is_new.then_some(place)
    }

    fn quiet_place(&mut self) -> Place {
        let busy: f64 = self.average.iter().map(|idle| 1.0 - idle).sum();
        self.quiet_looks = if busy <= QUIET { self.quiet_looks + 1 } else { 0 };
        let idlest = self
            .average
            .iter()
            .enumerate()
            .max_by(|(_, one), (_, other)| one.total_cmp(other));
        match idlest {
            Some((core, _)) if self.quiet_looks >= QUIET_LOOKS && self.average.len() > 1 => {
                self.full_looks = 0;
                Place::Core(core)
            }
            _ => Place::Everywhere,
        }
    }

    fn kept_core(&mut self, core: usize, idle: &[f64]) -> Place {
        let is_full = idle.get(core).is_none_or(|idle| *idle < FULL);
        self.full_looks = if is_full { self.full_looks + 1 } else { 0 };
        if self.full_looks < FULL_LOOKS {
            return Place::Core(core);
        }
        self.quiet_looks = 0;
        Place::Everywhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The changes of place after these looks, with the number of the look.
    fn changes(placing: &mut Placing, looks: &[[f64; 2]]) -> Vec<(usize, Place)> {
        let changed = |(number, idle): (usize, &[f64; 2])| Some((number, placing.after(idle)?));
        looks.iter().enumerate().filter_map(changed).collect()
    }

    #[test]
    fn a_quiet_machine_gets_one_core_after_five_seconds_and_it_is_the_idlest() {
        let mut placing = Placing::new();
        let last = QUIET_LOOKS as usize - 1;
        assert_eq!(changes(&mut placing, &[[0.8, 0.9]; 60]), [(last, Place::Core(1))]);
    }

    #[test]
    fn a_core_that_stays_full_is_given_up_and_quiet_begins_anew() {
        let mut placing = Placing::new();
        changes(&mut placing, &[[0.9, 0.8]; 30]);
        assert_eq!(placing.place, Place::Core(0));
        // The other core may be as busy as it likes; that is not ours.
        assert_eq!(changes(&mut placing, &[[0.6, 0.0]; 30]), []);
        let burst = [[0.1, 1.0], [0.6, 1.0], [0.1, 1.0], [0.6, 1.0]];
        assert_eq!(changes(&mut placing, &burst), []);
        assert_eq!(changes(&mut placing, &[[0.1, 1.0]; 2]), [(1, Place::Everywhere)]);
        let back = changes(&mut placing, &[[0.9, 0.9]; 60]);
        assert_eq!(back.len(), 1);
        assert!(back[0].0 >= QUIET_LOOKS as usize, "{back:?}");
    }

    #[test]
    fn a_busy_second_in_between_starts_the_five_seconds_again() {
        let mut placing = Placing::new();
        let mut looks = vec![[0.9, 0.9]; 8];
        looks.extend([[0.0, 0.0]; 2]);
        looks.extend([[0.9, 0.9]; 8]);
        assert_eq!(changes(&mut placing, &looks), []);
    }

    #[test]
    fn a_machine_with_one_core_or_a_steady_load_stays_as_it_is() {
        let mut placing = Placing::new();
        assert!((0..100).all(|_| placing.after(&[1.0]).is_none()));
        assert_eq!(changes(&mut Placing::new(), &[[0.7, 0.7]; 100]), []);
        assert!((0..100).all(|_| Placing::new().after(&[]).is_none()));
    }
}
