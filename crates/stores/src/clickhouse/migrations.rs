//! Applies the files of `schemas/clickhouse`, then the views of the markets, each text once per generation suffix.
//!
//! Invariant: every statement uses IF NOT EXISTS or OR REPLACE, so that concurrent or interrupted runs are harmless.

use serde::Deserialize;

use domain::Classified as _;

use super::{ClickHouse, literal, market_views};
use crate::StoreError;
use crate::migration::{CLICKHOUSE, Migration, statements};

#[derive(Deserialize)]
struct Applied {
    version: u32,
}

/// The files, and what is made from the registry of markets.
pub(super) fn all() -> impl Iterator<Item = Migration> {
    CLICKHOUSE.iter().copied().chain([market_views::migration()])
}

/// Creates database, tables and views of the generation with this table suffix (empty, or `_g2`); returns the number of new
/// migrations.
///
/// # Errors
/// The error of the server.
pub async fn migrate(clickhouse: &ClickHouse, suffix: &str) -> Result<usize, StoreError> {
    let mut new = 0;
    let mut applied: Vec<u32> = Vec::new();
    for migration in all() {
        // The first file creates the table of versions, so it runs before that table is queried.
        if migration.version > 1 && applied.contains(&migration.version) {
            continue;
        }
        for statement in statements(migration.sql) {
            let sql = statement
                .replace("{db}", clickhouse.database())
                .replace("{suffix}", suffix);
            if let Err(error) = clickhouse.exec(&clickhouse.cluster.definition(&sql)).await {
                // A service user without the right to create tables can start if the tables already exist. If that cannot be
                // read either, the first error is the one to correct.
                let is_grant = error.code() == "grant_missing";
                return match is_grant && matches!(is_complete(clickhouse, suffix).await, Ok(true)) {
                    true => Ok(0),
                    false => Err(error),
                };
            }
        }
        if migration.version == 1 {
            applied = versions(clickhouse, suffix).await?;
        }
        if !applied.contains(&migration.version) {
            record(clickhouse, migration.version, migration.name, suffix).await?;
            new += 1;
        }
    }
    Ok(new)
}

/// The version of the newest file.
pub fn newest_version() -> u32 {
    CLICKHOUSE
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default()
}

async fn is_complete(clickhouse: &ClickHouse, suffix: &str) -> Result<bool, StoreError> {
    let applied = versions(clickhouse, suffix).await?;
    Ok(all().all(|migration| applied.contains(&migration.version)))
}

/// Migrations that are not applied to the generation with this suffix, as `3 merges`. The table of applied ones must exist.
///
/// # Errors
/// The error of the server.
pub async fn pending(clickhouse: &ClickHouse, suffix: &str) -> Result<Vec<String>, StoreError> {
    let applied = versions(clickhouse, suffix).await?;
    let missing = all().filter(|migration| !applied.contains(&migration.version));
    Ok(missing
        .map(|migration| format!("{} {}", migration.version, migration.name))
        .collect())
}

async fn versions(clickhouse: &ClickHouse, suffix: &str) -> Result<Vec<u32>, StoreError> {
    let sql = format!(
        "SELECT DISTINCT version FROM {}.schema_migrations WHERE suffix = {}",
        clickhouse.database(),
        literal(suffix)
    );
    let rows: Vec<Applied> = clickhouse.rows("read versions", &sql).await?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

async fn record(clickhouse: &ClickHouse, version: u32, name: &str, suffix: &str) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO {}.schema_migrations (version, name, suffix) SELECT {version}, {}, {}",
        clickhouse.database(),
        literal(name),
        literal(suffix)
    );
    clickhouse.exec(&sql).await
}
