//! Latest prices with their position, in one transaction.
//!
//! Invariants: rows change only if the stored position is the one that the writer expects (compare-and-set): a second writer
//! with the same old position changes nothing. The position moves with the last rows of a step; rows that are newer than the
//! position are harmless. A row is replaced only by a price of a higher rank, in any order of arrival.
//! Failure: if the response to a commit is lost, the caller gets an error and reads the position again.

use std::time::SystemTime;

use deadpool_postgres::Transaction;
use domain::{Decimal, Micros, Position};
use futures_util::TryStreamExt;
use tokio_postgres::types::Type;

use super::position::{Held, Move, stored_sequencer};
use super::price_row::{price, system_time};
use super::{CALL_TIMEOUT, LIMIT_STATEMENTS, Parameter, Postgres, within};
use crate::price::LatestPrice;
use crate::{Store, StoreError};

/// The projection's name in `projection_positions`.
pub(super) const PROJECTION: &str = "latest_price";

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Rows and position are stored.
    Yes,
    /// The stored position differs from the expected one: nothing was written; read the position again.
    Conflict,
}

/// Rows of one step of a position.
#[derive(Debug, Clone, Copy)]
pub struct PriceBatch<'a> {
    /// The enriched topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The position as last read or stored; `None` if there was none.
    pub expected: Option<Held>,
    /// The position after the batch; `None` to leave it unchanged, since more rows belong to the step.
    pub position: Option<&'a Position>,
    /// At most one per instrument.
    pub prices: &'a [LatestPrice],
}

/// The latest prices of one generation. Cheap to clone.
#[derive(Clone)]
pub struct LatestPriceStore {
    pub(super) postgres: Postgres,
    pub(super) generation: String,
}

/// Prices are sent as unscaled integers; multiplying by 10^-8 is exact. Flags are sent as one string, since arrays of arrays
/// cannot be unnested.
const UPSERT: &str = "INSERT INTO served_latest_prices AS stored \
     (generation, tenant_id, instrument_id, price, volume, event_time, vintage, sequence, feed, raw_partition, raw_offset, \
      raw_index, src_partition, market, product, currency, unit, quality_flags, appended_at) \
     SELECT $1, tenant_id, instrument_id, price * 0.00000001, volume * 0.00000001, event_time, vintage, sequence, feed, raw_partition, \
            raw_offset, raw_index, $2, market, product, currency, unit, \
            string_to_array(flags, ','), appended_at \
     FROM UNNEST($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[], $8::bigint[], $9::text[], \
                 $10::int[], $11::bigint[], $12::int[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], \
                 $18::timestamptz[], $19::int[]) \
          AS new (tenant_id, instrument_id, price, volume, event_time, sequence, feed, raw_partition, raw_offset, \
                  raw_index, market, product, currency, unit, flags, appended_at, vintage) \
     ON CONFLICT (generation, tenant_id, instrument_id) DO UPDATE SET \
         price = excluded.price, volume = excluded.volume, event_time = excluded.event_time, \
         vintage = excluded.vintage, sequence = excluded.sequence, feed = excluded.feed, \
         raw_partition = excluded.raw_partition, raw_offset = excluded.raw_offset, raw_index = excluded.raw_index, \
         src_partition = excluded.src_partition, market = excluded.market, product = excluded.product, \
         currency = excluded.currency, unit = excluded.unit, quality_flags = excluded.quality_flags, \
         appended_at = excluded.appended_at, updated_at = now() \
     WHERE (excluded.event_time, excluded.vintage, excluded.sequence IS NOT NULL, coalesce(excluded.sequence, 0), \
            excluded.feed, excluded.raw_partition, excluded.raw_offset, excluded.raw_index) \
         > (stored.event_time, stored.vintage, stored.sequence IS NOT NULL, coalesce(stored.sequence, 0), \
            stored.feed, stored.raw_partition, stored.raw_offset, stored.raw_index)";
const SELECT: &str = "SELECT tenant_id, instrument_id, (price * 100000000)::bigint, (volume * 100000000)::bigint, event_time, \
     feed, raw_partition, raw_offset, raw_index, src_partition, market, product, currency, unit, quality_flags, appended_at, \
     sequence, vintage FROM served_latest_prices WHERE generation = $1";

impl LatestPriceStore {
    /// Uses this pool, for this generation (empty for the first).
    pub fn new(postgres: Postgres, generation: &str) -> LatestPriceStore {
        LatestPriceStore {
            postgres,
            generation: generation.to_owned(),
        }
    }

    /// Stores the ids of these topics, `(name, id)`, or rejects a topic whose stored id differs.
    ///
    /// # Errors
    /// `topic_id_changed`, or the error of the server.
    pub async fn check_topics(&self, ids: &[(String, String)]) -> Result<(), StoreError> {
        let client = self.postgres.client("check topic ids").await?;
        for (topic, id) in ids {
            let sql = "INSERT INTO projection_topics (topic, topic_id) VALUES ($1, $2) \
                       ON CONFLICT (topic) DO UPDATE SET topic_id = CASE WHEN ltrim(projection_topics.topic_id, 'A') = '' \
                       THEN excluded.topic_id ELSE projection_topics.topic_id END RETURNING topic_id";
            let parameters: [Parameter<'_>; 2] = [(topic, Type::TEXT), (id, Type::TEXT)];
            let row = within(
                "check topic ids",
                CALL_TIMEOUT,
                client.query_typed_one(sql, &parameters),
            )
            .await?;
            let stored: String = row
                .try_get(0)
                .map_err(|error| StoreError::postgres("check topic ids", &error))?;
            if stored != *id {
                return Err(StoreError::topic_id_changed(Store::Postgres, topic, &stored, id));
            }
        }
        Ok(())
    }

    /// The same without storing an id: a topic without a stored one is accepted.
    ///
    /// # Errors
    /// `topic_id_changed`, or the error of the server.
    pub async fn compare_topics(&self, ids: &[(String, String)]) -> Result<(), StoreError> {
        const OPERATION: &str = "compare topic ids";
        let client = self.postgres.client(OPERATION).await?;
        let sql = "SELECT topic_id FROM projection_topics WHERE topic = $1 AND ltrim(topic_id, 'A') <> ''";
        for (topic, id) in ids {
            let parameters: [Parameter<'_>; 1] = [(topic, Type::TEXT)];
            let found = within(OPERATION, CALL_TIMEOUT, client.query_typed_opt(sql, &parameters)).await?;
            let stored: Option<String> = found
                .map(|row| row.try_get(0))
                .transpose()
                .map_err(|error| StoreError::postgres(OPERATION, &error))?;
            if let Some(stored) = stored.filter(|stored| stored != id) {
                return Err(StoreError::topic_id_changed(Store::Postgres, topic, &stored, id));
            }
        }
        Ok(())
    }

    /// Passes the newest price of every instrument of a partition to `show`, one by one, so that any number of them needs little
    /// memory.
    ///
    /// # Errors
    /// The error of the server; some prices may have been passed already.
    pub async fn read_prices(&self, partition: i32, mut show: impl FnMut(LatestPrice)) -> Result<(), StoreError> {
        const OPERATION: &str = "load prices";
        let client = self.postgres.client(OPERATION).await?;
        let sql = format!("{SELECT} AND src_partition = $2");
        let values: [Parameter<'_>; 2] = [(&self.generation, Type::TEXT), (&partition, Type::INT4)];
        let asked = client.query_typed_raw(&sql, values);
        let mut rows = std::pin::pin!(within(OPERATION, CALL_TIMEOUT, asked).await?);
        while let Some(row) = within(OPERATION, CALL_TIMEOUT, rows.try_next()).await? {
            show(price(&row)?);
        }
        Ok(())
    }

    /// The prices of a tenant for readers, newest event time first.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn newest_of(&self, tenant_id: &str, limit: i64) -> Result<Vec<LatestPrice>, StoreError> {
        // The order of the index `served_latest_prices_by_time`, so that only `limit` rows are read.
        let sql = format!("{SELECT} AND tenant_id = $2 ORDER BY event_time DESC, instrument_id LIMIT $3");
        let values: [Parameter<'_>; 3] = [
            (&self.generation, Type::TEXT),
            (&tenant_id, Type::TEXT),
            (&limit, Type::INT8),
        ];
        self.find(&sql, &values).await
    }

    /// The price of an instrument for readers.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn find_one(&self, tenant_id: &str, instrument_id: &str) -> Result<Option<LatestPrice>, StoreError> {
        let sql = format!("{SELECT} AND tenant_id = $2 AND instrument_id = $3");
        let values: [Parameter<'_>; 3] = [
            (&self.generation, Type::TEXT),
            (&tenant_id, Type::TEXT),
            (&instrument_id, Type::TEXT),
        ];
        let found = self.find(&sql, &values).await?;
        Ok(found.into_iter().next())
    }

    async fn find(&self, sql: &str, values: &[Parameter<'_>]) -> Result<Vec<LatestPrice>, StoreError> {
        let client = self.postgres.client("find prices").await?;
        let rows = within("find prices", CALL_TIMEOUT, self.postgres.read(&client, sql, values)).await?;
        rows.iter().map(price).collect()
    }

    /// Applies a batch and moves the position, or changes nothing.
    ///
    /// # Errors
    /// The error of the server; the batch may then have been applied: read the position again.
    pub async fn apply(&self, batch: &PriceBatch<'_>) -> Result<Applied, StoreError> {
        const OPERATION: &str = "apply prices";
        let position = match batch.position {
            Some(position) => Some((position.next_offset, stored_sequencer(&position.sequencer, OPERATION)?)),
            None => None,
        };
        let step = Move {
            topic: batch.topic,
            partition: batch.partition,
            expected: batch.expected,
            to: position
                .as_ref()
                .map(|(next_offset, sequencer)| (*next_offset, sequencer.as_str())),
        };
        let mut client = self.postgres.client(OPERATION).await?;
        let call = async {
            let transaction = client.transaction().await?;
            transaction.batch_execute(LIMIT_STATEMENTS).await?;
            if !self.own_positions().apply(&transaction, &step).await? {
                transaction.rollback().await?;
                return Ok(Applied::Conflict);
            }
            if !batch.prices.is_empty() {
                self.upsert(&transaction, batch).await?;
            }
            transaction.commit().await?;
            Ok(Applied::Yes)
        };
        let result = within(OPERATION, CALL_TIMEOUT, call).await;
        self.postgres.settle(client, result)
    }

    async fn upsert(&self, transaction: &Transaction<'_>, batch: &PriceBatch<'_>) -> Result<(), tokio_postgres::Error> {
        // The same lock order for all writers.
        let mut prices: Vec<&LatestPrice> = batch.prices.iter().collect();
        prices.sort_by(|a, b| (&a.tenant_id, &a.instrument_id).cmp(&(&b.tenant_id, &b.instrument_id)));
        let texts =
            |field: fn(&LatestPrice) -> &str| -> Vec<&str> { prices.iter().map(|price| field(price)).collect() };
        let longs = |field: fn(&LatestPrice) -> i64| -> Vec<i64> { prices.iter().map(|price| field(price)).collect() };
        let ints = |field: fn(&LatestPrice) -> i32| -> Vec<i32> { prices.iter().map(|price| field(price)).collect() };
        let times = |field: fn(&LatestPrice) -> Micros| -> Vec<SystemTime> {
            prices.iter().map(|price| system_time(field(price))).collect()
        };
        let volumes: Vec<Option<i64>> = prices.iter().map(|price| price.volume.map(Decimal::unscaled)).collect();
        let sequences: Vec<Option<i64>> = prices.iter().map(|price| price.sequence).collect();
        let flags: Vec<String> = prices
            .iter()
            .map(|price| {
                price
                    .quality_flags
                    .iter()
                    .map(|flag| flag.name())
                    .collect::<Vec<_>>()
                    .join(",")
            })
            .collect();
        let values: [Parameter<'_>; 19] = [
            (&self.generation, Type::TEXT),
            (&batch.partition, Type::INT4),
            (&texts(|price| &price.tenant_id), Type::TEXT_ARRAY),
            (&texts(|price| &price.instrument_id), Type::TEXT_ARRAY),
            (&longs(|price| price.price.unscaled()), Type::INT8_ARRAY),
            (&volumes, Type::INT8_ARRAY),
            (&times(|price| price.event_time), Type::TIMESTAMPTZ_ARRAY),
            (&sequences, Type::INT8_ARRAY),
            (&texts(|price| &price.origin.feed), Type::TEXT_ARRAY),
            (&ints(|price| price.origin.partition), Type::INT4_ARRAY),
            (&longs(|price| price.origin.offset), Type::INT8_ARRAY),
            (&ints(|price| price.origin.index), Type::INT4_ARRAY),
            (&texts(|price| &price.market), Type::TEXT_ARRAY),
            (&texts(|price| &price.product), Type::TEXT_ARRAY),
            (&texts(|price| &price.currency), Type::TEXT_ARRAY),
            (&texts(|price| &price.unit), Type::TEXT_ARRAY),
            (&flags, Type::TEXT_ARRAY),
            (&times(|price| price.appended_at), Type::TIMESTAMPTZ_ARRAY),
            (&ints(|price| price.vintage.rank()), Type::INT4_ARRAY),
        ];
        transaction.execute_typed(UPSERT, &values).await?;
        Ok(())
    }
}
