//! Curve snapshots and derived prices with their position, in one transaction.
//!
//! Invariants: those of [`super::latest`]: rows change only with the position that the writer expects (compare-and-set), and a row is
//! replaced only by one of a higher rank ([`crate::served::Rank`]), in any order of arrival. There is no sequencer: a record that is read
//! again has the rank of its row, and changes nothing.
//! Failure: if the response to a commit is lost, the caller gets an error and reads the position again.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::position::{Held, LoadedPosition, Move, Positions, StoredPosition};
use super::price_row::{micros, system_time};
use super::served_query::Wanted;
use super::{Applied, CALL_TIMEOUT, LIMIT_STATEMENTS, Parameter, Postgres, within};
use crate::StoreError;
use crate::served::{Projection, Rank, ServedKey, ServedRow};

/// The state of a sequencer without lanes.
pub(super) const NO_SEQUENCER: &str = "[]";

/// Rows of one step of a position.
#[derive(Debug, Clone, Copy)]
pub struct ServedBatch<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The position as last read or stored; `None` if there was none.
    pub expected: Option<Held>,
    /// The next offset after the batch.
    pub next_offset: i64,
    /// At most one per key.
    pub rows: &'a [ServedRow],
}

/// The rows of one projection and generation. Cheap to clone.
#[derive(Clone)]
pub struct ServedStore {
    pub(super) postgres: Postgres,
    pub(super) projection: Projection,
    pub(super) generation: String,
}

/// Names of a projection's columns.
pub(super) struct Columns {
    /// Those of the key after the tenant.
    pub(super) key: &'static str,
    /// The same in a list of [`ServedKey`], where a series has an empty horizon.
    pub(super) select_key: &'static str,
    /// Of the time.
    pub(super) time: &'static str,
    /// Of the body.
    pub(super) body: &'static str,
    /// Of the name alone.
    pub(super) name: &'static str,
}

impl Columns {
    pub(super) fn of(projection: Projection) -> Columns {
        match projection {
            Projection::CurveSnapshot => Columns {
                key: "curve_id, horizon",
                select_key: "curve_id, horizon",
                time: "as_of",
                body: "snapshot",
                name: "curve_id",
            },
            Projection::DerivedPrice => Columns {
                key: "series",
                select_key: "series, ''::text",
                time: "event_time",
                body: "price",
                name: "series",
            },
        }
    }
}

impl ServedStore {
    /// Uses this pool, for this generation (empty for the first).
    pub fn new(postgres: Postgres, projection: Projection, generation: &str) -> ServedStore {
        ServedStore {
            postgres,
            projection,
            generation: generation.to_owned(),
        }
    }

    /// What it stores.
    pub fn projection(&self) -> Projection {
        self.projection
    }

    /// Where to continue reading a partition; `None` if nothing was ever applied.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn load_position(&self, topic: &str, partition: i32) -> Result<Option<LoadedPosition>, StoreError> {
        self.own_positions().load(&self.postgres, topic, partition).await
    }

    /// The stored positions of this generation, by topic and partition.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn positions(&self) -> Result<Vec<StoredPosition>, StoreError> {
        self.own_positions().all(&self.postgres).await
    }

    /// Passes key and rank of every row of a partition to `show`, one by one.
    ///
    /// # Errors
    /// The error of the server; some may have been passed already.
    pub async fn read_ranks(&self, partition: i32, mut show: impl FnMut(ServedKey, Rank)) -> Result<(), StoreError> {
        const OPERATION: &str = "load ranks of served rows";
        let columns = Columns::of(self.projection);
        let sql = format!(
            "SELECT tenant_id, {}, {}, version FROM {} WHERE generation = $1 AND src_partition = $2",
            columns.select_key,
            columns.time,
            self.projection.table()
        );
        let client = self.postgres.client(OPERATION).await?;
        let values: [Parameter<'_>; 2] = [(&self.generation, Type::TEXT), (&partition, Type::INT4)];
        let asked = client.query_typed_raw(&sql, values);
        let mut rows = std::pin::pin!(within(OPERATION, CALL_TIMEOUT, asked).await?);
        while let Some(row) = within(OPERATION, CALL_TIMEOUT, rows.try_next()).await? {
            let read = || Ok((key(&row)?, row.try_get::<_, SystemTime>(3)?, row.try_get(4)?));
            let (key, time, version) = read().map_err(|error| StoreError::postgres(OPERATION, &error))?;
            show(key, (micros(time), version));
        }
        Ok(())
    }

    /// The rows of a partition in the order of their keys, at most `most` of them, all after `after`.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn rows_after(
        &self,
        partition: i32,
        after: Option<&ServedKey>,
        most: i64,
    ) -> Result<Vec<ServedRow>, StoreError> {
        let columns = Columns::of(self.projection);
        let none = ServedKey {
            tenant_id: String::new(),
            name: String::new(),
            horizon: String::new(),
        };
        let after = after.unwrap_or(&none);
        let mut values: Vec<Parameter<'_>> = vec![
            (&self.generation, Type::TEXT),
            (&partition, Type::INT4),
            (&most, Type::INT8),
            (&after.tenant_id, Type::TEXT),
            (&after.name, Type::TEXT),
        ];
        let bound = match self.projection {
            Projection::CurveSnapshot => {
                values.push((&after.horizon, Type::TEXT));
                "($4, $5, $6)"
            }
            Projection::DerivedPrice => "($4, $5)",
        };
        let condition = format!(
            "src_partition = $2 AND (tenant_id, {key}) > {bound} ORDER BY tenant_id, {key} LIMIT $3",
            key = columns.key
        );
        self.find(&condition, &values).await
    }

    /// The rows of a tenant for readers, newest first, at most `limit` of them. `of` is the name and the horizon that they must have.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn newest_of(
        &self,
        tenant_id: &str,
        of: (Option<&str>, Option<&str>),
        limit: i64,
    ) -> Result<Vec<ServedRow>, StoreError> {
        let wanted = self.wanted(tenant_id, of, limit);
        let (condition, values) = wanted.newest_first();
        self.find(&condition, &values).await
    }

    /// The same in the order of name and horizon, all after `after`. Rows are replaced but not removed while they are served, so one page
    /// after the other has every row of the first time once.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn by_name(
        &self,
        tenant_id: &str,
        of: (Option<&str>, Option<&str>),
        after: Option<(&str, &str)>,
        limit: i64,
    ) -> Result<Vec<ServedRow>, StoreError> {
        let wanted = self.wanted(tenant_id, of, limit);
        let (condition, values) = wanted.by_name(after.as_ref());
        self.find(&condition, &values).await
    }

    fn wanted<'w>(
        &'w self,
        tenant_id: &'w str,
        (name, horizon): (Option<&'w str>, Option<&'w str>),
        limit: i64,
    ) -> Wanted<'w> {
        Wanted {
            projection: self.projection,
            generation: &self.generation,
            tenant_id,
            name,
            horizon,
            limit,
        }
    }

    async fn find(&self, condition: &str, values: &[Parameter<'_>]) -> Result<Vec<ServedRow>, StoreError> {
        const OPERATION: &str = "find served rows";
        let sql = self.select(condition);
        let client = self.postgres.client(OPERATION).await?;
        let rows = within(OPERATION, CALL_TIMEOUT, self.postgres.read(&client, &sql, values)).await?;
        rows.iter()
            .map(|row| served(row).map_err(|error| StoreError::postgres(OPERATION, &error)))
            .collect()
    }

    /// The statement that reads rows as [`served`] expects them.
    pub(super) fn select(&self, condition: &str) -> String {
        let columns = Columns::of(self.projection);
        format!(
            "SELECT tenant_id, {}, {}, version, src_partition, {}::text FROM {} WHERE generation = $1 AND {condition}",
            columns.select_key,
            columns.time,
            columns.body,
            self.projection.table()
        )
    }

    /// Applies a batch and moves the position, or changes nothing.
    ///
    /// # Errors
    /// The error of the server; the batch may then have been applied: read the position again.
    pub async fn apply(&self, batch: &ServedBatch<'_>) -> Result<Applied, StoreError> {
        const OPERATION: &str = "apply served rows";
        let step = Move {
            topic: batch.topic,
            partition: batch.partition,
            expected: batch.expected,
            to: Some((batch.next_offset, NO_SEQUENCER)),
        };
        let mut client = self.postgres.client(OPERATION).await?;
        let call = async {
            let transaction = client.transaction().await?;
            transaction.batch_execute(LIMIT_STATEMENTS).await?;
            if !self.own_positions().apply(&transaction, &step).await? {
                transaction.rollback().await?;
                return Ok(Applied::Conflict);
            }
            if !batch.rows.is_empty() {
                self.upsert(&transaction, batch.rows.iter().collect(), Over::Older)
                    .await?;
            }
            transaction.commit().await?;
            Ok(Applied::Yes)
        };
        let result = within(OPERATION, CALL_TIMEOUT, call).await;
        self.postgres.settle(client, result)
    }

    pub(super) fn own_positions(&self) -> Positions {
        Positions {
            projection: self.projection.name(),
            generation: self.generation.clone(),
        }
    }

    /// Writes rows over those that `over` allows.
    pub(super) async fn upsert(
        &self,
        transaction: &Transaction<'_>,
        mut rows: Vec<&ServedRow>,
        over: Over,
    ) -> Result<(), tokio_postgres::Error> {
        // The same lock order for all writers.
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let texts = |field: fn(&ServedRow) -> &str| -> Vec<&str> { rows.iter().map(|row| field(row)).collect() };
        let values: [Parameter<'_>; 8] = [
            (&self.generation, Type::TEXT),
            (&texts(|row| &row.key.tenant_id), Type::TEXT_ARRAY),
            (&texts(|row| &row.key.name), Type::TEXT_ARRAY),
            (&texts(|row| &row.key.horizon), Type::TEXT_ARRAY),
            (
                &rows.iter().map(|row| system_time(row.time)).collect::<Vec<_>>(),
                Type::TIMESTAMPTZ_ARRAY,
            ),
            (
                &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
                Type::INT8_ARRAY,
            ),
            (
                &rows.iter().map(|row| row.src_partition).collect::<Vec<_>>(),
                Type::INT4_ARRAY,
            ),
            (&texts(|row| &row.body), Type::TEXT_ARRAY),
        ];
        let sql = upsert(self.projection, over);
        transaction.execute_typed(&sql, &values).await?;
        Ok(())
    }
}

/// Which stored row of its key a row replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// One of a lower rank.
    Older,
    /// One that is not of a higher rank.
    NotNewer,
    /// Any.
    Any,
}

fn upsert(projection: Projection, over: Over) -> String {
    let Columns { key, time, body, .. } = Columns::of(projection);
    let given = match projection {
        Projection::CurveSnapshot => "name, horizon",
        Projection::DerivedPrice => "name",
    };
    let ranks =
        |order: &str| format!(" WHERE (excluded.{time}, excluded.version) {order} (stored.{time}, stored.version)");
    let condition = match over {
        Over::Older => ranks(">"),
        Over::NotNewer => ranks(">="),
        Over::Any => String::new(),
    };
    format!(
        "INSERT INTO {table} AS stored (generation, tenant_id, {key}, {time}, version, src_partition, {body}) \
         SELECT $1, tenant_id, {given}, time, version, src_partition, body::json \
         FROM UNNEST($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::int[], $8::text[]) \
              AS new (tenant_id, name, horizon, time, version, src_partition, body) \
         ON CONFLICT (generation, tenant_id, {key}) DO UPDATE SET {time} = excluded.{time}, version = excluded.version, \
             src_partition = excluded.src_partition, {body} = excluded.{body}, updated_at = now(){condition}",
        table = projection.table()
    )
}

/// A row of [`ServedStore::select`].
pub(super) fn served(row: &Row) -> Result<ServedRow, tokio_postgres::Error> {
    Ok(ServedRow {
        key: key(row)?,
        time: micros(row.try_get(3)?),
        version: row.try_get(4)?,
        src_partition: row.try_get(5)?,
        body: row.try_get(6)?,
    })
}

/// The first three columns.
fn key(row: &Row) -> Result<ServedKey, tokio_postgres::Error> {
    Ok(ServedKey {
        tenant_id: row.try_get(0)?,
        name: row.try_get(1)?,
        horizon: row.try_get(2)?,
    })
}
