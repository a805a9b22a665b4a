//! Replaces the rows of one partition of curve snapshots or derived prices by those of its log, in one transaction.
//!
//! Invariants: readers see the rows before or the rows after; the served position never goes back; the epoch of the position rises, so a
//! writer whose memory is of the rows before gets a conflict with its next commit, and reads them again.
//! Failure: the error of the server; nothing has changed then, unless the answer to the commit was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;

use super::scope::Scope;
use super::served::{Columns, NO_SEQUENCER, Over};
use super::{CALL_TIMEOUT, Parameter, ServedStore, within};
use crate::StoreError;
use crate::served::{ServedKey, ServedRow};

const OPERATION: &str = "replace served rows";
/// The writer of the partition waits meanwhile.
const LIMIT: Duration = Duration::from_secs(60);

/// What the log of a partition says.
#[derive(Debug, Clone, Copy)]
pub struct FromLog<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The offset after the last record that was read.
    pub next_offset: i64,
    /// The newest row of each key.
    pub rows: &'a [ServedRow],
    /// Whether it was read from its first record: then the log explains every row. Otherwise rows that it does not have, or that are newer,
    /// stay.
    pub is_whole: bool,
    /// Which rows are replaced. Others are replaced only by newer ones, since the position moves over their records.
    pub scope: &'a Scope,
    /// The rows have every record from this offset on. What they leave out before it must be served already.
    pub complete_from: i64,
    /// Nothing is changed: the replacement is rolled back.
    pub is_dry_run: bool,
}

/// How a replacement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// Readers see the new rows.
    Done(RowChanges),
    /// The served position is further: read up to it first.
    Behind {
        /// Next offset of the served position.
        served: i64,
    },
    /// The served position lies before the offset from which on the rows are complete: somebody has set it back.
    WentBack {
        /// Next offset of the served position.
        served: i64,
    },
}

/// The keys whose rows have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RowChanges {
    pub added: Vec<ServedKey>,
    pub removed: Vec<ServedKey>,
    pub changed: Vec<ServedKey>,
}

impl ServedStore {
    /// Lets readers see the rows of the log, in one transaction; a dry run rolls it back.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn replace(&self, log: &FromLog<'_>) -> Result<Replaced, StoreError> {
        let mut client = self.postgres.client(OPERATION).await?;
        let call = async {
            let transaction = client.transaction().await?;
            let served = self.locked_offset(&transaction, log).await?.unwrap_or(0);
            if log.next_offset < served {
                return Ok(Replaced::Behind { served });
            }
            if served < log.complete_from {
                return Ok(Replaced::WentBack { served });
            }
            let before = self.bodies(&transaction, log.partition).await?;
            let changes = changes(&before, log);
            self.delete(&transaction, &changes.removed).await?;
            self.write(&transaction, log).await?;
            self.raise(&transaction, log).await?;
            match log.is_dry_run {
                true => transaction.rollback().await?,
                false => transaction.commit().await?,
            }
            Ok(Replaced::Done(changes))
        };
        let result = within(OPERATION, LIMIT.max(CALL_TIMEOUT), call).await;
        self.postgres.settle(client, result)
    }

    async fn locked_offset(
        &self,
        transaction: &Transaction<'_>,
        log: &FromLog<'_>,
    ) -> Result<Option<i64>, tokio_postgres::Error> {
        let sql = "SELECT next_offset FROM projection_positions \
                   WHERE projection = $1 AND generation = $2 AND topic = $3 AND partition = $4 FOR UPDATE";
        let projection = self.projection().name();
        let values: [Parameter<'_>; 4] = [
            (&projection, Type::TEXT),
            (&self.generation, Type::TEXT),
            (&log.topic, Type::TEXT),
            (&log.partition, Type::INT4),
        ];
        let row = transaction.query_typed_opt(sql, &values).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    /// Rank and body of every row of the partition.
    async fn bodies(
        &self,
        transaction: &Transaction<'_>,
        partition: i32,
    ) -> Result<BTreeMap<ServedKey, ServedRow>, tokio_postgres::Error> {
        let values: [Parameter<'_>; 2] = [(&self.generation, Type::TEXT), (&partition, Type::INT4)];
        let sql = self.select("src_partition = $2");
        let rows = transaction.query_typed(&sql, &values).await?;
        let row = |row| super::served::served(row).map(|row| (row.key.clone(), row));
        rows.iter().map(row).collect()
    }

    async fn write(&self, transaction: &Transaction<'_>, log: &FromLog<'_>) -> Result<(), tokio_postgres::Error> {
        let over = match log.is_whole {
            true => Over::Any,
            false => Over::NotNewer,
        };
        let (inside, outside): (Vec<&ServedRow>, Vec<&ServedRow>) = log.rows.iter().partition(|row| log.has(&row.key));
        for (rows, over) in [(inside, over), (outside, Over::Older)] {
            if !rows.is_empty() {
                self.upsert(transaction, rows, over).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, transaction: &Transaction<'_>, keys: &[ServedKey]) -> Result<(), tokio_postgres::Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let texts = |field: fn(&ServedKey) -> &str| -> Vec<&str> { keys.iter().map(field).collect() };
        let sql = format!(
            "DELETE FROM {} WHERE generation = $1 AND (tenant_id, {}) IN \
             (SELECT * FROM UNNEST($2::text[], $3::text[], $4::text[]))",
            self.projection().table(),
            Columns::of(self.projection()).select_key
        );
        let values: [Parameter<'_>; 4] = [
            (&self.generation, Type::TEXT),
            (&texts(|key| &key.tenant_id), Type::TEXT_ARRAY),
            (&texts(|key| &key.name), Type::TEXT_ARRAY),
            (&texts(|key| &key.horizon), Type::TEXT_ARRAY),
        ];
        transaction.execute_typed(&sql, &values).await?;
        Ok(())
    }

    async fn raise(&self, transaction: &Transaction<'_>, log: &FromLog<'_>) -> Result<(), tokio_postgres::Error> {
        let sql = "INSERT INTO projection_positions AS stored \
                       (projection, generation, topic, partition, next_offset, sequencer, epoch) \
                   VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, 1) \
                   ON CONFLICT (projection, generation, topic, partition) DO UPDATE SET next_offset = excluded.next_offset, \
                       epoch = stored.epoch + 1, updated_at = now()";
        let projection = self.projection().name();
        let values: [Parameter<'_>; 6] = [
            (&projection, Type::TEXT),
            (&self.generation, Type::TEXT),
            (&log.topic, Type::TEXT),
            (&log.partition, Type::INT4),
            (&log.next_offset, Type::INT8),
            (&NO_SEQUENCER, Type::TEXT),
        ];
        transaction.execute_typed(sql, &values).await?;
        Ok(())
    }
}

impl FromLog<'_> {
    /// Whether the row of this key is replaced.
    fn has(&self, key: &ServedKey) -> bool {
        self.scope.has(&key.tenant_id, &key.name)
    }
}

/// What replacing the rows before by those of the log changes.
fn changes(before: &BTreeMap<ServedKey, ServedRow>, log: &FromLog<'_>) -> RowChanges {
    let mut changes = RowChanges::default();
    for row in log.rows {
        match before.get(&row.key) {
            None => changes.added.push(row.key.clone()),
            Some(stored) if !log.has(&row.key) && stored.rank() >= row.rank() => {}
            Some(stored) if !log.is_whole && stored.rank() > row.rank() => {}
            Some(stored) if (stored.rank(), &stored.body) == (row.rank(), &row.body) => {}
            Some(_) => changes.changed.push(row.key.clone()),
        }
    }
    if log.is_whole {
        let kept: BTreeSet<&ServedKey> = log.rows.iter().map(|row| &row.key).collect();
        let is_removed = |key: &&ServedKey| log.has(key) && !kept.contains(*key);
        changes.removed = before.keys().filter(is_removed).cloned().collect();
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, version: i64, body: &str) -> ServedRow {
        let key = ServedKey {
            tenant_id: "t".to_owned(),
            name: name.to_owned(),
            horizon: String::new(),
        };
        ServedRow {
            key,
            time: 0,
            version,
            src_partition: 0,
            body: body.to_owned(),
        }
    }

    #[test]
    fn a_whole_log_removes_what_it_does_not_have_and_a_part_or_another_scope_keeps_it_and_what_is_newer() {
        let stored = [
            row("same", 1, "x"),
            row("edited", 1, "y"),
            row("ahead", 9, "x"),
            row("ghost", 1, "x"),
        ];
        let before: BTreeMap<_, _> = stored.into_iter().map(|row| (row.key.clone(), row)).collect();
        let rows = [
            row("same", 1, "x"),
            row("edited", 1, "x"),
            row("ahead", 2, "x"),
            row("new", 1, "x"),
        ];
        let only = |instrument: Option<&str>| Scope {
            tenant: Some("t".to_owned()),
            instrument: instrument.map(str::to_owned),
        };
        for (is_whole, scope, expected) in [
            (true, only(None), (vec!["new"], vec!["ghost"], vec!["edited", "ahead"])),
            (false, only(None), (vec!["new"], vec![], vec!["edited"])),
            (true, only(Some("edited")), (vec!["new"], vec![], vec!["edited"])),
            (true, only(Some("ghost")), (vec!["new"], vec!["ghost"], vec![])),
        ] {
            let log = FromLog {
                topic: "t",
                partition: 0,
                next_offset: 9,
                rows: &rows,
                is_whole,
                scope: &scope,
                complete_from: 0,
                is_dry_run: false,
            };
            let found = changes(&before, &log);
            let names = |keys: &[ServedKey]| keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&found.added), expected.0);
            assert_eq!(names(&found.removed), expected.1);
            assert_eq!(names(&found.changed), expected.2);
        }
    }
}
