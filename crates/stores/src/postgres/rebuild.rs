//! Rebuilds of the latest prices: a second copy beside the served one, and the exchange of both, partition by partition.
//!
//! Role: the copy is a generation of its own in the same tables (`…~rebuild`), so it is written with [`LatestPriceStore::apply`] and
//! keeps its position. The rows that it replaces stay as another one (`…~backup`) until the rebuild ends.
//! Invariants: readers see the rows before or the rows after an exchange, never a mixture of one partition; the served position never
//! goes back; the epoch of the position rises, so a writer that has the earlier rows in memory cannot store anything.
//! Failure: each step is a transaction. A rebuild that is killed continues where its copy ends.

use std::time::Duration;

use deadpool_postgres::Transaction;
use domain::{LastOrigin, Position};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::latest::PROJECTION;
use super::position::loaded;
use super::{CALL_TIMEOUT, LatestPriceStore, LoadedPosition, Parameter, Postgres, within};
use crate::stored_origin::to_json;
use crate::{Store, StoreError};

/// Which served rows survive although the copy does not have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None: the log was read from its first record.
    Nothing,
    /// Those of instruments that the copy does not have: the log no longer has their ticks.
    Missing,
    /// Those, and the ones that are newer than the copy's: only a part of the log was read.
    MissingAndNewer,
}

/// How the exchange of a partition ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// Readers see the copy's rows.
    Done(Changes),
    /// The served position is further: read up to it first.
    Behind {
        /// Next offset of the served position.
        served: i64,
    },
    /// Another process has exchanged or discarded the copy.
    NoCopy,
}

/// A rebuild, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildRow {
    /// What it reads, as text.
    pub strategy: String,
    /// ISO time.
    pub started_at: String,
    /// ISO time; `None` while it is under way.
    pub finished_at: Option<String>,
    /// Partitions that serve the new rows.
    pub swapped: Vec<i32>,
    /// Events that were read.
    pub events: i64,
}

/// Rows that differ between the backup and the served rows. Under load they include prices of ticks that the writer had not yet stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Instruments that had no price.
    pub added: u64,
    /// Instruments that have no price any more.
    pub removed: u64,
    /// Instruments with another price, time or origin.
    pub changed: u64,
    /// Tenant and instrument of all of them.
    pub instruments: Vec<(String, String)>,
}

/// The rebuild of one generation's latest prices. Cheap to clone.
#[derive(Clone)]
pub struct Rebuilds {
    postgres: Postgres,
    served: String,
    copy: String,
    backup: String,
}

/// Limits the exchange of a partition, which may have a million instruments. The writer of the partition waits meanwhile.
const SWAP_TIMEOUT: Duration = Duration::from_secs(120);
const COLUMNS: &str = "tenant_id, instrument_id, price, volume, event_time, vintage, sequence, feed, raw_partition, raw_offset, \
     raw_index, src_partition, market, product, currency, unit, quality_flags, appended_at, updated_at";
impl Rebuilds {
    /// Uses this pool, for this generation (empty for the first).
    pub fn new(postgres: Postgres, generation: &str) -> Rebuilds {
        Rebuilds {
            postgres,
            served: generation.to_owned(),
            copy: format!("{generation}~rebuild"),
            backup: format!("{generation}~backup"),
        }
    }

    /// The copy, to be filled.
    pub fn copy(&self) -> LatestPriceStore {
        LatestPriceStore::new(self.postgres.clone(), &self.copy)
    }

    /// The rebuild that is under way, or the last one.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn find(&self) -> Result<Option<RebuildRow>, StoreError> {
        const OPERATION: &str = "find the rebuild";
        let sql = "SELECT strategy, to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
                   to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), swapped, events \
                   FROM projection_rebuilds WHERE projection = $1 AND generation = $2";
        let client = self.postgres.client(OPERATION).await?;
        let found = within(
            OPERATION,
            CALL_TIMEOUT,
            client.query_typed_opt(sql, &self.named(&self.served)),
        )
        .await?;
        let read = |row: &Row| {
            Ok(RebuildRow {
                strategy: row.try_get(0)?,
                started_at: row.try_get(1)?,
                finished_at: row.try_get(2)?,
                swapped: row.try_get(3)?,
                events: row.try_get(4)?,
            })
        };
        let row = found.as_ref().map(read).transpose();
        row.map_err(|error| StoreError::postgres(OPERATION, &error))
    }

    /// Starts a new rebuild: discards an earlier copy and backup.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn begin(&self, strategy: &str) -> Result<(), StoreError> {
        self.discard(&[&self.copy, &self.backup]).await?;
        let sql = "INSERT INTO projection_rebuilds (projection, generation, strategy) VALUES ($1, $2, $3) \
                   ON CONFLICT (projection, generation) DO UPDATE SET strategy = excluded.strategy, started_at = now(), \
                   updated_at = now(), finished_at = NULL, swapped = '{}', events = 0";
        let [projection, generation] = self.named(&self.served);
        self.exec(
            "begin the rebuild",
            sql,
            &[projection, generation, (&strategy, Type::TEXT)],
        )
        .await
    }

    /// Ends the rebuild, and drops the backup unless it is kept.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn finish(&self, events: i64, keep_backup: bool) -> Result<(), StoreError> {
        let sql = "UPDATE projection_rebuilds SET finished_at = now(), updated_at = now(), events = $3 \
                   WHERE projection = $1 AND generation = $2";
        let [projection, generation] = self.named(&self.served);
        self.exec(
            "finish the rebuild",
            sql,
            &[projection, generation, (&events, Type::INT8)],
        )
        .await?;
        if keep_backup {
            return Ok(());
        }
        self.discard(&[&self.backup]).await
    }

    /// Lets readers see the copy's rows of a partition instead of the served ones, in one transaction.
    ///
    /// # Errors
    /// The error of the server; whether the exchange took place is then seen in [`Rebuilds::find`].
    pub async fn swap(&self, topic: &str, partition: i32, keep: Keep) -> Result<Swap, StoreError> {
        const OPERATION: &str = "exchange prices";
        let mut client = self.postgres.client(OPERATION).await?;
        let transaction = within(OPERATION, CALL_TIMEOUT, client.transaction()).await?;
        let served = self.locked(&transaction, &self.served, topic, partition).await?;
        let Some(copy) = self.locked(&transaction, &self.copy, topic, partition).await? else {
            return Ok(Swap::NoCopy);
        };
        if let Some(served) = served.as_ref().map(|served| served.position.next_offset)
            && copy.position.next_offset < served
        {
            return Ok(Swap::Behind { served });
        }
        let position = self.merged(served.as_ref(), copy.position, keep);
        let sequencer =
            to_json(&position.sequencer).map_err(|error| StoreError::unexpected(Store::Postgres, OPERATION, error))?;
        let moves = async {
            self.move_rows(&transaction, partition, keep).await?;
            self.move_position(&transaction, topic, partition, position.next_offset, &sequencer)
                .await
        };
        within(OPERATION, SWAP_TIMEOUT, moves).await?;
        let changes = self.compare(&transaction, &[partition]).await?;
        within(OPERATION, CALL_TIMEOUT, transaction.commit()).await?;
        Ok(Swap::Done(changes))
    }

    /// How the served rows of these partitions differ from the backup by now.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn changes(&self, swapped: &[i32]) -> Result<Changes, StoreError> {
        let mut client = self.postgres.client("compare prices").await?;
        let transaction = within("compare prices", CALL_TIMEOUT, client.transaction()).await?;
        self.compare(&transaction, swapped).await
    }

    async fn compare(&self, transaction: &Transaction<'_>, swapped: &[i32]) -> Result<Changes, StoreError> {
        const OPERATION: &str = "compare prices";
        let sql = "SELECT coalesce(new.tenant_id, old.tenant_id), coalesce(new.instrument_id, old.instrument_id), \
                   old.price IS NULL, new.price IS NULL \
             FROM (SELECT * FROM served_latest_prices WHERE generation = $1 AND src_partition = ANY($3)) AS new \
             FULL JOIN (SELECT * FROM served_latest_prices WHERE generation = $2 AND src_partition = ANY($3)) AS old USING (tenant_id, instrument_id) \
             WHERE (new.price, new.volume, new.event_time, new.vintage, new.sequence, new.feed, new.raw_partition, new.raw_offset, new.raw_index) \
                IS DISTINCT FROM \
                (old.price, old.volume, old.event_time, old.vintage, old.sequence, old.feed, old.raw_partition, old.raw_offset, old.raw_index) \
             ORDER BY 1, 2";
        let values: [Parameter<'_>; 3] = [
            (&self.served, Type::TEXT),
            (&self.backup, Type::TEXT),
            (&swapped, Type::INT4_ARRAY),
        ];
        let rows = within(OPERATION, SWAP_TIMEOUT, transaction.query_typed(sql, &values)).await?;
        let mut changes = Changes::default();
        for row in &rows {
            let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?));
            let (tenant, instrument, is_new, is_gone): (String, String, bool, bool) =
                read().map_err(|error| StoreError::postgres(OPERATION, &error))?;
            match (is_new, is_gone) {
                (true, _) => changes.added += 1,
                (_, true) => changes.removed += 1,
                _ => changes.changed += 1,
            }
            changes.instruments.push((tenant, instrument));
        }
        Ok(changes)
    }

    fn named<'a>(&'a self, generation: &'a String) -> [Parameter<'a>; 2] {
        [(&PROJECTION, Type::TEXT), (generation, Type::TEXT)]
    }

    /// Of a part of the log, raw partitions without a tick in it keep what was known.
    fn merged(&self, served: Option<&LoadedPosition>, copy: Position, keep: Keep) -> Position {
        let mut merged = copy;
        let known: Vec<LastOrigin> = match (keep, served) {
            (Keep::MissingAndNewer, Some(served)) => served.position.sequencer.clone(),
            _ => Vec::new(),
        };
        for origin in known {
            let is_same =
                |other: &&LastOrigin| (&other.feed, other.raw_partition) == (&origin.feed, origin.raw_partition);
            if !merged.sequencer.iter().any(|other| is_same(&other)) {
                merged.sequencer.push(origin);
            }
        }
        merged
    }

    async fn locked(
        &self,
        transaction: &Transaction<'_>,
        generation: &String,
        topic: &str,
        partition: i32,
    ) -> Result<Option<LoadedPosition>, StoreError> {
        const OPERATION: &str = "lock the position";
        let sql = "SELECT next_offset, sequencer::text, epoch FROM projection_positions \
                   WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 FOR UPDATE";
        let [projection, generation] = self.named(generation);
        let values = [projection, generation, (&topic, Type::TEXT), (&partition, Type::INT4)];
        let found = within(OPERATION, CALL_TIMEOUT, transaction.query_typed_opt(sql, &values)).await?;
        found.as_ref().map(|row| loaded(row, OPERATION)).transpose()
    }

    async fn move_rows(
        &self,
        transaction: &Transaction<'_>,
        partition: i32,
        keep: Keep,
    ) -> Result<(), tokio_postgres::Error> {
        let values: [Parameter<'_>; 3] = [
            (&self.served, Type::TEXT),
            (&self.copy, Type::TEXT),
            (&partition, Type::INT4),
        ];
        if keep == Keep::MissingAndNewer {
            let newer = format!(
                "DELETE FROM served_latest_prices AS copy USING served_latest_prices AS served \
                 WHERE served.generation = $1 AND copy.generation = $2 AND copy.src_partition = $3 \
                   AND copy.tenant_id = served.tenant_id AND copy.instrument_id = served.instrument_id \
                   AND ({}) > ({})",
                rank("served"),
                rank("copy")
            );
            transaction.execute_typed(&newer, &values).await?;
        }
        if keep != Keep::Nothing {
            let missing = format!(
                "INSERT INTO served_latest_prices (generation, {COLUMNS}) SELECT $2, {COLUMNS} FROM served_latest_prices \
                 WHERE generation = $1 AND src_partition = $3 ON CONFLICT DO NOTHING"
            );
            transaction.execute_typed(&missing, &values).await?;
        }
        // An instrument of the copy may be stored with another partition, and a killed rebuild may have left a backup of it.
        let replaced = "served.generation = $1 AND (served.src_partition = $3 OR EXISTS (SELECT FROM served_latest_prices AS copy \
             WHERE copy.generation = $2 AND copy.src_partition = $3 AND copy.tenant_id = served.tenant_id \
               AND copy.instrument_id = served.instrument_id))";
        let [served, copy, number] = values;
        let with_backup = [served, copy, number, (&self.backup, Type::TEXT)];
        let older = format!(
            "DELETE FROM served_latest_prices AS backup USING served_latest_prices AS served WHERE backup.generation = $4 \
             AND backup.tenant_id = served.tenant_id AND backup.instrument_id = served.instrument_id AND {replaced}"
        );
        transaction.execute_typed(&older, &with_backup).await?;
        let away = format!("UPDATE served_latest_prices AS served SET generation = $4 WHERE {replaced}");
        transaction.execute_typed(&away, &with_backup).await?;
        let here = "UPDATE served_latest_prices SET generation = $1 WHERE generation = $2 AND src_partition = $3";
        let [served, copy, number, _] = with_backup;
        transaction.execute_typed(here, &[served, copy, number]).await?;
        Ok(())
    }

    async fn move_position(
        &self,
        transaction: &Transaction<'_>,
        topic: &str,
        partition: i32,
        next_offset: i64,
        sequencer: &str,
    ) -> Result<(), tokio_postgres::Error> {
        let sql = "INSERT INTO projection_positions AS stored (projection, generation, topic, partition, next_offset, sequencer) \
                   VALUES ($1, $2, $3, $4, $5, $6::text::jsonb) ON CONFLICT (projection, generation, topic, partition) DO UPDATE SET \
                   next_offset = excluded.next_offset, sequencer = excluded.sequencer, epoch = stored.epoch + 1, updated_at = now()";
        let [projection, served] = self.named(&self.served);
        let place: [Parameter<'_>; 2] = [(&topic, Type::TEXT), (&partition, Type::INT4)];
        let [in_topic, in_partition] = place.clone();
        let values = [
            projection,
            served,
            in_topic,
            in_partition,
            (&next_offset, Type::INT8),
            (&sequencer, Type::TEXT),
        ];
        transaction.execute_typed(sql, &values).await?;
        let sql = "DELETE FROM projection_positions WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        let [projection, copy] = self.named(&self.copy);
        let [in_topic, in_partition] = place;
        transaction
            .execute_typed(sql, &[projection, copy, in_topic, in_partition])
            .await?;
        let sql = "UPDATE projection_rebuilds SET swapped = array_append(swapped, $3), updated_at = now() \
                   WHERE projection = $1 AND generation = $2";
        let [projection, served] = self.named(&self.served);
        transaction
            .execute_typed(sql, &[projection, served, (&partition, Type::INT4)])
            .await?;
        Ok(())
    }

    async fn discard(&self, generations: &[&String]) -> Result<(), StoreError> {
        for generation in generations {
            let named: [Parameter<'_>; 1] = [(*generation, Type::TEXT)];
            self.exec(
                "discard the copy",
                "DELETE FROM served_latest_prices WHERE generation = $1",
                &named,
            )
            .await?;
            let sql = "DELETE FROM projection_positions WHERE projection = $1 AND generation = $2";
            self.exec("discard the copy", sql, &self.named(generation)).await?;
        }
        Ok(())
    }

    async fn exec(&self, operation: &'static str, sql: &str, values: &[Parameter<'_>]) -> Result<(), StoreError> {
        let client = self.postgres.client(operation).await?;
        within(operation, CALL_TIMEOUT, client.execute_typed(sql, values)).await?;
        Ok(())
    }
}

/// What decides between two prices of an instrument, as in [`LatestPriceStore::apply`].
fn rank(table: &str) -> String {
    format!(
        "{table}.event_time, {table}.vintage, {table}.sequence IS NOT NULL, coalesce({table}.sequence, 0), {table}.feed, \
         {table}.raw_partition, {table}.raw_offset, {table}.raw_index"
    )
}
