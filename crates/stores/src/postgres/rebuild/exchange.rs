//! The exchange of one partition's served prices with those of its copy, in one transaction.

use deadpool_postgres::Transaction;
use domain::{LastOrigin, Position};
use tokio_postgres::types::Type;

use super::{Changes, Rebuilds, SWAP_TIMEOUT};
use crate::postgres::position::loaded;
use crate::postgres::scope::Scope;
use crate::postgres::{CALL_TIMEOUT, LoadedPosition, Parameter, within};
use crate::stored_origin::to_json;
use crate::{Store, StoreError};

const OPERATION: &str = "exchange prices";
const COLUMNS: &str = "tenant_id, instrument_id, price, volume, event_time, vintage, sequence, feed, raw_partition, raw_offset, \
     raw_index, src_partition, market, product, currency, unit, quality_flags, appended_at, updated_at";

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
    /// The served position lies before the offset from which on the copy has every event: somebody has set it back.
    WentBack {
        /// Next offset of the served position.
        served: i64,
    },
    /// Another process has exchanged or discarded the copy.
    NoCopy,
}

/// The exchange of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The enriched topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// Which rows survive.
    pub keep: Keep,
    /// Which rows are replaced. Others are replaced only by those of newer events, since the position moves over these.
    pub scope: &'a Scope,
    /// The copy has every event from this offset on. What it leaves out before it must be in the served rows.
    pub complete_from: i64,
}

impl Rebuilds {
    /// Lets readers see the copy's rows of a partition instead of the served ones, in one transaction; a dry run rolls it back.
    ///
    /// # Errors
    /// The error of the server; whether the exchange took place is then seen in [`Rebuilds::find`].
    pub async fn swap(&self, exchange: &Exchange<'_>) -> Result<Swap, StoreError> {
        let (topic, partition) = (exchange.topic, exchange.partition);
        let mut client = self.postgres.client(OPERATION).await?;
        let transaction = within(OPERATION, CALL_TIMEOUT, client.transaction()).await?;
        let served = self.locked(&transaction, &self.served, topic, partition).await?;
        let Some(copy) = self.locked(&transaction, &self.copy, topic, partition).await? else {
            return Ok(Swap::NoCopy);
        };
        let reached = served.as_ref().map_or(0, |served| served.position.next_offset);
        if copy.position.next_offset < reached {
            return Ok(Swap::Behind { served: reached });
        }
        if reached < exchange.complete_from {
            return Ok(Swap::WentBack { served: reached });
        }
        let position = merged(served.as_ref(), copy.position, exchange.keep);
        let sequencer =
            to_json(&position.sequencer).map_err(|error| StoreError::unexpected(Store::Postgres, OPERATION, error))?;
        let moves = async {
            self.keep_rows(&transaction, exchange).await?;
            self.move_rows(&transaction, partition).await?;
            self.move_position(&transaction, topic, partition, position.next_offset, &sequencer)
                .await
        };
        within(OPERATION, SWAP_TIMEOUT, moves).await?;
        let changes = self.compare(&transaction, &[partition]).await?;
        if !self.is_dry_run {
            within(OPERATION, CALL_TIMEOUT, transaction.commit()).await?;
            return Ok(Swap::Done(changes));
        }
        within(OPERATION, CALL_TIMEOUT, transaction.rollback()).await?;
        drop(client);
        // As after an exchange, the copy of the next partition begins without rows.
        self.discard(&[&self.copy]).await?;
        Ok(Swap::Done(changes))
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

    /// Puts the served rows that survive into the copy.
    async fn keep_rows(
        &self,
        transaction: &Transaction<'_>,
        exchange: &Exchange<'_>,
    ) -> Result<(), tokio_postgres::Error> {
        let values: [Parameter<'_>; 5] = [
            (&self.served, Type::TEXT),
            (&self.copy, Type::TEXT),
            (&exchange.partition, Type::INT4),
            (&exchange.scope.tenant, Type::TEXT),
            (&exchange.scope.instrument, Type::TEXT),
        ];
        let [served, copy, number, ..] = values.clone();
        let of_all = [served, copy, number];
        let older = |order: &str| {
            format!(
                "DELETE FROM served_latest_prices AS copy USING served_latest_prices AS served \
                 WHERE served.generation = $1 AND copy.generation = $2 AND copy.src_partition = $3 \
                   AND copy.tenant_id = served.tenant_id AND copy.instrument_id = served.instrument_id \
                   AND ({}) {order} ({})",
                rank("served"),
                rank("copy")
            )
        };
        let missing = format!(
            "INSERT INTO served_latest_prices (generation, {COLUMNS}) SELECT $2, {COLUMNS} FROM served_latest_prices AS served \
             WHERE generation = $1 AND src_partition = $3"
        );
        if !exchange.scope.is_all() {
            // At an equal rank too: what is served may differ from the log there, and stays.
            let sql = format!("{} AND {}", older(">="), outside("served"));
            transaction.execute_typed(&sql, &values).await?;
            let sql = format!("{missing} AND {} ON CONFLICT DO NOTHING", outside("served"));
            transaction.execute_typed(&sql, &values).await?;
        }
        if exchange.keep == Keep::MissingAndNewer {
            transaction.execute_typed(&older(">"), &of_all).await?;
        }
        if exchange.keep != Keep::Nothing {
            let sql = format!("{missing} ON CONFLICT DO NOTHING");
            transaction.execute_typed(&sql, &of_all).await?;
        }
        Ok(())
    }

    /// Exchanges the rows, and leaves the replaced ones in the backup.
    async fn move_rows(&self, transaction: &Transaction<'_>, partition: i32) -> Result<(), tokio_postgres::Error> {
        let with_backup: [Parameter<'_>; 4] = [
            (&self.served, Type::TEXT),
            (&self.copy, Type::TEXT),
            (&partition, Type::INT4),
            (&self.backup, Type::TEXT),
        ];
        // An instrument of the copy may be stored with another partition, and a killed rebuild may have left a backup of it.
        let replaced = "served.generation = $1 AND (served.src_partition = $3 OR EXISTS (SELECT FROM served_latest_prices AS copy \
             WHERE copy.generation = $2 AND copy.src_partition = $3 AND copy.tenant_id = served.tenant_id \
               AND copy.instrument_id = served.instrument_id))";
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
}

/// Of a part of the log, raw partitions without a tick in it keep what was known.
fn merged(served: Option<&LoadedPosition>, copy: Position, keep: Keep) -> Position {
    let mut merged = copy;
    let known: Vec<LastOrigin> = match (keep, served) {
        (Keep::MissingAndNewer, Some(served)) => served.position.sequencer.clone(),
        _ => Vec::new(),
    };
    for origin in known {
        let is_same = |other: &&LastOrigin| (&other.feed, other.raw_partition) == (&origin.feed, origin.raw_partition);
        if !merged.sequencer.iter().any(|other| is_same(&other)) {
            merged.sequencer.push(origin);
        }
    }
    merged
}

/// What decides between two prices of an instrument, as in [`crate::LatestPriceStore::apply`].
fn rank(table: &str) -> String {
    format!(
        "{table}.event_time, {table}.vintage, {table}.sequence IS NOT NULL, coalesce({table}.sequence, 0), {table}.feed, \
         {table}.raw_partition, {table}.raw_offset, {table}.raw_index"
    )
}

/// Condition for a row out of the scope whose tenant is `$4`, and whose instrument is `$5`.
fn outside(table: &str) -> String {
    format!("NOT (($4::text IS NULL OR {table}.tenant_id = $4) AND ($5::text IS NULL OR {table}.instrument_id = $5))")
}
