//! The cut of a run: how far each topic is compared, so that ticks that arrive meanwhile change no result. Pure.
//!
//! Role: a run begins with the ends of the raw topics. The end of a later topic is taken when the stage before it has passed what the cut
//! has of its own input ([`passed`](super::passed)). Rows from offsets at or after these ends are not compared. A row that follows from many
//! ticks (a bar, a derived price, a snapshot, a latest price) is compared only if it names no tick that was appended since the cut: such a
//! row has changed during the run.
//! Invariants: at every moment after the wait, each store is in a state that follows from at least the cut. So a row that names no
//! later tick is as the cut requires. A tick is later only if the log has it, read after the store: what is beyond the end of the log is wrong.
//! Failure: a partition that is created during the run is not compared.

use std::collections::BTreeMap;

use service::Names;
use stream::Partition;

use super::range::Range;
use crate::tick_id::TickId;

/// How often the ends are taken: of the raw topics, of normalized ticks, of enriched ticks, of what aggregation makes of them, and of what
/// its second stages make of that. When all groups have passed the last ones, all that follows from the first ones is in every store.
pub const ROUNDS: usize = 5;

/// Offsets after the last ones, by topic and partition.
pub type Ends = BTreeMap<Partition, i64>;

/// How far each topic is compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cut {
    /// Topics by the round in which their ends count. Those without one have the last.
    rounds: BTreeMap<String, usize>,
    /// `None`: everything is compared.
    ends: Option<Ends>,
}

impl Cut {
    /// Everything is compared, for tables that nobody writes.
    pub fn nowhere() -> Cut {
        Cut::default()
    }

    /// A cut without ends yet.
    pub fn of(names: &Names) -> Cut {
        let raw = names.raw.iter().map(|topic| (topic.clone(), 0));
        let later = [(names.normalized.clone(), 1), (names.enriched.clone(), 2)];
        Cut {
            rounds: raw.chain(later).collect(),
            ends: Some(Ends::new()),
        }
    }

    /// Takes the ends of those topics whose round this is.
    pub fn take(&mut self, round: usize, now: &Ends) {
        let rounds = &self.rounds;
        let is_due = |topic: &str| rounds.get(topic).copied().unwrap_or(ROUNDS - 1) == round;
        let due = now.iter().filter(|(partition, _)| is_due(&partition.topic));
        let due = due.map(|(partition, end)| (partition.clone(), *end));
        self.ends.get_or_insert_default().extend(due);
    }

    /// Where the topic is cut; `None` if all of it is compared.
    pub fn end(&self, partition: &Partition) -> Option<i64> {
        let ends = self.ends.as_ref()?;
        Some(ends.get(partition).copied().unwrap_or(0))
    }

    /// Ends these ranges at the cut.
    pub fn shorten(&self, ranges: &mut [Range]) {
        for range in ranges {
            if let Some(end) = self.end(&range.partition()) {
                // Retention may have removed all that the cut has.
                range.end = range.end.min(end).max(range.first);
            }
        }
    }

    /// The ends of this topic by partition; none if all of it is compared.
    pub fn of_topic(&self, topic: &str) -> BTreeMap<i32, i64> {
        let ends = self.ends.iter().flatten();
        let of_topic = ends.filter(|(partition, _)| *partition.topic == *topic);
        of_topic.map(|(partition, end)| (partition.number, *end)).collect()
    }

    /// SQL ` AND NOT (…)` for a table that is written from this topic: leaves out rows since the cut.
    pub fn condition(&self, topic: &str) -> String {
        let ends = self.of_topic(topic).into_iter();
        let later = |(partition, end)| format!(" AND NOT (src_partition = {partition} AND src_offset >= {end})");
        ends.map(later).collect()
    }

    /// Whether the log may have this tick only since the cut.
    pub fn is_later(&self, tick: &TickId) -> bool {
        let end = self.end(&tick.place());
        end.is_some_and(|end| tick.position.offset >= end)
    }

    /// The ticks since the cut, up to these ends of the raw topics.
    pub fn arrived(&self, now: Ends) -> Arrived {
        Arrived { cut: self.clone(), now }
    }
}

/// The ticks that arrived since the cut.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    cut: Cut,
    now: Ends,
}

impl Arrived {
    /// Whether this tick is one of them. An empty or unreadable id names none.
    pub fn has(&self, tick: &str) -> bool {
        TickId::parse(tick).is_some_and(|tick| {
            let is_in_log = || {
                self.now
                    .get(&tick.place())
                    .is_some_and(|end| tick.position.offset < *end)
            };
            self.cut.is_later(&tick) && is_in_log()
        })
    }

    /// Number of messages.
    pub fn messages(&self) -> u64 {
        let since = |(partition, now): (&Partition, &i64)| now.saturating_sub(self.cut.end(partition).unwrap_or(*now));
        self.now
            .iter()
            .map(since)
            .filter_map(|count| u64::try_from(count).ok())
            .sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::super::blocks::Lane;
    use super::*;

    fn partition(topic: &str, number: i32) -> Partition {
        Partition {
            topic: topic.into(),
            number,
        }
    }

    pub(crate) fn ends(of: &[(&str, i32, i64)]) -> Ends {
        of.iter()
            .map(|(topic, number, end)| (partition(topic, *number), *end))
            .collect()
    }

    /// A cut whose raw topic `raw` has one partition with this end.
    pub(crate) fn raw_cut(end: i64) -> Cut {
        Cut {
            rounds: [("raw".to_owned(), 0)].into(),
            ends: Some(ends(&[("raw", 0, end)])),
        }
    }

    #[test]
    fn the_end_of_a_topic_is_that_of_its_own_round() {
        let rounds = [("raw", 0), ("normalized", 1), ("enriched", 2)];
        let mut cut = Cut {
            rounds: rounds.map(|(topic, round)| (topic.to_owned(), round)).into(),
            ends: Some(Ends::new()),
        };
        for round in 0..ROUNDS {
            let end = i64::try_from(round).unwrap() * 10 + 10;
            let now = ["raw", "normalized", "enriched", "bars"].map(|topic| (topic, 0, end));
            cut.take(round, &ends(&now));
        }
        let found =
            ["raw", "normalized", "enriched", "bars", "created later"].map(|topic| cut.end(&partition(topic, 0)));
        assert_eq!(found, [Some(10), Some(20), Some(30), Some(50), Some(0)]);
        assert_eq!(Cut::nowhere().end(&partition("raw", 0)), None);
        assert_eq!(
            cut.condition("enriched"),
            " AND NOT (src_partition = 0 AND src_offset >= 30)"
        );
        assert_eq!(Cut::nowhere().condition("enriched"), "");
    }

    #[test]
    fn a_range_ends_at_the_cut_and_is_never_negative() {
        let range = |first, end| Range {
            lane: Lane {
                topic: "raw".into(),
                partition: 0,
            },
            first,
            end,
            is_cut: first > 0,
            gaps: Vec::new(),
        };
        let mut ranges = [range(0, 90), range(0, 7), range(40, 90)];
        raw_cut(20).shorten(&mut ranges);
        let bounds: Vec<(i64, i64)> = ranges.iter().map(|range| (range.first, range.end)).collect();
        assert_eq!(bounds, [(0, 20), (0, 7), (40, 40)]);
    }

    proptest! {
        /// What the log had before, and what it does not have at all, is no reason to leave a row out.
        #[test]
        fn only_a_tick_between_the_cut_and_the_end_has_arrived(cut in 0i64..50, more in 0i64..50, offset in 0i64..150) {
            let arrived = raw_cut(cut).arrived(ends(&[("raw", 0, cut + more)]));
            let has = |offset: i64| arrived.has(&format!("raw/0/{offset}/3"));
            prop_assert_eq!(has(offset), (cut..cut + more).contains(&offset));
            prop_assert_eq!(arrived.messages(), u64::try_from(more).unwrap());
            let unknown = ["", "raw/0/x/1", "old/0/30/0", "raw/1/30/0"];
            prop_assert!(unknown.iter().all(|tick| !arrived.has(tick)));
        }
    }
}
