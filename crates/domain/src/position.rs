//! A position in a source partition with the sequencer state of exactly that position (INV-3).
//!
//! Role: every sink stores it together with its results, so that the next owner continues where they end.

use crate::RawPosition;

/// The last accepted origin of one (feed, raw partition).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastOrigin {
    /// Raw topic.
    pub feed: String,
    /// Partition of the raw topic.
    pub raw_partition: i32,
    /// Last position accepted there.
    pub position: RawPosition,
}

/// Where a sink continues reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// Next source offset.
    pub next_offset: i64,
    /// State as of that offset, sorted by feed and raw partition.
    pub sequencer: Vec<LastOrigin>,
}

impl Position {
    /// The later of two: the larger offset, and pointwise the larger origins.
    #[must_use]
    pub fn merge(mut self, other: Position) -> Position {
        self.next_offset = self.next_offset.max(other.next_offset);
        self.sequencer.extend(other.sequencer);
        // Sorted by feed, partition, position: the last of each lane is its largest.
        self.sequencer.sort_by(|a, b| b.cmp(a));
        self.sequencer
            .dedup_by(|a, b| a.feed == b.feed && a.raw_partition == b.raw_partition);
        self.sequencer.reverse();
        self
    }
}

/// Whether this is an id of a topic: brokers and clients without topic ids return zeros.
pub fn is_known_topic_id(id: &str) -> bool {
    !id.chars().all(|letter| letter == 'A')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn positions() -> impl Strategy<Value = Position> {
        let lane = (prop_oneof!["a", "b"], 0i32..3, 0i64..50, 0i32..3);
        (0i64..100, proptest::collection::vec(lane, 0..8)).prop_map(|(next_offset, lanes)| {
            let newest: BTreeMap<(String, i32), RawPosition> = lanes
                .into_iter()
                .map(|(feed, partition, offset, index)| ((feed, partition), RawPosition { offset, index }))
                .collect();
            let sequencer = newest
                .into_iter()
                .map(|((feed, raw_partition), position)| LastOrigin {
                    feed,
                    raw_partition,
                    position,
                })
                .collect();
            Position { next_offset, sequencer }
        })
    }

    proptest! {
        #[test]
        fn a_merge_takes_the_larger_of_each_lane_in_any_order(one in positions(), other in positions()) {
            let merged = one.clone().merge(other.clone());
            prop_assert_eq!(&merged, &other.clone().merge(one.clone()));
            prop_assert_eq!(&merged, &merged.clone().merge(one.clone()));
            for lane in one.sequencer.iter().chain(&other.sequencer) {
                let kept = merged.sequencer.iter().filter(|l| l.feed == lane.feed && l.raw_partition == lane.raw_partition);
                let kept: Vec<_> = kept.collect();
                prop_assert_eq!(kept.len(), 1);
                prop_assert!(kept[0].position >= lane.position);
            }
        }
    }
}
