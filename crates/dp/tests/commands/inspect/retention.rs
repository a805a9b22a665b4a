//! `dp retention` and `dp clickhouse retention`: what has expired is counted, and is removed only with consent.

use super::*;

/// Rows that expired and rows that did not, in one part, which the server does not touch by itself.
const ROWS: &str = "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, version, ingested_at) \
    SELECT 'retention', toString(number), '1m', now(), 1, now64(6) - toIntervalDay(if(number < 3, 400, 1)) FROM numbers(5)";

pub async fn check(dir: &Path, stores: &Stores) {
    json(dir, 0, &["retention", "show"]);
    json(dir, 0, &["retention", "run"]);
    json(dir, 0, &["clickhouse", "retention"]);
    for sql in [
        "ALTER TABLE market_data.bars MODIFY SETTING max_number_of_merges_with_ttl_in_pool = 0",
        ROWS,
    ] {
        stores.clickhouse.exec(sql).await.unwrap();
    }
    let rows = stores.clickhouse.count_rows("bars").await.unwrap() - 5;
    let expired = |shown: &Value| {
        let bars = shown["tables"]
            .as_array()
            .unwrap()
            .iter()
            .find(|table| table["name"] == "bars");
        let partitions = bars.unwrap()["partitions"].as_array().unwrap();
        let of_each = partitions
            .iter()
            .map(|partition| partition["expired_rows"].as_u64().unwrap());
        of_each.sum::<u64>()
    };
    let retention = json(dir, 1, &["retention", "show"]);
    assert_eq!(expired(&retention), 3, "{retention}");
    assert_eq!(json(dir, 1, &["clickhouse", "retention"]), retention["tables"]);
    let tables = shown(dir, 1, &["clickhouse", "retention"]);
    assert!(tables.contains("3 row(s) have expired"), "{tables}");
    let topics = retention["topics"].as_array().unwrap();
    assert!(
        topics
            .iter()
            .any(|topic| topic["name"] == "dlq" && topic["retention_ms"] == 2_592_000_000_i64)
    );
    for arguments in [&["retention", "run"][..], &["retention", "run", "--dry-run", "--yes"]] {
        assert_eq!(expired(&json(dir, 1, arguments)), 3);
        assert_eq!(
            stores.clickhouse.count_rows("bars").await.unwrap(),
            rows + 5,
            "{arguments:?} removed rows"
        );
    }
    let done = json(dir, 0, &["retention", "run", "--table", "bars", "--yes"]);
    assert_eq!(done["executed"], true);
    assert_eq!(stores.clickhouse.count_rows("bars").await.unwrap(), rows + 2);
    assert_eq!(shown(dir, 0, &["retention", "run"]), "nothing has expired\n");
    let (code, _, stderr) = dp(dir, &["retention", "run", "--table", "bar"]);
    assert!(code == 2 && stderr.contains("market_ticks"), "{code} {stderr}");
}
