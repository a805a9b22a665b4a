//! INV-3: accepts a tick iff its origin is greater than the last accepted of the same (feed, raw partition).
//!
//! Role: recognises repeated outputs of at-least-once stages and of zombies by comparing two integers.
//! Invariant: the last accepted position of a lane never decreases. The caller saves a state with exactly the position that
//! it belongs to, and restores both together. Two states merge pointwise to the larger position.
//! Failure: none; this is arithmetic.

use domain::{LastOrigin, RawPosition};
use rustc_hash::FxHashMap;

/// The sequencer of one downstream partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequencer {
    // Most systems have one feed, so keying by the raw partition keeps each list at length one.
    lanes: FxHashMap<i32, Vec<(Box<str>, RawPosition)>>,
}

impl Sequencer {
    /// Accepts the tick and returns true, or returns false for a repetition.
    #[must_use]
    pub fn accept(&mut self, feed: &str, raw_partition: i32, position: RawPosition) -> bool {
        let lanes = self.lanes.entry(raw_partition).or_default();
        match lanes.iter_mut().find(|(name, _)| &**name == feed) {
            Some((_, last)) if position <= *last => false,
            Some((_, last)) => {
                *last = position;
                true
            }
            None => {
                lanes.push((feed.into(), position));
                true
            }
        }
    }

    /// Raises the lane to at least this position (merging states pointwise).
    pub fn merge(&mut self, origin: &LastOrigin) {
        let _ = self.accept(&origin.feed, origin.raw_partition, origin.position);
    }

    /// The state, sorted, to be stored with the position that it belongs to.
    pub fn state(&self) -> Vec<LastOrigin> {
        let mut state: Vec<LastOrigin> = self
            .lanes
            .iter()
            .flat_map(|(raw_partition, lanes)| {
                lanes.iter().map(|(feed, position)| LastOrigin {
                    feed: feed.to_string(),
                    raw_partition: *raw_partition,
                    position: *position,
                })
            })
            .collect();
        state.sort();
        state
    }
}

impl<'a> FromIterator<&'a LastOrigin> for Sequencer {
    fn from_iter<I: IntoIterator<Item = &'a LastOrigin>>(origins: I) -> Sequencer {
        let mut sequencer = Sequencer::default();
        origins.into_iter().for_each(|origin| sequencer.merge(origin));
        sequencer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: i64, index: i32) -> RawPosition {
        RawPosition { offset, index }
    }

    #[test]
    fn lanes_of_other_feeds_and_partitions_are_independent() {
        let mut sequencer = Sequencer::default();
        assert!(sequencer.accept("a", 0, at(5, 0)));
        assert!(!sequencer.accept("a", 0, at(5, 0)));
        assert!(sequencer.accept("a", 1, at(1, 0)));
        assert!(sequencer.accept("b", 0, at(1, 0)));
        assert!(sequencer.accept("a", 0, at(5, 1)));
        assert!(!sequencer.accept("a", 0, at(4, 9)));
    }

    proptest! {
        /// Two owners (a zombie and its successor) each produce a complete increasing sequence; any merge of the two
        /// that keeps each one's order yields every origin exactly once.
        #[test]
        fn any_merge_of_two_complete_sequences_gives_each_tick_once(
            choices in proptest::collection::vec(any::<bool>(), 0..200),
            restart in 0usize..40,
        ) {
            let log: Vec<RawPosition> = (0..40).flat_map(|offset| (0..(offset % 3)).map(move |i| at(offset, i as i32))).collect();
            let (mut zombie, mut owner) = (log.iter(), log.iter().skip(restart.min(log.len())));
            let mut merged: Vec<RawPosition> = zombie.by_ref().take(restart.min(log.len())).copied().collect();
            for zombie_next in choices {
                merged.extend(if zombie_next { zombie.next() } else { owner.next() });
            }
            merged.extend(owner.by_ref().copied());
            let mut sequencer = Sequencer::default();
            let accepted: Vec<RawPosition> = merged.into_iter().filter(|p| sequencer.accept("f", 0, *p)).collect();
            prop_assert_eq!(accepted, log);
        }

        #[test]
        fn a_restored_state_accepts_what_the_original_would(offsets in proptest::collection::vec((0i32..3, 0i64..50), 0..80)) {
            let mut original = Sequencer::default();
            for (partition, offset) in &offsets {
                let _ = original.accept("f", *partition, at(*offset, 0));
            }
            let state = original.state();
            let restored: Sequencer = state.iter().collect();
            prop_assert_eq!(restored, original);
        }
    }
}
