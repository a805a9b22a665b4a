//! Every bar contains all its ticks, in any order and with any delay.

use e2e::{PATIENCE, Pipeline, RAW, eventually};
use localstack::{Server, Service};
use testkit::kafka::{Outgoing, Publisher};

const TENANT: &str = "history";
const INSTRUMENT: &str = "HISTORY.A";
const PARTITION: i32 = 1;
/// Spreads the ticks over a day, jumping back and forth. The step shares no factor with the number of seconds of a day.
const STEP: u32 = 50_021;
const DAY: u32 = 86_400;

fn publish(pipeline: &Pipeline, numbers: std::ops::Range<u32>) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for number in numbers {
        let second = number * STEP % DAY;
        // Some have times three years earlier.
        let year = if number % 10 == 0 { 2023 } else { 2026 };
        let time = format!(
            "{year}-09-14T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
        let (price, volume) = (i64::from(number % 700) - 50, number % 13);
        let payload = format!(
            r#"{{"envelope":{{"event_type":"tick","event_id":"HISTORY-{number}","timestamp":"{time}","tenant_id":"{TENANT}","source":"s","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"{INSTRUMENT}","raw_data":{{"timestamp":"{time}","price":{price}.25,"volume":{volume}}}}}}}"#
        );
        let outgoing = Outgoing {
            partition: Some(PARTITION),
            key: Some(INSTRUMENT.to_owned()),
            payload: payload.into_bytes(),
            headers: Vec::new(),
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

/// Columns of a bar in the results of `of_bars` and `of_ticks`.
const VALUES: &str = "label, start, open, high, low, close, volume, turnover, ticks";

fn of_bars() -> String {
    format!(
        "SELECT {VALUES} FROM (SELECT toString(interval) AS label, toUnixTimestamp(window_start) AS start, toString(open) AS open, \
         toString(high) AS high, toString(low) AS low, toString(close) AS close, toString(volume) AS volume, \
         toString(turnover) AS turnover, trade_count AS ticks FROM bars FINAL \
         WHERE tenant_id = '{TENANT}' AND instrument_id = '{INSTRUMENT}') ORDER BY label, start"
    )
}

fn of_ticks() -> String {
    let interval = |(label, length): (&str, u32)| {
        format!(
            "SELECT '{label}' AS label, toUnixTimestamp(timestamp) - toUnixTimestamp(timestamp) % {length} AS start, \
             argMin(price, place) AS open_, max(price) AS high_, min(price) AS low_, argMax(price, place) AS close_, \
             sum(volume) AS volume_, sum(toDecimal128(price, 8) * toDecimal128(assumeNotNull(volume), 8)) AS turnover_, \
             count() AS ticks FROM (SELECT *, (timestamp, raw_partition, raw_offset, raw_index) AS place \
             FROM market_ticks WHERE tenant_id = '{TENANT}' AND instrument_id = '{INSTRUMENT}') GROUP BY start"
        )
    };
    let all = [("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("1d", 86_400)].map(interval);
    format!(
        "SELECT label, start, toString(open_) AS open, toString(high_) AS high, toString(low_) AS low, toString(close_) AS close, \
         toString(volume_) AS volume, toString(turnover_) AS turnover, ticks FROM ({}) ORDER BY label, start",
        all.join(" UNION ALL ")
    )
}

/// Waits until the table has this many ticks and every bar contains all its ticks.
fn every_bar_contains_its_ticks(pipeline: &Pipeline, ticks: i128) {
    let count = format!("SELECT count() FROM market_ticks WHERE tenant_id = '{TENANT}'");
    eventually("the ticks arrive", || Ok(pipeline.clickhouse.number(&count)? == ticks)).unwrap();
    let mut last = (Vec::new(), Vec::new());
    let same = eventually("every bar contains its ticks", || {
        last = (
            pipeline.clickhouse.rows(&of_bars())?,
            pipeline.clickhouse.rows(&of_ticks())?,
        );
        Ok(last.0 == last.1)
    });
    let (bars, expected) = last;
    let differing = expected.iter().filter(|row| !bars.contains(row)).take(3);
    assert!(
        same.is_ok(),
        "{same:?}: {} bars instead of {}; examples of missing bars: {:?}",
        bars.len(),
        expected.len(),
        differing.collect::<Vec<_>>()
    );
}

#[test]
fn ticks_in_any_order_over_a_day_are_in_every_bar_even_after_an_outage_of_clickhouse() {
    let pipeline = Pipeline::shared();
    publish(&pipeline, 0..400);
    every_bar_contains_its_ticks(&pipeline, 400);

    let stack = pipeline.stack();
    stack.kill9(Server::ClickHouse).unwrap();
    publish(&pipeline, 400..800);
    // Late ticks wait. The service reports how many, and that it is degraded but working.
    let mut last = String::new();
    let degraded = eventually("aggregation is degraded", || {
        let (status, body) = pipeline.get(Service::Aggregation, "/health")?;
        last = body;
        let health: serde_json::Value = serde_json::from_str(&last)?;
        let waiting = health["checks"]["partitions"]["lag"]["aggregation-local-restate"].as_i64();
        Ok(status == 200 && health["status"] == "degraded" && waiting > Some(0))
    });
    assert!(degraded.is_ok(), "{degraded:?}: {last}");
    stack.start(Server::ClickHouse).unwrap();
    stack.wait_ready(Server::ClickHouse, PATIENCE).unwrap();
    every_bar_contains_its_ticks(&pipeline, 800);
    let (_, stats) = pipeline.get(Service::Aggregation, "/stats").unwrap();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert!(stats["windows_restated"].as_u64() > Some(0), "{stats}");
    assert_eq!(stats["windows_not_restated"], 0);
}
