//! The position of a projection in each partition: how far its rows go.
//!
//! Invariant: a rebuild that replaces the rows of a partition raises the epoch of its position, so that a writer whose memory is of
//! the rows before gets a conflict, even if the offset is the one that it expects.

use domain::Position;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::latest::PROJECTION;
use super::{CALL_TIMEOUT, LatestPriceStore, Parameter, within};
use crate::stored_origin::from_json;
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

impl LatestPriceStore {
    /// Where to continue reading a partition; `None` if nothing was ever applied.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn load_position(&self, topic: &str, partition: i32) -> Result<Option<LoadedPosition>, StoreError> {
        const OPERATION: &str = "load position";
        let client = self.postgres.client(OPERATION).await?;
        let sql = "SELECT next_offset, sequencer::text, epoch FROM projection_positions \
                   WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4";
        let values: [Parameter<'_>; 4] = [
            (&PROJECTION, Type::TEXT),
            (&self.generation, Type::TEXT),
            (&topic, Type::TEXT),
            (&partition, Type::INT4),
        ];
        let Some(row) = within(OPERATION, CALL_TIMEOUT, client.query_typed_opt(sql, &values)).await? else {
            return Ok(None);
        };
        loaded(&row, OPERATION).map(Some)
    }

    /// The stored positions of this generation, by topic and partition.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn positions(&self) -> Result<Vec<StoredPosition>, StoreError> {
        const OPERATION: &str = "read positions";
        let client = self.postgres.client(OPERATION).await?;
        let sql = "SELECT topic, partition, next_offset, extract(epoch FROM now() - updated_at)::float8 \
                   FROM projection_positions WHERE projection = $1 AND generation = $2 ORDER BY topic, partition";
        let rows = within(
            OPERATION,
            CALL_TIMEOUT,
            client.query_typed(sql, &[(&PROJECTION, Type::TEXT), (&self.generation, Type::TEXT)]),
        )
        .await?;
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
