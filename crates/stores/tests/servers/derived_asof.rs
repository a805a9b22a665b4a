//! Derived prices as they were known at an earlier time, on a real ClickHouse; a table of the release before keeps its rows.

use domain::Micros;
use localstack::Server;
use stores::ClickHouse;
use stores::clickhouse::{DerivedQuestion, StoredDerived, derived_prices};

use crate::common;

/// The table as the release before made it.
const BEFORE: &str = include_str!("../../../../schemas/clickhouse/011_derived_prices.sql");
/// 2026-10-01 00:00:00.
const START: Micros = 1_790_812_800_000_000;
const SECOND: Micros = 1_000_000;

/// A version: seconds of its time and of its log clock, version, value.
type Row = (i64, i64, u64, &'static str);

async fn insert(clickhouse: &ClickHouse, rows: &[Row], of_this_release: bool) {
    for (time, clock, version, value) in rows {
        let (column, kept) = match of_this_release {
            true => (", kept_version", format!(", {version}")),
            false => ("", String::new()),
        };
        let at = |seconds: &i64| format!("fromUnixTimestamp64Micro(toInt64({}), 'UTC')", START + seconds * SECOND);
        let sql = format!(
            "INSERT INTO market_data.derived_prices (tenant_id, series, timestamp, value, log_clock, version, src_offset, ingested_at{column}) \
             SELECT 't', 's', {}, {value}, {}, {version}, {version}, now64(6){kept}",
            at(time),
            at(clock),
        );
        clickhouse.exec(&sql).await.unwrap();
    }
}

/// Time in seconds, version and value, as known at a second; the latest time first.
async fn known(clickhouse: &ClickHouse, second: i64) -> Vec<(i64, u64, Option<String>)> {
    let question = DerivedQuestion {
        tenant_id: "t".to_owned(),
        series: "s".to_owned(),
        from: Micros::MIN,
        to: Micros::MAX,
        as_of: START + second * SECOND,
        limit: 10,
    };
    let found = derived_prices(clickhouse, "derived_prices", &question).await.unwrap();
    let of_view = format!(
        "SELECT toUnixTimestamp64Micro(timestamp), version, ifNull(toString(value), '-') \
         FROM market_data.derived_prices_asof(at = '2026-10-01 00:00:{second:02}') WHERE series = 's' ORDER BY timestamp DESC"
    );
    let of_view = clickhouse.query_text(&of_view, "TabSeparated").await.unwrap();
    let line = |row: &StoredDerived| {
        let value = row.value.as_deref().unwrap_or("-");
        format!("{}\t{}\t{value}\n", row.time, row.version)
    };
    let of_query: Vec<String> = found.iter().map(line).collect();
    assert_eq!(of_view, of_query.concat(), "the view and the query at {second}");
    let shown = found
        .into_iter()
        .map(|row| ((row.time - START) / SECOND, row.version, row.value));
    shown.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_is_kept_and_shown_as_it_was_known_at_each_time() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    clickhouse.exec("CREATE DATABASE market_data").await.unwrap();
    let before = BEFORE.replace("{db}", "market_data").replace("{suffix}", "");
    for statement in before.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        clickhouse.exec(statement).await.unwrap();
    }
    insert(&clickhouse, &[(0, 10, 5, "1"), (0, 20, 6, "2"), (1, 20, 6, "7")], false).await;
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    // A writer of the release before still runs when the first versions of this one are stored; one is stored twice.
    insert(&clickhouse, &[(2, 22, 7, "8"), (2, 24, 8, "9")], false).await;
    let sent = [
        (0, 30, 9, "3"),
        (0, 40, 10, "NULL"),
        (0, 40, 10, "NULL"),
        (2, 50, 11, "10"),
    ];
    insert(&clickhouse, &sent, true).await;
    clickhouse
        .exec("OPTIMIZE TABLE market_data.derived_prices FINAL")
        .await
        .unwrap();

    let rows = "SELECT groupArray((kept_version, version)) FROM (SELECT * FROM market_data.derived_prices ORDER BY timestamp, version)";
    // Of rows of the release before, the newest version of each time.
    assert_eq!(
        clickhouse.query_text(rows, "TabSeparated").await.unwrap().trim(),
        "[(0,6),(9,9),(10,10),(0,6),(0,8),(11,11)]"
    );
    let row = |time, version, value: &str| (time, version, Some(value.to_owned()));
    assert!(known(&clickhouse, 19).await.is_empty());
    assert_eq!(known(&clickhouse, 20).await, [row(1, 6, "7"), row(0, 6, "2")]);
    assert_eq!(
        known(&clickhouse, 39).await,
        [row(2, 8, "9"), row(1, 6, "7"), row(0, 9, "3")]
    );
    assert_eq!(
        known(&clickhouse, 59).await,
        [row(2, 11, "10"), row(1, 6, "7"), (0, 10, None)]
    );
    let newest = "SELECT groupArray(version) FROM (SELECT * FROM market_data.derived_prices_latest ORDER BY timestamp)";
    assert_eq!(
        clickhouse.query_text(newest, "TabSeparated").await.unwrap().trim(),
        "[10,6,11]"
    );
}
