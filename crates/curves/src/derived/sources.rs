//! How far each leg of a series has been read.
//!
//! Stages read partitions independently, so after an outage one leg may have been read up to its end while another one is days behind. What the
//! slower one will bring has been appended at or after its last price: prices within the hold time of that are still needed.
//! Invariants: a function of the legs, in the order of their topic, as far back as [`super::read_back`] reaches. A leg that is silent holds
//! nothing back for longer than [`Limits::behind`].

use std::sync::Arc;

use domain::Micros;

use super::limits::{AHEAD, HOUR, Limits};

/// A raw partition that is further behind the other ones of the same leg has no more prices of it. What a restart reads covers this time besides
/// [`Limits::behind`], so that it finds the same sources.
const SILENT: Micros = AHEAD + 24 * HOUR;

/// The raw partitions from which the prices of a leg come: within each, in the order in which they were appended. Usually there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    newest: Vec<(Arc<str>, i32, Micros)>,
}

impl Sources {
    /// A price of this raw partition was appended then.
    pub fn observe(&mut self, (feed, partition): (&Arc<str>, i32), appended: Micros) {
        let same = self
            .newest
            .iter_mut()
            .find(|known| known.0 == *feed && known.1 == partition);
        match same {
            Some(known) => known.2 = known.2.max(appended),
            None => self.newest.push((Arc::clone(feed), partition, appended)),
        }
    }

    /// Prices that are still to come were appended at this time or later.
    pub fn reached(&mut self, clock: Micros, limits: &Limits) -> Micros {
        let behind = clock.saturating_sub(limits.behind);
        let silent = clock.saturating_sub(SILENT.min(limits.behind));
        self.newest.retain(|(_, _, newest)| *newest >= silent);
        let slowest = self.newest.iter().map(|(_, _, newest)| *newest).min();
        slowest.unwrap_or(behind).max(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_back;
    use super::*;

    const DAY: Micros = 24 * HOUR;

    #[test]
    fn a_leg_has_passed_a_time_when_all_of_its_raw_partitions_have() {
        let (mut sources, limits) = (Sources::default(), Limits::new(DAY, 0, 1));
        let feeds: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut reached = |feed: usize, partition, appended: Micros, clock| {
            sources.observe((&feeds[feed], partition), appended);
            sources.reached(clock, &limits)
        };
        assert_eq!(reached(0, 0, 100 * DAY, 100 * DAY), 100 * DAY);
        assert_eq!(reached(0, 1, 98 * DAY, 100 * DAY), 98 * DAY);
        assert_eq!(reached(1, 0, 99 * DAY, 100 * DAY), 98 * DAY);
        // It never goes back with a price that comes out of order.
        assert_eq!(reached(0, 1, 97 * DAY, 100 * DAY), 98 * DAY);
        // One is silent, then all of them are.
        assert_eq!(reached(1, 0, 101 * DAY, 102 * DAY), 100 * DAY);
        assert_eq!(sources.reached(110 * DAY, &limits), 103 * DAY);
    }

    /// Sources that a restart does not find are silent, and what they held back is given up.
    #[test]
    fn a_restart_reads_more_than_what_sources_can_hold_back_and_less_than_the_topic_keeps() {
        for hold in [HOUR / 60, DAY, 4 * DAY] {
            for reach in [0, 25 * HOUR, 7 * DAY] {
                let limits = Limits::new(hold, reach, 1);
                let back = read_back(&limits, reach);
                assert!(limits.behind >= 11 * HOUR && back < 14 * DAY, "{limits:?}");
                assert!(
                    back >= limits.behind + SILENT.min(limits.behind) + hold.min(HOUR),
                    "{limits:?}"
                );
            }
        }
    }
}
