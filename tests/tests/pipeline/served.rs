//! The newest curve snapshots and derived prices: Postgres, Redis and the route show them, whatever order the records came in, while
//! projection is killed, Redis is emptied, and rows are changed by hand and rebuilt from the log. For an earlier time the route shows what was
//! known then, as aggregation does.

use std::collections::BTreeMap;

use codec::Wire;
use domain::{CurveInput, CurvePoint, CurveSnapshot, Decimal, DerivedCause, DerivedPrice, Origin};
use e2e::{Pipeline, build_programs, eventually};
use fastrand::Rng;
use localstack::{Service, Temporary};
use serde_json::{Value, json};
use testkit::http::encoded;
use testkit::kafka::{self, Outgoing, Publisher};
use testkit::times::iso;

const CURVES: &str = "aggregation.curves.v1";
const DERIVED: &str = "aggregation.derived.v1";
const TENANT: &str = "ser:ved";
const MINUTE: i64 = 60_000_000;
/// 2026-10-01T00:00:00Z.
const START: i64 = 1_790_812_800_000_000;
const NAMES: [&str; 3] = ["PJM:WEST", "PJM.EAST%", "NG"];
const HORIZONS: [&str; 2] = ["1m", "all"];

/// A record: name, horizon (empty for a derived price), minute, version.
type Made = (&'static str, &'static str, i64, i64);
/// Name and horizon, with minute and version.
type Newest = BTreeMap<(&'static str, &'static str), (i64, i64)>;

/// What stands for the content: no two records have the same.
fn price(minute: i64, version: i64) -> f64 {
    version as f64 + minute as f64 / 64.0
}

fn payload((name, horizon, minute, version): Made) -> Vec<u8> {
    let origin = Origin {
        feed: "ingestion.market.raw.v1",
        partition: 0,
        offset: version,
        index: 0,
    };
    let time = START + minute * MINUTE;
    let (wire, mut bytes) = (Wire::single_object(), Vec::new());
    if horizon.is_empty() {
        let derived = DerivedPrice {
            tenant_id: TENANT,
            series: name,
            kind: "basis",
            event_time: time,
            value: Some(Decimal::from_unscaled((price(minute, version) * 1e8) as i64).unwrap()),
            unit: "MWh",
            legs: Vec::new(),
            log_clock: time,
            version,
            revision: 0,
            cause: DerivedCause::First,
            cause_origin: origin,
        };
        wire.encode_derived(&derived, &mut bytes);
        return bytes;
    }
    let point = CurvePoint {
        contract: "2026-11",
        block: "flat",
        delivery_start: "2026-11-01T00:00:00-04:00",
        delivery_end: "2026-12-01T00:00:00-05:00",
        price: price(minute, version),
        volume: None,
        confidence: 1.0,
        method: "quoted",
        extrapolated: false,
        sources: vec!["ingestion.market.raw.v1/0/1/0"],
    };
    let input = CurveInput {
        contract: "2026-11",
        block: "flat",
        price: price(minute, version),
        curve_price: Some(price(minute, version)),
        residual: None,
        state: "repriced",
        implied_by: Vec::new(),
        source: "ingestion.market.raw.v1/0/1/0",
        known_at: time - 1,
    };
    let snapshot = CurveSnapshot {
        origin,
        tenant_id: TENANT,
        curve_id: name,
        market: "PJM",
        horizon,
        as_of: time,
        day: 20_000,
        method: "smooth",
        definition: "smooth",
        log_clock: time,
        version,
        revision: 0,
        cause: DerivedCause::First,
        points: vec![point],
        inputs: vec![input],
    };
    wire.encode_curve(&snapshot, &mut bytes);
    bytes
}

/// Every name has one partition, as its key would have.
fn partition_of(name: &str) -> i32 {
    NAMES
        .iter()
        .position(|known| *known == name)
        .map_or(0, |place| place as i32)
}

fn publish(pipeline: &Pipeline, topic: &str, records: &[Made]) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), topic).unwrap();
    for record in records {
        let outgoing = Outgoing {
            partition: Some(partition_of(record.0)),
            key: Some(format!("{TENANT}|{}", record.0)),
            payload: payload(*record),
            headers: Vec::new(),
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

/// Records in random order, some of them twice; `horizons` has one empty text for derived prices.
fn records(random: &mut Rng, horizons: &[&'static str]) -> Vec<Made> {
    let mut all: Vec<Made> = Vec::new();
    let mut version = 0;
    for minute in 0..20 {
        for name in NAMES {
            for horizon in horizons {
                version += 1;
                all.push((name, *horizon, minute, version));
                if random.u8(..4) == 0 {
                    all.push((name, *horizon, minute, version));
                }
                if random.u8(..4) == 0 {
                    version += 1;
                    all.push((name, *horizon, minute, version));
                }
            }
        }
    }
    random.shuffle(&mut all);
    all
}

fn newest(records: &[Made]) -> Newest {
    let mut newest = Newest::new();
    for (name, horizon, minute, version) in records {
        let known = newest.entry((*name, *horizon)).or_insert((*minute, *version));
        *known = (*known).max((*minute, *version));
    }
    newest
}

/// Name, horizon, version and price of every row, as Postgres shows them.
fn rows(expected: &Newest) -> Vec<Vec<String>> {
    let row = |((name, horizon), (minute, version)): (&(&str, &str), &(i64, i64))| {
        vec![
            (*name).to_owned(),
            (*horizon).to_owned(),
            version.to_string(),
            price(*minute, *version).to_string(),
        ]
    };
    expected.iter().map(row).collect()
}

const SELECT_CURVES: &str = "SELECT curve_id, horizon, version::text, trim_scale((snapshot -> 'points' -> 0 ->> 'price')::numeric)::text \
     FROM served_curve_snapshots WHERE generation = '' AND tenant_id = 'ser:ved' ORDER BY curve_id COLLATE \"C\", horizon COLLATE \"C\"";
const SELECT_DERIVED: &str = "SELECT series, '', version::text, trim_scale((price ->> 'value')::numeric)::text \
     FROM served_derived_prices WHERE generation = '' AND tenant_id = 'ser:ved' ORDER BY series COLLATE \"C\"";

fn in_postgres(pipeline: &Pipeline, what: &str, sql: &str, expected: &Newest) {
    let (wanted, mut last) = (rows(expected), Vec::new());
    let agreed = eventually(what, || {
        last = pipeline.postgres.rows(sql)?;
        Ok(last == wanted)
    });
    assert!(agreed.is_ok(), "{what}: {last:?} instead of {wanted:?}");
}

const SNAPSHOTS: &str = "served:curve_snapshot:";
const PRICES: &str = "served:custom:derived_price:";

/// The key of a copy.
fn key_of(name: &str, horizon: &str) -> String {
    let part = |text: &str| text.replace('%', "%25").replace(':', "%3A");
    match horizon {
        "" => format!("{PRICES}{}:{}", part(TENANT), part(name)),
        _ => format!("{SNAPSHOTS}{}:{}:{horizon}", part(TENANT), part(name)),
    }
}

/// Redis has copies of these snapshots and of these derived prices, and no others.
fn in_redis(pipeline: &Pipeline, what: &str, (curves, derived): (&Newest, &Newest)) {
    let wanted: BTreeMap<String, (i64, f64)> = curves
        .iter()
        .chain(derived)
        .map(|((name, horizon), (minute, version))| (key_of(name, horizon), (*version, price(*minute, *version))))
        .collect();
    let mut last = BTreeMap::new();
    let agreed = eventually(what, || {
        last.clear();
        for prefix in [SNAPSHOTS, PRICES] {
            for (key, value) in pipeline.redis.with_prefix(prefix)? {
                let value: Value = serde_json::from_str(&value)?;
                let shown = match prefix {
                    SNAPSHOTS => &value["points"][0]["price"],
                    _ => &value["value"],
                };
                let found = (value["version"].as_i64(), shown.as_f64());
                last.insert(key, (found.0.unwrap_or_default(), found.1.unwrap_or_default()));
            }
        }
        Ok(last == wanted)
    });
    assert!(agreed.is_ok(), "{what}: {last:?} instead of {wanted:?}");
}

fn answer(pipeline: &Pipeline, query: &str) -> (u16, Value) {
    let (status, body) = pipeline
        .get(Service::Projection, &format!("/curves/snapshots?{query}"))
        .unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

fn route(pipeline: &Pipeline, expected: &Newest) {
    let tenant = format!("tenant_id={}", encoded(TENANT));
    for ((name, horizon), (minute, version)) in expected {
        let query = format!("{tenant}&curve_id={}&horizon={horizon}", encoded(name));
        let (status, body) = answer(pipeline, &query);
        assert_eq!((status, &body["count"]), (200, &json!(1)), "{body}");
        let snapshot = &body["snapshots"][0];
        assert_eq!(
            (&snapshot["curve_id"], &snapshot["horizon"], &snapshot["version"]),
            (&json!(name), &json!(horizon), &json!(version)),
            "{body}"
        );
        assert_eq!(
            snapshot["points"][0]["price"],
            json!(price(*minute, *version)),
            "{body}"
        );
        assert!(snapshot["standing"].is_null(), "{body}");
        // It is known since its time.
        let at = iso(START + minute * MINUTE);
        let (status, known) = answer(pipeline, &format!("{query}&as_of={at}"));
        assert_eq!((status, &known), (200, &body), "{at}");
    }
    let count = |query: &str| answer(pipeline, query).1["count"].clone();
    assert_eq!(count(&tenant), json!(expected.len()));
    assert_eq!(count(&format!("{tenant}&horizon=1m")), json!(NAMES.len()));
    assert_eq!(count(&format!("{tenant}&curve_id=NG")), json!(HORIZONS.len()));
    assert_eq!(count(&format!("{tenant}&limit=1")), json!(1));
    for (limit, is_truncated) in [(expected.len() - 1, true), (expected.len(), false)] {
        let (_, body) = answer(pipeline, &format!("{tenant}&limit={limit}"));
        assert_eq!(
            (&body["truncated"], &body["next"]),
            (&json!(is_truncated), &json!(null)),
            "{body}"
        );
    }
    assert_eq!(count("tenant_id=other"), json!(0));
    for (query, status, words) in [
        ("tenant_id=other&curve_id=NG", 404, "no snapshot of curve NG"),
        ("horizon=2m", 422, "1m, 3m, 6m, 1y, all"),
        ("limit=0", 422, "from 1 to 1000"),
        ("limit=x", 400, "limit is 'x'"),
        ("after=NG", 422, "NG_HENRY_HUB/1y"),
        ("no_such=1", 400, "no_such"),
    ] {
        let (found, body) = answer(pipeline, query);
        assert!(found == status && body.to_string().contains(words), "{query}: {body}");
    }
}

/// The snapshots of these records that were known at the end of this minute, by curve and horizon, as the route shows them.
fn known_after(records: &[Made], last: i64) -> BTreeMap<(String, String), Value> {
    let is_known = |(_, _, minute, _): &&Made| *minute <= last;
    let known: Vec<Made> = records.iter().filter(is_known).copied().collect();
    let shown = |((name, horizon), (minute, version)): ((&'static str, &'static str), (i64, i64))| {
        let payload = payload((name, horizon, minute, version));
        let wire = Wire::single_object();
        let snapshot = wire.decode_curve(&payload).unwrap();
        ((name.to_owned(), horizon.to_owned()), codec::json::curve(&snapshot))
    };
    newest(&known).into_iter().map(shown).collect()
}

/// Between two snapshots the route shows the one before, from ClickHouse, in the form of the newest ones, and aggregation shows the same.
fn history(pipeline: &Pipeline, records: &[Made]) {
    let tenant = format!("tenant_id={}", encoded(TENANT));
    for last in [0, 7, 18] {
        let at = iso(START + (last + 1) * MINUTE - 1);
        let wanted = known_after(records, last);
        let mut last_answer = Value::Null;
        let agreed = eventually("what was known before", || {
            let (status, body) = answer(pipeline, &format!("{tenant}&as_of={at}"));
            last_answer = body;
            let found = last_answer["snapshots"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|snapshot| {
                    let text = |name: &str| snapshot[name].as_str().unwrap_or_default().to_owned();
                    ((text("curve_id"), text("horizon")), snapshot.clone())
                });
            Ok(status == 200 && last_answer["count"] == wanted.len() && found.collect::<BTreeMap<_, _>>() == wanted)
        });
        assert!(agreed.is_ok(), "{at}: {last_answer} instead of {wanted:?}");
        for ((name, horizon), snapshot) in &wanted {
            let path = format!("/curves/{}?{tenant}&horizon={horizon}&as_of={at}", encoded(name));
            let (status, body) = pipeline.get(Service::Aggregation, &path).unwrap();
            let shown: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                (status, &shown["known_at"]),
                (200, &snapshot["log_clock"]),
                "{path}: {body}"
            );
            for field in [
                "as_of", "version", "revision", "cause", "market", "day", "method", "points", "inputs",
            ] {
                assert_eq!(shown[field], snapshot[field], "{path}: {field}");
            }
        }
    }
    let before = iso(START - 1);
    for (query, status, words) in [
        (format!("{tenant}&as_of={before}"), 200, "\"count\":0"),
        (format!("{tenant}&curve_id=NG&as_of={before}"), 404, "was known at"),
        (
            format!("tenant_id=other&as_of={}", iso(START + MINUTE)),
            200,
            "\"count\":0",
        ),
        ("as_of=noon".to_owned(), 400, "as_of"),
    ] {
        let (found, body) = answer(pipeline, &query);
        assert!(found == status && body.to_string().contains(words), "{query}: {body}");
    }
}

/// Two snapshots a page, until there are no more: all that were known then, each once, in the order of curve and horizon.
fn pages(pipeline: &Pipeline, records: &[Made], last: i64) {
    let at = iso(START + (last + 1) * MINUTE - 1);
    let time = format!("&as_of={at}");
    let wanted: Vec<Value> = known_after(records, last).into_values().collect();
    let found = paged(pipeline, &time, wanted.len());
    assert_eq!(found, wanted, "{at}");
    // Where no curve was known yet, every page is empty, and the last one says that it is the last.
    let before = format!("&as_of={}", iso(START - 1));
    assert_eq!(paged(pipeline, &before, wanted.len()), Vec::<Value>::new());
}

/// The newest ones by curve and horizon, page by page.
fn newest_pages(pipeline: &Pipeline, expected: &Newest) {
    let found = paged(pipeline, "", expected.len());
    let found: Vec<_> = found
        .iter()
        .map(|shown| (shown["curve_id"].as_str(), shown["horizon"].as_str(), &shown["version"]))
        .collect();
    let versions: Vec<Value> = expected.values().map(|(_, version)| json!(version)).collect();
    let wanted: Vec<_> = expected
        .keys()
        .zip(&versions)
        .map(|((name, horizon), version)| (Some(*name), Some(*horizon), version))
        .collect();
    assert_eq!(found, wanted);
}

/// What the pages of two of so many curves and horizons show together; `query` goes on with `&`.
fn paged(pipeline: &Pipeline, query: &str, places: usize) -> Vec<Value> {
    let tenant = format!("tenant_id={}", encoded(TENANT));
    let (mut found, mut after) = (Vec::new(), String::new());
    for page in 1..=places {
        let (status, body) = answer(pipeline, &format!("{tenant}{query}&limit=2&after={}", encoded(&after)));
        assert_eq!(status, 200, "{body}");
        let shown = body["snapshots"].as_array().unwrap();
        assert!(shown.len() <= 2 && body["count"] == shown.len(), "{body}");
        found.extend(shown.iter().cloned());
        let next = body["next"].as_str();
        assert_eq!(body["truncated"], json!(next.is_some()), "{body}");
        let Some(next) = next else {
            assert_eq!(page, places.div_ceil(2), "{body}");
            return found;
        };
        next.clone_into(&mut after);
    }
    panic!("the pages do not end: {after}");
}

/// Both topics, each with its records; projection is killed after the first half of them.
fn serve(pipeline: &Pipeline, random: &mut Rng) -> (Vec<Made>, Vec<Made>) {
    let (curves, derived) = (records(random, &HORIZONS), records(random, &[""]));
    for (topic, all) in [(CURVES, &curves), (DERIVED, &derived)] {
        publish(pipeline, topic, &all[..all.len() / 2]);
    }
    eventually("snapshots arrive", || {
        Ok(!pipeline.postgres.rows(SELECT_CURVES)?.is_empty())
    })
    .unwrap();
    pipeline.kill_and_restart(Service::Projection).unwrap();
    // What is no snapshot does not stop its partition.
    let mut publisher = Publisher::new(&pipeline.bootstrap(), CURVES).unwrap();
    let broken = Outgoing {
        partition: Some(0),
        payload: b"\xC3\x01".to_vec(),
        ..Outgoing::default()
    };
    publisher.send(&broken).unwrap();
    publisher.finish().unwrap();
    for (topic, all) in [(CURVES, &curves), (DERIVED, &derived)] {
        publish(pipeline, topic, &all[all.len() / 2..]);
    }
    pipeline.kill_and_restart(Service::Projection).unwrap();
    (curves, derived)
}

/// Changes, deletes and invents rows.
fn tamper(pipeline: &Pipeline) {
    for sql in [
        "UPDATE served_curve_snapshots SET as_of = '2036-01-01T00:00:00Z', snapshot = '{\"points\":[{\"price\":1}]}' WHERE curve_id = 'NG'",
        "DELETE FROM served_curve_snapshots WHERE curve_id = 'PJM:WEST'",
        "INSERT INTO served_curve_snapshots SELECT (jsonb_populate_record(stored, '{\"curve_id\": \"GHOST\"}')).* \
         FROM served_curve_snapshots AS stored WHERE curve_id = 'NG' AND horizon = 'all'",
        "UPDATE served_derived_prices SET price = '{\"value\":\"1\"}' WHERE series = 'NG'",
    ] {
        pipeline.postgres.rows(sql).unwrap();
    }
}

fn rebuilt(pipeline: &Pipeline, projection: &str) -> Value {
    let report = pipeline
        .dp_ok(&["projection", "rebuild", projection, "--full", "--yes", "--json"])
        .unwrap();
    serde_json::from_str(&report).unwrap()
}

/// A dry run, of this curve or series or of all of them, changes nothing; returns its exit code and what would be changed, added and removed.
fn tried(pipeline: &Pipeline, projection: &str, of: &[&str]) -> (Option<i32>, [Value; 3]) {
    let sql = "SELECT row::text FROM served_curve_snapshots AS row UNION ALL SELECT row::text FROM served_derived_prices AS row \
         UNION ALL SELECT concat_ws(' ', projection, topic, partition, epoch) FROM projection_positions ORDER BY 1";
    let state = || pipeline.postgres.rows(sql).unwrap();
    let before = state();
    let command = ["projection", "rebuild", projection, "--full", "--dry-run", "--json"];
    let output = pipeline.dp(&[&command, of].concat()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["dry_run"], true, "{report}");
    assert_eq!(state(), before);
    let changes = ["changed", "added", "removed"].map(|kind| report[kind].clone());
    (output.status.code(), changes)
}

#[test]
fn the_newest_snapshots_and_derived_prices_are_served_whatever_happens() {
    build_programs().unwrap();
    let pipeline = Pipeline::on(Temporary::new().unwrap()).unwrap();
    let mut random = Rng::with_seed(19);
    let (sent, of_series) = serve(&pipeline, &mut random);
    let (mut curves, mut derived) = (newest(&sent), newest(&of_series));
    in_postgres(&pipeline, "the newest snapshots", SELECT_CURVES, &curves);
    in_postgres(&pipeline, "the newest derived prices", SELECT_DERIVED, &derived);
    in_redis(&pipeline, "their copies", (&curves, &derived));
    route(&pipeline, &curves);
    history(&pipeline, &sent);
    pages(&pipeline, &sent, 7);
    newest_pages(&pipeline, &curves);

    // Older versions and older times that come later change nothing; the newest record of each partition shows that they were read.
    let late: Vec<Made> = NAMES.map(|name| (name, "1m", 5, 9_000)).into();
    let last: Vec<Made> = NAMES.map(|name| (name, "all", 30, 1)).into();
    publish(&pipeline, CURVES, &[late, last.clone()].concat());
    for (name, horizon, minute, version) in last {
        curves.insert((name, horizon), (minute, version));
    }
    publish(
        &pipeline,
        DERIVED,
        &[("NG", "", 3, 9_000), ("NG", "", 30, 1), ("NG", "", 30, 0)],
    );
    derived.insert(("NG", ""), (30, 1));
    in_postgres(&pipeline, "only newer snapshots", SELECT_CURVES, &curves);
    in_postgres(&pipeline, "only newer derived prices", SELECT_DERIVED, &derived);
    in_redis(&pipeline, "only newer copies", (&curves, &derived));

    pipeline.redis.run(&["FLUSHALL"]).unwrap();
    in_redis(&pipeline, "redis is filled again", (&curves, &derived));
    for key in [key_of("NG", "1m"), key_of("NG", "")] {
        pipeline.redis.run(&["SET", &key, r#"{"standing":"~"}"#]).unwrap();
        pipeline.dp_ok(&["cache", "invalidate", "--key", &key]).unwrap();
        let what = format!("{key}, changed by hand, is replaced");
        in_redis(&pipeline, &what, (&curves, &derived));
    }

    tamper(&pipeline);
    let expected = |changes: [u64; 3]| (Some(i32::from(changes != [0; 3])), changes.map(Value::from));
    assert_eq!(tried(&pipeline, "curve_snapshot", &[]), expected([2, 2, 1]));
    let of_ghost = ["--instrument", "GHOST"];
    assert_eq!(tried(&pipeline, "curve_snapshot", &of_ghost), expected([0, 0, 1]));
    assert_eq!(tried(&pipeline, "derived_price", &of_ghost), expected([0, 0, 0]));
    let report = rebuilt(&pipeline, "curve_snapshot");
    let changes = [&report["changed"], &report["added"], &report["removed"]];
    assert_eq!(changes, [&json!(2), &json!(2), &json!(1)], "{report}");
    assert_eq!(
        (&report["is_reloaded"], &report["unreadable"]),
        (&json!(true), &json!(1)),
        "{report}"
    );
    let report = rebuilt(&pipeline, "derived_price");
    let changed = (&report["changed"], &report["is_reloaded"]);
    assert_eq!(changed, (&json!(1), &json!(true)), "{report}");
    in_postgres(&pipeline, "the rebuilt snapshots", SELECT_CURVES, &curves);
    in_postgres(&pipeline, "the rebuilt derived prices", SELECT_DERIVED, &derived);
    in_redis(&pipeline, "the rebuilt copies", (&curves, &derived));

    // The owners, whose position was exchanged, go on.
    publish(&pipeline, CURVES, &[("NG", "1m", 40, 2)]);
    publish(&pipeline, DERIVED, &[("NG", "", 40, 2)]);
    curves.insert(("NG", "1m"), (40, 2));
    derived.insert(("NG", ""), (40, 2));
    in_postgres(&pipeline, "a snapshot after the rebuild", SELECT_CURVES, &curves);
    in_postgres(&pipeline, "a price after the rebuild", SELECT_DERIVED, &derived);
    in_redis(&pipeline, "their copies", (&curves, &derived));
    // It is the newest of all by now, which changes no page of an earlier time.
    pages(&pipeline, &sent, 7);
    newest_pages(&pipeline, &curves);
    standing(&pipeline);
}

/// Every projection is listed, and the broken record is a dead letter.
fn standing(pipeline: &Pipeline) {
    let listed: Value = serde_json::from_str(&pipeline.dp_ok(&["projection", "list", "--json"]).unwrap()).unwrap();
    let of = |field: &str| -> Vec<&Value> { listed.as_array().unwrap().iter().map(|one| &one[field]).collect() };
    assert_eq!(of("projection"), ["latest_price", "curve_snapshot", "derived_price"]);
    assert_eq!(of("status"), ["healthy"; 3], "{listed}");
    let (status, body) = pipeline.get(Service::Projection, "/health/projections").unwrap();
    let body: Value = serde_json::from_str(&body).unwrap();
    let shown = &body["projections"][1];
    assert_eq!((status, &shown["name"]), (200, &json!("curve_snapshot")), "{body}");
    assert!(shown["partitions"][0]["next_offset"].is_number(), "{body}");
    let letters = kafka::read_all(&pipeline.bootstrap(), "dlq").unwrap();
    let is_ours = |letter: &&kafka::Record| letter.header("__connect.errors.topic").as_deref() == Some(CURVES);
    assert!(
        letters.iter().any(|letter| is_ours(&letter)),
        "{} dead letters",
        letters.len()
    );
}
