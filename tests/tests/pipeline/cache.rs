//! `dp cache`, topic `projection.invalidation.v1` and channel `cache:invalidation`: copies in Redis that are missing or were changed by
//! hand are written again, listeners get a notice, and a message that is no request becomes a dead letter.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use e2e::{Pipeline, RAW, eventually};
use localstack::Service;
use serde_json::{Value, json};
use testkit::PATIENCE;
use testkit::kafka::{self, Outgoing, Publisher};

const TOPIC: &str = "projection.invalidation.v1";
const INSTRUMENT: &str = "CACHE.A";

/// A subscriber of the channel.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn subscribe(pipeline: &Pipeline) -> Listener {
        let mut stream = TcpStream::connect(("127.0.0.1", pipeline.stack().config().ports.redis)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"SUBSCRIBE cache:invalidation\r\n").unwrap();
        let mut listener = Listener(BufReader::new(stream));
        // The last line of the answer: the number of subscriptions.
        while listener.line() != ":1" {}
        listener
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        assert!(read > 0, "redis has closed the connection");
        line.trim_end().to_owned()
    }

    /// Reads until the notice about the instrument of this tenant with this rule and this reason.
    fn until(&mut self, tenant: &str, rule: &str, reason: &str) {
        let began = Instant::now();
        let expected = json!({"tenant_id": tenant, "instrument_id": INSTRUMENT, "rule": rule, "reason": reason});
        loop {
            let line = self.line();
            if line.starts_with('{') && serde_json::from_str::<Value>(&line).unwrap() == expected {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "no notice {expected}, the last line is {line}"
            );
        }
    }
}

fn send(pipeline: &Pipeline, topic: &str, key: &str, payload: &str) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), topic).unwrap();
    let outgoing = Outgoing {
        key: Some(key.to_owned()),
        payload: payload.as_bytes().to_vec(),
        ..Outgoing::default()
    };
    publisher.send(&outgoing).unwrap();
    publisher.finish().unwrap();
}

/// The key of the copy. Each test has a tenant of its own.
fn key_of(tenant: &str) -> String {
    format!("served:latest_price:{tenant}:{INSTRUMENT}")
}

/// One tick; a later second is a newer price. Waits until both stores have it; returns the copy.
fn publish(pipeline: &Pipeline, tenant: &str, second: u32, price: u32) -> String {
    let payload = format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"{tenant}-{second}","timestamp":"2026-10-01T10:00:00Z","tenant_id":"{tenant}","source":"cache","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"{INSTRUMENT}","raw_data":{{"timestamp":"2026-10-01T10:00:{second:02}Z","price":{price},"volume":1}}}}}}"#
    );
    send(pipeline, RAW, INSTRUMENT, &payload);
    let in_postgres = format!(
        "SELECT trim_scale(price)::text FROM served_latest_prices WHERE tenant_id = '{tenant}' AND instrument_id = '{INSTRUMENT}'"
    );
    eventually("both stores have the price", || {
        let is_copied =
            value(pipeline, &key_of(tenant)).is_some_and(|copy| copy.contains(&format!(r#""price":{price},"#)));
        Ok(pipeline.postgres.rows(&in_postgres)? == [[price.to_string()]] && is_copied)
    })
    .unwrap();
    value(pipeline, &key_of(tenant)).unwrap()
}

fn value(pipeline: &Pipeline, key: &str) -> Option<String> {
    pipeline.redis.run(&["GET", key]).unwrap().into_iter().flatten().next()
}

fn back(pipeline: &Pipeline, what: &str, key: &str, stored: &str) {
    eventually(what, || Ok(value(pipeline, key).as_deref() == Some(stored))).unwrap();
}

/// The copies of all tenants.
fn copies(pipeline: &Pipeline) -> anyhow::Result<u64> {
    let status: Value = serde_json::from_str(&pipeline.dp_ok(&["--json", "cache", "status"])?)?;
    let counts = status.as_array().into_iter().flatten();
    Ok(counts.filter_map(|copies| copies["latest_prices"].as_u64()).sum())
}

fn code_of(pipeline: &Pipeline, arguments: &[&str]) -> Option<i32> {
    pipeline.dp(arguments).output().unwrap().status.code()
}

#[test]
fn copies_are_written_again_and_whoever_listens_is_told() {
    let (pipeline, tenant) = (Pipeline::shared(), "cache-one");
    let key = key_of(tenant);
    let mut listener = Listener::subscribe(&pipeline);
    publish(&pipeline, tenant, 1, 100);
    let stored = publish(&pipeline, tenant, 2, 105);
    listener.until(tenant, "price_change", "price_change");

    // A copy that is missing.
    let one = ["--tenant", tenant, "--instrument", INSTRUMENT, "--reason", "by hand"];
    pipeline.redis.run(&["DEL", &key]).unwrap();
    assert_eq!(code_of(&pipeline, &["cache", "get", &key]), Some(1));
    let sent = pipeline
        .dp_ok(&[&["--json", "cache", "refresh"][..], &one].concat())
        .unwrap();
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(
        (&sent["topic"], &sent["request"]["action"]),
        (&TOPIC.into(), &"refresh".into())
    );
    back(&pipeline, "the missing copy is back", &key, &stored);
    listener.until(tenant, "manual", "by hand");

    // One that was changed by hand, with the rank of the true price or of a later one.
    for tampered in [
        stored.replace(r#""price":105,"#, r#""price":6,"#),
        r#"{"standing":"~"}"#.to_owned(),
    ] {
        assert_ne!(tampered, stored);
        pipeline.redis.run(&["SET", &key, &tampered]).unwrap();
        pipeline.dp_ok(&[&["cache", "invalidate"][..], &one].concat()).unwrap();
        back(&pipeline, "the changed copy is replaced", &key, &stored);
        listener.until(tenant, "manual", "by hand");
    }
    for action in ["refresh", "invalidate"] {
        let unknown = ["--json", "cache", action, "--tenant", tenant, "--instrument", "NO.SUCH"];
        let output = pipeline.dp(&unknown).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["found"], false, "{told}");
        assert!(told["missing"].as_str().unwrap().contains("NO.SUCH"), "{told}");
    }
    let got: Value = serde_json::from_str(&pipeline.dp_ok(&["--json", "cache", "get", &key]).unwrap()).unwrap();
    assert_eq!(got, json!({"key": key, "value": stored}));
    let status: Value = serde_json::from_str(&pipeline.dp_ok(&["--json", "cache", "status"]).unwrap()).unwrap();
    let own = json!({"tenant_id": tenant, "latest_prices": 1});
    assert!(status.as_array().unwrap().contains(&own), "{status}");
    pipeline.agree().unwrap();
}

#[test]
fn all_copies_are_written_again_and_custom_values_are_dropped() {
    let (pipeline, tenant) = (Pipeline::shared(), "cache-all");
    let key = key_of(tenant);
    let stored = publish(&pipeline, tenant, 3, 200);
    pipeline.redis.run(&["DEL", &key]).unwrap();
    pipeline.dp_ok(&["cache", "refresh"]).unwrap();
    back(&pipeline, "a refresh of all writes it", &key, &stored);

    assert_eq!(
        code_of(&pipeline, &["cache", "invalidate", "--all"]),
        Some(2),
        "without --yes"
    );
    let before = copies(&pipeline).unwrap();
    pipeline.redis.run(&["SET", &key, r#"{"standing":"~"}"#]).unwrap();
    let ends = || kafka::ends(&pipeline.bootstrap(), TOPIC).unwrap();
    let requests = ends();
    for (chosen, copies) in [(&["--all"][..], None), (&["--key", &key], Some(1))] {
        let tried = [&["--json", "cache", "invalidate", "--dry-run"][..], chosen].concat();
        let tried: Value = serde_json::from_str(&pipeline.dp_ok(&tried).unwrap()).unwrap();
        assert_eq!(tried["request"]["action"], "invalidate", "{tried}");
        let found = tried["copies"].as_u64().unwrap();
        assert!(copies.map_or(found > 0, |copies| found == copies), "{tried}");
    }
    assert_eq!(ends(), requests, "a dry run publishes nothing");
    pipeline.dp_ok(&["cache", "invalidate", "--all", "--yes"]).unwrap();
    back(&pipeline, "an invalidation of all replaces it", &key, &stored);
    eventually("every lane has written its copies", || Ok(copies(&pipeline)? >= before)).unwrap();

    let custom = "served:custom:vwap:cache:CACHE.A";
    pipeline.redis.run(&["SET", custom, "1"]).unwrap();
    assert_eq!(
        code_of(&pipeline, &["cache", "invalidate", "--key", "ratelimit:1"]),
        Some(2)
    );
    pipeline.dp_ok(&["cache", "invalidate", "--key", custom]).unwrap();
    eventually("the value is dropped", || Ok(value(&pipeline, custom).is_none())).unwrap();

    let mut latest = Value::Null;
    eventually("the projection is healthy", || {
        let (status, body) = pipeline.get(Service::Projection, "/health/projections")?;
        latest = serde_json::from_str::<Value>(&body)?["projections"][0].take();
        Ok(status == 200 && latest["status"] == "healthy")
    })
    .unwrap();
    assert_eq!(latest["name"], "latest_price");
    assert!(
        latest["lag_seconds"].is_number() && latest["last_event_time"].is_string(),
        "{latest}"
    );
    let positions = latest["partitions"].as_array().unwrap().iter();
    let before_them: i64 = positions
        .map(|position| position["next_offset"].as_i64().unwrap())
        .sum();
    assert!(before_them > 0, "{latest}");
    assert_eq!(latest["events_processed"], before_them);
    assert!(latest["last_event_id"].is_string(), "{latest}");
    // Dashboards ask normalization, which passes the answer of projection on.
    let (status, body) = pipeline.get(Service::Normalization, "/health/projections").unwrap();
    let forwarded: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &forwarded["projections"][0]["name"]),
        (200, &latest["name"]),
        "{body}"
    );
    pipeline.agree().unwrap();
}

#[test]
fn what_is_no_request_is_a_dead_letter_and_the_next_request_is_carried_out() {
    let (pipeline, tenant) = (Pipeline::shared(), "cache-poison");
    let key = key_of(tenant);
    let stored = publish(&pipeline, tenant, 4, 300);
    let message_key = format!("{tenant}|{INSTRUMENT}");
    send(&pipeline, TOPIC, &message_key, r#"{"action":"drop","all":true}"#);
    send(&pipeline, TOPIC, &message_key, r#"{"action":"refresh"}"#);
    pipeline.redis.run(&["DEL", &key]).unwrap();
    send(
        &pipeline,
        TOPIC,
        &message_key,
        &json!({"action": "refresh", "key": key}).to_string(),
    );
    back(&pipeline, "the request after them is carried out", &key, &stored);
    eventually("both are dead letters", || {
        let letters = kafka::read_all(&pipeline.bootstrap(), "dlq")?;
        let ours = letters
            .iter()
            .filter(|letter| letter.header("__connect.errors.topic").as_deref() == Some(TOPIC));
        let codes: Vec<String> = ours.filter_map(|letter| letter.header("dp.error.code")).collect();
        Ok(codes == ["broken_json", "invalid_value"])
    })
    .unwrap();
    pipeline.agree().unwrap();
}
