//! Message counts of the last minute, by seconds: the rates fall to zero when no messages arrive.
//!
//! Role: pure; the clock is an argument, in whole seconds. Invariant: exactly the newest [`Recent::SECONDS`] seconds count,
//! the current one included.

use crate::outcome::OutcomeCounts;

/// Message counts of the last minute.
#[derive(Debug, Clone)]
pub struct Recent {
    /// The second that a slot counts, and its messages.
    slots: [(i64, OutcomeCounts); Recent::SECONDS as usize],
}

impl Recent {
    /// Length of the window.
    pub const SECONDS: i64 = 60;

    /// Adds messages of this second.
    pub fn add(&mut self, second: i64, counts: &OutcomeCounts) {
        let index = usize::try_from(second.rem_euclid(Recent::SECONDS)).unwrap_or(0);
        if let Some((counted, sum)) = self.slots.get_mut(index) {
            if *counted != second {
                (*counted, *sum) = (second, OutcomeCounts::default());
            }
            sum.merge(counts);
        }
    }

    /// Messages of the minute that ends with this second.
    pub fn counts(&self, second: i64) -> OutcomeCounts {
        let mut sum = OutcomeCounts::default();
        for (_, counts) in self
            .slots
            .iter()
            .filter(|(counted, _)| (0..Recent::SECONDS).contains(&(second - counted)))
        {
            sum.merge(counts);
        }
        sum
    }
}

impl Default for Recent {
    fn default() -> Recent {
        Recent {
            slots: [(i64::MIN / 2, OutcomeCounts::default()); Recent::SECONDS as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exactly_the_last_minute_counts(gaps in prop::collection::vec(0_i64..90, 1..80), later in 0_i64..120) {
            let (mut recent, mut second, mut all) = (Recent::default(), 1_000_000_000, Vec::new());
            let mut one = OutcomeCounts::default();
            one.add(Outcome::DeadLettered);
            for gap in gaps {
                second += gap;
                recent.add(second, &one);
                all.push(second);
            }
            let now = second + later;
            let expected = all.iter().filter(|at| now - **at < 60).count() as u64;
            prop_assert_eq!(recent.counts(now).of(Outcome::DeadLettered), expected);
            prop_assert_eq!(recent.counts(now).total(), expected);
        }
    }
}
