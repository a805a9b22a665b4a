//! Tables and indexes that were dropped manually: finds them and creates them again.
//!
//! Role: the list of applied migrations does not show what was dropped later. Every statement of the files can be repeated, so
//! all applied files run again.
//! Invariant: if the table of a projection is created again, the stored positions of the projection are removed in the same
//! transaction. Otherwise it would continue after records whose rows the new table does not have. A projection that runs
//! meanwhile gets a conflict with its old position, and reads again from the beginning of the log.

use tokio_postgres::types::Type;

use super::latest::PROJECTION;
use super::migrations::{LIMIT, applied, lock};
use super::{Parameter, Postgres, within};
use crate::migration::{Migration, POSTGRES};
use crate::{Projection, Store, StoreError};

const OPERATION: &str = "look for missing tables";
const MISSING: &str = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL";

/// The tables that projections fill from their topics, with the names of these projections.
fn filled() -> impl Iterator<Item = (&'static str, &'static str)> {
    let by_name = Projection::ALL.map(|projection| (projection.table(), projection.name()));
    std::iter::once(("served_latest_prices", PROJECTION)).chain(by_name)
}

impl Postgres {
    /// Checks that these tables exist.
    ///
    /// # Errors
    /// `schema_missing` with their names, or the error of the server.
    pub async fn check_tables(&self, tables: &[&str]) -> Result<(), StoreError> {
        let client = self.client(OPERATION).await?;
        let parameters: [Parameter<'_>; 1] = [(&tables, Type::TEXT_ARRAY)];
        let rows = within(OPERATION, super::PING_TIMEOUT, client.query_typed(MISSING, &parameters)).await?;
        let missing: Vec<&str> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(StoreError::fatal(
                Store::Postgres,
                OPERATION,
                "schema_missing",
                format!("missing: {}", missing.join(", ")),
            )),
        }
    }
}

/// What a database lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absent {
    /// Files that are not applied, as `3 latest_prices_by_time`.
    pub files: Vec<String>,
    /// Tables and indexes of the applied files that do not exist.
    pub objects: Vec<String>,
}

/// Looks for files that are not applied, and for tables and indexes that were dropped later.
///
/// # Errors
/// The error of the server.
pub async fn absent(postgres: &Postgres) -> Result<Absent, StoreError> {
    let mut client = postgres.client(OPERATION).await?;
    let run = async {
        let transaction = client.transaction().await?;
        let applied = applied(&transaction).await?.unwrap_or_default();
        let (done, missing): (Vec<&Migration>, Vec<&Migration>) = POSTGRES
            .iter()
            .partition(|file| applied.contains(&(file.version as i32)));
        let names: Vec<&str> = done.iter().flat_map(|file| objects(file.sql)).collect();
        let parameters: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        let rows = transaction.query_typed(MISSING, &parameters).await?;
        Ok(Absent {
            files: missing
                .iter()
                .map(|file| format!("{} {}", file.version, file.name))
                .collect(),
            objects: rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?,
        })
    };
    within(OPERATION, super::PING_TIMEOUT, run).await
}

/// Creates every missing table and index of the applied migrations again; returns their names. A database without any
/// migration is left to [`super::migrate`].
///
/// # Errors
/// The error of the server; the failed run changes nothing.
pub async fn recreate(postgres: &Postgres) -> Result<Vec<String>, StoreError> {
    let mut client = postgres.client("recreate tables").await?;
    let run = async {
        let transaction = client.transaction().await?;
        lock(&transaction).await?;
        let Some(applied) = applied(&transaction).await? else {
            return Ok(Vec::new());
        };
        let files = || POSTGRES.iter().filter(|file| applied.contains(&(file.version as i32)));
        let names: Vec<&str> = files().flat_map(|file| objects(file.sql)).collect();
        let parameters: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
        let rows = transaction.query_typed(MISSING, &parameters).await?;
        let missing: Vec<String> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        if missing.is_empty() {
            return Ok(missing);
        }
        for file in files() {
            transaction.batch_execute(file.sql).await?;
        }
        for (_, projection) in filled().filter(|(table, _)| missing.iter().any(|name| name == table)) {
            let parameters: [Parameter<'_>; 1] = [(&projection, Type::TEXT)];
            let sql = "DELETE FROM projection_positions WHERE projection = $1";
            transaction.execute_typed(sql, &parameters).await?;
        }
        transaction.commit().await?;
        Ok(missing)
    };
    within("recreate tables", LIMIT, run).await
}

/// The tables and indexes that a file creates.
fn objects(sql: &str) -> impl Iterator<Item = &str> {
    sql.lines().filter_map(|line| {
        let made = ["CREATE TABLE IF NOT EXISTS ", "CREATE INDEX IF NOT EXISTS "]
            .iter()
            .find_map(|beginning| line.strip_prefix(beginning))?;
        made.split(|c: char| c.is_whitespace() || c == '(').next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files that have been applied run again.
    #[test]
    fn every_statement_can_be_repeated_and_every_table_and_index_is_known() {
        for file in POSTGRES {
            for (plain, repeatable) in [
                ("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS "),
                ("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS "),
                ("CREATE UNIQUE INDEX ", "CREATE UNIQUE INDEX IF NOT EXISTS "),
                ("ADD COLUMN ", "ADD COLUMN IF NOT EXISTS "),
                ("FUNCTION notify", "CREATE OR REPLACE FUNCTION notify"),
                (
                    "TRIGGER reference_changed AFTER",
                    "CREATE OR REPLACE TRIGGER reference_changed AFTER",
                ),
            ] {
                let count = |words| file.sql.matches(words).count();
                let called =
                    file.sql.matches("EXECUTE FUNCTION notify").count() * usize::from(plain.starts_with("FUNC"));
                assert_eq!(count(plain), count(repeatable) + called, "{plain}in {}", file.name);
            }
            let made = file.sql.matches("IF NOT EXISTS").count() - file.sql.matches("ADD COLUMN").count();
            assert_eq!(objects(file.sql).count(), made, "{}", file.name);
        }
    }
}
