//! Gaps that an operator has accepted (`dp position`). Every comparison leaves them out.
//!
//! Role: a gap is a range of offsets of one topic that one consumer has passed. If both sides of a comparison have these
//! offsets, both leave them out ([`Range::gaps`]). The raw log does not have the offsets of a later topic: there the gap is
//! a [`Hole`], for each raw partition the origins between the last row before the gap and the first row after it.
//! Invariant: origins of a raw partition increase along a later partition (INV-3), so the origins in a gap lie strictly
//! between those two rows. A raw partition that has no row after the gap yet has a hole without an end.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use domain::routing::partition_of;
use domain::{Origin, RawPosition, Tick, instrument::KEY_SEPARATOR};
use service::Names;
use stores::clickhouse::literal;
use stores::{AcceptedGap, ClickHouse};

use super::ranges::Range;
use super::report::{Check, Differences, VerifyReport};
use ops::rows::{number, text};

/// The gaps of this generation.
#[derive(Debug, Clone, Default)]
pub struct Gaps(Vec<AcceptedGap>);

impl Gaps {
    /// Reads the gaps from ClickHouse.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn load(clickhouse: &ClickHouse, names: &Names) -> anyhow::Result<Gaps> {
        let mut groups: Vec<String> = ops::positions::consumers(names)
            .into_iter()
            .map(|consumer| consumer.group)
            .collect();
        groups.sort();
        groups.dedup();
        Ok(Gaps(clickhouse.accepted_gaps(&groups).await?))
    }

    /// Adds one check and one note for each gap. The check always passes; its count is the number of offsets.
    pub fn report(&self, report: &mut VerifyReport) {
        for gap in &self.0 {
            let AcceptedGap {
                consumer_group,
                topic,
                partition,
                from_offset,
                to_offset,
                ..
            } = gap;
            let passed = (to_offset - from_offset).unsigned_abs();
            let name = format!(
                "accepted gap: {consumer_group} skipped {topic}[{partition}] offsets {from_offset} to {}",
                to_offset - 1
            );
            report
                .checks
                .push(Check::new(name, passed, passed, Differences::default()));
            report.notes.push(format!(
                "the checks leave out {topic}[{partition}] offsets {from_offset} to {} (`dp position {}` by {}{}{})",
                to_offset - 1,
                gap.action,
                if gap.accepted_by.is_empty() {
                    "an unnamed operator"
                } else {
                    &gap.accepted_by
                },
                if gap.reason.is_empty() { "" } else { ", reason: " },
                gap.reason
            ));
        }
    }

    fn of<'g>(&'g self, group: &'g str, topic: &'g str) -> impl Iterator<Item = &'g AcceptedGap> {
        self.0
            .iter()
            .filter(move |gap| gap.consumer_group == group && gap.topic == topic)
    }

    /// Leaves the offsets that the group has passed out of these ranges.
    pub fn leave_out(&self, group: &str, ranges: &mut [Range]) {
        for range in ranges {
            let topic = range.lane.topic.to_string();
            range.gaps = self
                .of(group, &topic)
                .filter(|gap| gap.partition == range.lane.partition)
                .map(|gap| (gap.from_offset, gap.to_offset))
                .collect();
            range.gaps.sort_unstable();
        }
    }

    /// SQL ` AND NOT (…)` for a table whose source is this topic: leaves out the offsets that the group has passed.
    pub fn condition(&self, group: &str, topic: &str) -> String {
        let mut sql = String::new();
        for gap in self.of(group, topic) {
            let _infallible = write!(
                sql,
                " AND NOT (src_partition = {} AND src_offset >= {} AND src_offset < {})",
                gap.partition, gap.from_offset, gap.to_offset
            );
        }
        sql
    }

    /// How many results may differ because one side's consumer has passed records that the other side has read. Each item of
    /// `passed` is (group, topic, number of results that one record can change).
    pub fn excuse(&self, passed: &[(String, &str, u64)]) -> Excuse {
        let mut excuse = Excuse::default();
        for (group, topic, results) in passed {
            for gap in self.of(group, topic) {
                excuse.partitions.insert(gap.partition);
                excuse.results += results * (gap.to_offset - gap.from_offset).unsigned_abs();
            }
        }
        excuse
    }

    /// The origins that these gaps have kept from a tick table. Each item of `passed` is (group, topic, table that is written
    /// from the topic).
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn holes(
        &self,
        clickhouse: &ClickHouse,
        passed: &[(String, String, String)],
    ) -> anyhow::Result<Vec<Hole>> {
        let mut holes = Vec::new();
        for (group, topic, table) in passed {
            for gap in self.of(group, topic) {
                holes.push(hole(clickhouse, table, gap).await?);
            }
        }
        Ok(holes)
    }
}

/// Differences that accepted gaps explain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excuse {
    /// Partitions with a gap.
    pub partitions: BTreeSet<i32>,
    /// Largest number of differences that the gaps explain.
    pub results: u64,
}

/// The origins in one gap: for each raw partition, those strictly between two rows of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// Partition of the later topic.
    partition: i32,
    lanes: Vec<LaneHole>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LaneHole {
    feed: String,
    raw_partition: i32,
    after: Option<RawPosition>,
    before: Option<RawPosition>,
}

async fn hole(clickhouse: &ClickHouse, table: &str, gap: &AcceptedGap) -> anyhow::Result<Hole> {
    let (from, to, partition) = (gap.from_offset, gap.to_offset, gap.partition);
    let sql = format!(
        "SELECT toString(feed) AS feed, toString(raw_partition) AS raw, \
         toString(countIf(src_offset < {from})) AS earlier, toString(countIf(src_offset >= {to})) AS later, \
         maxIf((raw_offset, raw_index), src_offset < {from}) AS last, minIf((raw_offset, raw_index), src_offset >= {to}) AS first, \
         toString(last.1) AS last_offset, toString(last.2) AS last_index, \
         toString(first.1) AS first_offset, toString(first.2) AS first_index \
         FROM {table} WHERE src_partition = {partition} GROUP BY feed, raw"
    );
    let mut lanes = Vec::new();
    for row in clickhouse.query_json(&sql).await? {
        let position = |rows: &str, side: &str| -> anyhow::Result<Option<RawPosition>> {
            if number::<u64>(&row, rows)? == 0 {
                return Ok(None);
            }
            Ok(Some(RawPosition {
                offset: number(&row, &format!("{side}_offset"))?,
                index: number(&row, &format!("{side}_index"))?,
            }))
        };
        lanes.push(LaneHole {
            feed: text(&row, "feed")?.to_owned(),
            raw_partition: number(&row, "raw")?,
            after: position("earlier", "last")?,
            before: position("later", "first")?,
        });
    }
    Ok(Hole { partition, lanes })
}

/// SQL ` AND NOT (…)` that leaves the holes out of a tick table.
pub fn outside(holes: &[Hole]) -> String {
    let mut sql = String::new();
    for (hole, lane) in holes
        .iter()
        .flat_map(|hole| hole.lanes.iter().map(move |lane| (hole, lane)))
    {
        let side = |sign: &str, position: Option<RawPosition>| {
            position.map_or_else(String::new, |position| {
                format!(
                    " AND (raw_offset, raw_index) {sign} ({}, {})",
                    position.offset, position.index
                )
            })
        };
        let _infallible = write!(
            sql,
            " AND NOT (src_partition = {} AND feed = {} AND raw_partition = {}{}{})",
            hole.partition,
            literal(&lane.feed),
            lane.raw_partition,
            side(">", lane.after),
            side("<", lane.before)
        );
    }
    sql
}

/// Whether a tick of the raw log is in one of the holes. `partitions` is the number of partitions of the later topics.
pub fn swallows(holes: &[Hole], tick: &Tick<'_>, partitions: i32) -> bool {
    if holes.is_empty() {
        return false;
    }
    let partition = partition_of_key(tick.tenant_id, tick.instrument_id, partitions);
    holes
        .iter()
        .any(|hole| hole.partition == partition && hole.contains(&tick.origin))
}

/// The partition of an instrument's ticks after normalization (INV-4).
pub fn partition_of_key(tenant_id: &str, instrument_id: &str, partitions: i32) -> i32 {
    let key = format!("{tenant_id}{KEY_SEPARATOR}{instrument_id}");
    partition_of(key.as_bytes(), partitions)
}

impl Hole {
    fn contains(&self, origin: &Origin<'_>) -> bool {
        let lane = self
            .lanes
            .iter()
            .find(|lane| lane.feed == origin.feed && lane.raw_partition == origin.partition);
        let position = origin.position();
        // If a raw partition has no row at all, all its ticks are in the gap.
        lane.is_none_or(|lane| {
            lane.after.is_none_or(|after| position > after) && lane.before.is_none_or(|before| position < before)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hole(before: Option<(i64, i32)>) -> Hole {
        Hole {
            partition: 1,
            lanes: vec![LaneHole {
                feed: "raw".to_owned(),
                raw_partition: 0,
                after: Some(RawPosition { offset: 4, index: 1 }),
                before: before.map(|(offset, index)| RawPosition { offset, index }),
            }],
        }
    }

    #[test]
    fn a_hole_excludes_the_rows_around_it() {
        let origin = |offset, index| Origin {
            feed: "raw",
            partition: 0,
            offset,
            index,
        };
        let closed = hole(Some((9, 0)));
        let held: Vec<i64> = (0..12).filter(|offset| closed.contains(&origin(*offset, 0))).collect();
        assert_eq!(held, [5, 6, 7, 8]);
        assert!(!closed.contains(&origin(4, 1)) && closed.contains(&origin(4, 2)));
        assert!(hole(None).contains(&origin(1_000, 0)));
        let of_an_unknown_partition = Origin {
            partition: 7,
            ..origin(0, 0)
        };
        assert!(closed.contains(&of_an_unknown_partition));
    }

    #[test]
    fn a_hole_is_a_condition_on_rows() {
        assert_eq!(
            outside(&[hole(Some((9, 0)))]),
            " AND NOT (src_partition = 1 AND feed = 'raw' AND raw_partition = 0 AND (raw_offset, raw_index) > (4, 1) \
             AND (raw_offset, raw_index) < (9, 0))"
        );
        assert_eq!(outside(&[]), "");
    }
}
