//! `dp migrate`: a column that somebody has changed is named, and the exit code says so until it is back.

use super::*;

pub async fn check(dir: &Path, stores: &Stores) {
    json(dir, 0, &["migrate"]);
    let alter = async |change: &str| {
        let sql = format!("ALTER TABLE market_data.late_ticks {change}");
        stores.clickhouse.exec(&sql).await.unwrap();
    };
    alter("RENAME COLUMN watermark TO mark").await;
    let told = shown(dir, 1, &["migrate"]);
    assert!(
        told.contains("column watermark of table late_ticks is missing: somebody has changed the table"),
        "{told}"
    );
    alter("RENAME COLUMN mark TO watermark").await;
    json(dir, 0, &["migrate"]);
}
