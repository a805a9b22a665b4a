//! Queries on the ClickHouse tables: checksums of blocks, rows of blocks, source offsets.

use std::collections::BTreeMap;

use anyhow::Context as _;
use domain::LastOrigin;
use service::writer::TableSpec;
use stores::ClickHouse;
use stores::clickhouse::literal;

use super::bars_sql::Expired;
use super::blocks::{BLOCK, BlockKey, Blocks, Hashed, Lane, Row, Sum};
use super::canonical::{self, Column};
use super::gaps::{self, Hole};
use super::ranges::Range;
use super::report::{Differences, NAMED};
use ops::rows::{number, text};

/// Which of a row's two log positions is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Position of the raw message: feed, partition, offset.
    Raw,
    /// Position of the record that the row was written from. The topic is the same for all rows of a table.
    Source,
}

impl Place {
    pub(super) fn partition(self) -> &'static str {
        match self {
            Place::Raw => "raw_partition",
            Place::Source => "src_partition",
        }
    }

    pub(super) fn offset(self) -> &'static str {
        match self {
            Place::Raw => "raw_offset",
            Place::Source => "src_offset",
        }
    }

    fn is_in(self, lane: &Lane) -> String {
        let partition = format!("{} = {}", self.partition(), lane.partition);
        match self {
            Place::Raw => format!("feed = {} AND {partition}", literal(&lane.topic)),
            Place::Source => partition,
        }
    }

    // With `is_whole`, from offset 0 and without gaps; else from `first` of each range.
    pub(super) fn within(self, ranges: &[Range], is_whole: bool) -> String {
        let offset = self.offset();
        let parts: Vec<String> = ranges
            .iter()
            .map(|range| {
                let first = if is_whole { 0 } else { range.first };
                let gaps: Vec<String> = range
                    .gaps
                    .iter()
                    .filter(|_| !is_whole)
                    .map(|(from, to)| format!(" AND NOT ({offset} >= {from} AND {offset} < {to})"))
                    .collect();
                format!(
                    "({} AND {offset} >= {first} AND {offset} < {}{})",
                    self.is_in(&range.lane),
                    range.end,
                    gaps.concat()
                )
            })
            .collect();
        if parts.is_empty() {
            "0".to_owned()
        } else {
            format!("({})", parts.join(" OR "))
        }
    }
}

/// A table and the part of it that one check compares.
#[derive(Clone, Copy)]
pub struct Table<'a> {
    /// The client.
    pub clickhouse: &'a ClickHouse,
    /// What is known of it.
    pub spec: &'static TableSpec,
    /// Name with the generation's suffix.
    pub name: &'a str,
    /// The compared columns.
    pub columns: &'a [Column],
    /// The position by which rows are assigned to blocks.
    pub place: Place,
    /// The compared offsets.
    pub ranges: &'a [Range],
    /// Origins that accepted gaps have kept from the table.
    pub holes: &'a [Hole],
    /// Number of queries for one pass over all rows (see [`parts`]).
    pub parts: u64,
}

/// Rows that one query reads: ClickHouse needs a few seconds for them on two cores.
const ROWS_AT_ONCE: u64 = 1_000_000;

/// Blocks whose rows one query reads: about 65,000 rows.
const BLOCKS_AT_ONCE: usize = 256;

/// Number of queries for so many rows, so that no query exceeds its timeout or the server's memory.
pub fn parts(rows: u64) -> u64 {
    1 + rows / ROWS_AT_ONCE
}

impl Table<'_> {
    /// Count and checksum of each block.
    ///
    /// # Errors
    /// ClickHouse does not answer, or the table does not exist.
    pub async fn blocks(&self) -> anyhow::Result<Blocks> {
        let (place, name) = (self.place, self.name);
        let topic = self.topic();
        let mut blocks = Blocks::default();
        for part in 0..self.parts {
            let sql = format!(
                "SELECT {topic} AS topic, toString({partition}) AS partition, toString(intDiv({offset}, {BLOCK})) AS block, \
                 toString(count()) AS rows, toString(sum(xxHash64({text}))) AS hashes FROM {name} \
                 WHERE {within}{outside} AND intDiv({offset}, {BLOCK}) % {parts} = {part} GROUP BY topic, partition, block",
                outside = gaps::outside(self.holes),
                partition = place.partition(),
                offset = place.offset(),
                text = canonical::sql(self.columns),
                within = place.within(self.ranges, false),
                parts = self.parts,
            );
            self.read_blocks(&sql, &mut blocks).await?;
        }
        Ok(blocks)
    }

    async fn read_blocks(&self, sql: &str, blocks: &mut Blocks) -> anyhow::Result<()> {
        let rows = self.clickhouse.query_json(sql).await;
        for row in rows.with_context(|| format!("read checksums of {}", self.name))? {
            let lane = Lane {
                topic: text(&row, "topic")?.into(),
                partition: number(&row, "partition")?,
            };
            let sum = Sum {
                rows: number(&row, "rows")?,
                hashes: number(&row, "hashes")?,
            };
            blocks.insert(&lane, number(&row, "block")?, sum);
        }
        Ok(())
    }

    /// The rows of these blocks.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn rows(&self, blocks: &[BlockKey]) -> anyhow::Result<Vec<Row>> {
        if blocks.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT tick_id AS id, {} AS text FROM {} WHERE {}",
            canonical::sql(self.columns),
            self.name,
            self.within_blocks(blocks),
        );
        let rows = self
            .clickhouse
            .query_json(&sql)
            .await
            .with_context(|| format!("read rows of {}", self.name))?;
        rows.iter()
            .map(|row| {
                Ok(Row {
                    id: text(row, "id")?.to_owned(),
                    text: text(row, "text")?.to_owned(),
                })
            })
            .collect()
    }

    /// The rows of these blocks by their hashes.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn hashed(&self, blocks: &[BlockKey]) -> anyhow::Result<Vec<Hashed>> {
        let mut all = Vec::new();
        for blocks in blocks.chunks(BLOCKS_AT_ONCE) {
            let sql = format!(
                "SELECT toString(xxHash64(tick_id)) AS id, toString(xxHash64({})) AS text FROM {} WHERE {}",
                canonical::sql(self.columns),
                self.name,
                self.within_blocks(blocks),
            );
            let rows = self.clickhouse.query_json(&sql).await;
            for row in rows.with_context(|| format!("read checksums of rows of {}", self.name))? {
                all.push(Hashed {
                    id: number(&row, "id")?,
                    text: number(&row, "text")?,
                });
            }
        }
        Ok(all)
    }

    fn within_blocks(&self, blocks: &[BlockKey]) -> String {
        let wanted: Vec<String> = blocks
            .iter()
            .map(|block| {
                let (offset, start) = (self.place.offset(), block.number * BLOCK);
                format!(
                    "({} AND {offset} >= {start} AND {offset} < {})",
                    self.place.is_in(&block.lane),
                    start + BLOCK
                )
            })
            .collect();
        format!(
            "({}) AND {}{}",
            wanted.join(" OR "),
            self.place.within(self.ranges, false),
            gaps::outside(self.holes)
        )
    }

    /// SQL of the topic of a row.
    pub(super) fn topic(&self) -> String {
        match self.place {
            Place::Raw => "toString(feed)".to_owned(),
            Place::Source => literal(self.ranges.first().map_or("", |range| &range.lane.topic)),
        }
    }

    /// Source offsets with more than one row (INV-6).
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn doubled(&self) -> anyhow::Result<Differences> {
        let name = self.name;
        let id = self.spec.row_name();
        let mut doubled = Differences::default();
        for part in 0..self.parts {
            let sql = format!(
                "SELECT concat(any({id}), ' from offset ', toString(src_offset), ' of partition ', toString(src_partition), \
                 ' is stored ', toString(count()), ' times') AS row, toString(count() OVER ()) AS total FROM {name} \
                 WHERE src_offset % {} = {part} GROUP BY src_partition, src_offset HAVING count() > 1 LIMIT {NAMED}",
                self.parts
            );
            doubled.merge(named(self.clickhouse, &sql, str::to_owned).await?);
        }
        Ok(doubled)
    }

    /// For each source partition, the last origins of the rows before the range: the sequencer state of the writer there.
    ///
    /// # Errors
    /// ClickHouse does not answer.
    pub async fn accepted_before(&self) -> anyhow::Result<BTreeMap<i32, Vec<LastOrigin>>> {
        let mut states: BTreeMap<i32, Vec<LastOrigin>> = BTreeMap::new();
        for range in self.ranges.iter().filter(|range| range.is_cut) {
            let sql = format!(
                "SELECT toString(feed) AS feed, toString(raw_partition) AS partition, max((raw_offset, raw_index)) AS last, \
                 toString(last.1) AS raw_offset_, toString(last.2) AS raw_index_ FROM {} \
                 WHERE {} AND src_offset < {} GROUP BY feed, partition",
                self.name,
                self.place.is_in(&range.lane),
                range.first
            );
            for row in self
                .clickhouse
                .query_json(&sql)
                .await
                .with_context(|| format!("read positions of {}", self.name))?
            {
                states.entry(range.lane.partition).or_default().push(LastOrigin {
                    feed: text(&row, "feed")?.to_owned(),
                    raw_partition: number(&row, "partition")?,
                    position: domain::RawPosition {
                        offset: number(&row, "raw_offset_")?,
                        index: number(&row, "raw_index_")?,
                    },
                });
            }
        }
        Ok(states)
    }
}

/// Number of rows of a table.
///
/// # Errors
/// ClickHouse does not answer, or the table does not exist.
pub async fn count(clickhouse: &ClickHouse, table: &str) -> anyhow::Result<u64> {
    let sql = format!("SELECT toString(count()) AS rows FROM {table}");
    let rows = clickhouse
        .query_json(&sql)
        .await
        .with_context(|| format!("count {table}"))?;
    rows.first().map_or(Ok(0), |row| number(row, "rows"))
}

/// The first row of each source partition of a table.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn expired(clickhouse: &ClickHouse, table: &str) -> anyhow::Result<Vec<Expired>> {
    let sql = format!(
        "SELECT toString(src_partition) AS partition, toString(min(src_offset)) AS first, \
         toString(toUnixTimestamp64Micro(argMin(ingested_at, src_offset))) AS ingested FROM {table} GROUP BY src_partition"
    );
    let rows = clickhouse.query_json(&sql).await;
    let rows = rows.with_context(|| format!("read the first offsets of {table}"))?;
    rows.iter()
        .map(|row| {
            Ok(Expired {
                partition: number(row, "partition")?,
                first_offset: number(row, "first")?,
                ingested_at: number(row, "ingested")?,
            })
        })
        .collect()
}

/// Runs a query with the columns `row` (text of a difference) and `total` (number of differences).
///
/// # Errors
/// ClickHouse does not answer.
pub async fn named(clickhouse: &ClickHouse, sql: &str, say: impl Fn(&str) -> String) -> anyhow::Result<Differences> {
    let rows = clickhouse
        .query_json(sql)
        .await
        .context("look for misplaced or doubled rows")?;
    let total = rows.first().map_or(Ok(0), |row| number(row, "total"))?;
    let named = rows
        .iter()
        .map(|row| text(row, "row").map(&say))
        .collect::<anyhow::Result<_>>()?;
    Ok(Differences {
        total,
        named,
        ..Differences::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_become_conditions_and_without_ranges_no_row_matches() {
        let range = Range {
            lane: Lane {
                topic: "it's".into(),
                partition: 2,
            },
            first: 5,
            end: 9,
            is_cut: true,
            gaps: vec![(6, 7)],
        };
        let ranges = [range];
        assert_eq!(
            Place::Raw.within(&ranges, false),
            r"((feed = 'it\'s' AND raw_partition = 2 AND raw_offset >= 5 AND raw_offset < 9 AND NOT (raw_offset >= 6 AND raw_offset < 7)))"
        );
        assert_eq!(
            Place::Source.within(&ranges, true),
            "((src_partition = 2 AND src_offset >= 0 AND src_offset < 9))"
        );
        assert_eq!(Place::Source.within(&[], true), "0");
    }
}
