//! Derived series: every value follows from the ticks in the table, whatever order they came in, and aggregation is killed halfway.

use e2e::{Pipeline, RAW, build_programs, eventually, prompt_rows};
use fastrand::Rng;
use localstack::{Service, Temporary};
use serde_json::{Value, json};
use testkit::kafka::{Outgoing, Publisher};
use testkit::times::iso;

use crate::repair::deleted_versions_are_written_again;
use crate::served_by_name::changed_derived_prices_are_named;

const TENANT: &str = "derived";
/// A tenant with prices of the same legs.
const OTHER: &str = "derived-too";
const SECOND: i64 = 1_000_000;
const SERIES: &str = "basis:basis:local=D.LOCAL:reference=D.REFERENCE:max_age=60s,\
                      spark:spark_spread:power=D.POWER:gas=D.GAS:heat_rate=7.5:max_age=10m,\
                      heat:implied_heat_rate:power=D.POWER:gas=D.GAS:max_age=10m,\
                      quote:bid_ask_spread:quote=D.LOCAL,\
                      taken:basis:local=D.WIDE:reference=D.SPOT:max_age=60s,\
                      mean:basis:local=D.LOCAL:reference=D.REFERENCE:max_age=60s:rolling=mean:count=20,\
                      score:spark_spread:power=D.POWER:gas=D.GAS:heat_rate=7.5:max_age=10m:rolling=z_score:window=10m";

fn message(id: &str, instrument: &str, product: &str, time: i64, price: &str) -> Outgoing {
    message_of(TENANT, (id, instrument, product), time, price)
}

fn message_of(tenant: &str, (id, instrument, product): (&str, &str, &str), time: i64, price: &str) -> Outgoing {
    let unit = if instrument == "D.GAS" { "MMBtu" } else { "MWh" };
    let payload = json!({
        "envelope": {"event_type": "tick", "event_id": id, "timestamp": iso(time), "tenant_id": tenant, "source": "s", "version": "1.0"},
        "payload": {"market": "MISO", "instrument_id": instrument,
            "raw_data": {"timestamp": iso(time), "product": product, "price": price, "volume": 1, "bid": price, "ask": "100", "unit": unit}},
    });
    Outgoing {
        partition: Some(i32::from(instrument.len() as u8 % 4)),
        key: Some(instrument.to_owned()),
        payload: payload.to_string().into_bytes(),
        headers: Vec::new(),
    }
}

fn publish(pipeline: &Pipeline, messages: &[Outgoing]) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for message in messages {
        publisher.send(message).unwrap();
    }
    publisher.finish().unwrap();
}

/// Ticks of half an hour: trades every few seconds, intervals of five minutes, all in random order, with gaps after which a leg is stale.
fn ticks(random: &mut Rng, start: i64) -> Vec<Outgoing> {
    let mut all = Vec::new();
    for at in 0..360 {
        let time = start + at * 5 * SECOND;
        for (instrument, gap) in [("D.LOCAL", 200..220), ("D.REFERENCE", 100..140), ("D.GAS", 230..360)] {
            if !gap.contains(&at) && random.u8(..3) > 0 {
                let time = time + random.i64(0..5_000) * 1_000;
                let price = format!("{}.{:02}", random.u32(1..90), random.u32(..100));
                all.push(message(
                    &format!("{instrument}-{at}"),
                    instrument,
                    "trade",
                    time,
                    &price,
                ));
            }
        }
        if at % 60 == 0 {
            let price = format!("{}.5", random.i32(-20..80));
            all.push(message(&format!("D.POWER-{at}"), "D.POWER", "rt5", time, &price));
        }
    }
    random.shuffle(&mut all);
    all
}

/// The best price of each instrument and time, from the table.
fn prices(instrument: &str) -> String {
    format!(
        "(SELECT 1 AS one, timestamp, argMax(price, (ifNull(sequence, 0), toString(feed), raw_partition, raw_offset, raw_index)) AS price, \
         any(if(kind = 'interval', timestamp + INTERVAL 300 SECOND, NULL)) AS ends \
         FROM enriched_ticks WHERE tenant_id = '{TENANT}' AND instrument_id = '{instrument}' GROUP BY timestamp)"
    )
}

/// The values of a series by SQL alone: time, value, and the prices of both legs.
fn expected(value: &str, first: &str, second: &str, max_age: i64) -> String {
    let (one, other) = (prices(first), prices(second));
    let counts = |leg: &str| {
        format!(
            "if(isNull({leg}.ends), dateDiff('microsecond', {leg}.timestamp, t.timestamp) <= {max_age} * 1000000, t.timestamp < {leg}.ends)"
        )
    };
    format!(
        "SELECT toString(t.timestamp), ifNull(toString({value}), ''), toString(a.price), toString(b.price) \
         FROM (SELECT DISTINCT 1 AS one, timestamp FROM (SELECT one, timestamp FROM {one} UNION ALL SELECT one, timestamp FROM {other})) AS t \
         ASOF JOIN {one} AS a ON t.one = a.one AND t.timestamp >= a.timestamp \
         ASOF JOIN {other} AS b ON t.one = b.one AND t.timestamp >= b.timestamp \
         WHERE {} AND {} ORDER BY t.timestamp",
        counts("a"),
        counts("b"),
    )
}

fn found(series: &str) -> String {
    format!(
        "SELECT toString(timestamp), ifNull(toString(value), ''), toString(first_price), toString(second_price) \
         FROM derived_prices_latest WHERE tenant_id = '{TENANT}' AND series = '{series}' ORDER BY timestamp"
    )
}

/// Waits until all published ticks are stored, and every series has exactly its values.
fn agree(pipeline: &Pipeline, published: usize) -> usize {
    let stored = format!("SELECT count() FROM enriched_ticks WHERE tenant_id = '{TENANT}'");
    eventually("the ticks are stored", || {
        Ok(pipeline.clickhouse.number(&stored)? == published as i128)
    })
    .unwrap();
    let difference = "a.price - b.price";
    let spark = "toDecimal128(a.price, 8) - toDecimal128('7.5', 1) * b.price";
    let heat = "roundBankers(divideDecimal(toDecimal128(a.price, 8), toDecimal128(b.price, 8), 20), 8)";
    let mut rows = 0;
    for (series, value, (first, second), max_age) in [
        ("basis", difference, ("D.LOCAL", "D.REFERENCE"), 60),
        ("spark", spark, ("D.POWER", "D.GAS"), 600),
        ("heat", heat, ("D.POWER", "D.GAS"), 600),
    ] {
        let wanted = pipeline
            .clickhouse
            .rows(&expected(value, first, second, max_age))
            .unwrap();
        let mut last = Vec::new();
        let same = eventually(series, || {
            last = pipeline.clickhouse.rows(&found(series))?;
            Ok(last == wanted)
        });
        let differing = last.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
        assert!(
            same.is_ok(),
            "{series}: {} rows instead of {}, first difference {differing:?}",
            last.len(),
            wanted.len()
        );
        rows += wanted.len();
    }
    rows
}

/// Time and value, as an integer at scale 8, of each row of a series.
fn numbers(pipeline: &Pipeline, series: &str) -> anyhow::Result<Vec<(String, Option<i128>)>> {
    let sql = format!(
        "SELECT toString(timestamp), if(isNull(value), '', toString(reinterpretAsInt64(assumeNotNull(value)))) \
         FROM derived_prices_latest WHERE tenant_id = '{TENANT}' AND series = '{series}' ORDER BY timestamp"
    );
    let rows = pipeline.clickhouse.rows(&sql)?;
    Ok(rows.iter().map(|row| (row[0].clone(), row[1].parse().ok())).collect())
}

/// Each rolling mean is that of the last 20 values of the same basis, rounded half to even, and null where there are fewer.
fn means_are_those_of_the_last_values(pipeline: &Pipeline) {
    let mean = |values: &[i128]| {
        let last = values.get(values.len().checked_sub(20)?..)?;
        let sum: i128 = last.iter().sum();
        let (floor, rest) = (sum.div_euclid(20), sum.rem_euclid(20));
        Some(floor + i128::from(rest > 10 || (rest == 10 && floor % 2 != 0)))
    };
    let mut values = Vec::new();
    let mut expected = Vec::new();
    for (time, value) in numbers(pipeline, "basis").unwrap() {
        values.extend(value);
        expected.push((time, value.and_then(|_| mean(&values))));
    }
    assert!(expected.iter().filter(|(_, mean)| mean.is_some()).count() > 100);
    let mut last = Vec::new();
    let same = eventually("rolling means", || {
        last = numbers(pipeline, "mean")?;
        Ok(last == expected)
    });
    let differing = last.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert!(
        same.is_ok(),
        "{} rows instead of {}, first {differing:?}",
        last.len(),
        expected.len()
    );
    let scores = numbers(pipeline, "score").unwrap();
    assert!(scores.iter().any(|(_, score)| score.is_some_and(|score| score < 0)));
}

#[test]
fn derived_prices_are_those_of_their_ticks_while_aggregation_is_killed() {
    build_programs().unwrap();
    let mut stack = Temporary::new().unwrap();
    let series = ("AGGREGATION_DERIVED_SERIES".to_owned(), SERIES.to_owned());
    stack.config_mut().service_env.extend([prompt_rows(), series]);
    let pipeline = Pipeline::on(stack).unwrap();
    let now = pipeline
        .clickhouse
        .number("SELECT toUnixTimestamp64Micro(now64(6))")
        .unwrap();
    let start = (i64::try_from(now).unwrap() / (300 * SECOND) - 8) * 300 * SECOND;
    let mut random = Rng::with_seed(16);
    let ticks = ticks(&mut random, start);

    let (first, second) = ticks.split_at(ticks.len() / 2);
    publish(&pipeline, first);
    let any = format!("SELECT count() FROM derived_prices WHERE tenant_id = '{TENANT}'");
    eventually("derived prices arrive", || Ok(pipeline.clickhouse.number(&any)? > 0)).unwrap();
    publish(&pipeline, second);
    pipeline.kill_and_restart(Service::Aggregation).unwrap();
    let rows = agree(&pipeline, ticks.len());
    assert!(rows > 300, "{rows}");

    // A correction of the interval that begins at `start`, and a trade that comes late; again with a kill before they are written.
    let corrections = [
        message("CORRECTED", "D.POWER", "rt5", start, "-12.25"),
        message("LATE", "D.REFERENCE", "trade", start + 33 * SECOND + 7, "3.75"),
    ];
    publish(&pipeline, &corrections);
    pipeline.kill_and_restart(Service::Aggregation).unwrap();
    agree(&pipeline, ticks.len() + corrections.len());
    means_are_those_of_the_last_values(&pipeline);
    let revised = |series: &str, cause: &str| {
        let sql = format!(
            "SELECT count() FROM derived_prices_latest WHERE tenant_id = '{TENANT}' AND series = '{series}' AND revision > 0 AND cause = '{cause}'"
        );
        pipeline.clickhouse.number(&sql).unwrap()
    };
    assert!(revised("spark", "correction") > 0);
    assert!(revised("basis", "late") > 0);
    // A version has one content, whoever wrote it.
    let differing = "SELECT count() FROM (SELECT tenant_id, series, timestamp, version FROM derived_prices \
                     GROUP BY tenant_id, series, timestamp, version HAVING uniqExact(concat(ifNull(toString(value), ''), '|', toString(revision), '|', cause, '|', \
                     ifNull(first_origin, ''), '|', ifNull(second_origin, ''))) > 1)";
    assert_eq!(pipeline.clickhouse.number(differing).unwrap(), 0);
    another_tenant_has_values_of_its_own(&pipeline, start);
    route(&pipeline);
    known_then(&pipeline);
    pipeline.agree().unwrap();
    a_stale_leg_gives_no_value_and_is_counted(&pipeline, start);
    deleted_values_are_written_again(&pipeline);
    changed_derived_prices_are_named(&pipeline, TENANT, ["basis", "spark", "quote"]);
    a_lost_null_is_found(&pipeline, start);
    wrong_values_are_named(&pipeline);
    explained(&pipeline);
}

/// The same series of the same legs, at prices that the first tenant never has.
fn another_tenant_has_values_of_its_own(pipeline: &Pipeline, start: i64) {
    let rows = |tenant: &str, condition: &str| {
        let sql = format!(
            "SELECT ifNull(toString(value), ''), toString(first_price), toString(second_price) FROM derived_prices_latest \
             WHERE tenant_id = '{tenant}' AND series = 'basis' AND {condition} ORDER BY timestamp"
        );
        pipeline.clickhouse.rows(&sql)
    };
    let first = rows(TENANT, "true").unwrap();
    let (local, reference) = (start + 60 * SECOND, start + 61 * SECOND);
    let messages = [
        message_of(OTHER, ("OTHER-LOCAL", "D.LOCAL", "trade"), local, "1000.25"),
        message_of(OTHER, ("OTHER-REFERENCE", "D.REFERENCE", "trade"), reference, "400"),
    ];
    publish(pipeline, &messages);
    let mut last = Vec::new();
    let found = eventually("the other tenant has its basis", || {
        last = rows(OTHER, "true")?;
        Ok(last == [["600.25", "1000.25", "400"]])
    });
    assert!(found.is_ok(), "{last:?}");
    assert_eq!(rows(TENANT, "true").unwrap(), first);
    assert!(
        rows(TENANT, "(first_price = 1000.25 OR second_price = 400)")
            .unwrap()
            .is_empty()
    );
    let answer = |tenant: &str| -> Value {
        let (from, to) = (iso(local), iso(reference + 1));
        let target = format!("/derived/basis?tenant_id={tenant}&from={from}&to={to}&limit=1000");
        let (status, body) = pipeline.get(Service::Aggregation, &target).unwrap();
        assert_eq!(status, 200, "{target}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let other = answer(OTHER);
    assert_eq!(other["values"].as_array().map(Vec::len), Some(1), "{other}");
    assert_eq!(other["values"][0]["value"].as_f64(), Some(600.25), "{other}");
    let own = answer(TENANT);
    let is_foreign = |value: &Value| value["legs"].to_string().contains("1000.25");
    assert!(!own["values"].as_array().unwrap().iter().any(is_foreign), "{own}");
}

/// What a running service counts for the reason that a leg is stale.
fn stale(pipeline: &Pipeline) -> anyhow::Result<f64> {
    let (_, scrape) = pipeline.get(Service::Aggregation, "/metrics")?;
    let of_reason =
        |line: &&str| line.starts_with("derived_values_skipped_total{") && line.contains("reason=\"stale\"");
    let values = scrape
        .lines()
        .filter(of_reason)
        .filter_map(|line| line.rsplit_once(' '));
    Ok(values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum())
}

/// A trade two minutes after the last price of the other leg of the basis, which counts for one. The bid/ask spread of the same trade is in the
/// table, so the writer has passed it.
fn a_stale_leg_gives_no_value_and_is_counted(pipeline: &Pipeline, start: i64) {
    let (before, time) = (stale(pipeline).unwrap(), start + 1_920 * SECOND);
    publish(pipeline, &[message("STALE", "D.LOCAL", "trade", time, "41.5")]);
    let mut counted = before;
    let is_counted = eventually("the stale leg is counted", || {
        counted = stale(pipeline)?;
        Ok(counted > before)
    });
    assert!(is_counted.is_ok(), "{counted} after {before}");
    let values = |series: &str| {
        let sql = format!(
            "SELECT count() FROM derived_prices WHERE tenant_id = '{TENANT}' AND series = '{series}' \
             AND toUnixTimestamp64Micro(timestamp) >= {time}"
        );
        pipeline.clickhouse.number(&sql)
    };
    eventually("the trade has its bid/ask spread", || Ok(values("quote")? == 1)).unwrap();
    assert_eq!((values("basis").unwrap(), values("mean").unwrap()), (0, 0));
}

/// Some values, and the newest of each partition, which the writer's position follows from.
fn deleted_values_are_written_again(pipeline: &Pipeline) {
    let values = format!("(SELECT * FROM derived_prices_latest WHERE tenant_id = '{TENANT}' AND isNotNull(value))");
    let sql = format!(
        "SELECT src_partition, src_offset FROM ((SELECT src_partition, src_offset FROM {values} ORDER BY cityHash64(series, timestamp) LIMIT 5) \
         UNION DISTINCT (SELECT src_partition, src_offset FROM {values} ORDER BY src_offset DESC LIMIT 1 BY src_partition))"
    );
    let rows = pipeline.clickhouse.rows(&sql).unwrap();
    let places: Vec<String> = rows.iter().map(|row| format!("({}, {})", row[0], row[1])).collect();
    let doomed = format!("(src_partition, src_offset) IN ({})", places.join(", "));
    deleted_versions_are_written_again(pipeline, "derived_prices", &doomed);
}

/// A price of a quarter of an hour is replaced by one of five minutes, so the value ten minutes later is taken back. Its row says null, and is
/// missed as any other. PostgreSQL and Redis serve null, too.
fn a_lost_null_is_found(pipeline: &Pipeline, start: i64) {
    let of = |condition: &str| format!("tenant_id = '{TENANT}' AND series = 'taken' AND {condition}");
    let arrives = |condition: &str| {
        let sql = format!("SELECT count() FROM derived_prices_latest WHERE {}", of(condition));
        eventually(condition, || Ok(pipeline.clickhouse.number(&sql)? == 1)).unwrap();
    };
    let spot = message("SPOT", "D.SPOT", "trade", start + 600 * SECOND, "3");
    publish(pipeline, &[message("WIDE", "D.WIDE", "rt15", start, "7"), spot]);
    arrives("value = 4");
    served_value_is(pipeline, "taken", Some(4.0));
    publish(pipeline, &[message("NARROW", "D.WIDE", "rt5", start, "8")]);
    arrives("isNull(value)");
    served_value_is(pipeline, "taken", None);
    deleted_versions_are_written_again(pipeline, "derived_prices", &of("isNull(value)"));
}

/// Waits until this is the newest value of the series in PostgreSQL and in Redis; `None` is null.
fn served_value_is(pipeline: &Pipeline, series: &str, expected: Option<f64>) {
    let sql = format!(
        "SELECT price::text FROM served_derived_prices WHERE generation = '' AND tenant_id = '{TENANT}' AND series = '{series}'"
    );
    let key = format!("served:custom:derived_price:{TENANT}:{series}");
    let mut last = Vec::new();
    let is_served = eventually("both stores serve the value", || {
        let row = pipeline.postgres.rows(&sql)?.into_iter().flatten().next();
        let copy = pipeline.redis.run(&["GET", &key])?.into_iter().flatten().next();
        last = row.into_iter().chain(copy).collect();
        let shows = |text: &String| {
            let shown: Value = serde_json::from_str(text).unwrap();
            let value = shown.get("value").unwrap();
            expected.map_or(value.is_null(), |number| value.as_f64() == Some(number))
        };
        Ok(last.len() == 2 && last.iter().all(shows))
    });
    assert!(is_served.is_ok(), "{last:?} instead of {expected:?}");
}

/// `dp verify` names a value that is missing, one with a wrong number, one that nothing explains, and one that has lost an earlier version; it
/// changes nothing itself.
fn wrong_values_are_named(pipeline: &Pipeline) {
    let table = "derived_prices";
    let columns = pipeline.clickhouse.rows(&format!("DESCRIBE TABLE {table}")).unwrap();
    let columns: Vec<&str> = columns.iter().map(|column| column[0].as_str()).collect();
    let of = |series: &str| format!("tenant_id = '{TENANT}' AND series = '{series}'");
    let newest = |series: &str| {
        let sql = format!("SELECT toString(max(timestamp)) FROM {table} WHERE {}", of(series));
        pipeline.clickhouse.rows(&sql).unwrap()[0][0].clone()
    };
    // The basis loses its newest value; the spark spread gets a version with another number; the heat rate a value at a time without price.
    let (lost, changed) = (newest("basis"), newest("spark"));
    let copy = |series: &str, time: &str, changes: &[(&str, &str)]| {
        let value = |column: &&str| {
            let change = changes.iter().find(|(name, _)| name == column);
            change.map_or_else(|| (*column).to_owned(), |(_, value)| (*value).to_owned())
        };
        let values: Vec<String> = columns.iter().map(value).collect();
        let sql = format!(
            "INSERT INTO {table} SELECT {} FROM (SELECT * FROM {table} WHERE {} AND timestamp = '{time}' ORDER BY version DESC LIMIT 1)",
            values.join(", "),
            of(series)
        );
        pipeline.clickhouse.run(&sql).unwrap();
    };
    let lost_value = format!("{} AND timestamp = '{lost}'", of("basis"));
    // Of the value that was taken back.
    let earlier_version = format!("{} AND value = 4", of("taken"));
    for doomed in [lost_value, earlier_version] {
        let delete = format!("ALTER TABLE {table} DELETE WHERE {doomed}");
        pipeline.clickhouse.run(&delete).unwrap();
    }
    copy(
        "spark",
        &changed,
        &[
            ("value", "value + 1"),
            ("version", "version + 1"),
            ("src_offset", "src_offset + 1000000000"),
        ],
    );
    copy(
        "heat",
        &newest("heat"),
        &[
            ("timestamp", "timestamp + INTERVAL 1 MILLISECOND"),
            ("src_offset", "src_offset + 2000000000"),
        ],
    );
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 1, "{}", verified.report);
    let time = |text: &str| text.replace(' ', "T");
    let named = |parts: &[&str]| assert!(verified.names(parts), "{parts:?}: {:?}", verified.differences());
    let seconds = |text: &str| time(&text[..19]);
    named(&[
        &format!("{TENANT}/basis/"),
        &seconds(&lost),
        "is missing",
        "dp explain derived basis --at",
    ]);
    named(&[
        &format!("{TENANT}/spark/"),
        &seconds(&changed),
        "value is",
        "instead of",
        &format!("--tenant {TENANT}"),
    ]);
    named(&[&format!("{TENANT}/heat/"), "no leg has a price at this time"]);
    named(&[
        &format!("{TENANT}/taken/"),
        "has 1 of 2 versions",
        "dp explain derived taken --at",
    ]);
}

/// `dp explain derived` leads to the legs and their messages, and finds the changed number; a row leads to the values that use it.
fn explained(pipeline: &Pipeline) {
    let explain = |arguments: &[&str]| -> (Value, Option<i32>) {
        let output = pipeline
            .dp(&[&["explain", "--json"], arguments].concat())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let json = serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        (json, output.status.code())
    };
    let (trace, code) = explain(&["derived", "basis", "--tenant", TENANT]);
    assert_eq!((code, &trace["agrees"]), (Some(0), &json!(true)), "{trace:#}");
    assert_eq!(trace["recomputed"], trace["versions"][0]["value"], "{trace:#}");
    assert_eq!(trace["legs"][0]["instrument_id"], "D.LOCAL", "{trace:#}");
    let origin = trace["legs"][1]["origin"].as_str().unwrap();
    assert_eq!(trace["legs"][1]["tick"]["tick_id"], origin, "{trace:#}");
    assert!(
        trace["raw"][0]["kept"]["content"]["bytes"]
            .as_str()
            .unwrap()
            .contains("raw_data"),
        "{trace:#}"
    );
    let (rolling, code) = explain(&["derived", "mean", "--tenant", TENANT]);
    assert_eq!((code, &rolling["recomputed"]), (Some(0), &Value::Null), "{rolling:#}");
    assert_eq!(rolling["kind"], "basis_rolling_mean", "{rolling:#}");
    let (row, code) = explain(&["row", "--table", "derived_prices", "--origin", origin]);
    assert_eq!(code, Some(0), "{row:#}");
    let uses = row["table_rows"].as_array().unwrap();
    assert!(
        !uses.is_empty() && uses.iter().all(|row| row["series"].is_string()),
        "{row:#}"
    );
    let (wrong, code) = explain(&["derived", "spark", "--tenant", TENANT]);
    assert_eq!((code, &wrong["agrees"]), (Some(1), &json!(false)), "{wrong:#}");
    let words = pipeline
        .dp_ok(&["explain", "derived", "basis", "--tenant", TENANT])
        .unwrap();
    assert!(
        words.contains("recomputed from its legs: same") && words.contains("D.REFERENCE"),
        "{words}"
    );
}

/// `as_of` shows a corrected value as it was before the correction was appended, and no value before the first price. No version is known
/// before its prices were appended.
fn known_then(pipeline: &Pipeline) {
    let used = format!(
        "(SELECT arrayJoin([first_origin, second_origin]) AS origin, log_clock FROM derived_prices WHERE tenant_id = '{TENANT}') AS d \
         INNER JOIN (SELECT tick_id, appended_at FROM enriched_ticks WHERE tenant_id = '{TENANT}') AS t ON d.origin = t.tick_id"
    );
    let early = format!("SELECT count() > 0, countIf(t.appended_at > d.log_clock) FROM {used}");
    assert_eq!(pipeline.clickhouse.rows(&early).unwrap(), [["1", "0"]]);
    let of = format!("tenant_id = '{TENANT}' AND series = 'spark'");
    let sql = format!(
        "SELECT toString(timestamp), toString(timestamp + INTERVAL 1 MICROSECOND), toString(version), ifNull(toString(value), ''), toString(log_clock) \
         FROM derived_prices FINAL WHERE {of} AND timestamp = (SELECT argMax(timestamp, version) FROM derived_prices WHERE {of} AND revision > 0) \
         ORDER BY version DESC LIMIT 2"
    );
    let versions = pipeline.clickhouse.rows(&sql).unwrap();
    assert_eq!(versions.len(), 2, "{versions:?}");
    assert!(versions[0][4] > versions[1][4], "{versions:?}");
    let iso = |text: &str| format!("{}Z", text.replace(' ', "T"));
    let range = format!("from={}&to={}", iso(&versions[0][0]), iso(&versions[0][1]));
    let answer = |as_of: &str| -> Value {
        let target = format!("/derived/spark?tenant_id={TENANT}&{range}{as_of}");
        let (status, body) = pipeline.get(Service::Aggregation, &target).unwrap();
        assert_eq!(status, 200, "{target}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let of_clock = |row: &[String]| answer(&format!("&as_of={}", iso(&row[4])));
    for (version, body) in [
        (&versions[0], answer("")),
        (&versions[0], of_clock(&versions[0])),
        (&versions[1], of_clock(&versions[1])),
    ] {
        let values = body["values"].as_array().unwrap();
        assert_eq!(values.len(), 1, "{body}");
        let shown = (values[0]["version"].to_string(), values[0]["value"].as_f64());
        assert_eq!(shown, (version[2].clone(), version[3].parse().ok()), "{body}");
        assert_eq!(values[0]["known_at"], iso(&version[4]), "{body}");
    }
    assert_eq!(answer("&as_of=2020-01-01T00:00:00Z")["values"], json!([]));
    let (status, body) = pipeline
        .get(
            Service::Aggregation,
            &format!("/derived/spark?tenant_id={TENANT}&as_of=noon"),
        )
        .unwrap();
    assert!(status == 400 && body.contains("as_of is 'noon'"), "{body}");
}

/// `GET /derived/{series}` returns the newest values of the tenant, and none to another one.
fn route(pipeline: &Pipeline) {
    let answer = |target: &str| -> (u16, Value) {
        let (status, body) = pipeline.get(Service::Aggregation, target).unwrap();
        (status, serde_json::from_str(&body).unwrap())
    };
    let (status, body) = answer(&format!("/derived/basis?tenant_id={TENANT}&limit=3"));
    let values = body["values"].as_array().unwrap();
    assert_eq!((status, values.len()), (200, 3), "{body}");
    for value in values {
        assert_eq!(value["legs"][0]["instrument_id"], "D.LOCAL", "{body}");
        let price = |leg: usize| value["legs"][leg]["price"].as_f64().unwrap();
        let difference = value["value"].as_f64().unwrap() - (price(0) - price(1));
        assert!(difference.abs() < 1e-9, "{body}");
    }
    // One leg: the ask of every quote is 100.
    let (_, body) = answer(&format!("/derived/quote?tenant_id={TENANT}&limit=1"));
    let quote = &body["values"][0];
    assert_eq!(quote["legs"].as_array().map(Vec::len), Some(1), "{body}");
    assert!(quote["value"].as_f64().unwrap() > 0.0, "{body}");
    let (status, body) = answer("/derived/basis?tenant_id=other");
    assert_eq!((status, &body["values"]), (200, &json!([])));
    let (status, body) = answer(&format!("/derived/sparc?tenant_id={TENANT}"));
    let told = body["message"].to_string();
    assert!(
        status == 404 && told.contains("sparc") && told.contains("basis"),
        "{body}"
    );
    let (status, _) = answer(&format!("/derived/basis?tenant_id={TENANT}&limit=0"));
    assert_eq!(status, 422);
}
