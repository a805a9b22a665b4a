//! Rows of whole tables out of PostgreSQL and back into it, for backups.
//!
//! Role: a [`Snapshot`] reads every table as of one moment, a [`Load`] replaces them in one transaction. Both use COPY, so no
//! program of PostgreSQL has to be installed next to `dp`, nor in the version of the server.
//! Invariants: positions and rows of a projection are of the same moment (one repeatable-read transaction). A load changes
//! nothing before [`Load::commit`].
//! Failure: every wait is limited; a snapshot or load that is dropped closes its connection, which ends its transaction.

use std::pin::pin;
use std::time::Duration;

use deadpool_postgres::{ClientWrapper, Object};
use futures_util::{SinkExt as _, TryStreamExt as _};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::types::Type;

use super::{Parameter, Postgres, within};
use crate::migration::POSTGRES;
use crate::{Store, StoreError};

/// Limits one statement, and each piece of a copy.
const LIMIT: Duration = Duration::from_secs(600);
const READ: &str = "copy rows";
const LOAD: &str = "load rows";

/// The tables of the migrations, in an order in which every reference leads to an earlier one.
pub fn tables() -> Vec<&'static str> {
    POSTGRES
        .iter()
        .flat_map(|file| file.sql.lines())
        .filter_map(|line| {
            let made = line.strip_prefix("CREATE TABLE IF NOT EXISTS ")?;
            made.split(|c: char| c.is_whitespace() || c == '(').next()
        })
        .collect()
}

/// The version of the newest migration.
pub fn newest_version() -> u32 {
    POSTGRES.iter().map(|file| file.version).max().unwrap_or_default()
}

/// The state of the database at one moment.
pub struct Snapshot {
    client: ClientWrapper,
}

/// A transaction that replaces tables.
pub struct Load {
    client: ClientWrapper,
}

impl Postgres {
    /// Begins to read; what others commit from now on is not seen.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let client = Object::take(self.client(READ).await?);
        // The first query takes the snapshot.
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT 1";
        within(READ, LIMIT, client.batch_execute(begin)).await?;
        Ok(Snapshot { client })
    }

    /// Begins to replace tables.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn load(&self) -> Result<Load, StoreError> {
        let client = Object::take(self.client(LOAD).await?);
        within(LOAD, LIMIT, client.batch_execute("BEGIN")).await?;
        Ok(Load { client })
    }
}

impl Snapshot {
    /// The columns of a table, in their order; none if it does not exist.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn columns(&self, table: &str) -> Result<Vec<String>, StoreError> {
        columns(&self.client, table).await
    }

    /// The rows of a query of our own, with every column as text.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn query_text(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, StoreError> {
        let messages = within(READ, LIMIT, self.client.simple_query(sql)).await?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Passes the rows that meet a condition to `take`, in the text format of COPY.
    ///
    /// # Errors
    /// That of the server or of `take`; the text is then incomplete.
    pub async fn copy_out<E: From<StoreError>>(
        &self,
        table: &str,
        columns: &[String],
        condition: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = format!(
            "COPY (SELECT {} FROM {} WHERE {condition}) TO STDOUT",
            list(columns),
            identifier(table)
        );
        let copied = within(READ, LIMIT, self.client.copy_out(&sql)).await?;
        let mut copied = pin!(copied);
        while let Some(bytes) = within(READ, LIMIT, copied.try_next()).await? {
            take(&bytes)?;
        }
        Ok(())
    }
}

impl Load {
    /// The columns of a table, in their order; none if it does not exist.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn columns(&self, table: &str) -> Result<Vec<String>, StoreError> {
        columns(&self.client, table).await
    }

    /// Removes the rows that meet a condition.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn delete(&self, table: &str, condition: &str) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {} WHERE {condition}", identifier(table));
        within(LOAD, LIMIT, self.client.batch_execute(&sql)).await
    }

    /// Adds rows in the text format of COPY; returns their number. `next` returns a piece of the text, none at its end.
    ///
    /// # Errors
    /// That of the server or of `next`.
    pub async fn copy_in<E: From<StoreError>>(
        &self,
        table: &str,
        columns: &[String],
        mut next: impl FnMut() -> Result<Option<Vec<u8>>, E>,
    ) -> Result<u64, E> {
        let sql = format!("COPY {} ({}) FROM STDIN", identifier(table), list(columns));
        let sink = within(LOAD, LIMIT, self.client.copy_in::<_, std::io::Cursor<Vec<u8>>>(&sql)).await?;
        let mut sink = pin!(sink);
        while let Some(piece) = next()? {
            within(LOAD, LIMIT, sink.send(std::io::Cursor::new(piece))).await?;
        }
        Ok(within(LOAD, LIMIT, sink.finish()).await?)
    }

    /// Lets numbers that the database gives itself continue after the largest loaded one.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn continue_numbers(&self, table: &str) -> Result<(), StoreError> {
        let sql = "SELECT column_name::text FROM information_schema.columns WHERE table_schema = current_schema() AND \
                   table_name = $1 AND is_identity = 'YES'";
        let parameters: [Parameter<'_>; 1] = [(&table, Type::TEXT)];
        for row in within(LOAD, LIMIT, self.client.query_typed(sql, &parameters)).await? {
            let column: String = row
                .try_get(0)
                .map_err(|error| StoreError::unexpected(Store::Postgres, LOAD, error))?;
            let sql = format!(
                "SELECT setval(pg_get_serial_sequence({}, {}), (SELECT coalesce(max({}), 0) + 1 FROM {}), false)",
                text(&identifier(table)),
                text(&column),
                identifier(&column),
                identifier(table)
            );
            within(LOAD, LIMIT, self.client.batch_execute(&sql)).await?;
        }
        Ok(())
    }

    /// Makes the loaded rows visible, all at once.
    ///
    /// # Errors
    /// The error of the server: the rows may be visible; a load can be repeated.
    pub async fn commit(self) -> Result<(), StoreError> {
        within(LOAD, LIMIT, self.client.batch_execute("COMMIT")).await
    }
}

async fn columns(client: &ClientWrapper, table: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT column_name::text FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 \
               AND is_generated = 'NEVER' ORDER BY ordinal_position";
    let parameters: [Parameter<'_>; 1] = [(&table, Type::TEXT)];
    let rows = within(READ, LIMIT, client.query_typed(sql, &parameters)).await?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::unexpected(Store::Postgres, READ, error))
}

fn list(columns: &[String]) -> String {
    let quoted: Vec<String> = columns.iter().map(|column| identifier(column)).collect();
    quoted.join(", ")
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as an SQL literal.
pub fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_after_those_that_they_reference() {
        let tables = tables();
        let place = |name: &str| tables.iter().position(|table| *table == name);
        assert!(place("taxonomy_commodities") < place("curve_metadata"));
        assert!(place("taxonomy_instruments") < place("instrument_aliases"));
        assert!(place("served_latest_prices").is_some() && place("verify_runs").is_some());
        assert!(place("schema_migrations").is_none(), "migrations create it themselves");
        assert_eq!(
            (identifier("a\"b"), text("it's")),
            ("\"a\"\"b\"".to_owned(), "'it''s'".to_owned())
        );
    }
}
