//! A table with its fence: which writer owns it, where the writer continues, and inserts that only the owner can make.
//!
//! Role: the statements of the ClickHouse writer (docs/correctness.md); `stream::table_writer` decides when they run.
//! Invariants: INV-8 (a takeover is claim, drain, read back, in this order; an insert checks the fence in its own
//! statement), INV-6 (one insert is one block in one table partition, so it is stored completely or not at all).
//! Failure: an unconfirmed insert is [`InsertError::Unknown`], never guessed: take over again. A drain is an error unless
//! the inserts of earlier owners are seen to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::{Claim, Classified, LastOrigin, Position, is_known_topic_id};

use super::fence::{self, Claimant};
use super::promise::Promise;
use super::stored::{Epoch, LaneEnd, Running, StoredFloor, TopicId};
use super::{Block, ClickHouse, Layout, literal, within};
use crate::metrics::timed;
use crate::{Store, StoreError};

/// If an earlier owner freezes while sending a body, its insert lasts until the server's receive time-out of 30 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
const DRAIN_POLL: Duration = Duration::from_millis(20);
const SEND_TIMEOUT: Duration = Duration::from_secs(20);
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// Larger batches would be split into two blocks, and so would not be atomic.
pub const MAX_ROWS: usize = 1_000_000;

/// Settings that make inserts atomic, independent of the server's profile.
const INSERT_SETTINGS: [(&str, &str); 9] = [
    ("async_insert", "0"),
    ("max_insert_threads", "1"),
    ("max_partitions_per_insert_block", "1"),
    ("input_format_connection_handling", "0"),
    ("min_insert_block_size_rows", "1048449"),
    ("min_insert_block_size_bytes", "0"),
    ("max_insert_block_size", "1048449"),
    ("insert_deduplicate", "0"),
    ("max_execution_time", "60"),
];

/// Why an insert is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Another writer has claimed at least one of the partitions: nothing was written.
    #[error("another writer has claimed a partition of this insert")]
    Fenced,
    /// Any other error: the rows may or may not be stored. Another takeover finds out.
    #[error("{0}")]
    Unknown(#[from] StoreError),
}

/// One table and the fence of its source topic. A topic has one table. Cheap to clone.
#[derive(Clone)]
pub struct FencedTable {
    clickhouse: ClickHouse,
    layout: &'static Layout,
    table: Arc<str>,
    /// Numbers inserts, so that each has a unique query id.
    inserts: Arc<AtomicU64>,
    promise: Promise,
}

impl FencedTable {
    /// The table of this layout for the generation with this suffix (empty, or `_g2`).
    pub fn new(clickhouse: ClickHouse, layout: &'static Layout, suffix: &str) -> FencedTable {
        let table = format!("{}{suffix}", layout.table).into();
        FencedTable {
            clickhouse,
            layout,
            table,
            inserts: Arc::new(AtomicU64::new(0)),
            promise: Promise::default(),
        }
    }

    /// The table's name, with its suffix.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Checks that server, profile and table allow exact inserts, unless the last successful check is less than a minute old.
    ///
    /// # Errors
    /// `write_refused` with the cause, `schema_missing`, or the error of the server.
    pub async fn check(&self) -> Result<(), StoreError> {
        self.promise.check(&self.clickhouse, self.layout, &self.table).await
    }

    /// Stores the ids of these topics, `(name, id)`, or rejects a topic whose stored id differs.
    ///
    /// # Errors
    /// `topic_id_changed`, or the error of the server.
    pub async fn check_topics(&self, ids: &[(String, String)]) -> Result<(), StoreError> {
        let database = self.clickhouse.database();
        let names: Vec<String> = ids.iter().map(|(topic, _)| literal(topic)).collect();
        let sql = format!(
            "SELECT topic, topic_id FROM {database}.writer_topics WHERE topic IN ({})",
            names.join(", ")
        );
        let known: Vec<TopicId> = self.clickhouse.rows("check topic ids", &sql).await?;
        for (topic, id) in ids {
            // A broker without topic ids reports zeros.
            let is_its = |row: &&TopicId| row.topic == *topic && is_known_topic_id(&row.topic_id);
            match known.iter().find(is_its) {
                Some(row) if row.topic_id == *id => {}
                Some(row) => {
                    return Err(StoreError::topic_id_changed(
                        Store::ClickHouse,
                        topic,
                        &row.topic_id,
                        id,
                    ));
                }
                None => {
                    let (topic, id) = (literal(topic), literal(id));
                    let sql = format!("INSERT INTO {database}.writer_topics (topic, topic_id) SELECT {topic}, {id}");
                    self.clickhouse.exec(&sql).await?;
                }
            }
        }
        Ok(())
    }

    /// Claims the partition, drains the inserts of earlier owners, and finds where to continue: `None` if nothing was ever
    /// written. The position is stored as a floor.
    ///
    /// # Errors
    /// `fenced` if it may not be claimed, the error of the server, or `drain_unconfirmed`; take over again.
    pub async fn take_over(
        &self,
        topic: &str,
        partition: i32,
        claimant: Claimant,
    ) -> Result<(Claim, Option<Position>), StoreError> {
        let claim = self.claim(topic, partition, claimant).await?;
        self.drain(topic, partition).await?;
        let position = self.read_back(topic, partition).await?;
        if let Some(position) = &position {
            self.save_floor(&claim, position).await?;
        }
        Ok((claim, position))
    }

    /// Step 1: afterwards every insert under an earlier claim is rejected.
    ///
    /// # Errors
    /// `fenced` if it may not be claimed; or the error of the server.
    pub async fn claim(&self, topic: &str, partition: i32, claimant: Claimant) -> Result<Claim, StoreError> {
        let (database, writer) = (self.clickhouse.database(), claimant.claim_id());
        let sql = claimant.claim_sql(database, topic, partition, writer);
        self.clickhouse.exec(&sql).await?;
        let sql = format!(
            "SELECT epoch FROM {database}.writer_fence WHERE topic = {} AND writer = '{writer}'",
            literal(topic)
        );
        let rows: Vec<Epoch> = self.clickhouse.rows("claim", &sql).await?;
        match rows.first() {
            Some(row) => Ok(Claim {
                topic: topic.to_owned(),
                partition,
                epoch: row.epoch,
                writer,
            }),
            None if claimant.may_be_refused() => Err(StoreError::transient(
                Store::ClickHouse,
                "claim",
                "fenced",
                format!("another writer has claimed partition {partition} of {topic}"),
            )),
            None => Err(StoreError::unexpected(
                Store::ClickHouse,
                "claim",
                "the stored claim was not found",
            )),
        }
    }

    /// Step 2: ends every insert that began before the claim, and waits until it has ended.
    ///
    /// # Errors
    /// `drain_unconfirmed` if an insert still runs after a minute; or the error of the server.
    pub async fn drain(&self, topic: &str, partition: i32) -> Result<(), StoreError> {
        let mine = fence::is_insert_of(topic, partition);
        let started = Instant::now();
        loop {
            let kill = self.clickhouse.cluster.kill_queries(&mine);
            within(
                "drain",
                DRAIN_TIMEOUT,
                self.clickhouse.client().query_raw(&kill).execute(),
            )
            .await?;
            let processes = self.clickhouse.cluster.processes();
            let sql = format!("SELECT query_id FROM {processes} WHERE {mine}");
            let running: Vec<Running> = self.clickhouse.rows("drain", &sql).await?;
            let Some(query) = running.first() else {
                return Ok(());
            };
            if started.elapsed() > DRAIN_TIMEOUT {
                let message = format!("insert {} of an earlier writer does not end", query.query_id);
                return Err(StoreError::transient(
                    Store::ClickHouse,
                    "drain",
                    "drain_unconfirmed",
                    message,
                ));
            }
            tokio::time::sleep(DRAIN_POLL).await;
        }
    }

    /// Step 3: max(last offset in the table + 1, floor), with the sequencer state merged pointwise. A floor is a position with
    /// its state, so only rows from its offset on are queried.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn read_back(&self, topic: &str, partition: i32) -> Result<Option<Position>, StoreError> {
        let floor = self.floor(topic, partition).await?;
        let from = floor.as_ref().map_or(0, |floor| floor.next_offset);
        let sql = self.read_back_sql(partition, from);
        let lanes: Vec<LaneEnd> = self.clickhouse.rows("read back", &sql).await?;
        let table = lanes.iter().map(|lane| lane.last_offset).max().map(|last| Position {
            next_offset: last + 1,
            sequencer: lanes
                .into_iter()
                .filter_map(|lane| lane.origin)
                .map(LastOrigin::from)
                .collect(),
        });
        // Merging sorts the lanes.
        Ok(match (table, floor) {
            (Some(table), floor) => Some(floor.unwrap_or_default().merge(table)),
            (None, floor) => floor,
        })
    }

    /// The query for the table's state from this source offset on; the index `src_offsets` skips older parts.
    pub fn read_back_sql(&self, partition: i32, from: i64) -> String {
        let (database, table) = (self.clickhouse.database(), &self.table);
        let (origin, by) = if self.layout.has_origin {
            // The field names of the tuple are those of `StoredOrigin`.
            let last = "max((raw_offset, raw_index))";
            let origin = format!(
                "CAST((feed, raw_partition, tupleElement({last}, 1), tupleElement({last}, 2)), \
                 'Tuple(feed String, raw_partition Int32, raw_offset Int64, raw_index Int32)')"
            );
            (origin, "src_partition, feed, raw_partition")
        } else {
            ("NULL".to_owned(), "src_partition")
        };
        format!(
            "SELECT max(src_offset) AS last_offset, {origin} AS origin FROM {database}.{table} \
             WHERE src_partition = {partition} AND src_offset >= {from} GROUP BY {by}"
        )
    }

    async fn floor(&self, topic: &str, partition: i32) -> Result<Option<Position>, StoreError> {
        let sql = format!(
            "SELECT next_offset, sequencer FROM {}.writer_floor WHERE topic = {} AND partition = {partition}",
            self.clickhouse.database(),
            literal(topic)
        );
        let rows: Vec<StoredFloor> = self.clickhouse.rows("read floor", &sql).await?;
        let positions = rows.into_iter().map(|row| Position {
            next_offset: row.next_offset,
            sequencer: row.sequencer.into_iter().map(LastOrigin::from).collect(),
        });
        Ok(positions.reduce(Position::merge))
    }

    /// Stores a confirmed position under the claim, so that it survives the expiry of rows.
    ///
    /// # Errors
    /// `fenced` if the claim is no longer the newest; or the error of the server.
    pub async fn save_floor(&self, claim: &Claim, position: &Position) -> Result<(), StoreError> {
        let lanes: Vec<String> = position
            .sequencer
            .iter()
            .map(|lane| {
                let LastOrigin {
                    feed,
                    raw_partition,
                    position,
                } = lane;
                format!(
                    "({}, {raw_partition}, {}, {})",
                    literal(feed),
                    position.offset,
                    position.index
                )
            })
            .collect();
        let sql = format!(
            "INSERT INTO {}.writer_floor (topic, partition, epoch, writer, next_offset, sequencer) \
             SELECT {}, {}, {}, '{}', {}, CAST([{}], \
             'Array(Tuple(feed String, raw_partition Int32, raw_offset Int64, raw_index Int32))') WHERE {}",
            self.clickhouse.database(),
            literal(&claim.topic),
            claim.partition,
            claim.epoch,
            claim.writer,
            position.next_offset,
            lanes.join(", "),
            fence::condition(self.clickhouse.database(), std::slice::from_ref(claim))
        );
        self.clickhouse.exec(&sql).await
    }

    /// One atomic insert of rows in the table's layout, under the claims of all their partitions, sent block by block. Blueprint
    /// section 2: the fence is checked when the statement begins, and a later owner ends earlier statements.
    ///
    /// # Errors
    /// [`InsertError`]; an empty batch, or one of more than [`MAX_ROWS`] rows, is not sent.
    pub async fn insert(&self, claims: &[Claim], blocks: Vec<Block>) -> Result<(), InsertError> {
        let rows: usize = blocks.iter().map(Block::rows).sum();
        if claims.is_empty() || !(1..=MAX_ROWS).contains(&rows) {
            let message = format!("{rows} rows under {} claims are not an insert", claims.len());
            return Err(StoreError::fatal(Store::ClickHouse, "insert", "invalid_data", message).into());
        }
        let number = self.inserts.fetch_add(1, Ordering::Relaxed);
        let mut insert = self
            .clickhouse
            .client()
            .insert_formatted_with(self.insert_sql(claims))
            .with_timeouts(Some(SEND_TIMEOUT), Some(END_TIMEOUT))
            .with_setting("query_id", fence::query_id(claims, number));
        for (name, value) in INSERT_SETTINGS {
            insert = insert.with_setting(name, value);
        }
        let sent = async {
            for block in blocks {
                for piece in block.pieces() {
                    insert.send(piece.into()).await?;
                }
            }
            insert.end().await
        };
        timed(Store::ClickHouse.name(), "insert", sent).await.map_err(|error| {
            match StoreError::clickhouse("insert", &error) {
                error if error.code() == "fenced" => InsertError::Fenced,
                error => InsertError::Unknown(error),
            }
        })
    }

    fn insert_sql(&self, claims: &[Claim]) -> String {
        let (database, table, names) = (self.clickhouse.database(), &self.table, self.layout.names());
        let (structure, fence) = (literal(&self.layout.structure()), fence::condition(database, claims));
        format!(
            "INSERT INTO {database}.{table} ({names}, ingested_at) SELECT {names}, now64(6) \
             FROM input({structure}) WHERE {fence} FORMAT Native"
        )
    }
}
