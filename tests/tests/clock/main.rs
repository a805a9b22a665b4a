//! Append times that step back: one raw partition is read long after the others, so its ticks reach partitions of the
//! enriched topic whose clock is far ahead. On a stack whose windows are forgotten within seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use e2e::{PATIENCE, Pipeline, RAW, eventually};
use localstack::{Name, Server, Service};
use testkit::bars::Times;
use testkit::hostile::{Record, Transaction};
use testkit::load::{Load, LoadPlan};

const SECOND: i64 = 1_000_000;
/// The raw partition that nobody can read for a while: a producer has a transaction open there.
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

/// A count of aggregation's `/stats`; 0 while it is away, and from its start on.
fn stat(pipeline: &Pipeline, name: &str) -> u64 {
    let answer = pipeline.get(Service::Aggregation, "/stats");
    let stats = answer.map(|(_, body)| serde_json::from_str(&body).unwrap_or(serde_json::Value::Null));
    stats.map_or(0, |stats| stats[name].as_u64().unwrap_or(0))
}

/// Kills these in this order, in the middle of restating, and starts them again in the other one.
fn killed_while_windows_are_restated(pipeline: &Pipeline, names: &[Name]) {
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
fn a_raw_partition_that_is_read_after_the_others_is_in_every_bar_whatever_is_killed_while_its_bars_are_restated() {
    let pipeline = Pipeline::with_times(times()).unwrap();
    let bootstrap = pipeline.bootstrap();
    let load = Load::start(
        &bootstrap,
        LoadPlan {
            topic: RAW.to_owned(),
            seed: 31,
            session: 1,
            rate: RATE,
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
    // Until everything of a whole minute has been forgotten.
    let minute = 60 * SECOND;
    let until = (held_from / minute + 1) * minute + times().at_once.1 + 2 * SECOND;
    while now() < until {
        load.go_on_for(u64::from(RATE));
    }
    open.commit().unwrap();

    let (aggregation, clickhouse) = (Name::from(Service::Aggregation), Name::from(Server::ClickHouse));
    killed_while_windows_are_restated(&pipeline, &[aggregation]);
    killed_while_windows_are_restated(&pipeline, &[clickhouse]);
    killed_while_windows_are_restated(&pipeline, &[aggregation, clickhouse]);
    killed_while_windows_are_restated(&pipeline, &[clickhouse, aggregation]);
    load.pause().unwrap();
    pipeline.agree().unwrap();

    // Late by the clock alone: when their messages were appended, their windows were still live.
    let forget = times().at_once.1 / SECOND;
    let by_the_clock = format!(
        "SELECT count() FROM late_ticks AS late INNER JOIN enriched_ticks AS tick USING (feed, raw_partition, raw_offset, raw_index) \
         WHERE raw_partition = {HELD} AND tick.kind = 'trade' AND has(late.intervals, '1m') \
         AND tick.appended_at < toStartOfMinute(tick.timestamp) + INTERVAL {} SECOND",
        60 + forget
    );
    let by_the_clock = pipeline.clickhouse.number(&by_the_clock).unwrap();
    // How many depends on how far behind the machine lets the load fall; the test needs some.
    assert!(by_the_clock > 10, "{by_the_clock}");
}
