//! `PROJECTION_CUSTOM`: values of `served:custom` follow the latest price, and one that is missing or was changed by hand is written again.

use e2e::{Pipeline, RAW, eventually};
use serde_json::{Value, json};
use testkit::kafka::{Outgoing, Publisher};

const TENANT: &str = "custom";
const TYPES: &str = "settlement:value=price:at=event_time,mark:price:currency";
const SETTLEMENT: &str = "served:custom:settlement:custom:CUSTOM.A";

/// One tick; a later second is a newer price. All are in one partition.
fn publish(pipeline: &Pipeline, instrument: &str, second: u32, price: u32) {
    let payload = json!({
        "envelope": {"event_type": "tick", "event_id": format!("{instrument}-{second}"), "timestamp": "2026-10-01T10:00:00Z",
            "tenant_id": TENANT, "source": "custom", "version": "1.0"},
        "payload": {"market": "MISO", "instrument_id": instrument,
            "raw_data": {"timestamp": format!("2026-10-01T10:00:{second:02}Z"), "price": price, "volume": 1}},
    });
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let outgoing = Outgoing {
        partition: Some(0),
        key: Some(instrument.to_owned()),
        payload: payload.to_string().into_bytes(),
        headers: Vec::new(),
    };
    publisher.send(&outgoing).unwrap();
    publisher.finish().unwrap();
}

/// The value without its rank; `None` if there is none, or it is no JSON object.
fn value(pipeline: &Pipeline, key: &str) -> Option<Value> {
    let text = pipeline
        .redis
        .run(&["GET", key])
        .unwrap()
        .into_iter()
        .flatten()
        .next()?;
    let mut value: Value = serde_json::from_str(&text).ok()?;
    value.as_object_mut()?.remove("standing")?;
    Some(value)
}

fn until(pipeline: &Pipeline, what: &str, key: &str, expected: &Value) {
    eventually(what, || Ok(value(pipeline, key).as_ref() == Some(expected))).unwrap();
}

#[test]
fn a_configured_type_follows_the_latest_price_and_is_written_again() {
    let setting = ("PROJECTION_CUSTOM".to_owned(), TYPES.to_owned());
    let pipeline = Pipeline::with_settings([setting]).unwrap();
    let settled =
        |second: u32, price: u32| json!({"value": price, "at": format!("2026-10-01T10:00:{second:02}.000000Z")});
    publish(&pipeline, "CUSTOM.A", 5, 100);
    until(&pipeline, "the value of the first price", SETTLEMENT, &settled(5, 100));
    let mark = json!({"price": 100, "currency": "USD"});
    until(&pipeline, "the other type", "served:custom:mark:custom:CUSTOM.A", &mark);

    publish(&pipeline, "CUSTOM.A", 9, 110);
    until(&pipeline, "a newer price replaces it", SETTLEMENT, &settled(9, 110));
    publish(&pipeline, "CUSTOM.A", 7, 90);
    publish(&pipeline, "CUSTOM.A", 8, 95);
    let rows = "SELECT count() FROM enriched_ticks WHERE tenant_id = 'custom'";
    eventually("all ticks were handled", || Ok(pipeline.clickhouse.number(rows)? == 4)).unwrap();
    assert_eq!(
        value(&pipeline, SETTLEMENT),
        Some(settled(9, 110)),
        "older prices replace nothing"
    );
    publish(&pipeline, "CUSTOM.A", 11, 120);
    until(&pipeline, "the newest price replaces it", SETTLEMENT, &settled(11, 120));

    let one = ["--tenant", TENANT, "--instrument", "CUSTOM.A"];
    for (tampered, arguments) in [
        (None, [&["cache", "refresh"][..], &one].concat()),
        (Some("1"), [&["cache", "invalidate"][..], &one].concat()),
        // As if it were newer than any price.
        (
            Some(r#"{"standing":"~"}"#),
            vec!["cache", "invalidate", "--key", SETTLEMENT],
        ),
        (
            Some(r#"{"standing":"~"}"#),
            vec!["cache", "invalidate", "--all", "--yes"],
        ),
    ] {
        match tampered {
            Some(text) => pipeline.redis.run(&["SET", SETTLEMENT, text]).unwrap(),
            None => pipeline.redis.run(&["DEL", SETTLEMENT]).unwrap(),
        };
        pipeline.dp_ok(&arguments).unwrap();
        until(&pipeline, &arguments.join(" "), SETTLEMENT, &settled(11, 120));
    }
    pipeline.agree().unwrap();
}
