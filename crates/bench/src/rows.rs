//! Counts the rows of the tables while services fill them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use super::stage::{Scene, check_interrupted};
use ops::migrations::Stores;

/// Time between two polls of the stores.
pub const LOOK: Duration = Duration::from_millis(100);
/// A table that gains no row for this long is given up.
pub const STALLED: Duration = Duration::from_secs(90);

/// Waits until the table has this many rows; returns the seconds that it took.
pub async fn until_rows(scene: &Scene, stores: &Stores, table: &str, wanted: u64) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut newest = (0, Instant::now());
    let sql = format!("SELECT count() AS value FROM {}", scene.connection.names.table(table));
    loop {
        check_interrupted(&scene.stack)?;
        let count = number(stores, &sql).await?;
        if count >= wanted {
            return Ok(began.elapsed().as_secs_f64());
        }
        if count > newest.0 {
            newest = (count, Instant::now());
        }
        if newest.1.elapsed() > STALLED {
            bail!(
                "{table} has {count} of {wanted} rows, and no row was added for {} s",
                STALLED.as_secs()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lost and doubled rows of both tables of ticks.
pub async fn tables_checked(scene: &Scene, ticks: u64) -> anyhow::Result<(u64, u64)> {
    let (mut lost, mut doubled) = (0, 0);
    for table in ["market_ticks", "enriched_ticks"] {
        let all = rows(scene, table).await?;
        let sql = format!(
            "SELECT uniqExact(feed, raw_partition, raw_offset, raw_index) AS value FROM {}",
            scene.connection.names.table(table)
        );
        let distinct = number(&scene.stores, &sql).await?;
        lost += ticks.saturating_sub(distinct);
        doubled += all - distinct;
    }
    Ok((lost, doubled))
}

/// Rows of the table.
pub async fn rows(scene: &Scene, table: &str) -> anyhow::Result<u64> {
    let sql = format!("SELECT count() AS value FROM {}", scene.connection.names.table(table));
    number(&scene.stores, &sql).await
}

/// The column `value` of the only row.
pub async fn number(stores: &Stores, sql: &str) -> anyhow::Result<u64> {
    let query = || format!("query ClickHouse: {sql}");
    let rows = stores.clickhouse.query_json(sql).await.with_context(query)?;
    let value = rows.first().and_then(as_number);
    value.with_context(|| format!("ClickHouse did not return a number: {sql}"))
}

fn as_number(row: &Map<String, Value>) -> Option<u64> {
    match row.get("value")? {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    }
}
