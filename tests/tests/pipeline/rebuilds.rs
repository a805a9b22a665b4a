//! Served prices that someone has changed by hand are rebuilt from the log, while load goes on and whenever the command is killed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::{Pipeline, RAW, eventually};
use localstack::Service;
use serde_json::Value;
use testkit::kafka::{Outgoing, Publisher};

/// Enough for a dozen checkpoints in each partition.
const TICKS: usize = 60_000;
const INSTRUMENTS: usize = 200;
/// Instruments that are tampered with. No other tick follows for them.
const CHANGED: &str = "REBUILD.0";
const AHEAD: &str = "REBUILD.1";
const DELETED: &str = "REBUILD.2";
const GHOST: &str = "REBUILD.GHOST";

fn tick(number: usize) -> Outgoing {
    let instrument = format!("REBUILD.{}", number % INSTRUMENTS);
    let second = number / INSTRUMENTS % 60;
    let minute = number / INSTRUMENTS / 60;
    let payload = format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"rebuild-{number}","timestamp":"2026-10-01T10:00:00Z","tenant_id":"default","source":"rebuilds","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"{instrument}","raw_data":{{"timestamp":"2026-10-01T10:{minute:02}:{second:02}Z","price":{}.25,"volume":1}}}}}}"#,
        number / INSTRUMENTS + 1
    );
    Outgoing {
        payload: payload.into_bytes(),
        ..Outgoing::default()
    }
}

/// Changes, hides, deletes and invents prices in Postgres, and lets the service load them, so that its memory is as wrong.
fn tamper(pipeline: &Pipeline) {
    assert!(pipeline.stack().stop(Service::Projection).unwrap());
    let run = |sql: &str| pipeline.postgres.rows(sql).unwrap();
    let of = |instrument: &str| format!("WHERE instrument_id = '{instrument}'");
    run(&format!(
        "UPDATE served_latest_prices SET price = price + 1000 {}",
        of(CHANGED)
    ));
    // No tick can replace it.
    run(&format!(
        "UPDATE served_latest_prices SET event_time = '2036-01-01T00:00:00Z', price = 7 {}",
        of(AHEAD)
    ));
    run(&format!("DELETE FROM served_latest_prices {}", of(DELETED)));
    run(&format!(
        "INSERT INTO served_latest_prices SELECT (jsonb_populate_record(stored, '{{\"instrument_id\": \"{GHOST}\"}}')).* \
         FROM served_latest_prices AS stored {}",
        of("REBUILD.3")
    ));
    pipeline.stack().start_services().unwrap();
    eventually("redis has the wrong prices, too", || {
        let copies = pipeline.redis.with_prefix("served:latest_price:default:REBUILD.")?;
        let text: String = copies.into_iter().map(|(key, value)| key + &value).collect();
        Ok(text.contains(GHOST) && text.contains("2036-01-01"))
    })
    .unwrap();
}

/// Runs the command until it ends by itself; kills the first runs, each later than the one before.
fn rebuild_with_kills(pipeline: &Pipeline) -> (u32, Value) {
    let arguments = ["projection", "rebuild", "latest_price", "--full", "--yes", "--json"];
    let mut kills = 0;
    for wait in (1..).map(|run| Duration::from_millis(150 * run)) {
        let mut run = pipeline
            .dp(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while began.elapsed() < wait && run.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if run.try_wait().unwrap().is_none() && kills < 8 {
            run.kill().unwrap();
            run.wait().unwrap();
            kills += 1;
            continue;
        }
        let output = run.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}");
        return (kills, serde_json::from_slice(&output.stdout).unwrap());
    }
    unreachable!("the waits grow without end")
}

/// Runs the command with these arguments; returns its exit code and its report.
fn rebuild(pipeline: &Pipeline, arguments: &[&str]) -> (Option<i32>, Value) {
    let command = ["projection", "rebuild", "latest_price", "--json"];
    let output = pipeline.dp(&[&command, arguments].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    (
        output.status.code(),
        report.unwrap_or_else(|error| panic!("{error}: {said}")),
    )
}

/// Prices that were changed, added and removed.
fn changes(report: &Value) -> [u64; 3] {
    ["changed", "added", "removed"].map(|kind| report[kind].as_u64().unwrap_or_else(|| panic!("{report}")))
}

/// All that a rebuild may change: rows and positions of every generation, rebuilds, and copies in Redis.
fn state(pipeline: &Pipeline) -> (Vec<Vec<String>>, Vec<(String, String)>) {
    let sql = "SELECT row::text FROM served_latest_prices AS row \
         UNION ALL SELECT concat_ws(' ', generation, topic, partition, next_offset, sequencer, epoch) FROM projection_positions \
         WHERE projection = 'latest_price' UNION ALL SELECT row::text FROM projection_rebuilds AS row ORDER BY 1";
    let mut copies = pipeline.redis.with_prefix("served:latest_price:").unwrap();
    copies.sort();
    (pipeline.postgres.rows(sql).unwrap(), copies)
}

/// Of the four wrong prices, a dry run names each and changes nothing, and a rebuild of one instrument corrects that one.
fn try_and_rebuild_one(pipeline: &Pipeline, right: &[Vec<String>]) {
    let before = state(pipeline);
    let (code, report) = rebuild(pipeline, &["--full", "--dry-run"]);
    assert_eq!((code, changes(&report)), (Some(1), [2, 1, 1]), "{report}");
    assert_eq!(
        (&report["dry_run"], &report["is_reloaded"]),
        (&true.into(), &false.into())
    );
    let of_other = ["--full", "--dry-run", "--tenant", "other"];
    let (code, report) = rebuild(pipeline, &of_other);
    assert_eq!((code, changes(&report)), (Some(0), [0, 0, 0]), "{report}");
    assert_eq!(report["strategy"], "full, tenant other");
    assert_eq!(state(pipeline), before);

    let one = ["--full", "--yes", "--instrument", CHANGED, "--tenant", "default"];
    let (code, report) = rebuild(pipeline, &one);
    assert_eq!((code, changes(&report)), (Some(0), [1, 0, 0]), "{report}");
    assert_eq!(
        (&report["dry_run"], &report["is_reloaded"]),
        (&false.into(), &true.into())
    );
    assert_eq!(prices(pipeline, CHANGED), right);
    assert_eq!(prices(pipeline, AHEAD)[0][0], "7.00000000");
    assert!(prices(pipeline, DELETED).is_empty());
    assert_eq!(prices(pipeline, GHOST).len(), 1);
    let (code, report) = rebuild(pipeline, &["--full", "--dry-run"]);
    assert_eq!((code, changes(&report)), (Some(1), [1, 1, 1]), "{report}");
}

fn prices(pipeline: &Pipeline, instrument: &str) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT price::text, extract(minute FROM event_time)::int::text FROM served_latest_prices \
         WHERE generation = '' AND instrument_id = '{instrument}'"
    );
    pipeline.postgres.rows(&sql).unwrap()
}

#[test]
fn tampered_prices_are_rebuilt_from_the_log_whenever_the_command_is_killed() {
    let pipeline = Pipeline::shared();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    (0..TICKS).for_each(|number| publisher.send(&tick(number)).unwrap());
    publisher.finish().unwrap();
    pipeline.agree().unwrap();
    let before: Vec<_> = [CHANGED, AHEAD, DELETED]
        .map(|instrument| prices(&pipeline, instrument))
        .into();
    assert!(before.iter().all(|rows| rows.len() == 1), "{before:?}");
    tamper(&pipeline);
    assert_eq!(
        pipeline.verify().unwrap().code,
        1,
        "dp verify must see the wrong prices"
    );
    try_and_rebuild_one(&pipeline, &before[0]);

    let load = pipeline.publish(71);
    let (kills, report) = rebuild_with_kills(&pipeline);
    load.finish().unwrap();
    assert!(kills >= 2, "{kills}");
    assert_eq!(report["is_reloaded"], true, "{report}");
    let after: Vec<_> = [CHANGED, AHEAD, DELETED]
        .map(|instrument| prices(&pipeline, instrument))
        .into();
    assert_eq!(after, before);
    assert!(prices(&pipeline, GHOST).is_empty());
    eventually("the copy in redis has no wrong price", || {
        let copies = pipeline.redis.with_prefix("served:latest_price:default:REBUILD.")?;
        let text: String = copies.into_iter().map(|(key, value)| key + &value).collect();
        Ok(!text.contains(GHOST) && !text.contains("2036-01-01"))
    })
    .unwrap();
    let left = "SELECT count(*)::text FROM served_latest_prices WHERE generation LIKE '%~%'";
    assert_eq!(pipeline.postgres.rows(left).unwrap()[0][0], "0");
    pipeline.agree().unwrap();
}

fn now(pipeline: &Pipeline) -> String {
    let now = r#"SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
    pipeline.postgres.rows(now).unwrap()[0][0].clone()
}

/// The exchange moves the position to the end of the log, so the events before it must be in the copy, however old they are.
#[test]
fn a_rebuild_since_a_time_has_also_the_older_events_that_the_service_has_not_stored() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(500, 83_000).unwrap();
    pipeline.agree().unwrap();
    assert!(pipeline.stack().stop(Service::Projection).unwrap());
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let number = INSTRUMENTS * 1_200 + 20;
    (number..number + 8).for_each(|number| publisher.send(&tick(number)).unwrap());
    publisher.finish().unwrap();
    let enriched = "SELECT uniqExact(instrument_id) FROM enriched_ticks \
         WHERE price = 1201.25 AND instrument_id IN ('REBUILD.20', 'REBUILD.27')";
    eventually("the ticks are in the enriched topic", || {
        Ok(pipeline.clickhouse.number(enriched)? == 2)
    })
    .unwrap();
    let since = now(&pipeline);
    // A dry run does not count what the service will store by itself.
    let (code, report) = rebuild(&pipeline, &["--since", &since, "--dry-run"]);
    assert_eq!((code, changes(&report)), (Some(0), [0, 0, 0]), "{report}");
    let (code, report) = rebuild(&pipeline, &["--since", &since, "--yes"]);
    assert_eq!((code, &report["is_reloaded"]), (Some(1), &false.into()), "{report}");
    for instrument in ["REBUILD.20", "REBUILD.27"] {
        assert_eq!(prices(&pipeline, instrument)[0][0], "1201.25000000", "{instrument}");
    }
    pipeline.stack().start_services().unwrap();
    // The group's offsets in Kafka follow with the next message of each partition.
    pipeline.publish_once(500, 84_000).unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn a_rebuild_since_a_time_corrects_what_it_reads_and_keeps_the_rest() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(500, 72_000).unwrap();
    pipeline.agree().unwrap();
    let since = now(&pipeline);
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let number = INSTRUMENTS * 599;
    (number..number + 8).for_each(|number| publisher.send(&tick(number)).unwrap());
    publisher.finish().unwrap();
    pipeline.agree().unwrap();
    let sql = "SELECT count(*)::text FROM served_latest_prices WHERE generation = ''";
    let count = pipeline.postgres.rows(sql).unwrap();
    pipeline
        .postgres
        .rows(&format!(
            "UPDATE served_latest_prices SET price = 1 WHERE instrument_id = '{CHANGED}'"
        ))
        .unwrap();
    let since = ["--since", &since];
    let (code, report) = rebuild(&pipeline, &[&since[..], &["--dry-run"]].concat());
    assert_eq!((code, changes(&report)), (Some(1), [1, 0, 0]), "{report}");
    assert_eq!(prices(&pipeline, CHANGED)[0][0], "1.00000000");
    let (code, report) = rebuild(&pipeline, &[&since[..], &["--yes"]].concat());
    assert_eq!((code, changes(&report)), (Some(0), [1, 0, 0]), "{report}");
    let (code, report) = rebuild(&pipeline, &[&since[..], &["--dry-run"]].concat());
    assert_eq!((code, changes(&report)), (Some(0), [0, 0, 0]), "{report}");
    assert_eq!(prices(&pipeline, CHANGED)[0][0], "600.25000000");
    assert_eq!(pipeline.postgres.rows(sql).unwrap(), count);
    pipeline.agree().unwrap();

    let listed: Value = serde_json::from_str(&pipeline.dp_ok(&["projection", "list", "--json"]).unwrap()).unwrap();
    assert_eq!(
        (&listed[0]["projection"], &listed[0]["status"]),
        (&"latest_price".into(), &"healthy".into())
    );
    let places = pipeline
        .dp_ok(&["projection", "checkpoint", "latest_price", "--json"])
        .unwrap();
    let places: Value = serde_json::from_str(&places).unwrap();
    assert!(
        places
            .as_array()
            .unwrap()
            .iter()
            .any(|place| place["last_event_id"].is_string()),
        "{places}"
    );
}

/// Two ticks, one well after the other: a rebuild from the event of the second corrects its price, and reads nothing of the first.
#[test]
fn a_rebuild_from_an_event_corrects_what_follows_it_and_an_unknown_event_is_named() {
    let pipeline = Pipeline::shared();
    let numbers = [40, 41].map(|instrument| INSTRUMENTS * 899 + instrument);
    for number in numbers {
        let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
        publisher.send(&tick(number)).unwrap();
        publisher.finish().unwrap();
        pipeline.agree().unwrap();
    }
    let price = |instrument: &str| prices(&pipeline, instrument)[0][0].clone();
    let right = "900.25000000";
    assert_eq!(["REBUILD.40", "REBUILD.41"].map(price), [right, right]);
    let sql = "UPDATE served_latest_prices SET price = 1 WHERE instrument_id IN ('REBUILD.40', 'REBUILD.41')";
    pipeline.postgres.rows(sql).unwrap();
    let events = numbers.map(|number| format!("rebuild-{number}"));

    let (code, report) = rebuild(&pipeline, &["--from-event", &events[1], "--dry-run"]);
    assert_eq!((code, changes(&report)), (Some(1), [1, 0, 0]), "{report}");
    let (code, report) = rebuild(&pipeline, &["--from-event", &events[1], "--yes"]);
    assert_eq!((code, changes(&report)), (Some(0), [1, 0, 0]), "{report}");
    assert_eq!(["REBUILD.40", "REBUILD.41"].map(price), ["1.00000000", right]);

    let unknown = ["projection", "rebuild", "latest_price", "--from-event", "no-such-event"];
    let output = pipeline.dp(&unknown).arg("--yes").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no event with id no-such-event"), "{said}");
    assert!(said.contains("its column source_event_id has the ids"), "{said}");
    let of_nobody = [
        "projection",
        "rebuild",
        "latest_price",
        "--tenant",
        "nobody",
        "--dry-run",
    ];
    let output = pipeline
        .dp(&of_nobody)
        .arg("--from-event")
        .arg(&events[1])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no event of tenant nobody with id"), "{said}");

    let (code, report) = rebuild(&pipeline, &["--from-event", &events[0], "--yes"]);
    assert_eq!((code, changes(&report)), (Some(0), [1, 0, 0]), "{report}");
    assert_eq!(["REBUILD.40", "REBUILD.41"].map(price), [right, right]);
    pipeline.agree().unwrap();
}

/// A restored backup of Postgres may have seen fewer rebuilds than Redis remembers.
#[test]
fn a_mark_of_a_rebuild_that_postgres_does_not_know_is_replaced_by_the_owner() {
    let pipeline = Pipeline::shared();
    let marks = || pipeline.redis.with_prefix("served:copy:latest_price:").unwrap();
    pipeline.publish_once(500, 79_000).unwrap();
    eventually("the owners have marks", || Ok(!marks().is_empty())).unwrap();
    let before = marks();
    for (key, _) in &before {
        pipeline.redis.run(&["SET", key, "1-1@99"]).unwrap();
    }
    eventually("each owner has filled redis again", || {
        let now = marks();
        Ok(now.len() >= before.len() && now.iter().all(|(_, mark)| !mark.ends_with("@99")))
    })
    .unwrap();
    pipeline.agree().unwrap();
}
