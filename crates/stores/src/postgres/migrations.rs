//! Applies the files of `schemas/postgres`, each once.
//!
//! Invariant: one run at a time (an advisory lock that ends with the transaction); a file is applied completely or not at all.

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;

use super::{Postgres, within};
use crate::StoreError;
use crate::migration::{POSTGRES, POSTGRES_SEED};

/// An arbitrary number, the same in all our processes.
const LOCK: i64 = 0x0254_CA4B_0001;
pub(super) const LIMIT: Duration = Duration::from_secs(120);

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";

/// Creates the tables; returns the number of new files.
///
/// # Errors
/// The error of the server; the failed run changes nothing.
pub async fn migrate(postgres: &Postgres) -> Result<usize, StoreError> {
    let mut client = postgres.client("migrate").await?;
    let run = async {
        let transaction = client.transaction().await?;
        // A service user without the right to create tables can start if all migrations are applied.
        let is_applied = |applied: Vec<i32>| POSTGRES.iter().all(|file| applied.contains(&(file.version as i32)));
        if applied(&transaction).await?.is_some_and(is_applied) {
            return Ok(0);
        }
        lock(&transaction).await?;
        transaction.batch_execute(VERSIONS).await?;
        let applied = applied(&transaction).await?.unwrap_or_default();
        let mut new = 0;
        for migration in POSTGRES {
            let version = migration.version as i32;
            if applied.contains(&version) {
                continue;
            }
            transaction.batch_execute(migration.sql).await?;
            let insert = "INSERT INTO schema_migrations (version, name) VALUES ($1, $2)";
            let values: [super::Parameter<'_>; 2] = [(&version, Type::INT4), (&migration.name, Type::TEXT)];
            transaction.execute_typed(insert, &values).await?;
            new += 1;
        }
        transaction.commit().await?;
        Ok(new)
    };
    within("migrate", LIMIT, run).await
}

/// Waits for the end of another run.
pub(super) async fn lock(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let parameters: [super::Parameter<'_>; 1] = [(&LOCK, Type::INT8)];
    let locked = transaction.execute_typed("SELECT pg_advisory_xact_lock($1)", &parameters);
    locked.await.map(|_| ())
}

/// The applied versions; `None` without their table.
pub(super) async fn applied(transaction: &Transaction<'_>) -> Result<Option<Vec<i32>>, tokio_postgres::Error> {
    let table =
        "SELECT 1 FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_migrations'";
    if transaction.query_typed(table, &[]).await?.is_empty() {
        return Ok(None);
    }
    let rows = transaction
        .query_typed("SELECT version FROM schema_migrations", &[])
        .await?;
    rows.iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Inserts the real hubs and zones of `schemas/postgres/seed` into the reference tables of a tenant; existing rows are kept.
///
/// # Errors
/// The error of the server.
pub async fn seed_reference(postgres: &Postgres, tenant_id: &str) -> Result<(), StoreError> {
    let literal = format!("'{}'", tenant_id.replace('\'', "''"));
    // A simple query with several statements is one transaction.
    postgres.exec(&POSTGRES_SEED.replace("{tenant}", &literal)).await
}
