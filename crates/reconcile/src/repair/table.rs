//! Writes records of a topic again as rows of its table, as the table's writer does.
//!
//! Role: claims a partition, asks what the table has, and inserts what is missing. [`choice`](super::choice) decides.
//! Invariants: INV-8: rows are inserted only under an own claim, and what the table has is asked under the same claim, so no other
//! writer can insert a row in between. INV-6: one insert is one block. The position of the writer is never stored here, and
//! follows from the rows as before. Rows are made by the writer's own encoder.
//! Failure: an insert that was fenced or not confirmed is never guessed: claim, drain and ask again. A killed repair leaves whole
//! inserts, and the next one finds them in the table.
//! A running writer is fenced by the claim: it claims the partition again after ten seconds and reads its position back.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use domain::{Claim, Origin};
use ops::connection::Connection;
use ops::positions::homes::fenced_table;
use ops::threads::{blocking, reading};
use serde::Deserialize;
use service::writer::{Rows, TableSpec};
use stores::clickhouse::{Block, Claimant, literal};
use stores::{ClickHouse, FencedTable, InsertError};
use stream::Partition;
use stream::kafka::describe::remembered_ids;
use stream::kafka::reader::LogReader;
use stream::table_writer::{RowEncoder as _, RowError, RowOutcome};

use super::choice::{Candidate, Choice, Chooser, Present, stretches};
use crate::tick_id::TickId;

/// Records that are looked up and inserted together: their query stays below the limit of the server (256 KiB).
const BATCH: usize = 4_000;
/// Records farther apart than this are read with requests of their own.
const APART: i64 = 5_000;
/// How often a partition is claimed again before the repair gives up. A running writer claims only every ten seconds.
const TRIES: u32 = 20;

/// A table under repair.
pub(super) struct Table<'a> {
    connection: &'a Connection,
    clickhouse: &'a ClickHouse,
    pub(super) spec: &'static TableSpec,
    fenced: FencedTable,
    wire: codec::Wire,
    topic: String,
}

/// A claimed partition.
struct Owned {
    claim: Claim,
    next_offset: i64,
}

/// What was done in a partition.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) written: u64,
    pub(super) choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Found {
    src_partition: i32,
    src_offset: i64,
    feed: String,
    raw_partition: i32,
    raw_offset: i64,
    raw_index: i32,
}

impl<'a> Table<'a> {
    /// The table, after the checks that its writer makes: the topic is the one that it was written from, and server and table allow
    /// exact inserts.
    pub(super) async fn open(
        connection: &'a Connection,
        clickhouse: &'a ClickHouse,
        spec: &'static TableSpec,
    ) -> anyhow::Result<Table<'a>> {
        let names = &connection.names;
        let fenced = fenced_table(clickhouse, names, spec.name).context("a table without a layout")?;
        let topic = (spec.topic)(names).clone();
        let (bootstrap, feeds) = (connection.settings.kafka_bootstrap.clone(), names.raw.clone());
        let (source, generation) = (topic.clone(), names.generation().to_owned());
        let ids = reading(move || remembered_ids(&bootstrap, &source, &feeds, &generation)).await?;
        fenced.check_topics(&ids).await.with_context(|| {
            format!(
                "{topic} is not the topic that {} was written from: nothing was written",
                spec.name
            )
        })?;
        fenced.check().await?;
        Ok(Table {
            connection,
            clickhouse,
            spec,
            fenced,
            wire: connection.wire().await?,
            topic,
        })
    }

    /// Writes those of these records of a partition that the table does not have; they are in order.
    pub(super) async fn write_ticks(
        &self,
        partition: i32,
        candidates: &[Candidate],
        mut told: impl FnMut(u64),
    ) -> anyhow::Result<Done> {
        let mut done = Done::default();
        let (mut owned, mut chooser) = (self.claim(partition).await?, Chooser::default());
        for batch in candidates.chunks(BATCH) {
            let mut tries = 0;
            loop {
                let present = self.present(partition, batch).await?;
                let mut chosen = chooser.clone();
                let choice = chosen.choose(batch, &present, owned.next_offset);
                let offsets: BTreeSet<i64> = choice.write.iter().copied().collect();
                if self.inserted(&mut owned, &offsets, &mut tries).await? {
                    done.written += offsets.len() as u64;
                    done.choices.push(choice);
                    chooser = chosen;
                    break;
                }
            }
            told(batch.len() as u64);
        }
        Ok(done)
    }

    /// Writes these records of a partition, which are versions of rows; `still` removes those that the table has by now. If one is at or
    /// after the writer's position, all records from the position up to it are written, so that the position stays true.
    pub(super) async fn write_versions(
        &self,
        partition: i32,
        still: impl AsyncFn() -> anyhow::Result<BTreeSet<i64>>,
    ) -> anyhow::Result<u64> {
        let mut owned = self.claim(partition).await?;
        let mut tries = 0;
        loop {
            let mut offsets = still().await?;
            let wanted = offsets.len() as u64;
            if let Some(last) = offsets.last().copied().filter(|last| *last >= owned.next_offset) {
                offsets.extend(self.offsets(partition, owned.next_offset, last + 1).await?);
            }
            if self.inserted(&mut owned, &offsets, &mut tries).await? {
                return Ok(wanted);
            }
        }
    }

    /// The position of the writer as the table says it now, without a claim.
    pub(super) async fn position(&self, partition: i32) -> anyhow::Result<i64> {
        let position = self
            .fenced
            .read_back(&self.topic, partition)
            .await
            .with_context(|| format!("read the position of {}", self.fenced.table()))?;
        Ok(position.map_or(0, |position| position.next_offset))
    }

    /// Claim, drain, read back: the steps of a takeover, without a floor.
    async fn claim(&self, partition: i32) -> anyhow::Result<Owned> {
        let taken = async {
            let claim = self.fenced.claim(&self.topic, partition, Claimant::once()).await?;
            self.fenced.drain(&self.topic, partition).await?;
            let position = self.fenced.read_back(&self.topic, partition).await?;
            Ok::<_, stores::StoreError>(Owned {
                claim,
                next_offset: position.map_or(0, |position| position.next_offset),
            })
        };
        taken
            .await
            .with_context(|| format!("claim partition {partition} of {} in ClickHouse", self.topic))
    }

    /// Inserts the rows of these records; false if the partition was claimed again, and the table must be asked again.
    async fn inserted(&self, owned: &mut Owned, offsets: &BTreeSet<i64>, tries: &mut u32) -> anyhow::Result<bool> {
        let Some(last) = offsets.last() else { return Ok(true) };
        let partition = owned.claim.partition;
        let block = self.encode(partition, offsets.clone()).await?;
        match self
            .fenced
            .insert(std::slice::from_ref(&owned.claim), vec![block])
            .await
        {
            Ok(()) => {
                owned.next_offset = owned.next_offset.max(last + 1);
                Ok(true)
            }
            Err(error) if *tries < TRIES && is_worth_another(&error) => {
                *tries += 1;
                *owned = self.claim(partition).await?;
                Ok(false)
            }
            Err(error) => Err(error).with_context(|| {
                format!(
                    "insert rows into {}: what was inserted before stays, and the command can be run again",
                    self.spec.name
                )
            }),
        }
    }

    /// What the table has of these candidates, by source offset and by tick.
    async fn present(&self, partition: i32, batch: &[Candidate]) -> anyhow::Result<Present> {
        let table = self.fenced.table();
        let sql = format!(
            "SELECT src_partition, src_offset, toString(feed) AS feed, raw_partition, raw_offset, raw_index FROM {table} WHERE {} \
             SETTINGS output_format_json_quote_64bit_integers = 0",
            condition(partition, batch)
        );
        let found: Vec<Found> = self
            .clickhouse
            .query_rows(&sql)
            .await
            .with_context(|| format!("look for rows in {table}"))?;
        let mut present = Present::default();
        for row in found {
            if row.src_partition == partition {
                present.offsets.insert(row.src_offset);
            }
            let tick = TickId {
                feed: row.feed,
                partition: row.raw_partition,
                position: domain::RawPosition {
                    offset: row.raw_offset,
                    index: row.raw_index,
                },
            };
            present.ticks.insert(tick, row.src_offset);
        }
        Ok(present)
    }

    fn partition(&self, number: i32) -> Partition {
        Partition {
            topic: self.topic.as_str().into(),
            number,
        }
    }

    /// The offsets of all records in `[from, to)` that are rows. The writer has sent the others to the dead letters.
    async fn offsets(&self, partition: i32, from: i64, to: i64) -> anyhow::Result<Vec<i64>> {
        let (bootstrap, partition) = (
            self.connection.settings.kafka_bootstrap.clone(),
            self.partition(partition),
        );
        let (spec, wire) = (self.spec, self.wire.clone());
        reading(move || {
            let (mut rows, mut offsets) = (Rows::new(spec, wire), Vec::new());
            let mut unused = rows.empty();
            let reader = LogReader::new(&bootstrap)?;
            let (oldest, _) = reader.log_range(&partition)?;
            reader.read(&partition, from.max(oldest), to, |message| {
                let encoded = rows.encode(message, &mut |_: &Origin<'_>| Ok(true), &mut unused);
                offsets.extend(encoded.is_ok().then_some(message.offset));
                true
            })?;
            Ok(offsets)
        })
        .await
    }

    /// The rows of these records, by the writer's encoder.
    async fn encode(&self, partition: i32, offsets: BTreeSet<i64>) -> anyhow::Result<Block> {
        let (bootstrap, partition) = (
            self.connection.settings.kafka_bootstrap.clone(),
            self.partition(partition),
        );
        let (spec, wire) = (self.spec, self.wire.clone());
        blocking(move || {
            let mut rows = Rows::new(spec, wire);
            let (mut block, mut refused) = (rows.empty(), None);
            let reader = LogReader::new(&bootstrap)?;
            for (from, to) in stretches(&offsets, APART) {
                reader.read(&partition, from, to, |message| {
                    if offsets.contains(&message.offset) {
                        let encoded = rows.encode(message, &mut |_: &Origin<'_>| Ok(true), &mut block);
                        refused = refusal(encoded).map(|why| format!("{partition} offset {}: {why}", message.offset));
                    }
                    refused.is_none()
                })?;
            }
            match refused {
                Some(refused) => bail!("{refused}; nothing of this batch was written"),
                None if block.rows() != offsets.len() => bail!(
                    "{partition} has lost {} of {} records since they were compared (retention): run the command again",
                    offsets.len() - block.rows(),
                    offsets.len()
                ),
                None => Ok(block),
            }
        })
        .await
    }
}

fn refusal(encoded: Result<RowOutcome, RowError>) -> Option<String> {
    match encoded {
        Ok(RowOutcome::Written { .. }) => None,
        Ok(RowOutcome::Repeated) => Some("the record became no row".to_owned()),
        Err(RowError::Bad(bad)) => Some(bad.message),
        Err(RowError::Later(error)) => Some(error.to_string()),
    }
}

/// A server that refuses rows for a lasting reason refuses them again.
fn is_worth_another(error: &InsertError) -> bool {
    use domain::{Classified as _, ErrorClass};
    match error {
        InsertError::Fenced => true,
        InsertError::Unknown(error) => error.class() == ErrorClass::Transient,
    }
}

/// The SQL condition for rows with a source offset or a tick of these.
fn condition(partition: i32, batch: &[Candidate]) -> String {
    let listed = |texts: Vec<String>| texts.join(", ");
    let offsets = listed(batch.iter().map(|candidate| candidate.offset.to_string()).collect());
    let mut lanes: std::collections::BTreeMap<(&str, i32), Vec<String>> = std::collections::BTreeMap::new();
    for Candidate { tick, .. } in batch {
        let position = format!("({}, {})", tick.position.offset, tick.position.index);
        lanes.entry((&tick.feed, tick.partition)).or_default().push(position);
    }
    let mut sql = format!("(src_partition = {partition} AND src_offset IN ({offsets}))");
    for ((feed, raw_partition), positions) in lanes {
        sql.push_str(&format!(
            " OR (feed = {} AND raw_partition = {raw_partition} AND (raw_offset, raw_index) IN ({}))",
            literal(feed),
            listed(positions)
        ));
    }
    sql
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_looked_up_by_source_offset_and_by_tick() {
        let candidate = |offset, tick: &str| Candidate {
            offset,
            tick: TickId::parse(tick).unwrap(),
            is_wanted: true,
        };
        let batch = [
            candidate(5, "it's/0/1/2"),
            candidate(6, "raw/1/3/0"),
            candidate(9, "it's/0/4/0"),
        ];
        assert_eq!(
            condition(2, &batch),
            r"(src_partition = 2 AND src_offset IN (5, 6, 9)) OR (feed = 'it\'s' AND raw_partition = 0 AND (raw_offset, raw_index) IN ((1, 2), (4, 0))) OR (feed = 'raw' AND raw_partition = 1 AND (raw_offset, raw_index) IN ((3, 0)))"
        );
    }

    #[test]
    fn the_query_of_a_batch_stays_below_the_limit_of_the_server() {
        let tick = TickId::parse("ingestion.market.raw.v1/0/1000000000000/100000").unwrap();
        let batch = vec![
            Candidate {
                offset: 1_000_000_000_000,
                tick,
                is_wanted: true
            };
            BATCH
        ];
        assert!(condition(0, &batch).len() < 250_000);
    }
}
