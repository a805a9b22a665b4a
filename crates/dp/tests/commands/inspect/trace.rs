//! `dp trace`: the steps of a tick with their times, a dead letter, a message that nothing has processed, and an unknown id. No
//! service runs: this test writes what they would write, at times of its choice.

use stream::kafka::reader::LogReader;

use super::*;

/// A message of shape A, as a producer writes it.
fn event(event_id: &str, price: &str) -> String {
    format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"{event_id}","timestamp":"2026-10-01T10:00:10Z","tenant_id":"acme","source":"traced","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"TRACED.RT5","raw_data":{{"timestamp":"2026-10-01T10:00:10Z","price":{price},"volume":2}}}}}}"#
    )
}

/// Partition, offset and append time of the raw message with this payload.
fn place(connection: &Connection, payload: &str) -> (i32, i64, i64) {
    let reader = LogReader::new(&connection.settings.kafka_bootstrap).unwrap();
    let mut found = None;
    for partition in reader.partitions(&connection.names.raw[0]).unwrap() {
        let (oldest, end) = reader.log_range(&partition).unwrap();
        let find = |message: &stream::Message<'_>| {
            if message.payload == Some(payload.as_bytes()) {
                found = Some((message.partition, message.offset, message.timestamp));
            }
            true
        };
        reader.read(&partition, oldest, end, find).unwrap();
    }
    found.unwrap()
}

/// The rows that the stages write of a tick: normalized after 12 ms, enriched 30 ms later, one bar, and a price.
async fn write_rows(stores: &Stores, raw: &str, (partition, offset, appended): (i32, i64, i64)) {
    let at = |millis: i64| format!("fromUnixTimestamp64Micro({})", appended + millis * 1_000);
    let origin = format!("'{raw}', {partition}, {offset}, 0");
    let time = "'2026-10-01 10:00:10.000000'";
    let market = format!(
        "INSERT INTO market_data.market_ticks (tenant_id, instrument_id, timestamp, market, product, kind, price, source_event_id, \
         correlation_id, feed, raw_partition, raw_offset, raw_index, src_partition, src_offset, appended_at, normalized_at, ingested_at) \
         VALUES ('acme', 'TRACED.RT5', {time}, 'MISO', 'rt5', 'trade', 31.5, 'traced-1', 'order-1', {origin}, 1, 5, {}, {}, {})",
        at(0),
        at(12),
        at(2_012)
    );
    let enriched = format!(
        "INSERT INTO market_data.enriched_ticks (tenant_id, instrument_id, timestamp, market, product, kind, price, feed, \
         raw_partition, raw_offset, raw_index, src_partition, src_offset, appended_at, enriched_at, ingested_at) \
         VALUES ('acme', 'TRACED.RT5', {time}, 'MISO', 'rt5', 'trade', 31.5, {origin}, 2, 6, {}, {}, {})",
        at(0),
        at(42),
        at(1_042)
    );
    let late = format!(
        "INSERT INTO market_data.late_ticks (tenant_id, instrument_id, timestamp, price, intervals, watermark, feed, raw_partition, \
         raw_offset, raw_index, src_partition, src_offset, ingested_at) \
         VALUES ('acme', 'TRACED.RT5', {time}, 31.5, ['5m'], {time}, {origin}, 3, 7, {})",
        at(542)
    );
    let bar = format!(
        "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, window_end, open, high, low, close, \
         trade_count, first_feed, last_feed, closed, version, src_partition, src_offset, ingested_at) VALUES ('acme', 'TRACED.RT5', \
         '1m', '2026-10-01 10:00:00', '2026-10-01 10:01:00', 31.5, 31.5, 31.5, 31.5, 1, 'f', 'l', true, 13, 0, 8, {})",
        at(142)
    );
    for sql in [market, enriched, late, bar] {
        stores.clickhouse.exec(&sql).await.unwrap();
    }
    let price = format!(
        "INSERT INTO served_latest_prices (generation, tenant_id, instrument_id, price, event_time, feed, raw_partition, raw_offset, \
         raw_index, src_partition, market, product, currency, unit, quality_flags, appended_at, updated_at) VALUES ('', 'acme', \
         'TRACED.RT5', 31.5, '2026-10-01T10:00:10Z', {origin}, 2, 'MISO', 'rt5', '', '', '{{}}', now(), \
         to_timestamp({} / 1000000.0))",
        appended + 92_000
    );
    stores.postgres.exec(&price).await.unwrap();
}

/// The raw message at this place, as `dp trace --recent` lists it.
fn recent(dir: &Path, partition: i32, offset: i64) -> Value {
    let listed = json(dir, 0, &["trace", "--recent", "100"]);
    let messages = listed.as_array().unwrap();
    let is_it = |message: &&Value| message["place"]["partition"] == partition && message["place"]["offset"] == offset;
    messages.iter().find(is_it).unwrap().clone()
}

pub(super) async fn check(dir: &Path, connection: &Connection, stores: &Stores) {
    let raw = connection.names.raw[0].as_str();
    let payload = event("traced-1", "31.5");
    publish(connection, raw, "TRACED.RT5", &payload);
    let (partition, offset, appended) = place(connection, &payload);

    // No row yet: the message itself is found.
    let waiting = json(dir, 0, &["trace", "traced-1"]);
    assert_eq!(waiting["messages"][0]["place"]["offset"], offset, "{waiting:#}");
    assert_eq!(waiting["messages"][0]["ticks"], serde_json::json!([]));

    let stage = || recent(dir, partition, offset)["stage"].clone();
    assert_eq!(stage(), "raw");

    write_rows(stores, raw, (partition, offset, appended)).await;
    assert_eq!(stage(), "enriched");
    let newest = recent(dir, partition, offset);
    assert_eq!(
        (&newest["event_id"], &newest["instrument_id"], &newest["ticks"]),
        (&"traced-1".into(), &"TRACED.RT5".into(), &1.into()),
        "{newest:#}"
    );
    silent(dir);
    for id in ["traced-1", "order-1"] {
        let trace = json(dir, 0, &["trace", id, "--tenant", "acme"]);
        let tick = &trace["messages"][0]["ticks"][0];
        assert_eq!(
            (&tick["event_id"], &tick["correlation_id"]),
            (&"traced-1".into(), &"order-1".into())
        );
        let steps: Vec<(&str, Option<f64>)> = tick["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| (step["step"].as_str().unwrap(), step["milliseconds"].as_f64()))
            .collect();
        let expected = [
            ("raw", None),
            ("normalized", Some(12.0)),
            ("market_ticks", Some(2_000.0)),
            ("enriched", Some(30.0)),
            ("enriched_ticks", Some(1_000.0)),
            ("late", Some(500.0)),
            ("bar 1m", Some(100.0)),
            ("price in postgres", Some(50.0)),
            ("price in redis", None),
        ];
        assert_eq!(steps, expected, "{trace:#}");
        assert_eq!(tick["steps"][1]["what"], format!("{}/1/5", connection.names.normalized));
    }
    let text = shown(dir, 0, &["trace", "order-1"]);
    assert!(text.contains("+30.0 ms") && text.contains("too late for 5m"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    let (code, stdout, _) = dp(dir, &["trace", "traced-1", "--tenant", "other"]);
    // Its message is found by its bytes; no tick of the other tenant is shown.
    assert!(code == 0 && !stdout.contains("+30.0 ms"), "{code} {stdout}");
    letters(dir, connection);

    let unknown = json(dir, 1, &["trace", "nothing-17"]);
    assert_eq!(unknown["searched"].as_array().unwrap().len(), 3);
    let text = shown(dir, 1, &["trace", "nothing-17"]);
    assert!(
        text.contains("no message has") && text.contains("market_ticks") && text.contains("dlq"),
        "{text}"
    );
}

/// The price of the traced tick is silent after a millisecond, and not after an hour.
fn silent(dir: &Path) {
    let asked = |over: &'static str| ["projection", "silent", "--tenant", "acme", "--over", over];
    let silent = json(dir, 1, &asked("1ms"));
    let names = silent["instruments"].as_array().unwrap().iter();
    assert!(
        names
            .map(|silent| &silent["instrument_id"])
            .any(|name| name == "TRACED.RT5"),
        "{silent:#}"
    );
    assert!(shown(dir, 1, &asked("1ms")).contains("TRACED.RT5"));
    assert_eq!(json(dir, 0, &asked("1h"))["total"], 0);
}

/// A dead letter leads to its raw message; one of a message that does not exist is shown alone.
fn letters(dir: &Path, connection: &Connection) {
    let raw = connection.names.raw[0].as_str();
    let payload = event("refused-1", "\"none\"");
    publish(connection, raw, "TRACED.RT5", &payload);
    let (partition, offset, appended) = place(connection, &payload);
    let (partition, offset, failed_at) = (
        partition.to_string(),
        offset.to_string(),
        (appended + 5_000).to_string(),
    );
    let headers = [
        (header::TOPIC, raw),
        (header::PARTITION, &partition),
        (header::OFFSET, &offset),
        (header::STAGE, "normalize"),
        (header::CODE, "no_price"),
        (header::MESSAGE, "there is no price"),
        (header::CORRELATION_ID, "order-2"),
        (header::FAILED_AT, &failed_at),
    ];
    publish_letter(connection, &payload, &headers);
    let refused = recent(dir, partition.parse().unwrap(), offset.parse().unwrap());
    assert_eq!(
        (&refused["stage"], &refused["dead_letter"]),
        (&"dlq".into(), &"no_price".into()),
        "{refused:#}"
    );
    let text = shown(dir, 0, &["trace", "--recent", "1"]);
    assert!(text.contains("dlq: no_price"), "{text}");
    for id in ["refused-1", "order-2"] {
        let trace = json(dir, 0, &["trace", id]);
        let message = &trace["messages"][0];
        assert_eq!(message["place"]["offset"].to_string(), offset, "{trace:#}");
        assert_eq!(message["dead_letters"][0]["code"], "no_price");
    }
    // The earlier letters of this test name offsets that do not exist.
    let alone = json(dir, 0, &["trace", "pjm"]);
    assert_eq!(alone["messages"][0]["raw"], Value::Null, "{alone:#}");
    assert_eq!(alone["messages"][0]["dead_letters"][0]["code"], "no_price");
}
