//! Rebuilds of the latest prices: a second copy beside the served one, and the exchange of both, partition by partition.
//!
//! Role: the copy is a generation of its own in the same tables (`…~rebuild`), so it is written with [`LatestPriceStore::apply`] and
//! keeps its position. The rows that it replaces stay as another one (`…~backup`) until the rebuild ends. A dry run has generations of its
//! own for both, and rolls every exchange back.
//! Invariants: readers see the rows before or the rows after an exchange, never a mixture of one partition; the served position never
//! goes back; the epoch of the position rises, so a writer that has the earlier rows in memory cannot store anything.
//! Failure: each step is a transaction. A rebuild that is killed continues where its copy ends.

mod exchange;

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::latest::PROJECTION;
use super::{CALL_TIMEOUT, LatestPriceStore, Parameter, Postgres, within};
use crate::StoreError;

pub use exchange::{Exchange, Keep, Swap};

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
    is_dry_run: bool,
}

/// Limits the exchange of a partition, which may have a million instruments. The writer of the partition waits meanwhile.
const SWAP_TIMEOUT: Duration = Duration::from_secs(120);

impl Rebuilds {
    /// Uses this pool, for this generation (empty for the first).
    pub fn new(postgres: Postgres, generation: &str) -> Rebuilds {
        Rebuilds {
            postgres,
            served: generation.to_owned(),
            copy: format!("{generation}~rebuild"),
            backup: format!("{generation}~backup"),
            is_dry_run: false,
        }
    }

    /// The same without an effect: exchanges are rolled back, and the copy is another one than that of a rebuild that is under way.
    pub fn dry_run(postgres: Postgres, generation: &str) -> Rebuilds {
        let [copy, backup] = dry_run_generations(generation);
        Rebuilds {
            postgres,
            served: generation.to_owned(),
            copy,
            backup,
            is_dry_run: true,
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

    /// Starts a new rebuild: discards an earlier copy and backup, and what an interrupted dry run has left.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn begin(&self, strategy: &str) -> Result<(), StoreError> {
        self.discard_all().await?;
        let [copy, backup] = dry_run_generations(&self.served);
        self.discard(&[&copy, &backup]).await?;
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

    /// Discards copy and backup: before and after a dry run.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn discard_all(&self) -> Result<(), StoreError> {
        self.discard(&[&self.copy, &self.backup]).await
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
             WHERE (new.price, new.volume, new.event_time, new.vintage, new.sequence, new.feed, new.raw_partition, new.raw_offset, new.raw_index, \
                    new.market, new.product, new.currency, new.unit, new.quality_flags) \
                IS DISTINCT FROM \
                (old.price, old.volume, old.event_time, old.vintage, old.sequence, old.feed, old.raw_partition, old.raw_offset, old.raw_index, \
                    old.market, old.product, old.currency, old.unit, old.quality_flags) \
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

    async fn discard(&self, generations: &[&String]) -> Result<(), StoreError> {
        for generation in generations {
            // First the position: a process that still fills this copy writes nothing without it.
            let sql = "DELETE FROM projection_positions WHERE projection = $1 AND generation = $2";
            self.exec("discard the copy", sql, &self.named(generation)).await?;
            let named: [Parameter<'_>; 1] = [(*generation, Type::TEXT)];
            let sql = "DELETE FROM served_latest_prices WHERE generation = $1";
            self.exec("discard the copy", sql, &named).await?;
        }
        Ok(())
    }

    async fn exec(&self, operation: &'static str, sql: &str, values: &[Parameter<'_>]) -> Result<(), StoreError> {
        let client = self.postgres.client(operation).await?;
        within(operation, CALL_TIMEOUT, client.execute_typed(sql, values)).await?;
        Ok(())
    }
}

/// Generations of the copy and the backup of a dry run.
fn dry_run_generations(generation: &str) -> [String; 2] {
    ["dry-run", "dry-run-backup"].map(|name| format!("{generation}~{name}"))
}
