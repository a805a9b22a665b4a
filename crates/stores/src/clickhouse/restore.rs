//! Tables that were dropped manually: finds them and creates them again.
//!
//! Role: the list of applied migrations does not show tables that were dropped later. A table that a writer fills is written
//! again from its topic, so the stored position of the writer is removed first.
//! Invariant: the table is created only after every running writer of it has been fenced and its floors are removed. Otherwise
//! a writer that did not notice would continue after rows that are never written again.

use serde::Deserialize;

use super::migrations::all;
use super::{Claimant, ClickHouse, FencedTable, literal};
use crate::StoreError;
use crate::migration::{CLICKHOUSE, Migration, statements};

/// A table that a writer fills, and its source topic.
pub struct Filled {
    /// The table.
    pub table: FencedTable,
    /// Its source.
    pub topic: String,
    /// Partitions of the source.
    pub partitions: i32,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Missing tables and views of the generation with this suffix, and whether any exist.
///
/// # Errors
/// The error of the server.
pub async fn missing(clickhouse: &ClickHouse, suffix: &str) -> Result<(Vec<String>, bool), StoreError> {
    let sql = format!(
        "SELECT name FROM system.tables WHERE database = {}",
        literal(clickhouse.database())
    );
    let found: Vec<Named> = clickhouse.rows("list tables", &sql).await?;
    let (there, missing): (Vec<String>, Vec<String>) = objects(suffix)
        .into_iter()
        .partition(|name| found.iter().any(|found| found.name == *name));
    Ok((missing, !there.is_empty()))
}

/// Creates every missing table and view. Those in `emptied` are filled again from the beginning of their topics.
///
/// # Errors
/// The error of the server; run it again in that case.
pub async fn make_again(clickhouse: &ClickHouse, suffix: &str, emptied: &[Filled]) -> Result<(), StoreError> {
    // The tables of the writers.
    for migration in all().take(1) {
        apply(clickhouse, suffix, &migration).await?;
    }
    for Filled {
        table,
        topic,
        partitions,
    } in emptied
    {
        let sql = format!(
            "DELETE FROM {}.writer_floor WHERE topic = {} SETTINGS lightweight_deletes_sync = 2",
            clickhouse.database(),
            literal(topic)
        );
        clickhouse.exec(&sql).await?;
        for partition in 0..*partitions {
            table.claim(topic, partition, Claimant::once()).await?;
        }
    }
    for migration in all() {
        apply(clickhouse, suffix, &migration).await?;
    }
    Ok(())
}

async fn apply(clickhouse: &ClickHouse, suffix: &str, migration: &Migration) -> Result<(), StoreError> {
    for statement in statements(migration.sql) {
        let sql = statement
            .replace("{db}", clickhouse.database())
            .replace("{suffix}", suffix);
        clickhouse.exec(&clickhouse.cluster.definition(&sql)).await?;
    }
    Ok(())
}

/// Every table and view that the migrations create.
fn objects(suffix: &str) -> Vec<String> {
    CLICKHOUSE
        .iter()
        .flat_map(|migration| statements(migration.sql))
        .filter_map(|statement| {
            let made = statement.trim_start();
            let made = ["CREATE TABLE IF NOT EXISTS {db}.", "CREATE VIEW IF NOT EXISTS {db}."]
                .iter()
                .find_map(|beginning| made.strip_prefix(beginning))?;
            let name = made.split(|c: char| c.is_whitespace() || c == '(').next()?;
            Some(name.replace("{suffix}", suffix))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_and_view_of_the_migrations_is_known() {
        let names = objects("_g2");
        for name in [
            "schema_migrations",
            "writer_floor",
            "market_ticks_g2",
            "bars_latest_g2",
            "accepted_gaps",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        let made: usize = CLICKHOUSE
            .iter()
            .map(|migration| {
                migration.sql.matches("CREATE TABLE").count() + migration.sql.matches("CREATE VIEW").count()
            })
            .sum();
        assert_eq!(names.len(), made);
        // A table that a later migration drops would be created again on every run.
        assert!(CLICKHOUSE.iter().all(|migration| !migration.sql.contains("DROP TABLE")));
    }
}
