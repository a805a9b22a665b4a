//! Append times that step back: one raw partition is read long after the others, so its ticks reach partitions of the
//! enriched topic whose log clock is far ahead. Windows of this stack are forgotten within seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use e2e::{PATIENCE, Pipeline, RAW, eventually};
use localstack::{Name, Server, Service};
use testkit::bars::Times;
use testkit::hostile::{Record, Transaction};
use testkit::load::{Load, LoadPlan};

const SECOND: i64 = 1_000_000;
/// The raw partition that cannot be read for some time, because a producer holds a transaction open there.
const HELD: i32 = 1;
const RATE: u32 = 300;

fn times() -> Times {
    Times {
        at_once: (2 * SECOND, 5 * SECOND),
        after_interval: (10 * SECOND, 20 * SECOND),
    }
}

fn tick(now: i64) -> Vec<u8> {
    format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"CLOCK-1","timestamp":"2026-10-01T10:00:00Z","tenant_id":"default","source":"s","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"CLOCK.A","raw_data":{{"timestamp":{now},"price":1.25,"volume":1}}}}}}"#
    )
    .into_bytes()
}

/// A counter in aggregation's `/stats`; 0 while the service is down. It restarts from 0.
fn stat(pipeline: &Pipeline, name: &str) -> u64 {
    let answer = pipeline.get(Service::Aggregation, "/stats");
    let stats = answer.map(|(_, body)| serde_json::from_str(&body).unwrap_or(serde_json::Value::Null));
    stats.map_or(0, |stats| stats[name].as_u64().unwrap_or(0))
}

/// Kills these in this order while windows are being restated, and restarts them in reverse order.
fn kill_while_windows_are_restated(pipeline: &Pipeline, names: &[Name]) {
    let before = stat(pipeline, "windows_restated");
    eventually("windows are restated, and more of them wait", || {
        Ok(stat(pipeline, "windows_restated") > before && stat(pipeline, "windows_to_restate") > 0)
    })
    .unwrap();
    let stack = pipeline.stack();
    for name in names {
        stack.kill9(*name).unwrap();
    }
    for name in names.iter().rev() {
        stack.start(*name).unwrap();
    }
    for name in names {
        stack.wait_ready(*name, PATIENCE).unwrap();
    }
}

#[test]
fn a_raw_partition_that_is_read_late_reaches_its_bars_despite_kills_during_restating() {
    let pipeline = Pipeline::with_times(times()).unwrap();
    let bootstrap = pipeline.bootstrap();
    let load = Load::start(
        &bootstrap,
        LoadPlan {
            topic: RAW.to_owned(),
            seed: 31,
            session: 1,
            rate: RATE,
            extras: false,
        },
    )
    .unwrap();
    pipeline.wait_for_more(500).unwrap();
    let mut open = Transaction::begin(&bootstrap, "clock-held", Duration::from_secs(300)).unwrap();
    let now = || {
        i64::try_from(
            pipeline
                .clickhouse
                .number("SELECT toUnixTimestamp64Micro(now64(6))")
                .unwrap(),
        )
        .unwrap()
    };
    let held_from = now();
    let record = Record {
        partition: HELD,
        payload: Some(tick(held_from)),
        ..Record::default()
    };
    open.send(RAW, &record).unwrap();
    // Wait until all windows of a full minute have been forgotten.
    let minute = 60 * SECOND;
    let until = (held_from / minute + 1) * minute + times().at_once.1 + 2 * SECOND;
    while now() < until {
        load.go_on_for(u64::from(RATE));
    }
    open.commit().unwrap();

    let (aggregation, clickhouse) = (Name::from(Service::Aggregation), Name::from(Server::ClickHouse));
    kill_while_windows_are_restated(&pipeline, &[aggregation]);
    kill_while_windows_are_restated(&pipeline, &[clickhouse]);
    kill_while_windows_are_restated(&pipeline, &[aggregation, clickhouse]);
    kill_while_windows_are_restated(&pipeline, &[clickhouse, aggregation]);
    load.pause().unwrap();
    pipeline.agree().unwrap();

    // Late only by the log clock: when their messages were appended, their windows were not yet forgotten.
    let forget = times().at_once.1 / SECOND;
    let by_the_clock = format!(
        "SELECT count() FROM late_ticks AS late INNER JOIN enriched_ticks AS tick USING (feed, raw_partition, raw_offset, raw_index) \
         WHERE raw_partition = {HELD} AND tick.kind = 'trade' AND has(late.intervals, '1m') \
         AND tick.appended_at < toStartOfMinute(tick.timestamp) + INTERVAL {} SECOND",
        60 + forget
    );
    let by_the_clock = pipeline.clickhouse.number(&by_the_clock).unwrap();
    // The number depends on how much the load lags on this machine. The test needs some.
    assert!(by_the_clock > 10, "{by_the_clock}");
}
