//! Rows that someone has deleted in a store are written again from the log, each once, whenever the repair is killed.

use std::process::Stdio;

use anyhow::Context as _;
use e2e::{PATIENCE, Pipeline, eventually};
use localstack::Service;
use serde_json::Value;

use crate::corruption::filled;

/// Tables of ClickHouse, and how their rows are read for a comparison.
const TABLES: [&str; 4] = ["market_ticks", "enriched_ticks", "late_ticks", "bars FINAL"];

/// Runs `dp reconcile --json` with these arguments; returns its exit code and report.
pub(crate) fn reconcile(pipeline: &Pipeline, arguments: &[&str]) -> (i32, Value) {
    let arguments = [&["reconcile", "--json", "--wait", "120"], arguments].concat();
    let output = pipeline.dp(&arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_str(&text)
        .with_context(|| format!("no report: {text}{said}"))
        .unwrap();
    (output.status.code().unwrap_or(-1), report)
}

/// Number of rows, and a checksum of every column of every row but the time of ingestion.
fn checksum(pipeline: &Pipeline, table: &str) -> (i128, String) {
    let sql = format!("SELECT count(), sum(cityHash64(toString(tuple(* EXCEPT (ingested_at))))) FROM {table}");
    let row = pipeline.clickhouse.rows(&sql).unwrap().remove(0);
    (row[0].parse().unwrap(), row[1].clone())
}

fn checksums(pipeline: &Pipeline) -> Vec<(i128, String)> {
    TABLES.iter().map(|table| checksum(pipeline, table)).collect()
}

/// Deletes rows of a table that keeps versions, and has them written again: found, named, each as it was, and nothing else. `doomed` is a
/// condition that holds for at most one version of a row.
pub(crate) fn deleted_versions_are_written_again(pipeline: &Pipeline, table: &str, doomed: &str) {
    let of_table = || checksum(pipeline, &format!("{table} FINAL"));
    let before = of_table();
    let sql = format!("SELECT count() FROM {table} FINAL WHERE {doomed}");
    let deleted = u64::try_from(pipeline.clickhouse.number(&sql).unwrap()).unwrap();
    assert!(deleted > 0, "{table}: {doomed}");
    // Rows that are not merged yet would be counted twice.
    pipeline
        .clickhouse
        .run(&format!("OPTIMIZE TABLE {table} FINAL"))
        .unwrap();
    let sql = format!("ALTER TABLE {table} DELETE WHERE {doomed}");
    pipeline.clickhouse.run(&sql).unwrap();
    let after = of_table();
    assert_eq!(pipeline.verify().unwrap().code, 1, "dp verify must find it");

    let (code, report) = reconcile(pipeline, &["--dry-run"]);
    assert_eq!((code, wrong(&report, table)), (1, deleted), "{report}");
    assert_eq!((written(&report, table), of_table()), (deleted, after), "{report}");

    let (code, report) = reconcile(pipeline, &["--repair", "--yes"]);
    assert_eq!((code, written(&report, table)), (0, deleted), "{report}");
    assert_eq!(of_table(), before);
    assert_eq!(pipeline.verify().unwrap().code, 0);

    let (code, report) = reconcile(pipeline, &["--repair", "--yes"]);
    assert_eq!((code, written(&report, table)), (0, 0), "{report}");
    assert_eq!(of_table(), before);
}

/// Ids of some rows of a table of ticks, and of the newest row of each partition.
fn doomed_ticks(pipeline: &Pipeline, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT tick_id FROM ((SELECT tick_id FROM {table} ORDER BY cityHash64(tick_id) LIMIT 5) UNION DISTINCT \
         (SELECT tick_id FROM {table} ORDER BY src_offset DESC LIMIT 2 BY src_partition))"
    );
    let rows = pipeline.clickhouse.rows(&sql).unwrap();
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

fn delete_ticks(pipeline: &Pipeline, table: &str) -> u64 {
    let ids = doomed_ticks(pipeline, table);
    let listed: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let sql = format!("ALTER TABLE {table} DELETE WHERE tick_id IN ({})", listed.join(", "));
    pipeline.clickhouse.run(&sql).unwrap();
    ids.len() as u64
}

/// Deletes every version of some bars, the last written of each partition among them.
fn delete_bars(pipeline: &Pipeline) -> u64 {
    let key = "tenant_id, instrument_id, interval, window_start";
    let sql = format!(
        "SELECT tenant_id, instrument_id, interval, toString(window_start) FROM (\
         (SELECT {key} FROM bars FINAL ORDER BY cityHash64(instrument_id, window_start) LIMIT 5) UNION DISTINCT \
         (SELECT {key} FROM bars FINAL ORDER BY src_offset DESC LIMIT 1 BY src_partition))"
    );
    let rows = pipeline.clickhouse.rows(&sql).unwrap();
    let keys: Vec<String> = rows.iter().map(|row| format!("('{}')", row.join("', '"))).collect();
    let sql = format!(
        "ALTER TABLE bars DELETE WHERE (tenant_id, instrument_id, interval, toString(window_start)) IN ({})",
        keys.join(", ")
    );
    pipeline.clickhouse.run(&sql).unwrap();
    keys.len() as u64
}

/// Tenant and instrument of the prices that were served last; their ids are the same in a key of Redis.
fn served(pipeline: &Pipeline) -> Vec<(String, String)> {
    let sql = "SELECT tenant_id, instrument_id FROM served_latest_prices WHERE generation = '' \
               AND tenant_id !~ '[:%]' AND instrument_id !~ '[:%]' ORDER BY updated_at DESC, instrument_id LIMIT 3";
    let rows = pipeline.postgres.rows(sql).unwrap();
    rows.into_iter().map(|mut row| (row.remove(0), row.remove(0))).collect()
}

fn delete_price(pipeline: &Pipeline, (tenant, instrument): &(String, String)) {
    let sql = format!(
        "DELETE FROM served_latest_prices WHERE generation = '' AND tenant_id = '{tenant}' AND instrument_id = '{instrument}'"
    );
    pipeline.postgres.rows(&sql).unwrap();
}

/// Deletes the copy of the first price in Redis, changes that of the second, and invents a third one.
fn tamper_with_copies(pipeline: &Pipeline, prices: &[(String, String)]) {
    let key = |(tenant, instrument): &(String, String)| format!("served:latest_price:{tenant}:{instrument}");
    let changed = key(&prices[1]);
    let copies = pipeline.redis.with_prefix(&changed).unwrap();
    let (_, value) = copies.iter().find(|(key, _)| *key == changed).unwrap();
    let price = value.split("\"price\":").nth(1).and_then(|rest| rest.split(',').next());
    let wrong = value.replace(&format!("\"price\":{}", price.unwrap()), "\"price\":123456.789");
    let run = |command: &[&str]| pipeline.redis.run(command).unwrap();
    run(&["SET", &changed, &wrong, "EX", "3600"]);
    run(&["SET", "served:latest_price:default:A_GHOST", &wrong, "EX", "3600"]);
    run(&["DEL", &key(&prices[0])]);
}

/// The number of rows that were wrong in this way, by table or store.
fn found(report: &Value, place: &str, wrong: &str) -> u64 {
    let parts = report["found"].as_array().into_iter().flatten();
    let mut of = parts.filter(|part| part["place"] == place);
    of.next().and_then(|part| part[wrong].as_u64()).unwrap_or(0)
}

fn missing(report: &Value, place: &str) -> u64 {
    found(report, place, "missing")
}

/// The number of rows that were wrong in any way: a row that has lost its newest version differs.
fn wrong(report: &Value, place: &str) -> u64 {
    let of = |wrong| found(report, place, wrong);
    of("missing") + of("different") + of("surplus") + of("unseen")
}

fn written(report: &Value, place: &str) -> u64 {
    let all = report["written"].as_array().into_iter().flatten();
    let mut of = all.filter(|written| written["place"] == place);
    of.next().and_then(|written| written["rows"].as_u64()).unwrap_or(0)
}

#[test]
fn rows_deleted_in_every_store_are_found_named_and_written_again() {
    let pipeline = filled();
    pipeline.agree().unwrap();
    let (code, report) = reconcile(&pipeline, &[]);
    assert_eq!(code, 0, "{report}");
    // In an idle partition it closes bars by the wall clock, and would compute them from rows that are deleted here.
    pipeline.stack().stop(Service::Aggregation).unwrap();
    let before = checksums(&pipeline);
    let tables = ["market_ticks", "enriched_ticks", "late_ticks"];
    let deleted = tables.map(|table| delete_ticks(&pipeline, table));
    let bars = delete_bars(&pipeline);
    delete_price(&pipeline, &served(&pipeline)[0]);
    assert_eq!(pipeline.verify().unwrap().code, 1, "dp verify must find it");

    let (code, report) = reconcile(&pipeline, &["--dry-run"]);
    assert_eq!(code, 1, "{report}");
    for (table, deleted) in tables.iter().zip(deleted) {
        assert_eq!(missing(&report, table), deleted, "{table}: {report}");
        let part = report["found"]
            .as_array()
            .unwrap()
            .iter()
            .find(|part| part["place"] == *table);
        assert!(
            part.unwrap()["rows"][0]["origin"]
                .as_str()
                .is_some_and(|origin| origin.contains('/'))
        );
    }
    assert_ne!(checksums(&pipeline), before, "nothing is written without --repair");

    let (code, report) = reconcile(&pipeline, &["--repair", "--yes"]);
    assert_eq!(code, 0, "{report}");
    for (table, deleted) in tables.iter().zip(deleted) {
        assert_eq!(written(&report, table), deleted, "{table}: {report}");
    }
    assert_eq!(written(&report, "bars"), bars, "{report}");
    // The copy in Redis is right as soon as the ticks that it is compared with are back.
    assert!(written(&report, "PostgreSQL") > 0, "{report}");
    assert_eq!(checksums(&pipeline), before);
    assert_eq!(pipeline.verify().unwrap().code, 0);

    let (code, report) = reconcile(&pipeline, &["--repair", "--yes"]);
    assert_eq!(
        (code, report["written"].as_array().map(Vec::len)),
        (0, Some(0)),
        "{report}"
    );
    assert_eq!(checksums(&pipeline), before);

    pipeline.stack().start(Service::Aggregation).unwrap();
    pipeline.stack().wait_ready(Service::Aggregation, PATIENCE).unwrap();
    // The writers that were fenced by the repair claim their partitions again.
    pipeline.publish_once(500, 74_000).unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn copies_that_are_missing_changed_or_invented_are_put_right() {
    let pipeline = filled();
    // A copy that is older than its life is not missing.
    pipeline.publish_once(500, 76_000).unwrap();
    pipeline.agree().unwrap();
    tamper_with_copies(&pipeline, &served(&pipeline));
    let (code, report) = reconcile(&pipeline, &["--store", "redis"]);
    let part = &report["found"][0];
    let counts = ["missing", "different", "surplus"].map(|wrong| part[wrong].as_u64());
    assert_eq!((code, counts), (1, [Some(1); 3]), "{report}");
    let (code, report) = reconcile(&pipeline, &["--store", "redis", "--repair", "--yes"]);
    assert_eq!((code, written(&report, "Redis")), (0, 3), "{report}");
    pipeline.agree().unwrap();
}

#[test]
fn rows_that_someone_has_changed_are_named_and_not_touched() {
    let pipeline = filled();
    pipeline.agree().unwrap();
    let sql = "SELECT tick_id FROM market_ticks ORDER BY cityHash64(tick_id, 7) LIMIT 2";
    let rows = pipeline.clickhouse.rows(sql).unwrap();
    let (changed, doubled) = (&rows[0][0], &rows[1][0]);
    let run = |sql: &str| pipeline.clickhouse.run(sql).unwrap();
    run(&format!(
        "ALTER TABLE market_ticks UPDATE price = price + 1 WHERE tick_id = '{changed}'"
    ));
    run(&format!(
        "INSERT INTO market_ticks SELECT * FROM market_ticks WHERE tick_id = '{doubled}'"
    ));
    let (code, report) = reconcile(&pipeline, &["--repair", "--yes"]);
    assert_eq!(
        (code, report["written"].as_array().map(Vec::len)),
        (1, Some(0)),
        "{report}"
    );
    let left: Vec<String> = report["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    for tick in [changed, doubled] {
        assert!(
            left.iter()
                .any(|left| left.contains(tick) && left.contains("dp sql --write")),
            "{left:?}"
        );
    }
    // What the report advises.
    run(&format!(
        "ALTER TABLE market_ticks DELETE WHERE tick_id IN ('{changed}', '{doubled}')"
    ));
    let (code, report) = reconcile(&pipeline, &["--store", "clickhouse", "--repair", "--yes"]);
    assert_eq!((code, written(&report, "market_ticks")), (0, 2), "{report}");
    pipeline.agree().unwrap();
}

#[test]
fn a_repair_under_load_that_is_killed_loses_and_doubles_nothing() {
    let pipeline = filled();
    pipeline.agree().unwrap();
    let until = pipeline
        .clickhouse
        .rows("SELECT toString(max(appended_at)) FROM market_ticks")
        .unwrap();
    let half = format!(
        "cityHash64(tick_id) % 2 = 0 AND appended_at <= toDateTime64('{}', 6, 'UTC')",
        until[0][0]
    );
    let there = || {
        let sql = format!("SELECT count() FROM market_ticks WHERE {half}");
        pipeline.clickhouse.number(&sql)
    };
    let before = there().unwrap();
    assert!(before > 100, "{before}");
    pipeline
        .clickhouse
        .run(&format!("ALTER TABLE market_ticks DELETE WHERE {half}"))
        .unwrap();

    let load = pipeline.publish(75);
    for _ in 0..3 {
        let mut run = pipeline
            .dp(&["reconcile", "--store", "clickhouse", "--repair", "--yes", "--wait", "1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = there().unwrap();
        eventually("the repair writes a part, or ends", || {
            Ok(there()? > began || run.try_wait()?.is_some())
        })
        .unwrap();
        let _ended = run.kill();
        run.wait().unwrap();
    }
    load.finish().unwrap();
    let (code, report) = reconcile(&pipeline, &["--repair", "--yes"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(there().unwrap(), before);
    pipeline.agree().unwrap();
}
