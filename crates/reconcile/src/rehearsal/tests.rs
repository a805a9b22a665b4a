//! Messages written by hand, with numbers computed by hand.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use domain::Micros;
use serde_json::{Value, json};
use service::Env;

use super::forms::Arrival;
use super::*;

/// 2026-10-02T12:00:00Z.
const NOON: Micros = 1_790_942_400_000_000;
const MINUTE: Micros = 60_000_000;

fn stages(settings: &[(&str, &str)]) -> Stages {
    let env: Env = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Stages::read(&env, "default", 4).unwrap()
}

fn rehearsed_at(payload: &str, format: Option<&str>, rows: usize, appended_at: Micros) -> Rehearsal {
    let message = RawMessage {
        feed: "ingestion.market.raw.v1",
        partition: 0,
        offset: 0,
        appended_at,
        key: None,
        payload: payload.as_bytes(),
        format,
        tenant: None,
        replay: None,
    };
    rehearse(&stages(&[]), &message, rows)
}

fn rehearsed(payload: &str, format: Option<&str>) -> Rehearsal {
    rehearsed_at(payload, format, 5, NOON)
}

/// A trade of shape A, two seconds before noon.
fn trade(price: Value) -> String {
    json!({
        "envelope": {
            "event_type": "market.tick", "event_id": "e-1", "timestamp": "2026-10-02T11:59:59Z", "tenant_id": "acme",
            "source": "feed-7", "version": "1.0"
        },
        "payload": {
            "market": "miso", "instrument_id": "NG_HH_M1",
            "raw_data": {
                "timestamp": "2026-10-02T06:59:58.123456-05:00", "price": price, "volume": "100", "node": "N1", "zone": "Z1"
            }
        }
    })
    .to_string()
}

/// Five-minute prices until 07:00 EST, which is noon in UTC.
const DOCUMENT: &str = r#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[
    ["2026-10-02T07:00:00","MINN.HUB","20.5","0.15","-0.37"],
    ["2026-10-02T07:00:00","B","oops","0","0"],
    ["2026-10-02T07:00:00","C","-1.25","0","-21.97"]]}"#;
const FORMAT: Option<&str> = Some("miso.rt5.expost.json");

/// Interval, start, end and arrival of each window.
fn windows(tick: &TickForms) -> Vec<(&str, String, String, Arrival)> {
    let windows = tick.windows.iter();
    windows
        .map(|of| (of.interval, of.start.to_string(), of.end.to_string(), of.arrival))
        .collect()
}

fn window(interval: &'static str, start: &str, end: &str, arrival: Arrival) -> (&'static str, String, String, Arrival) {
    let iso = |time: &str| format!("2026-10-0{time}:00Z");
    (interval, iso(start), iso(end), arrival)
}

#[test]
fn a_trade_is_shown_in_the_form_of_every_stage() {
    let rehearsal = rehearsed(&trade(json!(31.55)), None);
    assert_eq!(
        (rehearsal.outcome, rehearsal.ticks, rehearsal.rejected),
        (Outcome::Accepted, 1, 0)
    );
    assert_eq!(rehearsal.quality_flags, BTreeMap::from([("valid", 1)]));
    let [tick] = &rehearsal.shown[..] else {
        unreachable!("{:?}", rehearsal.shown)
    };
    let normalized = |name: &str| &tick.normalized[name];
    assert_eq!(normalized("tick_id"), "ingestion.market.raw.v1/0/0/0");
    assert_eq!(normalized("event_time"), "2026-10-02T11:59:58.123456Z");
    assert_eq!(
        (normalized("price"), normalized("volume")),
        (&json!(31.55), &json!(100))
    );
    assert_eq!(
        (normalized("market"), normalized("kind")),
        (&json!("MISO"), &json!("trade"))
    );

    // NG is natural gas, MISO the Midwest. Confidence: 0.5, and 0.2 for the power market, 0.1 for the node, 0.1 for the zone.
    let added = json!({
        "commodity": "natural_gas", "region": "midwest", "product_tier": "standard", "reference_unit": null, "contract_size": null,
        "tick_size": null, "curve_id": null, "curve_definition": null, "classification_confidence": 0.9, "classification_method": "rule_based",
        "low_confidence_classification": false, "enriched_at": "2026-10-02T12:00:00.000000Z"
    });
    assert_eq!(tick.enrichment, added);
    assert_eq!(rehearsal.missing, LOOKUPS);

    assert_eq!(
        windows(tick),
        [
            window("1m", "2T11:59", "2T12:00", Arrival::Open),
            window("5m", "2T11:55", "2T12:00", Arrival::Open),
            window("15m", "2T11:45", "2T12:00", Arrival::Open),
            window("1h", "2T11:00", "2T12:00", Arrival::Open),
            window("1d", "2T00:00", "3T00:00", Arrival::Open),
        ]
    );
    let market_time = ["2026-10-02T06:59:00-05:00", "2026-10-02T07:00:00-05:00"].map(str::to_owned);
    assert_eq!(tick.windows[0].market_time, Some(market_time));
    for window in &tick.windows {
        for price in ["open", "high", "low", "close", "vwap"] {
            assert_eq!(window.bar[price], json!(31.55), "{price} of {}", window.interval);
        }
        // 31.55 × 100.
        assert_eq!(window.bar["turnover"], json!(3155));
        assert_eq!(
            (&window.bar["volume"], &window.bar["trade_count"]),
            (&json!(100), &json!(1))
        );
        assert_eq!((&window.bar["twap"], &window.bar["flags"]), (&Value::Null, &json!([])));
    }

    assert_eq!(tick.price.redis_key, "served:latest_price:acme:NG_HH_M1");
    let served = r#"{"tenant_id":"acme","instrument_id":"NG_HH_M1","price":31.55,"volume":100,"event_time":"2026-10-02T11:59:58.123456Z","tick_id":"ingestion.market.raw.v1/0/0/0","market":"MISO","product":"trade","currency":"USD","unit":"MWh","quality_flags":["valid"],"appended_at":"2026-10-02T12:00:00.000000Z"}"#;
    assert_eq!(tick.price.json.as_ref().map(|json| json.get()), Some(served));
}

#[test]
fn the_records_are_those_that_the_stages_publish() {
    let rehearsal = rehearsed(&trade(json!("-4.2")), None);
    let tick = &rehearsal.shown[0];
    let wire = codec::Wire::single_object();
    let schemas = [tick.normalized_record.schema, tick.enriched_record.schema];
    assert_eq!(schemas, ["tick", "enriched_tick"]);
    for record in [&tick.normalized_record, &tick.enriched_record] {
        let bytes = hex::decode(&record.hex).unwrap();
        assert_eq!(bytes.len(), record.size);
        let (found, value) = codec::json::describe(&wire, &bytes).unwrap();
        assert_eq!((found.name(), &value["price"]), (record.schema, &json!(-4.2)));
        assert_eq!(record.key, "acme|NG_HH_M1");
        assert!((0..4).contains(&record.partition), "{}", record.partition);
    }
}

#[test]
fn a_wrong_price_is_rejected_with_its_code_and_field_and_so_is_all_else_that_is_wrong() {
    let rehearsal = rehearsed(&trade(json!("dear")), None);
    assert_eq!((rehearsal.outcome, rehearsal.ticks), (Outcome::Rejected, 0));
    let [error] = &rehearsal.errors[..] else {
        unreachable!("{:?}", rehearsal.errors)
    };
    assert_eq!((error.row, error.code), (None, "invalid_price"));
    assert!(
        error.message.starts_with("/payload/raw_data/price is"),
        "{}",
        error.message
    );
    assert!(rehearsal.shown.is_empty() && rehearsal.missing.is_empty());

    let both = trade(json!("dear")).replace("\"100\"", "-1");
    let codes: Vec<&str> = rehearsed(&both, None).errors.iter().map(|error| error.code).collect();
    assert_eq!(codes, ["invalid_price", "negative_volume"]);

    // A document whose format nobody has named.
    let unnamed = rehearsed("a,b\n1,2\n", None);
    assert_eq!(
        (unnamed.outcome, unnamed.errors[0].code),
        (Outcome::Rejected, "broken_json")
    );
    assert!(unnamed.notes[0].contains("--as"), "{:?}", unnamed.notes);
}

#[test]
fn a_document_shows_its_first_rows_and_counts_all() {
    let rehearsal = rehearsed(DOCUMENT, FORMAT);
    assert_eq!(
        (rehearsal.outcome, rehearsal.ticks, rehearsal.rejected),
        (Outcome::PartlyRejected, 2, 1)
    );
    assert_eq!(rehearsal.rejected_rows, "1");
    let error = &rehearsal.errors[0];
    assert_eq!((error.row, error.code), (Some(1), "invalid_price"));
    assert!(
        error.message.contains("LMP") && error.message.contains("oops"),
        "{}",
        error.message
    );
    assert_eq!(
        rehearsal.quality_flags,
        BTreeMap::from([("price_negative", 1), ("valid", 1)])
    );
    let shown: Vec<(i32, &Value)> = rehearsal
        .shown
        .iter()
        .map(|tick| (tick.row, &tick.normalized["instrument_id"]))
        .collect();
    assert_eq!(shown, [(0, &json!("MISO.MINN.HUB.RT5")), (2, &json!("MISO.C.RT5"))]);

    // The end of the interval was sent. 20.72 = 20.5 − 0.15 + 0.37.
    let first = &rehearsal.shown[0];
    assert_eq!(first.normalized["event_time"], "2026-10-02T11:55:00.000000Z");
    assert_eq!(first.normalized["energy"], json!(20.72));
    // Five minutes are in no bar of one minute.
    assert_eq!(
        windows(first),
        [
            window("5m", "2T11:55", "2T12:00", Arrival::Open),
            window("15m", "2T11:45", "2T12:00", Arrival::Open),
            window("1h", "2T11:00", "2T12:00", Arrival::Open),
            window("1d", "2T00:00", "3T00:00", Arrival::Open),
        ]
    );
    let flags = |at: usize| &first.windows[at].bar["flags"];
    assert_eq!(flags(0), &json!(["complete", "no_volume"]));
    assert_eq!(flags(1), &json!(["partial_start", "no_volume"]));
    // 20.5 × 300 seconds.
    assert_eq!(first.windows[0].bar["price_seconds"], json!(6150));
    assert_eq!(first.windows[0].bar["twap"], json!(20.5));

    let one = rehearsed_at(DOCUMENT, FORMAT, 1, NOON);
    assert_eq!((one.ticks, one.shown.len(), one.errors.len()), (2, 1, 1));
}

#[test]
fn a_late_tick_finds_its_windows_closed_or_forgotten() {
    let arrivals = |after: Micros| -> Vec<Arrival> {
        let rehearsal = rehearsed_at(DOCUMENT, FORMAT, 1, NOON + after);
        rehearsal.shown[0].windows.iter().map(|window| window.arrival).collect()
    };
    // Windows of real-time prices close after 15 minutes and are forgotten after 60. The day has not ended.
    let [open, closed, forgotten] = [Arrival::Open, Arrival::Closed, Arrival::Forgotten];
    assert_eq!(arrivals(15 * MINUTE - 1), [open; 4]);
    assert_eq!(arrivals(15 * MINUTE), [closed, closed, closed, open]);
    assert_eq!(arrivals(60 * MINUTE), [forgotten, forgotten, forgotten, open]);
}

#[test]
fn the_settings_of_the_stages_decide() {
    let payload = trade(json!(31.55));
    let message = RawMessage {
        feed: "raw",
        partition: 0,
        offset: 0,
        appended_at: NOON,
        key: None,
        payload: payload.as_bytes(),
        format: None,
        tenant: None,
        replay: None,
    };
    let changed = stages(&[
        ("NORMALIZATION_MAX_PRICE", "30"),
        ("AGGREGATION_BAR_INTERVALS", "15m"),
        ("ENRICHMENT_CONFIDENCE_THRESHOLD", "0.95"),
    ]);
    let rehearsal = rehearse(&changed, &message, 5);
    assert_eq!(rehearsal.quality_flags, BTreeMap::from([("out_of_range", 1)]));
    let tick = &rehearsal.shown[0];
    assert_eq!(tick.windows.len(), 1);
    assert_eq!(tick.enrichment["low_confidence_classification"], json!(true));
    let mistaken = Env::from([("AGGREGATION_BAR_INTERVALS".to_owned(), "2h".to_owned())]);
    assert!(Stages::read(&mistaken, "default", 4).is_err());
}

#[test]
fn the_text_names_every_stage_and_fits_80_columns() {
    let text = text::rehearsal(&rehearsed(&trade(json!(31.55)), None));
    for expected in [
        "nothing is published",
        "accepted: 1 tick(s)",
        "31.55 USD per MWh, volume 100",
        "Avro record tick",
        "commodity natural_gas, region midwest",
        "1m  2026-10-02T11:59:00Z to 2026-10-02T12:00:00Z, open",
        "2026-10-02T06:59:00-05:00 to 2026-10-02T07:00:00-05:00",
        "turnover 3155",
        "served:latest_price:acme:NG_HH_M1",
        "taxonomy_instruments",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "{wide:?}");

    let text = text::rehearsal(&rehearsed_at(DOCUMENT, FORMAT, 1, NOON));
    assert!(text.contains("except 1 rejected row(s): 1"), "{text}");
    assert!(text.contains("  row 1: invalid_price: "), "{text}");
    assert!(text.contains("1 more tick(s)"), "{text}");
    let text = text::rehearsal(&rehearsed("{", None));
    assert!(text.contains("REJECTED") && text.contains("  broken_json: "), "{text}");
}
