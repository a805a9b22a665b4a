//! Bars as they were known at an earlier time, on a real ClickHouse. The expected numbers are computed by hand.

use localstack::Server;
use stores::ClickHouse;

use crate::common;

/// A row of `enriched_ticks`: instrument, kind, product, start, price, volume, version, raw offset, append time.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    i64,
    &'static str,
);

const ROWS: [Row; 12] = [
    // Two prices of five minutes; the first one is verified the day after, then its market replaces that, too.
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "10",
        "NULL",
        "unverified",
        1,
        "2026-10-01 05:06:00",
    ),
    (
        "P",
        "interval",
        "rt5",
        "05:05:00",
        "20",
        "NULL",
        "unverified",
        2,
        "2026-10-01 05:11:00",
    ),
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "16",
        "NULL",
        "verified.1",
        3,
        "2026-10-02 14:33:00",
    ),
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "13",
        "NULL",
        "verified.2",
        4,
        "2026-10-02 14:40:00",
    ),
    // A late copy of the first vintage changes nothing.
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "11",
        "NULL",
        "unverified",
        5,
        "2026-10-02 14:41:00",
    ),
    // The price that counts, again.
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "13",
        "NULL",
        "verified.2",
        10,
        "2026-10-02 14:45:00",
    ),
    // Another price of the vintage that counts.
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "14",
        "NULL",
        "verified.2",
        11,
        "2026-10-02 14:50:00",
    ),
    // A row that its market has superseded does not count, whatever the number of its version.
    (
        "P",
        "interval",
        "rt5",
        "05:00:00",
        "30",
        "NULL",
        "verified.3.superseded",
        12,
        "2026-10-02 14:55:00",
    ),
    // An hourly price has bars of an hour and longer only.
    (
        "H",
        "interval",
        "rth",
        "05:00:00",
        "7.5",
        "NULL",
        "final",
        6,
        "2026-10-01 07:00:00",
    ),
    // Two trades of one microsecond, in the order of the log, and a late one that is first by time.
    ("T", "trade", "", "05:01:00", "2", "4", "", 7, "2026-10-01 05:01:00"),
    ("T", "trade", "", "05:01:00", "3", "1", "", 8, "2026-10-01 05:01:00"),
    ("T", "trade", "", "05:00:30", "5", "5", "", 9, "2026-10-02 14:33:00"),
];

async fn insert(clickhouse: &ClickHouse) {
    let rows: Vec<String> = ROWS
        .iter()
        .map(|(instrument, kind, product, start, price, volume, version, offset, appended)| {
            format!(
                "('t', '{instrument}', '2026-10-01 {start}', 'M', '{product}', '{kind}', {price}, {volume}, nullIf('{version}', ''), 'raw', 0, \
                 {offset}, 0, {offset}, '{appended}', now64(6))"
            )
        })
        .collect();
    let sql = format!(
        "INSERT INTO market_data.enriched_ticks (tenant_id, instrument_id, timestamp, market, product, kind, price, volume, version, feed, \
         raw_partition, raw_offset, raw_index, src_offset, appended_at, ingested_at) VALUES {}",
        rows.join(", ")
    );
    clickhouse.exec(&sql).await.unwrap();
}

/// Extra dispatch runs: 100 for 8 seconds, 25 for 292; then an end that is later than five minutes allow.
async fn insert_short_intervals(clickhouse: &ClickHouse) {
    let rows = [
        ("05:00:00", "05:00:08", 100, 20),
        ("05:00:08", "05:05:00", 25, 21),
        ("05:05:00", "05:11:00", 40, 22),
    ];
    let rows = rows.map(|(start, end, price, offset)| {
        format!(
            "('t', 'N', '2026-10-01 {start}', '2026-10-01 {end}', 'M', 'rt5', 'interval', {price}, 'raw', 0, {offset}, 0, {offset}, \
             '2026-10-01 05:12:00', now64(6))"
        )
    });
    let sql = format!(
        "INSERT INTO market_data.enriched_ticks (tenant_id, instrument_id, timestamp, interval_end, market, product, kind, price, feed, \
         raw_partition, raw_offset, raw_index, src_offset, appended_at, ingested_at) VALUES {}",
        rows.join(", ")
    );
    clickhouse.exec(&sql).await.unwrap();
}

/// Bars of an instrument as known at a time of the second day.
async fn bars(clickhouse: &ClickHouse, at: &str, instrument: &str, interval: &str) -> String {
    let sql = format!(
        "SELECT formatDateTime(window_start, '%H:%i', 'UTC'), formatDateTime(window_end, '%H:%i', 'UTC'), open, high, low, close, volume, \
         turnover, vwap, price_seconds, priced_seconds, twap, trade_count, formatDateTime(open_time, '%H:%i:%S', 'UTC') \
         FROM market_data.bars_asof(at = '{at}') \
         WHERE tenant_id = 't' AND instrument_id = '{instrument}' AND interval = '{interval}' ORDER BY window_start"
    );
    clickhouse
        .query_text(&sql, "TabSeparated")
        .await
        .unwrap()
        .replace('\t', " ")
}

/// The causes of both bars of five minutes and of that of the hour, as known at a time.
async fn causes(clickhouse: &ClickHouse, at: &str) -> String {
    let sql = format!(
        "SELECT arrayStringConcat(groupArray(cause), ',') FROM (SELECT toString(cause) AS cause FROM market_data.bars_asof(at = '{at}') \
         WHERE tenant_id = 't' AND instrument_id = 'P' AND interval IN ('5m', '1h') ORDER BY interval DESC, window_start)"
    );
    clickhouse
        .query_text(&sql, "TabSeparated")
        .await
        .unwrap()
        .trim_end()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bar_is_shown_as_it_was_known_at_each_time() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    insert(&clickhouse).await;
    insert_short_intervals(&clickhouse).await;

    for (at, expected) in [
        ("2026-10-01 05:05:59", ""),
        (
            "2026-10-01 05:06:00",
            "05:00 06:00 10 10 10 10 0 0 \\N 3000 300 10 1 05:00:00\n",
        ),
        (
            "2026-10-02 14:32:00",
            "05:00 06:00 10 20 10 20 0 0 \\N 9000 600 15 2 05:00:00\n",
        ),
        (
            "2026-10-02 14:33:00",
            "05:00 06:00 16 20 16 20 0 0 \\N 10800 600 18 2 05:00:00\n",
        ),
        (
            "2026-10-02 14:45:00",
            "05:00 06:00 13 20 13 20 0 0 \\N 9900 600 16.5 2 05:00:00\n",
        ),
        (
            "2026-10-03 00:00:00",
            "05:00 06:00 14 20 14 20 0 0 \\N 10200 600 17 2 05:00:00\n",
        ),
    ] {
        assert_eq!(bars(&clickhouse, at, "P", "1h").await, expected, "{at}");
    }
    for (at, expected) in [
        ("2026-10-02 14:32:00", ",,"),
        ("2026-10-02 14:33:00", "vintage,,vintage"),
        ("2026-10-02 14:40:00", "vintage,,vintage"),
        // A price of a lower vintage leaves the cause as it is, and so does a repetition.
        ("2026-10-02 14:41:00", "vintage,,vintage"),
        ("2026-10-02 14:45:00", "vintage,,vintage"),
        ("2026-10-02 14:50:00", "correction,,correction"),
    ] {
        assert_eq!(causes(&clickhouse, at).await, expected, "{at}");
    }
    // (100 × 8 + 25 × 292) / 300 = 27.
    assert_eq!(
        bars(&clickhouse, "2026-10-02 00:00:00", "N", "5m").await,
        "05:00 05:05 100 100 25 25 0 0 \\N 8100 300 27 2 05:00:00\n05:05 05:10 40 40 40 40 0 0 \\N 12000 300 40 1 05:05:00\n"
    );
    let fine = bars(&clickhouse, "2026-10-02 14:33:00", "P", "5m").await;
    let expected = "05:00 05:05 16 16 16 16 0 0 \\N 4800 300 16 1 05:00:00\n\
                    05:05 05:10 20 20 20 20 0 0 \\N 6000 300 20 1 05:05:00\n";
    assert_eq!(fine, expected);

    assert_eq!(bars(&clickhouse, "2026-10-02 14:32:00", "H", "15m").await, "");
    assert_eq!(
        bars(&clickhouse, "2026-10-02 14:32:00", "H", "1d").await,
        "00:00 00:00 7.5 7.5 7.5 7.5 0 0 \\N 27000 3600 7.5 1 05:00:00\n"
    );

    for (at, expected) in [
        (
            "2026-10-02 14:32:00",
            "05:01 05:02 2 3 2 3 5 11 2.2 0 0 \\N 2 05:01:00\n",
        ),
        (
            "2026-10-02 14:33:00",
            "05:00 05:01 5 5 5 5 5 25 5 0 0 \\N 1 05:00:30\n05:01 05:02 2 3 2 3 5 11 2.2 0 0 \\N 2 05:01:00\n",
        ),
    ] {
        assert_eq!(bars(&clickhouse, at, "T", "1m").await, expected, "{at}");
    }
    assert_eq!(
        bars(&clickhouse, "2026-10-02 14:33:00", "T", "5m").await,
        "05:00 05:05 5 5 2 3 10 36 3.6 0 0 \\N 3 05:00:30\n"
    );
}
