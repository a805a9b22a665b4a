//! `POST /validate` shows all errors at once, and the flags of all readable values.

use markets::Diagnosis;
use serde_json::{Value, json};

use crate::common::{message, normalizer, run};

fn diagnose(payload: &Value) -> Diagnosis {
    normalizer().diagnose(&message(payload.to_string().as_bytes()), 5)
}

fn found(payload: &Value) -> (Vec<&'static str>, Vec<&'static str>) {
    let diagnosis = diagnose(payload);
    let codes = diagnosis.errors.iter().map(|error| error.code.name()).collect();
    (codes, diagnosis.flags.iter().map(domain::QualityFlag::name).collect())
}

fn bare(price: Value, volume: Value, time: &str) -> Value {
    json!({"market": "miso", "instrument_id": "X", "timestamp": time, "price": price, "volume": volume, "node": "N", "zone": "Z"})
}

fn shapes(raw: &Value) -> [Value; 4] {
    [
        json!({"envelope": {"event_type": "t", "event_id": "e", "timestamp": "2026-10-02T12:00:00Z", "tenant_id": "t", "source": "s", "version": "1.0"},
            "payload": {"market": "miso", "instrument_id": "X", "raw_data": raw}}),
        json!({"event_id": "e", "schema_version": "1.0.0", "tenant_id": "t",
            "payload": {"source_system": "s", "market": "miso", "symbol": "X", "raw_payload": raw.to_string(), "encoding": "json"}}),
        json!({"market": "miso", "instrument_id": "X", "raw_data": raw}),
        {
            let mut flat = raw.clone();
            flat["market"] = json!("miso");
            flat["instrument_id"] = json!("X");
            flat
        },
    ]
}

#[test]
fn all_errors_and_all_flags_of_readable_values_are_shown_at_once() {
    for (price, volume, time, codes, flags) in [
        (
            json!(10001),
            json!(-1),
            "2026-10-02T12:00:00Z",
            vec!["negative_volume"],
            vec!["out_of_range"],
        ),
        (
            json!("dear"),
            json!(-1),
            "then",
            vec!["invalid_time", "invalid_price", "negative_volume"],
            vec![],
        ),
        (
            json!(-5),
            json!("x"),
            "2026-10-02T11:00:00Z",
            vec!["invalid_number"],
            vec!["price_negative", "late_arrival"],
        ),
        (
            json!(null),
            json!(null),
            "2026-10-02T13:00:00Z",
            vec!["future_time", "missing_price"],
            vec!["missing_volume"],
        ),
        (json!(31.55), json!(1), "2026-10-02T12:00:00Z", vec![], vec!["valid"]),
    ] {
        let raw = json!({"timestamp": time, "price": price, "volume": volume, "node": "N", "zone": "Z"});
        for payload in shapes(&raw) {
            assert_eq!(found(&payload), (codes.clone(), flags.clone()), "{payload}");
        }
    }
}

#[test]
fn errors_of_the_envelope_and_of_the_tick_are_shown_together() {
    let payload = json!({"envelope": {"event_type": "", "event_id": "a|b", "timestamp": "x", "source": "s", "version": "9"},
        "payload": {"market": "nowhere", "instrument_id": "", "raw_data": {"price": "x", "bid": "N/A"}}});
    let diagnosis = diagnose(&payload);
    let places: Vec<&str> = diagnosis
        .errors
        .iter()
        .map(|error| error.message.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "/envelope/event_id",
            "/envelope/tenant_id",
            "/envelope/event_type",
            "/envelope/timestamp",
            "/envelope/version",
            "/payload/market",
            "/payload/instrument_id",
            "/payload/raw_data/timestamp",
            "/payload/raw_data/price",
        ]
    );
    assert_eq!(diagnosis.ticks, 0);
}

#[test]
fn a_bare_tick_is_valid_here_and_rejected_in_a_topic() {
    let payload = bare(json!(31.55), json!(1), "2026-10-02T12:00:00Z");
    let diagnosis = diagnose(&payload);
    assert_eq!((diagnosis.errors.len(), diagnosis.ticks, diagnosis.bare), (0, 1, true));
    assert!(run(&message(payload.to_string().as_bytes())).is_err());
    let nothing = diagnose(&json!({}));
    assert_eq!((nothing.errors.len(), nothing.bare), (1, false));
}

#[test]
fn the_diagnosis_agrees_with_the_data_path_and_includes_its_first_error() {
    let raw = json!({"timestamp": "2026-10-02T12:00:00Z", "price": 1, "volume": 1});
    let [envelope, flat, ..] = shapes(&raw);
    for payload in [envelope, flat] {
        let text = payload.to_string();
        let (_, outcome) = run(&message(text.as_bytes())).unwrap();
        assert_eq!(diagnose(&payload).event_key, Some(outcome.event_key));
        for (from, to) in [
            ("miso", "x"),
            ("\"e\"", "\"\""),
            ("12:00:00Z", "25:00:00Z"),
            ("1.0", "7"),
            ("volume", "price"),
        ] {
            let broken = text.replace(from, to);
            let diagnosis = normalizer().diagnose(&message(broken.as_bytes()), 5);
            match run(&message(broken.as_bytes())) {
                Ok(_) => assert_eq!(diagnosis.errors, [], "{broken}"),
                Err(first) => assert!(
                    diagnosis.errors.iter().any(|error| error.message == first.message),
                    "{broken}"
                ),
            }
        }
    }
}
