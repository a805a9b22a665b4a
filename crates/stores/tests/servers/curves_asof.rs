//! Snapshots of curves as they were known at an earlier time, on a real ClickHouse; a table of the release before keeps its rows.

use domain::Micros;
use localstack::Server;
use stores::ClickHouse;
use stores::clickhouse::{CurveQuestion, curve_snapshot};

use crate::common;

/// The table as the release before made it.
const BEFORE: &str = include_str!("../../../../schemas/clickhouse/012_curve_snapshots.sql");
/// 2026-10-01 00:00:00.
const START: Micros = 1_790_812_800_000_000;
const SECOND: Micros = 1_000_000;

/// A version: second of its time, of its log clock (none before this release), version, whether it has a point.
type Row = (i64, Option<i64>, u64, bool);

async fn insert(clickhouse: &ClickHouse, rows: &[Row]) {
    let at = |seconds: i64| format!("fromUnixTimestamp64Micro(toInt64({}), 'UTC')", START + seconds * SECOND);
    for (time, clock, version, has_points) in rows {
        let (column, clock) = match clock {
            Some(clock) => (", log_clock", format!(", {}", at(*clock))),
            None => ("", String::new()),
        };
        let (points, inputs) = match has_points {
            true => (
                r#"[{"contract":"2026-11","block":"flat","delivery_start":"","delivery_end":"","price":1.5,"volume":null,"confidence":1,"method":"quoted","extrapolated":false,"sources":[]}]"#,
                r#"[{"contract":"2026-11","block":"flat","price":1.5,"curve_price":1.5,"residual":0,"state":"repriced","implied_by":[],"source":"raw/0/0/0","known_at":1}]"#,
            ),
            false => ("[]", "[]"),
        };
        let sql = format!(
            "INSERT INTO market_data.curve_snapshots (tenant_id, curve_id, horizon, as_of, points, inputs, version, src_offset, ingested_at{column}) \
             SELECT 't', 'C', 'all', {}, '{points}', '{inputs}', {version}, {version}, now64(6){clock}",
            at(*time),
        );
        clickhouse.exec(&sql).await.unwrap();
    }
}

/// Version, and since when it is known in seconds, as known at a second.
async fn known(clickhouse: &ClickHouse, second: i64) -> Option<(u64, i64)> {
    let question = CurveQuestion {
        tenant_id: "t".to_owned(),
        curve_id: "C".to_owned(),
        horizon: "all".to_owned(),
        as_of: START + second * SECOND,
    };
    let found = curve_snapshot(clickhouse, "curve_snapshots", &question).await.unwrap();
    let of_query = found
        .as_ref()
        .map(|found| found.version.to_string())
        .unwrap_or_default();
    for view in ["curve_points_asof", "curve_inputs_asof"] {
        let of_view = format!("SELECT version FROM market_data.{view}(at = '2026-10-01 00:00:{second:02}')");
        let of_view = clickhouse.query_text(&of_view, "TabSeparated").await.unwrap();
        assert_eq!(of_view.trim(), of_query, "{view} and the query at {second}");
    }
    found.map(|found| (found.version, (found.known_at - START) / SECOND))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_counts_from_when_it_came_and_rows_of_before_from_their_time() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    clickhouse.exec("CREATE DATABASE market_data").await.unwrap();
    let before = BEFORE.replace("{db}", "market_data").replace("{suffix}", "");
    for statement in before.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        clickhouse.exec(statement).await.unwrap();
    }
    insert(&clickhouse, &[(1, None, 3, true)]).await;
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    // A writer of the release before still runs.
    insert(&clickhouse, &[(2, None, 4, true)]).await;
    let sent = [
        (10, Some(10), 5, true),
        (10, Some(30), 8, true),
        (20, Some(20), 6, true),
        // Takes the snapshot before it back, from then on.
        (20, Some(40), 9, false),
        // The first one of its time, made by a late quote.
        (15, Some(45), 10, true),
    ];
    insert(&clickhouse, &sent).await;
    for (second, expected) in [
        (0, None),
        (1, Some((3, 1))),
        (9, Some((4, 2))),
        (10, Some((5, 10))),
        (19, Some((5, 10))),
        (20, Some((6, 20))),
        (39, Some((6, 20))),
        (40, Some((8, 30))),
        (44, Some((8, 30))),
        (45, Some((10, 45))),
    ] {
        assert_eq!(known(&clickhouse, second).await, expected, "{second}");
    }
    let newest = "SELECT groupArray((version, toUnixTimestamp(log_clock) - toUnixTimestamp(as_of))) \
                  FROM (SELECT * FROM market_data.curve_snapshots_latest ORDER BY as_of)";
    assert_eq!(
        clickhouse.query_text(newest, "TabSeparated").await.unwrap().trim(),
        "[(3,0),(4,0),(8,20),(10,30),(9,20)]"
    );
}
