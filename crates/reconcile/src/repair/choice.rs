//! Which records become rows, decided from what the table has under a claim. Pure.
//!
//! Invariants: a tick that the table has anywhere is never written (INV-6). The position of the writer is the offset after the
//! newest row, so rows at or after it are written only without a gap: everything before a new newest row is then in the table.

use std::collections::{BTreeMap, BTreeSet};

use crate::tick_id::TickId;

/// A record that the log requires as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its offset in the topic of the table.
    pub offset: i64,
    /// Its tick.
    pub tick: TickId,
    /// Whether it belongs to the chosen period.
    pub is_wanted: bool,
}

/// What a table has of some candidates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// Source offsets of the partition.
    pub offsets: BTreeSet<i64>,
    /// Ticks, with a source offset of each.
    pub ticks: BTreeMap<TickId, i64>,
}

/// The decision about some candidates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Offsets to write, in order.
    pub write: Vec<i64>,
    /// Ticks that the table has under another source offset.
    pub elsewhere: Vec<(TickId, i64)>,
    /// Ticks after the position that the writer must write itself.
    pub of_the_writer: Vec<TickId>,
}

/// Chooses for one partition, batch by batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chooser {
    /// The first record at or after the position that was not written.
    gap: Option<i64>,
}

impl Chooser {
    /// The records to write of these, which are in order. `next_offset` is the position under the claim.
    pub fn choose(&mut self, candidates: &[Candidate], present: &Present, next_offset: i64) -> Choice {
        let mut choice = Choice::default();
        for Candidate {
            offset,
            tick,
            is_wanted,
        } in candidates
        {
            if present.offsets.contains(offset) {
                continue;
            }
            if let Some(other) = present.ticks.get(tick) {
                choice.elsewhere.push((tick.clone(), *other));
                continue;
            }
            let is_after = *offset >= next_offset;
            if is_after && self.gap.is_some_and(|gap| gap >= next_offset && gap < *offset) {
                choice.of_the_writer.extend(is_wanted.then(|| tick.clone()));
            } else if *is_wanted {
                choice.write.push(*offset);
            } else if is_after {
                self.gap = Some(*offset);
            }
        }
        choice
    }
}

/// The last record of a version in its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// What is done with a row of a table that has versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionChoice {
    /// The table lacks these versions: their records are written, in order.
    Write(Vec<Place>),
    /// Nothing, for this reason.
    Leave(Why),
}

/// Why no version of a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The topic has no record of it.
    NotInTopic,
    /// The table has the versions of the topic, with other values.
    OtherValues,
    /// The table has a newer version than the topic.
    NewerInTable,
}

/// Decides about a row from its records and the versions in the table. A table that `keeps_all` versions gets each that it lacks, another one
/// only the newest, which replaces the others.
pub fn choose_versions(records: &BTreeMap<u64, Place>, stored: &BTreeSet<u64>, keeps_all: bool) -> VersionChoice {
    let Some((newest, _)) = records.last_key_value() else {
        return VersionChoice::Leave(Why::NotInTopic);
    };
    let is_lacking = |version: &u64| match keeps_all {
        true => !stored.contains(version),
        false => version == newest && stored.last().is_none_or(|last| last < version),
    };
    let lacking = records.iter().filter(|entry| is_lacking(entry.0));
    let lacking: Vec<Place> = lacking.map(|(_, place)| *place).collect();
    match lacking.is_empty() {
        false => VersionChoice::Write(lacking),
        true if stored.last() > Some(newest) => VersionChoice::Leave(Why::NewerInTable),
        true => VersionChoice::Leave(Why::OtherValues),
    }
}

/// The ranges `[from, to)` in which these offsets lie: near ones share a range, because every range is a request of its own.
pub fn stretches(offsets: &BTreeSet<i64>, apart: i64) -> Vec<(i64, i64)> {
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for offset in offsets {
        match stretches.last_mut() {
            Some((_, to)) if *offset - *to < apart => *to = offset + 1,
            _ => stretches.push((*offset, offset + 1)),
        }
    }
    stretches
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tick(offset: i64) -> TickId {
        TickId::parse(&format!("raw/0/{offset}/0")).unwrap()
    }

    fn candidates(wanted: &[(i64, bool)]) -> Vec<Candidate> {
        let candidate = |(offset, is_wanted): &(i64, bool)| Candidate {
            offset: *offset,
            tick: tick(*offset),
            is_wanted: *is_wanted,
        };
        wanted.iter().map(candidate).collect()
    }

    #[test]
    fn only_rows_that_the_table_does_not_have_anywhere_are_written() {
        let present = Present {
            offsets: [2].into(),
            ticks: [(tick(2), 2), (tick(3), 40)].into(),
        };
        let all = candidates(&[(1, true), (2, true), (3, true), (4, false), (5, true)]);
        let choice = Chooser::default().choose(&all, &present, 100);
        assert_eq!(choice.write, [1, 5]);
        assert_eq!(choice.elsewhere, [(tick(3), 40)]);
        assert_eq!(choice.of_the_writer, []);
    }

    #[test]
    fn a_second_run_writes_nothing() {
        let all = candidates(&[(1, true), (2, true)]);
        let first = Chooser::default().choose(&all, &Present::default(), 0);
        let present = Present {
            offsets: first.write.iter().copied().collect(),
            ticks: first.write.iter().map(|offset| (tick(*offset), *offset)).collect(),
        };
        assert_eq!(Chooser::default().choose(&all, &present, 3), Choice::default());
    }

    #[test]
    fn rows_after_the_position_are_written_only_up_to_the_first_that_is_not() {
        let mut chooser = Chooser::default();
        let first = candidates(&[(8, false), (9, true), (10, true), (11, false), (12, true)]);
        let choice = chooser.choose(&first, &Present::default(), 10);
        assert_eq!((choice.write, choice.of_the_writer), (vec![9, 10], vec![tick(12)]));
        // The next batch knows of the gap, until the writer has filled it.
        let next = candidates(&[(13, true)]);
        assert_eq!(chooser.choose(&next, &Present::default(), 11).of_the_writer, [tick(13)]);
        assert_eq!(chooser.choose(&next, &Present::default(), 12).write, [13]);
    }

    #[test]
    fn of_versions_the_newest_is_written_or_all_that_the_table_lacks() {
        let place = |offset| Place { partition: 0, offset };
        let records: BTreeMap<u64, Place> = [(12, place(1)), (14, place(3)), (15, place(4))].into();
        let choose =
            |stored: &[u64], keeps_all| choose_versions(&records, &stored.iter().copied().collect(), keeps_all);
        let write = |offsets: &[i64]| VersionChoice::Write(offsets.iter().map(|offset| place(*offset)).collect());
        for (stored, newest, all) in [
            (vec![], write(&[4]), write(&[1, 3, 4])),
            (vec![12], write(&[4]), write(&[3, 4])),
            (vec![15], VersionChoice::Leave(Why::OtherValues), write(&[1, 3])),
            (
                vec![12, 14, 15],
                VersionChoice::Leave(Why::OtherValues),
                VersionChoice::Leave(Why::OtherValues),
            ),
            (vec![14, 16], VersionChoice::Leave(Why::NewerInTable), write(&[1, 4])),
        ] {
            assert_eq!(choose(&stored, false), newest, "{stored:?}");
            assert_eq!(choose(&stored, true), all, "{stored:?}");
        }
        let invented = choose_versions(&BTreeMap::new(), &[1].into(), true);
        assert_eq!(invented, VersionChoice::Leave(Why::NotInTopic));
    }

    /// A log in which records repeat, the table of a writer, rows deleted by hand, and repairs that are killed.
    #[derive(Debug, Default)]
    struct World {
        /// The raw offset of each record's tick.
        log: Vec<i64>,
        /// The raw offset of each row's tick, by source offset.
        table: BTreeMap<i64, i64>,
        /// Position and last accepted tick of the writer, while its claim is the newest.
        writer: Option<(i64, i64)>,
    }

    impl World {
        fn position(&self) -> i64 {
            self.table.last_key_value().map_or(0, |(offset, _)| offset + 1)
        }

        fn write(&mut self) {
            let taken = || (self.position(), self.table.values().max().copied().unwrap_or(-1));
            let (mut next, mut last) = self.writer.unwrap_or_else(taken);
            while let Some(raw) = usize::try_from(next).ok().and_then(|next| self.log.get(next)) {
                if *raw > last {
                    last = *raw;
                    self.table.insert(next, last);
                }
                next += 1;
            }
            self.writer = Some((next, last));
        }

        /// The offset of the first record of each tick.
        fn first(&self) -> BTreeMap<i64, i64> {
            let mut first = BTreeMap::new();
            for (offset, raw) in (0..).zip(&self.log) {
                first.entry(*raw).or_insert(offset);
            }
            first
        }

        /// Repairs the rows of ticks from `from` on, and is killed after some batches.
        fn repair(&mut self, from: i64, batches: usize) {
            let mut candidates: Vec<Candidate> = self
                .first()
                .into_iter()
                .map(|(raw, offset)| Candidate {
                    offset,
                    tick: tick(raw),
                    is_wanted: raw >= from,
                })
                .collect();
            candidates.sort_by_key(|candidate| candidate.offset);
            self.writer = None;
            let (mut next, mut chooser) = (self.position(), Chooser::default());
            for batch in candidates.chunks(3).take(batches) {
                let present = Present {
                    offsets: self.table.keys().copied().collect(),
                    ticks: self.table.iter().map(|(offset, raw)| (tick(*raw), *offset)).collect(),
                };
                for offset in chooser.choose(batch, &present, next).write {
                    let raw = batch.iter().find(|candidate| candidate.offset == offset);
                    self.table.insert(offset, raw.unwrap().tick.position.offset);
                    next = next.max(offset + 1);
                }
            }
        }

        /// Ticks that the table does not have, with the offsets of their first records.
        fn missing(&self) -> Vec<i64> {
            let there: BTreeSet<i64> = self.table.values().copied().collect();
            let first = self.first().into_iter();
            first
                .filter(|(raw, _)| !there.contains(raw))
                .map(|(_, offset)| offset)
                .collect()
        }

        fn has_each_once(&self) -> bool {
            let there: BTreeSet<i64> = self.table.values().copied().collect();
            there.len() == self.table.len()
        }
    }

    proptest::proptest! {
        /// Whatever is deleted, and whenever repairs are killed: no tick is stored twice, a repair never lets the writer pass a
        /// record that it had not passed before, and a whole repair brings everything back.
        #[test]
        fn no_tick_is_doubled_and_none_is_passed(
            steps in proptest::collection::vec((0u8..5, 0i64..40, 0usize..6), 1..60),
        ) {
            let mut world = World::default();
            for (kind, number, batches) in steps {
                let place = usize::try_from(number).unwrap();
                match kind {
                    0 => {
                        let next = world.log.iter().max().map_or(0, |last| last + 1);
                        world.log.extend((next..).take(batches));
                    }
                    1 => {
                        let repeated = world.log.get(place % world.log.len().max(1)).copied();
                        world.log.extend(repeated);
                    }
                    2 => world.write(),
                    3 => {
                        let rows: Vec<i64> = world.table.keys().copied().collect();
                        if let Some(offset) = rows.get(place % rows.len().max(1)) {
                            world.table.remove(offset);
                        }
                    }
                    _ => {
                        let before = world.position();
                        world.repair(number / 2, batches);
                        world.write();
                        proptest::prop_assert!(world.missing().iter().all(|offset| *offset < before), "{world:?}");
                    }
                }
                proptest::prop_assert!(world.has_each_once(), "{world:?}");
            }
            world.write();
            world.repair(0, usize::MAX);
            proptest::prop_assert!(world.missing().is_empty() && world.has_each_once(), "{world:?}");
            let table = world.table.clone();
            world.repair(0, usize::MAX);
            proptest::prop_assert_eq!(world.table, table);
        }
    }

    #[test]
    fn near_offsets_are_read_together() {
        let offsets = [1, 2, 5, 50, 51].into();
        assert_eq!(stretches(&offsets, 10), [(1, 6), (50, 52)]);
        assert_eq!(stretches(&BTreeSet::new(), 10), []);
    }
}
