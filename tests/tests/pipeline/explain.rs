//! `dp explain` for data that the test has published: a bar computed from the tables, a dropped repetition, a price, a dead
//! letter.

use e2e::{Pipeline, eventually};
use serde_json::Value;
use testkit::kafka::{self, Outgoing, Publisher};

use e2e::RAW;

/// A message of shape A, as a producer writes it.
fn event(event_id: &str, instrument: &str, time: &str, price: &str, volume: u32) -> String {
    format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"{event_id}","timestamp":"{time}","tenant_id":"default","source":"explained","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"{instrument}","raw_data":{{"timestamp":"{time}","price":{price},"volume":{volume}}}}}}}"#
    )
}

/// Publishes in order to one partition; returns the offset of each message.
fn publish(pipeline: &Pipeline, partition: i32, key: &str, payloads: &[String]) -> Vec<i64> {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for payload in payloads {
        let outgoing = Outgoing {
            partition: Some(partition),
            key: Some(key.to_owned()),
            payload: payload.clone().into_bytes(),
            headers: vec![("x-note".to_owned(), "explained".to_owned())],
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
    let records = kafka::read_all(&pipeline.bootstrap(), RAW).unwrap();
    let offset = |payload: &String| {
        let found = records
            .iter()
            .rfind(|record| record.partition == partition && record.payload == payload.as_bytes());
        found.unwrap().offset
    };
    payloads.iter().map(offset).collect()
}

/// Output and exit code of `dp explain … --json`.
fn explain(pipeline: &Pipeline, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = pipeline
        .dp(&[&["explain"], arguments, &["--json"]].concat())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let json = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (json, output.status.code())
}

fn wait_for(pipeline: &Pipeline, sql: &str, least: i128) {
    eventually(sql, || Ok(pipeline.clickhouse.number(sql)? >= least)).unwrap();
}

fn texts<'v>(of: &'v Value, pointer: &str) -> Vec<&'v str> {
    let each = of.as_array().unwrap().iter();
    each.map(|value| value.pointer(pointer).and_then(Value::as_str).unwrap_or(""))
        .collect()
}

#[test]
fn a_bar_of_months_ago_is_traced_to_its_late_ticks_their_messages_and_the_repetition() {
    let pipeline = Pipeline::shared();
    let instrument = "EXPLAIN.LATE.RT5";
    let price = |id: &str, time: &str, price: &str, volume| event(id, instrument, time, price, volume);
    // All of them are months late by the log clock, which follows the broker's clock. The fourth repeats the third.
    let payloads = [
        price("explain-r1", "2026-10-01T10:00:10Z", "31.55", 10),
        price("explain-r2", "2026-10-01T10:02:00Z", "40", 1),
        price("explain-r3", "2026-10-01T10:00:05Z", "-4.20", 5),
        price("explain-r3", "2026-10-01T10:00:05Z", "-4.2000", 5),
        price("explain-r4", "2026-10-01T10:12:00Z", "50", 1),
        price("explain-r5", "2026-10-01T10:00:30Z", "99", 7),
    ];
    let offsets = publish(&pipeline, 1, instrument, &payloads);
    wait_for(
        &pipeline,
        &format!("SELECT count() FROM late_ticks WHERE instrument_id = '{instrument}'"),
        5,
    );
    let bar = format!("FROM bars WHERE instrument_id = '{instrument}' AND interval = '1m'");
    wait_for(&pipeline, &format!("SELECT max(trade_count) {bar}"), 3);
    wait_for(
        &pipeline,
        &format!("SELECT count() FROM enriched_ticks WHERE instrument_id = '{instrument}'"),
        5,
    );

    let asked = [
        "bar",
        "--instrument",
        instrument,
        "--interval",
        "1m",
        "--start",
        "2026-10-01T10:00:00Z",
    ];
    let (trace, code) = explain(&pipeline, &asked);
    assert_eq!((code, &trace["agrees"]), (Some(0), &Value::Bool(true)), "{trace:#}");
    let newest = &trace["versions"][0];
    assert_eq!(
        (&newest["revision"], &newest["cause"], &newest["closed"]),
        (&3.into(), &"late".into(), &true.into()),
        "{newest:#}"
    );
    let numbers =
        ["open", "high", "low", "close", "volume", "turnover"].map(|name| newest["numbers"][name].as_str().unwrap());
    // 10 × 31.55 − 5 × 4.2 + 7 × 99
    assert_eq!(numbers, ["-4.2", "99", "-4.2", "99", "22", "987.5"]);

    let id = |message: usize| format!("{RAW}/1/{}/0", offsets[message]);
    assert_eq!(texts(&trace["ticks"], "/tick_id"), [id(2), id(0), id(5)]);
    assert_eq!(texts(&trace["ticks"], "/counted"), ["yes"; 3]);
    assert_eq!(trace["way"], "table");
    assert_eq!(texts(&trace["because"], "/tick_id"), [id(0), id(2), id(5)]);
    assert_eq!(texts(&trace["because"], "/cause"), ["late"; 3]);
    assert_eq!(texts(&trace["because"], "/late/topic"), ["aggregation.late.v1"; 3]);
    let after: Vec<bool> = trace["ticks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tick| tick["after_close"] == true)
        .collect();
    assert_eq!(after, [true; 3]);
    let raw = trace["raw"].as_array().unwrap();
    let of = |message: usize| {
        raw.iter()
            .find(|raw| raw["place"]["offset"] == offsets[message])
            .unwrap()
    };
    assert_eq!(of(2)["kept"]["content"]["bytes"], payloads[2].as_str());
    assert_eq!(of(2)["kept"]["content"]["size"], payloads[2].len());
    assert_eq!(of(2)["kept"]["headers"], serde_json::json!([["x-note", "explained"]]));
    assert_eq!(of(2)["kept"]["key"]["bytes"], instrument);
    assert_eq!(of(2)["kept"]["decided"]["repeated_by"][0]["offset"], offsets[3]);

    let words = pipeline.dp_ok(&[&["explain"], &asked[..]].concat()).unwrap();
    for part in [
        "revised by 3 ticks",
        "REVISION",
        "Recomputed from the rows of enriched_ticks",
        "arrived after the stream had forgotten the window",
        &format!("repeated at offset {}", offsets[3]),
    ] {
        assert!(words.contains(part), "{part}\n{words}");
    }
    assert!(words.lines().all(|line| line.chars().count() <= 100), "{words}");
}

#[test]
fn a_block_a_market_day_and_four_hours_are_traced_to_their_hours_and_each_hour_has_its_command() {
    let pipeline = Pipeline::shared();
    let instrument = "EXPLAIN.MERGED.RT5";
    // 11:00, 12:00 and 23:00 Eastern of a Thursday; the last hour is by night.
    let prices = [("01T15", "30"), ("01T16", "-10.5"), ("02T03", "7")];
    let payloads = prices.map(|(hour, price)| {
        let time = format!("2026-10-{hour}:00:00Z");
        event(&format!("explain-m{hour}"), instrument, &time, price, 2)
    });
    publish(&pipeline, 1, instrument, &payloads);
    let hours = format!("SELECT sum(hours) FROM bars_blocks WHERE instrument_id = '{instrument}'");
    wait_for(&pipeline, &hours, 3);

    let asked = |interval: &str, start: &str| {
        let asked = [
            "bar",
            "--instrument",
            instrument,
            "--interval",
            interval,
            "--start",
            start,
        ];
        let (trace, code) = explain(&pipeline, &asked);
        assert_eq!((code, &trace["agrees"]), (Some(0), &Value::Bool(true)), "{trace:#}");
        trace
    };
    let block = asked("blocks", "2026-10-01T15:30:00Z");
    assert_eq!(
        (&block["interval"], &block["view"]),
        (&"5x16".into(), &"bars_blocks".into())
    );
    assert_eq!(
        texts(&block["hours"], "/window_start"),
        ["2026-10-01T15:00:00Z", "2026-10-01T16:00:00Z"]
    );
    assert_eq!(block["missing"].as_array().unwrap().len(), 14);
    let numbers = block["numbers"].as_array().unwrap();
    let number = |name: &str| numbers.iter().find(|number| number["name"] == name).unwrap()["stored"].clone();
    assert_eq!((number("high"), number("low")), ("30".into(), "-10.5".into()));
    let night = asked("blocks", "2026-10-02T03:00:00Z");
    assert_eq!(
        (&night["interval"], texts(&night["hours"], "/window_start")),
        (&"7x8".into(), vec!["2026-10-02T03:00:00Z"])
    );
    // Days of MISO are in EST.
    let day = asked("1d-local", "2026-10-01T15:00:00Z");
    assert_eq!(
        (&day["window_start"], &day["window_end"]),
        (&"2026-10-01T05:00:00Z".into(), &"2026-10-02T05:00:00Z".into())
    );
    assert_eq!(day["hours"].as_array().unwrap().len(), 3);
    let four = asked("4h", "2026-10-01T15:00:00Z");
    assert_eq!(texts(&four["hours"], "/window_start"), ["2026-10-01T15:00:00Z"]);

    let command = block["hours"][0]["explain"].as_str().unwrap();
    let arguments: Vec<&str> = command.split(' ').skip(2).collect();
    let (hour, code) = explain(&pipeline, &arguments);
    assert_eq!(
        (code, &hour["versions"][0]["numbers"]["high"]),
        (Some(0), &"30".into()),
        "{hour:#}"
    );
    let words = pipeline
        .dp_ok(&[
            "explain",
            "bar",
            "--instrument",
            instrument,
            "--interval",
            "blocks",
            "--start",
            "2026-10-01T15:00Z",
        ])
        .unwrap();
    assert!(
        words.contains("merged from: 2 of 16") && words.contains("2026-10-01T16:00:00Z"),
        "{words}"
    );
    let elsewhere = [
        "bar",
        "--instrument",
        instrument,
        "--interval",
        "1d-local",
        "--start",
        "2026-09-01T00:00Z",
    ];
    let output = pipeline.dp(&[&["explain"], &elsewhere[..]].concat()).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        words.contains("the nearest bars of an hour start at 2026-10-01T15:00:00Z"),
        "{words}"
    );
}

#[test]
fn a_dropped_repetition_has_no_row_and_names_the_message_that_was_emitted() {
    let pipeline = Pipeline::shared();
    let instrument = "EXPLAIN.REPEATED.RT5";
    let payloads = ["7.25", "7.250"].map(|price| event("explain-d1", instrument, "2026-10-01T11:00:00Z", price, 3));
    let offsets = publish(&pipeline, 2, instrument, &payloads);
    wait_for(
        &pipeline,
        &format!("SELECT count() FROM bars WHERE instrument_id = '{instrument}'"),
        5,
    );

    let offset = offsets[1].to_string();
    let (trace, code) = explain(
        &pipeline,
        &["row", "--topic", RAW, "--partition", "2", "--offset", &offset],
    );
    assert_eq!(code, Some(0), "{trace:#}");
    assert_eq!(trace["raw"]["kept"]["decided"]["fate"], "repetition");
    assert_eq!(trace["raw"]["kept"]["decided"]["of_offset"], offsets[0]);
    assert_eq!(trace["raw"]["kept"]["decided"]["ticks"][0]["event_id"], "explain-d1");
    assert_eq!(trace["original"]["kept"]["content"]["bytes"], payloads[0].as_str());
    assert_eq!(
        (&trace["ticks"], &trace["dead_letters"]),
        (&serde_json::json!([]), &serde_json::json!([]))
    );

    // From the emitted tick forward: its rows, and a bar of every interval.
    let origin = format!("{RAW}/2/{}/0", offsets[0]);
    let (trace, code) = explain(&pipeline, &["row", "--table", "enriched_ticks", "--origin", &origin]);
    assert_eq!(code, Some(0), "{trace:#}");
    let tick = &trace["ticks"][0];
    assert_eq!((&tick["price"], &tick["volume"]), (&"7.25".into(), &"3".into()));
    assert_eq!(texts(&tick["bars"], "/interval"), ["1m", "5m", "15m", "1h", "1d"]);
    assert_eq!(trace["raw"]["kept"]["decided"]["repeated_by"][0]["offset"], offsets[1]);
    let stored = pipeline
        .clickhouse
        .rows(&format!(
            "SELECT m.src_partition, m.src_offset, e.src_partition, e.src_offset FROM market_ticks AS m \
             JOIN enriched_ticks AS e USING (feed, raw_partition, raw_offset, raw_index) WHERE m.instrument_id = '{instrument}'"
        ))
        .unwrap();
    let places = ["normalized", "enriched"].map(|name| &tick[name]);
    let places = places.map(|place| [place["partition"].to_string(), place["offset"].to_string()]);
    assert_eq!(stored[0], places.concat());
    let rows = trace["table_rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["tick_id"]), (1, &origin.as_str().into()));
    // The event of an enriched row is found by its origin.
    assert!(rows[0].get("source_event_id").is_none());
    assert_eq!(tick["event_id"], "explain-d1");
}

#[test]
fn a_price_is_the_same_in_every_store_and_leads_to_its_message() {
    let pipeline = Pipeline::shared();
    let instrument = "EXPLAIN.PRICE.RT5";
    let payloads = [("p1", "12:05", "8.125"), ("p2", "12:00", "6")].map(|(id, time, price)| {
        event(
            &format!("explain-{id}"),
            instrument,
            &format!("2026-10-01T{time}:00Z"),
            price,
            2,
        )
    });
    let offsets = publish(&pipeline, 3, instrument, &payloads);
    let asked = ["price", "--instrument", instrument];
    eventually("every store has the price", || {
        let output = pipeline
            .dp(&[&["explain"], &asked[..], &["--json"]].concat())
            .output()?;
        let trace: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let quotes = trace["quotes"].as_array().cloned().unwrap_or_default();
        Ok(!quotes.is_empty() && quotes.iter().all(|quote| !quote["price"].is_null()))
    })
    .unwrap();
    let (trace, code) = explain(&pipeline, &asked);
    assert_eq!(
        (code, &trace["disagreements"]),
        (Some(0), &serde_json::json!([])),
        "{trace:#}"
    );
    assert_eq!(
        texts(&trace["quotes"], "/source"),
        ["ClickHouse", "Postgres", "Redis", "HTTP API"]
    );
    assert_eq!(texts(&trace["quotes"], "/price/price"), ["8.125"; 4]);
    let origin = format!("{RAW}/3/{}/0", offsets[0]);
    assert_eq!(texts(&trace["quotes"], "/price/tick_id"), [origin.as_str(); 4]);
    assert_eq!(trace["raw"]["kept"]["content"]["bytes"], payloads[0].as_str());

    // A store with another price is named, and the exit code is 1.
    let change = |price: &str| {
        let sql =
            format!("UPDATE served_latest_prices SET price = {price} WHERE instrument_id = '{instrument}' RETURNING 1");
        pipeline.postgres.rows(&sql).unwrap();
    };
    change("9");
    let (trace, code) = explain(&pipeline, &asked);
    change("8.125");
    assert_eq!(code, Some(1));
    let words = trace["disagreements"].to_string();
    assert!(
        words.contains("Postgres disagrees with ClickHouse: price 9 instead of 8.125"),
        "{words}"
    );
}

#[test]
fn a_changed_schema_is_tried_on_records_that_exist_and_the_field_is_named() {
    let pipeline = Pipeline::shared();
    let instrument = "EXPLAIN.SCHEMA.RT5";
    let payload = event("explain-schema", instrument, "2026-10-01T12:00:00Z", "8.125", 2);
    publish(&pipeline, 1, instrument, &[payload]);
    let sql = format!("SELECT count() FROM market_ticks WHERE instrument_id = '{instrument}'");
    wait_for(&pipeline, &sql, 1);
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/avro/tick.avsc");
    let check = |path: &str| {
        let arguments = ["schema", "check-compat", path, "--messages", "10", "--json"];
        let output = pipeline.dp(&arguments).output().unwrap();
        let judged: Value = serde_json::from_slice(&output.stdout).unwrap();
        (judged, output.status.code())
    };
    let (current, code) = check(schema);
    let read = current["messages"]["records"].as_u64().unwrap();
    assert!((1..=10).contains(&read), "{current}");
    assert_eq!(
        (code, &current["messages"]["unreadable"]),
        (Some(0), &serde_json::json!([]))
    );

    let mut changed: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let fields = changed["fields"].as_array_mut().unwrap();
    fields.push(serde_json::json!({ "name": "settled", "type": "long" }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.avsc");
    std::fs::write(&path, changed.to_string()).unwrap();
    let (judged, code) = check(path.to_str().unwrap());
    let unreadable = judged["messages"]["unreadable"].as_array().unwrap();
    assert_eq!(
        (code, judged["messages"]["records"].as_u64()),
        (Some(1), Some(unreadable.len() as u64))
    );
    assert!(!unreadable.is_empty());
    for message in unreadable {
        let problem = message["problems"][0].as_str().unwrap();
        assert!(
            problem.starts_with(".settled: records do not have this field"),
            "{message}"
        );
        assert!(
            message["message"].as_str().unwrap().starts_with("normalized."),
            "{message}"
        );
    }
}

#[test]
fn a_dead_letter_is_shown_with_its_position_and_code() {
    let pipeline = Pipeline::shared();
    let payload = r#"{"explained":"no tick at all"#.to_owned();
    let offset = publish(&pipeline, 0, "EXPLAIN.DEAD", std::slice::from_ref(&payload))[0];
    let letter = || {
        let letters = kafka::read_all(&pipeline.bootstrap(), "dlq").unwrap();
        letters.into_iter().find(|letter| letter.payload == payload.as_bytes())
    };
    eventually("the dead letter", || Ok(letter().is_some())).unwrap();
    let letter = letter().unwrap();

    let at = offset.to_string();
    let (trace, code) = explain(&pipeline, &["row", "--partition", "0", "--offset", &at]);
    assert_eq!(code, Some(0), "{trace:#}");
    assert_eq!(trace["raw"]["kept"]["decided"]["code"], "broken_json");
    let found = &trace["dead_letters"][0];
    assert_eq!(found["code"], "broken_json");
    assert_eq!(
        (&found["place"]["partition"], &found["place"]["offset"]),
        (&letter.partition.into(), &letter.offset.into())
    );
    assert_eq!(trace["ticks"], serde_json::json!([]));
}

#[test]
fn unknown_instruments_bars_and_messages_are_answered_with_a_hint() {
    let pipeline = Pipeline::shared();
    let instrument = "EXPLAIN.HINT.RT5";
    publish(
        &pipeline,
        0,
        instrument,
        &[event("explain-h1", instrument, "2026-10-01T13:00:00Z", "1", 1)],
    );
    wait_for(
        &pipeline,
        &format!("SELECT count() FROM bars WHERE instrument_id = '{instrument}'"),
        5,
    );
    let refused = |arguments: &[&str]| {
        let output = pipeline.dp(&[&["explain"], arguments].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let words = refused(&["price", "--instrument", "EXPLAIN.HINT.RT"]);
    assert!(words.contains("the most similar names are EXPLAIN.HINT.RT5"), "{words}");
    let elsewhere = ["--interval", "1h", "--start", "2026-10-02T00:00:00Z"];
    let words = refused(&[&["bar", "--instrument", instrument], &elsewhere[..]].concat());
    assert!(
        words.contains("the nearest ones start at 2026-10-01T13:00:00Z"),
        "{words}"
    );
    let words = refused(&["row", "--partition", "0", "--offset", "999999999"]);
    assert!(words.contains("is beyond the end"), "{words}");
    let words = refused(&["row", "--origin", "nowhere/1/2"]);
    assert!(words.contains("is not an origin of a raw message"), "{words}");
}
