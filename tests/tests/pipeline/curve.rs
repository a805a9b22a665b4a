//! Settlements through the running pipeline, and the curve that is made from them: every quote is repriced, a correction and a change of the
//! definition (instruments, method) count while everything runs, a seasonal shape too, and the past stays as it was known. Snapshots of it are in the topic, the table and the route, while
//! aggregation is killed. A quote that comes late changes nothing that was known before. `dp verify` computes them again and names a changed row, `dp explain curve` leads to the bytes of the quotes.

use codec::Wire;
use domain::{Decimal, LegPrice, LegPurpose};
use e2e::{Pipeline, RAW, Verified, eventually};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use localstack::Service;
use serde_json::{Value, json};
use testkit::kafka::{self, Outgoing, Publisher};
use testkit::times::iso;

use crate::repair::deleted_versions_are_written_again;
use crate::served_by_name::changed_snapshots_are_named;

const HEADER: &str = "as_of,curve_id,contract,block,price,volume";
/// Quotes of 5 March 2025: contract as quoted, price, contract as shown, first day and the day after the last one. Clocks change on 9
/// March and 2 November.
const QUOTES: [(&str, &str, &str, &str, &str); 5] = [
    ("BALMO", "38.10", "BALMO", "2025-03-06", "2025-04-01"),
    ("M1", "41.255", "2025-04", "2025-04-01", "2025-05-01"),
    ("Q2-25", "45.00", "Q2-25", "2025-04-01", "2025-07-01"),
    ("Q4-25", "-3.75", "Q4-25", "2025-10-01", "2026-01-01"),
    ("CAL-26", "52.40", "CAL-26", "2026-01-01", "2027-01-01"),
];
const CURVE: &str = "TEST_WESTERN";
/// A tenant with a curve of the same id.
const OTHER: &str = "second";
const SNAPSHOTS: &str = "aggregation.curves.v1";
const LEGS: &str = "aggregation.legs.v1";

pub(crate) fn document(rows: &[String]) -> String {
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

pub(crate) fn ingest(pipeline: &Pipeline, text: &str) {
    ingest_with(pipeline, &[], text);
}

fn ingest_with(pipeline: &Pipeline, options: &[&str], text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("curve.settlements.csv");
    std::fs::write(&file, text).unwrap();
    let file = file.to_string_lossy();
    pipeline.dp_ok(&[&["ingest", &*file], options].concat()).unwrap();
}

fn shown(pipeline: &Pipeline, arguments: &[&str]) -> Value {
    let output = pipeline
        .dp(&[&["curve", "show", CURVE, "--json"], arguments].concat())
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Hours of the clock in New York from the first to the second day.
fn hours(first: Date, end: Date) -> f64 {
    let zone = TimeZone::get("America/New_York").unwrap();
    let second = |day: Date| day.to_zoned(zone.clone()).unwrap().timestamp().as_second();
    (second(end) - second(first)) as f64 / 3600.0
}

/// The mean of the points of these days, weighted by hours.
fn mean(curve: &Value, first: Date, end: Date) -> f64 {
    let day = |point: &Value, name: &str| -> Date { point[name].as_str().unwrap()[..10].parse().unwrap() };
    let (mut sum, mut weights) = (0.0, 0.0);
    for point in curve["points"].as_array().unwrap() {
        let (from, until) = (day(point, "delivery_start"), day(point, "delivery_end"));
        if from >= first && until <= end {
            sum += hours(from, until) * point["price"].as_f64().unwrap();
            weights += hours(from, until);
        }
    }
    assert_eq!(weights, hours(first, end), "the points cover {first} to {end}");
    sum / weights
}

fn price_of(curve: &Value, contract: &str) -> f64 {
    let inputs = curve["inputs"].as_array().unwrap();
    let input = inputs.iter().find(|input| input["contract"] == contract).unwrap();
    input["price"].as_f64().unwrap()
}

/// A stack of its own: the oracle of the shared one does not read settlements.
#[test]
fn settlements_become_a_curve_that_reprices_them_as_known_at_any_time() {
    // A snapshot is due a second after its quotes.
    let interval = ("AGGREGATION_CURVES_INTERVAL_S".to_owned(), "1".to_owned());
    let pipeline = Pipeline::with_settings([interval]).unwrap();
    pipeline
        .postgres
        .rows(
            "INSERT INTO taxonomy_commodities (commodity) VALUES ('electricity') ON CONFLICT DO NOTHING; \
             INSERT INTO taxonomy_regions (region) VALUES ('northeast') ON CONFLICT DO NOTHING; \
             INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, interpolation_method, instruments) \
             VALUES ('default', 'TEST_WESTERN', 'Test', 'electricity', 'northeast', 'smooth', \
                     '{PJM.TEST%20WESTERN.*.SETTLEMENT}')",
        )
        .unwrap();
    // The definition counts for new ticks as soon as enrichment has heard of it.
    let mut attempt = 0;
    eventually("enrichment knows the curve", || {
        attempt += 1;
        // Its delivery is over when the other quotes are made.
        let row = format!("2025-01-15,PJM.TEST WESTERN,2025-02,flat,{attempt},");
        ingest(&pipeline, &document(&[row]));
        let sql = format!("SELECT count() FROM enriched_ticks WHERE curve_id = '{CURVE}' AND product_tier = 'futures'");
        Ok(pipeline.clickhouse.number(&sql)? > 0)
    })
    .unwrap();

    let mut rows: Vec<String> = QUOTES
        .iter()
        .map(|(contract, price, ..)| format!("2025-03-05,PJM.TEST WESTERN,{contract},flat,{price},7"))
        .collect();
    rows.push("2025-03-05,PJM.TEST WESTERN,F277,flat,1,".to_owned());
    ingest(&pipeline, &document(&rows));
    let day = "PJM.TEST%20WESTERN.%' AND timestamp = '2025-03-05 05:00:00'";
    let arrived =
        format!("SELECT count() FROM enriched_ticks WHERE curve_id = '{CURVE}' AND instrument_id LIKE '{day}");
    eventually("the quotes arrive", || {
        Ok(pipeline.clickhouse.number(&arrived)? == QUOTES.len() as i128)
    })
    .unwrap();

    let before = shown(&pipeline, &[]);
    assert_eq!(
        (before["day"].as_str(), before["method"].as_str()),
        (Some("2025-03-05"), Some("smooth"))
    );
    for (_, price, contract, first, end) in QUOTES {
        let (first, end): (Date, Date) = (first.parse().unwrap(), end.parse().unwrap());
        let price: f64 = price.parse().unwrap();
        let difference = mean(&before, first, end) - price;
        assert!(difference.abs() <= 1e-8, "{contract}: {difference}");
        assert!((price_of(&before, contract) - price).abs() < 1e-12, "{contract}");
    }

    let first = a_snapshot_is_in_the_topic_the_table_and_the_route(&pipeline, &before);
    a_correction_replaces_and_the_past_stays(&pipeline, &before);
    a_corrected_quote_makes_a_new_snapshot(&pipeline, &first);
    another_tenant_has_a_curve_of_its_own(&pipeline);
    a_seasonal_shape_moves_the_months_of_the_next_snapshot(&pipeline);
    other_instruments_and_another_method_count_from_the_next_snapshot(&pipeline);
    the_definition_changes_while_everything_runs(&pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
    snapshots_were_compared(&pipeline, &verified);
    a_snapshot_leads_to_the_bytes_of_its_quotes(&pipeline);
    deleted_snapshots_are_written_again(&pipeline);
    changed_snapshots_are_named(&pipeline, CURVE);
    changed_rows_are_named_with_a_command_that_shows_them(&pipeline);
    a_late_quote_changes_nothing_that_was_known_before(&pipeline);
}

/// `dp verify` has computed every snapshot of the table again, and left none out.
pub(crate) fn snapshots_were_compared(pipeline: &Pipeline, verified: &Verified) {
    let checks = verified.report["checks"].as_array().unwrap();
    let is_it = |check: &&Value| {
        check["name"]
            .as_str()
            .unwrap()
            .ends_with("curve_snapshots: newest versions match their quotes")
    };
    let check = checks.iter().find(is_it).unwrap();
    let stored = pipeline
        .clickhouse
        .number("SELECT count() FROM curve_snapshots_latest")
        .unwrap();
    assert!(stored >= 10, "{stored}");
    let number = |name: &str| i128::from(check[name].as_i64().unwrap());
    assert_eq!((number("expected"), number("found")), (stored, stored), "{check}");
    // Such as points that are not compared with those of the method.
    let notes = verified.report["notes"].to_string();
    assert!(!notes.contains("curve "), "{notes}");
}

/// What a command of `dp` prints, and its exit code.
fn explain(pipeline: &Pipeline, arguments: &[&str]) -> (String, Option<i32>) {
    let output = pipeline.dp(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.code() {
        Some(2) => (text(&output.stderr), Some(2)),
        code => (text(&output.stdout), code),
    }
}

fn a_snapshot_leads_to_the_bytes_of_its_quotes(pipeline: &Pipeline) {
    let (text, code) = explain(pipeline, &["explain", "curve", CURVE, "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let trace: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&trace["agrees"], &trace["status"]),
        (&json!(true), &json!("current")),
        "{trace:#}"
    );
    let inputs = trace["inputs"].as_array().unwrap();
    assert_eq!(inputs.len(), QUOTES.len(), "{trace:#}");
    for (_, _, contract, first, end) in QUOTES {
        let input = inputs.iter().find(|input| input["contract"] == contract).unwrap();
        assert_eq!(input["tick"]["tick_id"], input["origin"], "{input:#}");
        let hours = hours(first.parse().unwrap(), end.parse().unwrap());
        assert_eq!(input["hours"].as_f64(), Some(hours), "{input:#}");
        let difference = input["recomputed"].as_f64().unwrap() - input["price"].as_f64().unwrap();
        assert!(difference.abs() <= 1e-8, "{input:#}");
    }
    let raw = trace["raw"].as_array().unwrap().iter();
    let bytes: Vec<&str> = raw
        .map(|raw| raw["kept"]["content"]["bytes"].as_str().unwrap())
        .collect();
    let has = |row: &str| bytes.iter().any(|bytes| bytes.contains(row));
    assert!(
        has("PJM.TEST WESTERN,BALMO,flat,38.10") && has("CAL-26,flat,53.5"),
        "{bytes:?}"
    );
    let (text, code) = explain(pipeline, &["explain", "curve", CURVE, "--horizon", "1m"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("recomputed from its points") && text.contains("not within these points"),
        "{text}"
    );
    let (text, code) = explain(pipeline, &["explain", "curve", CURVE, "--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("no snapshot") && text.contains(&format!("{CURVE} since 20")),
        "{text}"
    );
    // A quote leads to the snapshots that have it.
    let origin = inputs[0]["origin"].as_str().unwrap();
    let row = [
        "explain",
        "row",
        "--table",
        "curve_snapshots",
        "--origin",
        origin,
        "--json",
    ];
    let (text, code) = explain(pipeline, &row);
    assert_eq!(code, Some(0), "{text}");
    let row: Value = serde_json::from_str(&text).unwrap();
    let uses = row["table_rows"].as_array().unwrap();
    assert!(
        !uses.is_empty() && uses.iter().all(|row| row["curve_id"] == CURVE),
        "{row:#}"
    );
}

/// One horizon of a time, and the newest snapshot of each partition, which the writer's position follows from.
fn deleted_snapshots_are_written_again(pipeline: &Pipeline) {
    let sql = "SELECT src_partition, src_offset FROM curve_snapshots_latest \
               WHERE (horizon = '3m' AND as_of = (SELECT max(as_of) FROM curve_snapshots)) \
               OR (src_partition, src_offset) IN (SELECT src_partition, max(src_offset) FROM curve_snapshots GROUP BY src_partition)";
    let rows = pipeline.clickhouse.rows(sql).unwrap();
    let places: Vec<String> = rows.iter().map(|row| format!("({}, {})", row[0], row[1])).collect();
    let doomed = format!("(src_partition, src_offset) IN ({})", places.join(", "));
    deleted_versions_are_written_again(pipeline, "curve_snapshots", &doomed);
}

/// `dp verify` names a quote with another price, a point with another price, a snapshot that is gone, and one that has lost an earlier version;
/// its commands show the first two.
fn changed_rows_are_named_with_a_command_that_shows_them(pipeline: &Pipeline) {
    let of = |horizon: &str| format!("tenant_id = 'default' AND curve_id = '{CURVE}' AND horizon = '{horizon}'");
    let newest = format!("SELECT toString(max(as_of)) FROM curve_snapshots WHERE {}", of("all"));
    let newest = pipeline.clickhouse.rows(&newest).unwrap()[0][0].clone();
    for (horizon, change) in [
        (
            "1y",
            r#"UPDATE inputs = replaceRegexpOne(inputs, '"price":[^,}]+', '"price":99.5')"#,
        ),
        (
            "6m",
            r#"UPDATE points = replaceRegexpOne(points, '"price":[^,}]+', '"price":99.5')"#,
        ),
        ("3m", "DELETE"),
        ("1m", "UPDATE revision = revision + 1"),
    ] {
        let sql = format!(
            "ALTER TABLE curve_snapshots {change} WHERE {} AND as_of = '{newest}'",
            of(horizon)
        );
        pipeline.clickhouse.run(&sql).unwrap();
    }
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 1, "{}", verified.report);
    let time = newest[..19].replace(' ', "T");
    for (horizon, parts, shown) in [
        (
            "1y",
            ["is 99.5 instead of", "is not repriced"],
            Some("DIFFERS: its tick has the price"),
        ),
        ("6m", ["is not repriced", "in horizon all"], Some("is not repriced")),
        (
            "3m",
            ["is missing: it must have 5 quote(s)", " --horizon 3m --at "],
            None,
        ),
        ("1m", [" has ", " versions (`dp explain curve"], None),
    ] {
        let name = format!("default/{CURVE}/{horizon}/{time}");
        let differences = verified.differences();
        let is_it = |text: &&String| parts.iter().all(|part| text.contains(part)) && text.contains(&name);
        let Some(named) = differences.iter().find(is_it) else {
            panic!("{name} {parts:?}: {differences:?}");
        };
        let command = named.split('`').nth(1).unwrap();
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        assert_eq!(arguments[..3], ["explain", "curve", CURVE], "{command}");
        if let Some(shown) = shown {
            let (text, code) = explain(pipeline, &arguments);
            assert_eq!(code, Some(1), "{command}: {text}");
            // Long lines are wrapped.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(shown), "{command}: {text}");
        }
    }
}

/// Trades of every partition, which move the clocks of the log on.
pub(crate) fn tick(pipeline: &Pipeline) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let now = iso(jiff::Timestamp::now().as_microsecond());
    for number in 0..40 {
        let instrument = format!("CLOCK.{number}");
        let payload = json!({
            "envelope": {"event_type": "tick", "event_id": format!("{instrument}-{now}"), "timestamp": now, "tenant_id": "clock", "source": "s",
                "version": "1.0"},
            "payload": {"market": "MISO", "instrument_id": instrument, "raw_data": {"timestamp": now, "price": "1.5", "volume": 1}},
        });
        let outgoing = Outgoing {
            partition: Some(number % 4),
            key: Some(instrument),
            payload: payload.to_string().into_bytes(),
            headers: Vec::new(),
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

/// The answer of the route.
fn curve(pipeline: &Pipeline, query: &str) -> anyhow::Result<(u16, Value)> {
    let (status, body) = pipeline.get(Service::Aggregation, &format!("/curves/{CURVE}?{query}"))?;
    Ok((status, serde_json::from_str(&body)?))
}

/// Waits for a snapshot with all quotes, of which that of the calendar year has this price.
fn snapshot_with(pipeline: &Pipeline, of_2026: f64) -> Value {
    let mut found = Value::Null;
    let result = eventually("a snapshot has all quotes", || {
        tick(pipeline);
        let (status, body) = curve(pipeline, "")?;
        found = body;
        let is_whole = status == 200 && found["inputs"].as_array().map(Vec::len) == Some(QUOTES.len());
        Ok(is_whole && price_of(&found, "CAL-26") == of_2026)
    });
    assert!(result.is_ok(), "{result:?} {found}");
    found
}

/// Every quote is the mean of the points of its contract, by the clock of New York.
fn check_repricing(snapshot: &Value) {
    check_repricing_of(snapshot, &QUOTES.map(|(_, _, contract, ..)| contract));
}

/// Likewise, of a curve that has only the quotes of these contracts.
fn check_repricing_of(snapshot: &Value, contracts: &[&str]) {
    let inputs = snapshot["inputs"].as_array().unwrap();
    let mut quoted: Vec<&str> = inputs.iter().map(|input| input["contract"].as_str().unwrap()).collect();
    let mut expected = contracts.to_vec();
    quoted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(quoted, expected, "{snapshot}");
    for (_, _, contract, first, end) in QUOTES {
        if !contracts.contains(&contract) {
            continue;
        }
        let difference = mean(snapshot, first.parse().unwrap(), end.parse().unwrap()) - price_of(snapshot, contract);
        assert!(difference.abs() <= 1e-8, "{contract}: {difference}");
    }
}

fn a_snapshot_is_in_the_topic_the_table_and_the_route(pipeline: &Pipeline, shown: &Value) -> Value {
    let snapshot = snapshot_with(pipeline, 52.4);
    check_repricing(&snapshot);
    // It is the curve that `dp curve show` builds from the same quotes.
    for name in ["points", "day", "method", "market"] {
        assert_eq!(snapshot[name], shown[name], "{name}");
    }
    assert_eq!(
        (&snapshot["definition"], &snapshot["horizon"]),
        (&json!("smooth;;PJM.TEST%20WESTERN.*.SETTLEMENT"), &json!("all"))
    );
    let records = kafka::read_all(&pipeline.bootstrap(), SNAPSHOTS).unwrap();
    let key = format!("default|{CURVE}");
    assert!(!records.is_empty());
    for record in &records {
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
    }
    let number = |sql: &str| pipeline.clickhouse.number(sql).unwrap();
    let points = snapshot["points"].as_array().unwrap().len() as i128;
    let of = format!("WHERE tenant_id = 'default' AND curve_id = '{CURVE}'");
    for view in ["curve_points", "curve_points_asof(at = '2100-01-01 00:00:00')"] {
        let sql = format!(
            "SELECT count() FROM {view} {of} AND horizon = 'all' AND isFinite(price) AND delivery_end > delivery_start"
        );
        assert_eq!(number(&sql), points, "{view}");
    }
    for view in ["curve_inputs", "curve_inputs_asof(at = '2100-01-01 00:00:00')"] {
        let sql = format!(
            "SELECT count() FROM {view} {of} AND abs(residual) <= 1e-8 AND state = 'repriced' AND known_at < now64(6)"
        );
        assert_eq!(number(&sql), QUOTES.len() as i128, "{view}");
    }
    // Each quote names its tick.
    let ticks = format!(
        "SELECT count() FROM curve_inputs AS i JOIN enriched_ticks AS t ON t.tick_id = i.source {of} AND toFloat64(t.price) = i.price"
    );
    assert_eq!(
        number(
            &ticks
                .replace("tenant_id", "i.tenant_id")
                .replace("curve_id", "i.curve_id")
        ),
        QUOTES.len() as i128
    );
    let asof_before = format!("SELECT count() FROM curve_points_asof(at = '2020-01-01 00:00:00') {of}");
    assert_eq!(number(&asof_before), 0);
    snapshot
}

fn a_corrected_quote_makes_a_new_snapshot(pipeline: &Pipeline, first: &Value) {
    // The correction is in the log already; the process that computes it is not there any more.
    pipeline.kill_and_restart(Service::Aggregation).unwrap();
    let second = snapshot_with(pipeline, 53.5);
    check_repricing(&second);
    pipeline.kill_and_restart(Service::Aggregation).unwrap();
    assert!(time(&second, "as_of") > time(first, "as_of"), "{second}");
    // The past stays as it was.
    let (status, past) = curve(pipeline, &format!("as_of={}", time(first, "known_at"))).unwrap();
    assert_eq!((status, &past), (200, first));
    let (status, nothing) = curve(pipeline, "as_of=2020-01-01T00:00:00Z").unwrap();
    assert!(status == 404 && nothing.to_string().contains(CURVE), "{nothing}");
    let (status, _) = curve(pipeline, "tenant_id=other").unwrap();
    assert_eq!(status, 404);
    let (status, _) = curve(pipeline, "horizon=2y").unwrap();
    assert_eq!(status, 400);
    let (status, month) = curve(pipeline, "horizon=1m").unwrap();
    let length = |snapshot: &Value| snapshot["points"].as_array().unwrap().len();
    assert!(status == 200 && length(&month) < length(&second), "{month}");
    // A version has one content, whoever wrote it.
    let differing = "SELECT count() FROM (SELECT 1 FROM curve_snapshots GROUP BY tenant_id, curve_id, horizon, as_of, version \
                     HAVING uniqExact(points, inputs, definition, revision, cause, origin, log_clock) > 1)";
    assert_eq!(pipeline.clickhouse.number(differing).unwrap(), 0);
}

/// With the same id, the same instruments and quotes of the same contracts, at other prices and by another method.
fn another_tenant_has_a_curve_of_its_own(pipeline: &Pipeline) {
    const QUOTED: [(&str, f64); 2] = [("2025-05", 61.5), ("CAL-26", 77.25)];
    let (_, before) = curve(pipeline, "").unwrap();
    let row = format!(
        "INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, interpolation_method, instruments) \
         VALUES ('{OTHER}', '{CURVE}', 'Test', 'electricity', 'northeast', 'flat', '{{PJM.TEST%20WESTERN.*.SETTLEMENT}}')"
    );
    pipeline.postgres.rows(&row).unwrap();
    let of_tenant = ["--tenant", OTHER];
    let mut attempt = 0;
    eventually("enrichment knows the curve of the other tenant", || {
        attempt += 1;
        // Its delivery is over when the other quotes are made.
        let row = format!("2025-01-15,PJM.TEST WESTERN,2025-02,flat,{attempt},");
        ingest_with(pipeline, &of_tenant, &document(&[row]));
        let sql = format!("SELECT count() FROM enriched_ticks WHERE tenant_id = '{OTHER}' AND curve_id = '{CURVE}'");
        Ok(pipeline.clickhouse.number(&sql)? > 0)
    })
    .unwrap();
    let rows = QUOTED.map(|(contract, price)| format!("2025-03-05,PJM.TEST WESTERN,{contract},flat,{price},"));
    ingest_with(pipeline, &of_tenant, &document(&rows));

    let (query, mut other) = (format!("tenant_id={OTHER}"), Value::Null);
    let found = eventually("the other tenant has its snapshot", || {
        tick(pipeline);
        let (status, body) = curve(pipeline, &query)?;
        other = body;
        Ok(status == 200 && other["inputs"].as_array().map(Vec::len) == Some(QUOTED.len()))
    });
    assert!(found.is_ok(), "{other}");
    assert_eq!(other["method"], "flat", "{other}");
    for (contract, price) in QUOTED {
        assert_eq!(price_of(&other, contract), price, "{other}");
    }
    assert_eq!(other["points"], shown(pipeline, &of_tenant)["points"]);
    // The first tenant has what it had.
    assert_eq!(curve(pipeline, "").unwrap(), (200, before));
    // In the table, each one's quotes are its own ticks. The writer may be behind the route.
    let sql = format!(
        "SELECT toString(i.tenant_id), toString(count()), toString(countIf(t.tenant_id = i.tenant_id)) FROM curve_inputs AS i \
         JOIN enriched_ticks AS t ON t.tick_id = i.source WHERE i.curve_id = '{CURVE}' GROUP BY i.tenant_id ORDER BY i.tenant_id"
    );
    let row = |tenant: &str, quotes: usize| vec![tenant.to_owned(), quotes.to_string(), quotes.to_string()];
    let (expected, mut last) = (vec![row("default", QUOTES.len()), row(OTHER, QUOTED.len())], Vec::new());
    let same = eventually("the table has the quotes of both tenants", || {
        last = pipeline.clickhouse.rows(&sql)?;
        Ok(last == expected)
    });
    assert!(same.is_ok(), "{last:?} instead of {expected:?}");
}

fn time(snapshot: &Value, name: &str) -> jiff::Timestamp {
    snapshot[name].as_str().unwrap().parse().unwrap()
}

/// The quote of the calendar year again, with another price and a sequence, as a partition that is far behind would send it: after a mark of
/// another one, with a clock inside the interval of this snapshot.
fn send_late(pipeline: &Pipeline, interval_of: &Value) {
    let (wire, key) = (Wire::single_object(), format!("default|{CURVE}"));
    let legs = kafka::read_all(&pipeline.bootstrap(), LEGS).unwrap();
    let of_curve = |leg: &&kafka::Record| leg.key.as_deref() == Some(key.as_bytes());
    let mut quotes = legs
        .iter()
        .filter(of_curve)
        .map(|record| (record.partition, wire.decode_leg(&record.payload).unwrap()));
    let (partition, quote) = quotes.find(|(_, leg)| leg.instrument_id.contains(".CAL-26.")).unwrap();
    let end = time(interval_of, "as_of").as_microsecond();
    let mark = LegPrice {
        purpose: LegPurpose::Clock,
        log_clock: end + 1_000_000,
        ..quote
    };
    let late = LegPrice {
        sequence: Some(1),
        price: Decimal::parse(b"70").unwrap(),
        log_clock: end - 1,
        // No partition of the topic: its place is after every other of its own.
        enriched_partition: 99,
        enriched_offset: 0,
        index: 0,
        ..quote
    };
    let mut publisher = Publisher::new(&pipeline.bootstrap(), LEGS).unwrap();
    for leg in [mark, late] {
        let mut payload = Vec::new();
        wire.encode_leg(&leg, &mut payload);
        let outgoing = Outgoing {
            partition: Some(partition),
            key: Some(key.clone()),
            payload,
            headers: Vec::new(),
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

/// The snapshot of the interval in which the last quote came, after trades have moved the clock past its end.
fn last_snapshot(pipeline: &Pipeline) -> Value {
    let (wire, key) = (Wire::single_object(), format!("default|{CURVE}"));
    let legs = kafka::read_all(&pipeline.bootstrap(), LEGS).unwrap();
    let of_curve = legs
        .iter()
        .filter(|record| record.key.as_deref() == Some(key.as_bytes()));
    let quotes = of_curve.map(|record| wire.decode_leg(&record.payload).unwrap());
    let clocks = quotes
        .filter(|leg| leg.purpose == LegPurpose::Curve)
        .map(|leg| leg.log_clock);
    let end = (clocks.max().unwrap().div_euclid(1_000_000) + 1) * 1_000_000;
    let mut found = Value::Null;
    eventually("the interval of the last quote has its snapshot", || {
        tick(pipeline);
        found = curve(pipeline, "")?.1;
        Ok(time(&found, "as_of").as_microsecond() == end)
    })
    .unwrap();
    found
}

/// It changes the newest snapshot. Who asks for a time before it came gets the first content, of the route, the view and `dp`.
fn a_late_quote_changes_nothing_that_was_known_before(pipeline: &Pipeline) {
    let before = last_snapshot(pipeline);
    assert_eq!(price_of(&before, "CAL-26"), 53.5);
    send_late(pipeline, &before);
    let mut revised = Value::Null;
    eventually("the late quote revises the snapshot", || {
        revised = curve(pipeline, "")?.1;
        Ok(price_of(&revised, "CAL-26") == 70.0)
    })
    .unwrap();
    assert_eq!(
        (&revised["as_of"], &revised["market"]),
        (&before["as_of"], &before["market"])
    );
    let (known_before, known) = (time(&before, "known_at"), time(&revised, "known_at"));
    assert!(known > known_before && known > time(&revised, "as_of"), "{revised}");
    let just_before = known - jiff::SignedDuration::from_micros(1);
    for (at, expected) in [(known_before, &before), (just_before, &before), (known, &revised)] {
        let (status, shown) = curve(pipeline, &format!("as_of={at}")).unwrap();
        assert_eq!((status, &shown), (200, expected), "{at}");
        // Projection may not have the revision yet.
        if at < known {
            let path = format!("/curves/snapshots?curve_id={CURVE}&horizon=all&as_of={at}");
            let (status, body) = pipeline.get(Service::Projection, &path).unwrap();
            let served: Value = serde_json::from_str(&body).unwrap();
            let served = &served["snapshots"][0];
            assert_eq!((status, &served["log_clock"]), (200, &expected["known_at"]), "{body}");
            for field in ["as_of", "version", "points", "inputs"] {
                assert_eq!(served[field], expected[field], "{at}: {field}");
            }
        }
        let sql = format!(
            "SELECT any(version) FROM curve_points_asof(at = '{}') WHERE tenant_id = 'default' AND curve_id = '{CURVE}' AND horizon = 'all'",
            at.strftime("%Y-%m-%d %H:%M:%S.%6f")
        );
        let version = i128::from(expected["version"].as_i64().unwrap());
        assert_eq!(pipeline.clickhouse.number(&sql).unwrap(), version, "{at}");
        let at = at.to_string();
        let (text, _) = explain(pipeline, &["explain", "curve", CURVE, "--at", &at, "--json"]);
        let trace: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(trace["versions"][0]["version"], expected["version"], "{at}: {text}");
    }
    let at = known_before.to_string();
    let (text, _) = explain(
        pipeline,
        &["explain", "curve", CURVE, "--at", &at, "--revised", "--json"],
    );
    let trace: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(trace["versions"][0]["version"], revised["version"], "{text}");
}

fn a_correction_replaces_and_the_past_stays(pipeline: &Pipeline, before: &Value) {
    let known = pipeline
        .clickhouse
        .number(&format!(
            "SELECT max(toUnixTimestamp64Micro(appended_at)) FROM enriched_ticks WHERE curve_id = '{CURVE}'"
        ))
        .unwrap();
    let known = jiff::Timestamp::from_microsecond(known as i64).unwrap().to_string();
    ingest(
        pipeline,
        &document(&["2025-03-05,PJM.TEST WESTERN,CAL-26,flat,53.5,".to_owned()]),
    );
    eventually("the corrected quote counts", || {
        Ok(price_of(&shown(pipeline, &[]), "CAL-26") == 53.5)
    })
    .unwrap();
    let corrected = shown(pipeline, &[]);
    let (first, end) = ("2026-01-01".parse().unwrap(), "2027-01-01".parse().unwrap());
    assert!((mean(&corrected, first, end) - 53.5).abs() <= 1e-8);
    let past = shown(pipeline, &["--as-of", &known]);
    assert_eq!(
        (&past["points"], &past["inputs"]),
        (&before["points"], &before["inputs"])
    );
    // The definition has no history.
    assert!(past["note"].as_str().unwrap().contains("curve_metadata"), "{past}");
    assert_eq!(before["note"], Value::Null);
}

/// The price of a month of 2025.
fn month(snapshot: &Value, contract: &str) -> f64 {
    let points = snapshot["points"].as_array().unwrap();
    let point = points.iter().find(|point| point["contract"] == contract).unwrap();
    point["price"].as_f64().unwrap()
}

/// The first snapshot with this definition. Each attempt quotes a contract whose delivery is over, which brings today's definition and is no
/// quote of the curve itself.
fn snapshot_defined_as(pipeline: &Pipeline, definition: &str, prices: &mut u32) -> Value {
    let mut found = Value::Null;
    let result = eventually("a snapshot has the new definition", || {
        *prices += 1;
        let row = format!("2025-01-15,PJM.TEST WESTERN,2025-02,flat,{prices},");
        ingest(pipeline, &document(&[row]));
        tick(pipeline);
        let (status, body) = curve(pipeline, "")?;
        found = body;
        Ok(status == 200 && found["definition"] == definition)
    });
    assert!(result.is_ok(), "{result:?} {found}");
    found
}

/// May and June have one quote together. The spreads add up to nothing over its hours, so that the levels below them stay as they are.
fn a_seasonal_shape_moves_the_months_of_the_next_snapshot(pipeline: &Pipeline) {
    let set = |value: &str| {
        let sql = format!("UPDATE curve_metadata SET seasonal_spreads = {value} WHERE curve_id = '{CURVE}'");
        pipeline.postgres.rows(&sql)
    };
    let (may, june) = (7.2, -7.44);
    let spreads = format!("0,0,0,0,{may},{june},0,0,0,0,0,0");
    let (_, before) = curve(pipeline, "").unwrap();
    let without = before["definition"].as_str().unwrap();
    assert_eq!(without, "smooth;;PJM.TEST%20WESTERN.*.SETTLEMENT");
    assert!(set("'{1,2}'").is_err(), "two values are no shape");
    set(&format!("'{{{spreads}}}'")).unwrap();

    let mut prices = 1_000;
    let definition = format!("smooth;spreads={spreads};;PJM.TEST%20WESTERN.*.SETTLEMENT");
    let shaped = snapshot_defined_as(pipeline, &definition, &mut prices);
    check_repricing(&shaped);
    let spread = |snapshot: &Value| month(snapshot, "2025-05") - month(snapshot, "2025-06");
    let moved = spread(&shaped) - spread(&before);
    assert!((moved - (may - june)).abs() <= 1e-8, "{moved}");
    for contract in ["2025-04", "2025-11"] {
        let moved = month(&shaped, contract) - month(&before, contract);
        assert!(moved.abs() <= 1e-8, "{contract}: {moved}");
    }
    // It is the curve that `dp curve show` builds.
    assert_eq!(shaped["points"], shown(pipeline, &[])["points"]);

    set("NULL").unwrap();
    let after = snapshot_defined_as(pipeline, without, &mut prices);
    for name in ["points", "inputs", "day"] {
        assert_eq!(after[name], before[name], "{name}");
    }
}

/// The patterns leave two quotes out, then the months are priced by another method; each counts from the next quote on, without a restart.
fn other_instruments_and_another_method_count_from_the_next_snapshot(pipeline: &Pipeline) {
    const KEPT: [&str; 3] = ["2025-04", "Q2-25", "Q4-25"];
    let set = |columns: &str| {
        let sql = format!("UPDATE curve_metadata SET {columns} WHERE curve_id = '{CURVE}'");
        pipeline.postgres.rows(&sql).unwrap();
    };
    let (_, before) = curve(pipeline, "").unwrap();
    let whole = before["definition"].as_str().unwrap();
    let mut prices = 2_000;

    // The quote that brings the definition is of a month of 2025, too.
    let narrow = "PJM.TEST%20WESTERN.2025-*.SETTLEMENT,PJM.TEST%20WESTERN.Q*.SETTLEMENT";
    set(&format!("instruments = '{{{narrow}}}'"));
    let narrowed = snapshot_defined_as(pipeline, &format!("smooth;;{narrow}"), &mut prices);
    assert_eq!(narrowed["method"], "smooth", "{narrowed}");
    check_repricing_of(&narrowed, &KEPT);
    assert_eq!(narrowed["points"], shown(pipeline, &[])["points"]);

    set("interpolation_method = 'linear'");
    let linear = snapshot_defined_as(pipeline, &format!("linear;;{narrow}"), &mut prices);
    assert_eq!(linear["method"], "linear", "{linear}");
    check_repricing_of(&linear, &KEPT);
    assert_eq!(linear["points"], shown(pipeline, &[])["points"]);
    // May and June have one quote together, which both methods keep and divide in their own way.
    let moved = month(&linear, "2025-05") - month(&narrowed, "2025-05");
    assert!(moved.abs() > 1e-6, "{moved}");

    set("interpolation_method = 'smooth', instruments = '{PJM.TEST%20WESTERN.*.SETTLEMENT}'");
    let after = snapshot_defined_as(pipeline, whole, &mut prices);
    check_repricing(&after);
    for name in ["points", "inputs", "day", "method"] {
        assert_eq!(after[name], before[name], "{name}");
    }
}

fn the_definition_changes_while_everything_runs(pipeline: &Pipeline) {
    let set = |columns: &str| {
        let sql = format!("UPDATE curve_metadata SET {columns} WHERE curve_id = '{CURVE}'");
        pipeline.postgres.rows(&sql).unwrap();
    };
    set("interpolation_method = 'flat'");
    assert_eq!(shown(pipeline, &["--horizon", "1m"])["method"], "flat");
    let listed = pipeline.dp_ok(&["curve", "list", "--json"]).unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let curves = listed.as_array().unwrap();
    assert!(curves.iter().any(|curve| curve["curve_id"] == CURVE), "{listed}");
    set("instruments = '{}'");
    for (curve, expected) in [(CURVE, "has no instruments"), ("NO_SUCH_CURVE", CURVE)] {
        let output = pipeline.dp(&["curve", "show", curve]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
}
