//! A row deleted, doubled or changed manually, in each store, or a view defined otherwise: `dp verify` finds and names it.

use e2e::{PATIENCE, Pipeline, RAW, Verified, eventually};
use localstack::Service;
use testkit::kafka::{Outgoing, Publisher};
use testkit::stores::Row;

/// The shared pipeline with enough ticks that every table has rows, including late ticks, whatever ran before.
pub(crate) fn filled() -> parking_lot::MutexGuard<'static, Pipeline> {
    let pipeline = Pipeline::shared();
    let number = |sql: &str| pipeline.clickhouse.number(sql).unwrap();
    let is_filled = number("SELECT count() FROM market_ticks") > 2_000
        && number("SELECT count() FROM late_ticks") > 2
        && number("SELECT uniqExact(tenant_id, instrument_id) FROM enriched_ticks") > 2;
    if !is_filled {
        pipeline.publish_once(4_000, 60_000).unwrap();
        pipeline.agree().unwrap();
    }
    pipeline
}

/// Tampers with a table of ClickHouse, runs `dp verify`, and restores the table. Aggregation is stopped meanwhile: in an idle
/// partition it closes bars by the wall clock, and would compute them from what is tampered with.
fn tampered(pipeline: &Pipeline, table: &str, statements: &[String]) -> Verified {
    let run = |sql: &str| pipeline.clickhouse.run(sql).unwrap();
    pipeline.agree().unwrap();
    pipeline.stack().stop(Service::Aggregation).unwrap();
    run("DROP TABLE IF EXISTS untouched");
    run(&format!(
        "CREATE TABLE untouched ENGINE = MergeTree ORDER BY tuple() AS SELECT * FROM {table}"
    ));
    for statement in statements {
        run(statement);
    }
    let verified = pipeline.verify().unwrap();
    run(&format!("SYSTEM START MERGES {table}"));
    run(&format!("TRUNCATE TABLE {table}"));
    run(&format!("INSERT INTO {table} SELECT * FROM untouched"));
    run("DROP TABLE untouched");
    pipeline.stack().start(Service::Aggregation).unwrap();
    pipeline.stack().wait_ready(Service::Aggregation, PATIENCE).unwrap();
    assert_eq!(verified.code, 1, "{}", verified.report);
    verified
}

/// Deletes the first tick, doubles the second and changes the price of the third. All three must be named.
fn tamper_with_ticks(table: &str) {
    let pipeline = filled();
    let rows = pipeline
        .clickhouse
        .rows(&format!(
            "SELECT tick_id, raw_partition, raw_offset, raw_index FROM {table} ORDER BY cityHash64(tick_id) LIMIT 3"
        ))
        .unwrap();
    let [deleted, doubled, changed] = <[Row; 3]>::try_from(rows).unwrap();
    let is = |row: &Row| {
        format!(
            "raw_partition = {} AND raw_offset = {} AND raw_index = {}",
            row[1], row[2], row[3]
        )
    };
    let verified = tampered(
        &pipeline,
        table,
        &[
            format!("ALTER TABLE {table} DELETE WHERE {}", is(&deleted)),
            format!("INSERT INTO {table} SELECT * FROM {table} WHERE {}", is(&doubled)),
            format!("ALTER TABLE {table} UPDATE price = price + 1 WHERE {}", is(&changed)),
        ],
    );
    assert!(
        verified.names(&[&deleted[0], "is missing"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&doubled[0], "is stored 2 times"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&changed[0], "price is"]),
        "{:?}",
        verified.differences()
    );
    pipeline.agree().unwrap();
}

#[test]
fn a_normalized_tick_deleted_doubled_or_changed_is_named() {
    tamper_with_ticks("market_ticks");
}

#[test]
fn an_enriched_tick_deleted_doubled_or_changed_is_named() {
    tamper_with_ticks("enriched_ticks");
}

#[test]
fn a_changed_enrichment_column_is_named() {
    let pipeline = filled();
    let rows = pipeline
        .clickhouse
        .rows("SELECT tick_id FROM enriched_ticks ORDER BY cityHash64(tick_id, 1) LIMIT 2")
        .unwrap();
    let (commodity, flags) = (&rows[0][0], &rows[1][0]);
    let verified = tampered(
        &pipeline,
        "enriched_ticks",
        &[
            format!("ALTER TABLE enriched_ticks UPDATE commodity = 'tulips' WHERE tick_id = '{commodity}'"),
            format!("ALTER TABLE enriched_ticks UPDATE quality_flags = ['duplicate'] WHERE tick_id = '{flags}'"),
        ],
    );
    assert!(
        verified.names(&[commodity, "commodity is tulips"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[flags, "quality_flags is duplicate"]),
        "{:?}",
        verified.differences()
    );
    pipeline.agree().unwrap();
}

#[test]
fn a_bar_deleted_doubled_or_changed_is_named() {
    let pipeline = filled();
    let rows = pipeline
        .clickhouse
        .rows(
            "SELECT tenant_id, instrument_id, interval, toString(window_start), max(version), argMax(src_offset, version), \
             argMax(src_partition, version) FROM bars WHERE interval = '5m' \
             GROUP BY tenant_id, instrument_id, interval, window_start ORDER BY cityHash64(instrument_id, window_start) LIMIT 3",
        )
        .unwrap();
    let [deleted, doubled, changed] = <[Row; 3]>::try_from(rows).unwrap();
    let is = |row: &Row| {
        format!(
            "tenant_id = '{}' AND instrument_id = '{}' AND interval = '5m' AND window_start = '{}'",
            row[0], row[1], row[3]
        )
    };
    let name = |row: &Row| format!("{}/{}/5m/{}", row[0], row[1], row[3]);
    let verified = tampered(
        &pipeline,
        "bars",
        &[
            format!("ALTER TABLE bars DELETE WHERE {}", is(&deleted)),
            format!("ALTER TABLE bars UPDATE high = high + 1 WHERE {}", is(&changed)),
            // A merge would remove one of the copies, because they have the same version.
            "SYSTEM STOP MERGES bars".to_owned(),
            format!(
                "INSERT INTO bars SELECT * FROM bars WHERE {} AND version = {}",
                is(&doubled),
                doubled[4]
            ),
        ],
    );
    assert!(
        verified.names(&[&name(&deleted), "is missing"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&name(&doubled), "2 times"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&name(&changed), "high is"]),
        "{:?}",
        verified.differences()
    );
    pipeline.agree().unwrap();
}

/// A message with the price of five minutes, at 11 o'clock of a Thursday in the zone of the market's contracts.
const PRICE_BY_DAY: &str = r#"{"envelope":{"event_type":"tick","event_id":"merged-1","timestamp":"2026-10-01T15:00:00Z","tenant_id":"default","source":"merged","version":"1.0"},"payload":{"market":"MISO","instrument_id":"MERGED.HUB.RT5","raw_data":{"timestamp":"2026-10-01T15:00:00Z","price":31.5,"volume":2}}}"#;

// A view has no rows that could be changed, but its definition can.
#[test]
fn a_view_of_blocks_with_another_peak_hour_is_named() {
    let pipeline = Pipeline::shared();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let message = Outgoing {
        partition: Some(1),
        key: Some("MERGED.HUB.RT5".to_owned()),
        payload: PRICE_BY_DAY.as_bytes().to_vec(),
        headers: Vec::new(),
    };
    publisher.send(&message).unwrap();
    publisher.finish().unwrap();
    let block = "SELECT count() FROM bars_blocks WHERE instrument_id = 'MERGED.HUB.RT5' AND block = '5x16'";
    eventually(block, || Ok(pipeline.clickhouse.number(block)? == 1)).unwrap();
    pipeline.agree().unwrap();
    let definition =
        "SELECT create_table_query FROM system.tables WHERE database = currentDatabase() AND name = 'market_hours'";
    let rows = pipeline.clickhouse.rows(definition).unwrap();
    let replaces = rows[0][0].replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1);
    // Of this instrument only, since a report names the first differences.
    let other = replaces.replace(
        "hour < 23",
        "if(instrument_id = 'MERGED.HUB.RT5', hour < 11, hour < 23)",
    );
    assert_ne!(other, replaces);
    pipeline.clickhouse.run(&other).unwrap();
    let verified = pipeline.verify().unwrap();
    // As the report says.
    pipeline.clickhouse.run("DROP VIEW market_hours").unwrap();
    pipeline.dp_ok(&["migrate"]).unwrap();
    assert_eq!(verified.code, 1, "{}", verified.report);
    assert_eq!(verified.failed(), ["bars_blocks: rows match the bars of their hours"]);
    let of_day = "MERGED.HUB.RT5/2026-10-01";
    assert!(
        verified.names(&[&format!("{of_day}/5x16"), "is missing"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&format!("{of_day}/7x8"), "no bar of an hour is merged into it"]),
        "{:?}",
        verified.differences()
    );
    let notes = verified.report["notes"].to_string();
    assert!(notes.contains("DROP VIEW"), "{notes}");
    pipeline.agree().unwrap();
}

#[test]
fn a_late_tick_deleted_doubled_or_changed_is_named() {
    let pipeline = filled();
    let rows = pipeline
        .clickhouse
        .rows("SELECT tick_id FROM late_ticks ORDER BY cityHash64(tick_id) LIMIT 3")
        .unwrap();
    let [deleted, doubled, changed] = <[Row; 3]>::try_from(rows).unwrap();
    let verified = tampered(
        &pipeline,
        "late_ticks",
        &[
            format!("ALTER TABLE late_ticks DELETE WHERE tick_id = '{}'", deleted[0]),
            format!(
                "INSERT INTO late_ticks SELECT * FROM late_ticks WHERE tick_id = '{}'",
                doubled[0]
            ),
            format!(
                "ALTER TABLE late_ticks UPDATE price = price + 1 WHERE tick_id = '{}'",
                changed[0]
            ),
        ],
    );
    assert!(
        verified.names(&[&deleted[0], "is missing"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&doubled[0], "is stored 2 times"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&changed[0], "price is"]),
        "{:?}",
        verified.differences()
    );
    pipeline.agree().unwrap();
}

#[test]
fn a_served_price_in_postgres_deleted_doubled_or_changed_is_named() {
    let pipeline = filled();
    let run = |sql: &str| pipeline.postgres.rows(sql).unwrap();
    let rows = run(
        "SELECT tenant_id, instrument_id FROM served_latest_prices WHERE generation = '' ORDER BY md5(instrument_id) LIMIT 3",
    );
    let [deleted, doubled, changed] = <[Row; 3]>::try_from(rows).unwrap();
    let is = |row: &Row| {
        format!(
            "generation = '' AND tenant_id = '{}' AND instrument_id = '{}'",
            row[0], row[1]
        )
    };
    run("DROP TABLE IF EXISTS untouched");
    run("CREATE TABLE untouched AS SELECT * FROM served_latest_prices");
    run(&format!("DELETE FROM served_latest_prices WHERE {}", is(&deleted)));
    // The primary key allows a second row only with another instrument id.
    const REST: &str = "price, volume, event_time, feed, raw_partition, raw_offset, raw_index, src_partition, market, product, \
                        currency, unit, quality_flags, appended_at, updated_at";
    run(&format!(
        "INSERT INTO served_latest_prices (generation, tenant_id, instrument_id, {REST}) \
         SELECT generation, tenant_id, 'A_COPY', {REST} FROM served_latest_prices WHERE {}",
        is(&doubled)
    ));
    run(&format!(
        "UPDATE served_latest_prices SET price = price + 1 WHERE {}",
        is(&changed)
    ));
    let verified = pipeline.verify().unwrap();
    run("BEGIN; DELETE FROM served_latest_prices; INSERT INTO served_latest_prices SELECT * FROM untouched; COMMIT");
    run("DROP TABLE untouched");
    pipeline.stack().start(Service::Aggregation).unwrap();
    pipeline.stack().wait_ready(Service::Aggregation, PATIENCE).unwrap();
    assert_eq!(verified.code, 1, "{}", verified.report);
    assert!(
        verified.names(&[&format!("{} of tenant", deleted[1]), "is not served"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&["A_COPY", "has no tick"]),
        "{:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[&format!("{} of tenant", changed[1]), "price is"]),
        "{:?}",
        verified.differences()
    );
    pipeline.agree().unwrap();
}

#[test]
fn a_served_price_in_redis_deleted_doubled_or_changed_is_named() {
    let pipeline = filled();
    let redis = |command: &[&str]| pipeline.redis.run(command).unwrap();
    let pairs = pipeline.redis.with_prefix("served:latest_price:").unwrap();
    let [(deleted, first), (doubled, second), (changed, third)] = &pairs[..3] else {
        panic!("too few keys")
    };
    redis(&["DEL", deleted]);
    redis(&["SET", "served:latest_price:default:A_COPY", second]);
    let price = third
        .split("\"price\":")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .unwrap();
    redis(&[
        "SET",
        changed,
        &third.replace(&format!("\"price\":{price}"), "\"price\":123456.789"),
    ]);
    let verified = pipeline.verify().unwrap();
    redis(&["SET", deleted, first, "EX", "3600"]);
    redis(&["SET", changed, third, "EX", "3600"]);
    redis(&["DEL", "served:latest_price:default:A_COPY"]);
    assert_eq!(verified.code, 1, "{}", verified.report);
    assert!(verified.names(&[deleted, "is missing"]), "{:?}", verified.differences());
    assert!(
        verified.names(&["A_COPY", "has no tick"]),
        "{doubled}: {:?}",
        verified.differences()
    );
    assert!(
        verified.names(&[changed, "price is 123456.789 instead of"]),
        "{:?}",
        verified.differences()
    );
    pipeline.agree().unwrap();
}
