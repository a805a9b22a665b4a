//! The position of a projection in each partition: how far its rows go.
//!
//! Invariant: a rebuild that replaces the rows of a partition raises the epoch of its position, so that a writer whose memory is of
//! the rows before gets a conflict, even if the offset is the one that it expects.

use deadpool_postgres::Transaction;
use domain::{LastOrigin, Position};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::latest::PROJECTION;
use super::{CALL_TIMEOUT, LatestPriceStore, Parameter, Postgres, within};
use crate::stored_origin::{from_json, to_json};
use crate::{Store, StoreError};

/// A stored position as its writer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Next offset.
    pub next_offset: i64,
    /// Number of rebuilds that replaced the rows.
    pub epoch: i64,
}

impl Held {
    /// The position that a writer has stored over this one.
    pub fn at(self, next_offset: i64) -> Held {
        Held { next_offset, ..self }
    }
}

/// A position with its epoch, to continue from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedPosition {
    /// Next offset, and the sequencer as of it.
    pub position: Position,
    /// Number of rebuilds that replaced the rows.
    pub epoch: i64,
}

impl LoadedPosition {
    /// What the next write expects.
    pub fn held(&self) -> Held {
        Held {
            next_offset: self.position.next_offset,
            epoch: self.epoch,
        }
    }
}

/// A stored position, for operators.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredPosition {
    /// The enriched topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Next offset.
    pub next_offset: i64,
    /// Seconds since it was stored.
    pub updated_seconds_ago: f64,
}

/// The positions of one projection and generation. Cheap to clone.
#[derive(Clone)]
pub(super) struct Positions {
    pub(super) projection: &'static str,
    pub(super) generation: String,
}

/// Where a batch of rows moves the position of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move<'a> {
    /// The topic.
    pub(super) topic: &'a str,
    /// Its partition.
    pub(super) partition: i32,
    /// The position as last read or stored; `None` if there was none.
    pub(super) expected: Option<Held>,
    /// The new next offset, with the sequencer's state as JSON; `None` leaves the position as it is, and locks it.
    pub(super) to: Option<(i64, &'a str)>,
}

const INSERT_POSITION: &str = "INSERT INTO projection_positions (projection, generation, topic, partition, next_offset, sequencer) \
     VALUES ($1, $2, $3, $4, $5, $6::text::jsonb) ON CONFLICT DO NOTHING";
const UPDATE_POSITION: &str = "UPDATE projection_positions SET next_offset = $5, sequencer = $6::text::jsonb, updated_at = now() \
     WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 AND next_offset = $7 AND epoch = $8";
const HOLD_POSITION: &str = "SELECT next_offset, epoch FROM projection_positions \
     WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 FOR SHARE";

impl Positions {
    /// Where to continue reading a partition; `None` if nothing was ever applied.
    pub(super) async fn load(
        &self,
        postgres: &Postgres,
        topic: &str,
        partition: i32,
    ) -> Result<Option<LoadedPosition>, StoreError> {
        const OPERATION: &str = "load position";
        let client = postgres.client(OPERATION).await?;
        let sql = "SELECT next_offset, sequencer::text, epoch FROM projection_positions \
                   WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        let values = self.named(&topic, &partition);
        let Some(row) = within(OPERATION, CALL_TIMEOUT, client.query_typed_opt(sql, &values)).await? else {
            return Ok(None);
        };
        loaded(&row, OPERATION).map(Some)
    }

    /// All of them, by topic and partition.
    pub(super) async fn all(&self, postgres: &Postgres) -> Result<Vec<StoredPosition>, StoreError> {
        const OPERATION: &str = "read positions";
        let client = postgres.client(OPERATION).await?;
        let sql = "SELECT topic, partition, next_offset, extract(epoch FROM now() - updated_at)::float8 \
                   FROM projection_positions WHERE projection = $1 AND generation = $2 ORDER BY topic, partition";
        let values: [Parameter<'_>; 2] = [(&self.projection, Type::TEXT), (&self.generation, Type::TEXT)];
        let rows = within(OPERATION, CALL_TIMEOUT, client.query_typed(sql, &values)).await?;
        let read = |row: &Row| {
            Ok(StoredPosition {
                topic: row.try_get(0)?,
                partition: row.try_get(1)?,
                next_offset: row.try_get(2)?,
                updated_seconds_ago: row.try_get(3)?,
            })
        };
        rows.iter()
            .map(|row| read(row).map_err(|error| StoreError::postgres(OPERATION, &error)))
            .collect()
    }

    /// Moves or locks a position within a transaction; false if the stored one is not the expected one.
    pub(super) async fn apply(
        &self,
        transaction: &Transaction<'_>,
        step: &Move<'_>,
    ) -> Result<bool, tokio_postgres::Error> {
        let [projection, generation, topic, partition] = self.named(&step.topic, &step.partition);
        let Some((next_offset, sequencer)) = &step.to else {
            let values = [projection, generation, topic, partition];
            let stored = match transaction.query_typed(HOLD_POSITION, &values).await?.first() {
                Some(row) => Some(Held {
                    next_offset: row.try_get(0)?,
                    epoch: row.try_get(1)?,
                }),
                None => None,
            };
            return Ok(stored == step.expected);
        };
        let mut values: Vec<Parameter<'_>> = vec![
            projection,
            generation,
            topic,
            partition,
            (next_offset, Type::INT8),
            (sequencer, Type::TEXT),
        ];
        let statement = match &step.expected {
            Some(expected) => {
                values.push((&expected.next_offset, Type::INT8));
                values.push((&expected.epoch, Type::INT8));
                UPDATE_POSITION
            }
            None => INSERT_POSITION,
        };
        let changed = transaction.execute_typed(statement, &values).await?;
        Ok(changed == 1)
    }

    fn named<'a>(&'a self, topic: &'a &'a str, partition: &'a i32) -> [Parameter<'a>; 4] {
        [
            (&self.projection, Type::TEXT),
            (&self.generation, Type::TEXT),
            (topic, Type::TEXT),
            (partition, Type::INT4),
        ]
    }
}

/// A sequencer's state as it is stored.
pub(super) fn stored_sequencer(state: &[LastOrigin], operation: &'static str) -> Result<String, StoreError> {
    to_json(state).map_err(|error| StoreError::unexpected(Store::Postgres, operation, error))
}

impl LatestPriceStore {
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

    pub(super) fn own_positions(&self) -> Positions {
        Positions {
            projection: PROJECTION,
            generation: self.generation.clone(),
        }
    }
}

/// A row of `next_offset, sequencer::text, epoch`.
pub(super) fn loaded(row: &Row, operation: &'static str) -> Result<LoadedPosition, StoreError> {
    let read = || Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    let (next_offset, stored, epoch): (i64, String, i64) =
        read().map_err(|error| StoreError::postgres(operation, &error))?;
    let sequencer = from_json(&stored).map_err(|error| StoreError::unexpected(Store::Postgres, operation, error))?;
    Ok(LoadedPosition {
        position: Position { next_offset, sequencer },
        epoch,
    })
}
