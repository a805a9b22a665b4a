//! The cost of the second stage's queries on a large table: rows that ClickHouse reads for each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod enriched_table;

use domain::{AskedWindow, BarVersion, Interval, Micros};
use enriched_table::{MIDNIGHT, Setup, history, server};
use stores::History;
use stream::status::wall_clock;

const ROWS: i64 = 1_000_000;
/// Time between two rows.
const STEP: Micros = 100_000;

/// A million trades of 100 instruments in one partition, a tenth of a second apart in the log; every second one is three
/// years old by its event time, the others are at their time.
fn fill(server: &Setup, now: Micros) {
    let sql = format!(
        "INSERT INTO market_data.enriched_ticks (tenant_id, instrument_id, timestamp, product, kind, price, volume, feed, \
         raw_partition, raw_offset, raw_index, src_partition, src_offset, appended_at, ingested_at) \
         SELECT 'acme', concat('I', toString(number % 100)), \
         fromUnixTimestamp64Micro(if(number % 200 < 100, {MIDNIGHT}, {now} - {ROWS} * {STEP}) + toInt64(number) * {STEP}, 'UTC'), \
         'trade', 'trade', 1, 1, 'f', 0, number, 0, 0, number, \
         fromUnixTimestamp64Micro({now} - ({ROWS} - toInt64(number)) * {STEP}, 'UTC') AS at, at FROM numbers({ROWS})"
    );
    server.runtime.block_on(server.clickhouse.exec(&sql)).unwrap();
}

fn asked(offset: i64, event_time: Micros) -> AskedWindow {
    AskedWindow {
        tenant_id: "acme".into(),
        instrument_id: format!("I{}", offset % 100).into(),
        window: Interval::OneMinute.window_of(event_time),
        version: BarVersion {
            last_offset: offset,
            closed: true,
        },
    }
}

#[test]
fn a_statement_on_a_large_table_reads_few_rows() {
    let server = server();
    let now = wall_clock();
    fill(&server, now);
    let history = history(&server.clickhouse);
    let begin = now - ROWS * STEP;
    // Two hundred rows of one instrument, every second one three years old; then those at their time.
    let old: Vec<AskedWindow> = (0..100).map(|n| asked(n * 200, MIDNIGHT + n * 200 * STEP)).collect();
    let late: Vec<AskedWindow> = (0..100)
        .map(|n| asked(500_100 + n * 200, begin + (500_100 + n * 200) * STEP))
        .collect();
    for (name, asked) in [("old", &old), ("late", &late)] {
        let all = || server.runtime.block_on(statement(&server, &history, asked));
        let (first, then) = (all(), all());
        println!("{name}: {first} rows read, then {then}");
        // A granule of each part for the windows, and one for the oldest row, twice.
        assert!(then < 60_000, "{name}: {then} rows of {ROWS} read");
    }
}

/// Rows read for a statement and its related queries.
async fn statement(server: &Setup, history: &History, asked: &[AskedWindow]) -> i64 {
    let upto = asked.iter().map(|asked| asked.version.last_offset).max().unwrap();
    // It reads all rows from there on, but only once within some seconds.
    assert!(history.has_reached(0, upto).await.unwrap());
    let before = rows_read(server).await;
    let oldest = history.oldest(0).await.unwrap().unwrap();
    let rows = history.restate(0, asked, &oldest, wall_clock()).await.unwrap();
    assert_eq!(rows.len(), asked.len());
    assert_eq!(history.oldest(0).await.unwrap(), Some(oldest));
    rows_read(server).await - before
}

/// Rows that the server has read since its start.
async fn rows_read(server: &Setup) -> i64 {
    let sql = "SELECT toString(value) AS rows FROM system.events WHERE event = 'SelectedRows'";
    let rows = server.clickhouse.query_json(sql).await.unwrap();
    rows[0]["rows"].as_str().unwrap().parse().unwrap()
}
