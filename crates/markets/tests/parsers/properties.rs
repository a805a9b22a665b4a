//! Properties for any bytes: no panic, no guess, the same result twice.

use domain::Decimal;
use markets::RawMessage;
use proptest::prelude::*;
use serde_json::json;

use crate::common::{APPENDED_AT, message, normalizer, one, run};

const FORMATS: [Option<&str>; 3] = [None, Some("miso.rt5.expost.json"), Some("pjm.rt_hrl_lmps.csv")];

fn identifier() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_.é\"\\\\ -]{0,20}[A-Z]"
}

fn price_text() -> impl Strategy<Value = (String, Decimal)> {
    (-1_000_000_000_000_i64..1_000_000_000_000, 0u32..=8).prop_map(|(value, decimals)| {
        let unscaled = value * 10_i64.pow(8 - decimals).min(100_000);
        let decimal = Decimal::from_unscaled(unscaled).unwrap();
        (decimal.to_string(), decimal)
    })
}

fn envelope(id: &str, instrument: &str, price: &str) -> String {
    let text = json!({
        "envelope": {"event_type": "t", "event_id": id, "timestamp": "2026-10-02T12:00:00Z", "tenant_id": "t", "source": "s", "version": "1.0"},
        "payload": {"market": "pjm", "instrument_id": instrument, "raw_data": {"time": APPENDED_AT, "price": "PRICE", "volume": 1, "node": id}}
    });
    text.to_string().replace("\"PRICE\"", price)
}

fn flat(id: &str, instrument: &str, price: &str) -> String {
    let raw = json!({"price": "PRICE", "instrument_id": instrument, "node": id})
        .to_string()
        .replace("\"PRICE\"", price);
    json!({
        "event_id": id, "trace_id": "t", "schema_version": "1.0.0", "tenant_id": "t", "producer": "p", "occurred_at": APPENDED_AT, "ingested_at": 1,
        "payload": {"source_system": "s", "market": "pjm", "received_at": 1, "raw_payload": raw, "encoding": "json", "metadata": {}, "retry_count": 0}
    })
    .to_string()
}

fn document(node: &str, price: &str) -> String {
    json!({"headers": ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"], "data": [["2026-10-02T05:00:00", node, price, "0.10", "-0.20"], [1], null]}).to_string()
}

fn never_panics(payload: &[u8]) {
    for format in FORMATS {
        let _ = run(&RawMessage {
            format,
            ..message(payload)
        });
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(payload in proptest::collection::vec(any::<u8>(), 0..200), first in proptest::sample::select(vec![0x00, 0xC3, b'{', b'['])) {
        never_panics(&payload);
        let framed: Vec<u8> = std::iter::once(first).chain(if first == 0xC3 { Some(1) } else { None }).chain(payload).collect();
        never_panics(&framed);
    }

    #[test]
    fn a_truncated_message_is_rejected(id in identifier(), (price, _) in price_text(), cut in 0.0..1.0f64) {
        for (whole, format) in [(envelope(&id, "I", &price), None), (flat(&id, "I", &price), None), (document(&id, &price), FORMATS[1])] {
            let part = &whole.as_bytes()[..(whole.len() as f64 * cut) as usize];
            let is_refused = run(&RawMessage { format, ..message(part) }).is_err();
            prop_assert!(is_refused);
        }
    }

    #[test]
    fn a_changed_byte_never_panics(id in identifier(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        for whole in [envelope(&id, "I", "1.5"), flat(&id, "I", "1.5"), document(&id, "1.5")] {
            let mut changed = whole.into_bytes();
            let at = at.index(changed.len());
            changed[at] = byte;
            never_panics(&changed);
        }
    }

    #[test]
    fn ids_and_digits_are_preserved_exactly(id in identifier(), instrument in identifier(), (text, price) in price_text(), quoted in any::<bool>()) {
        let written = if quoted { format!("\"{text}\"") } else { text };
        for payload in [envelope(&id, &instrument, &written), flat(&id, &instrument, &written)] {
            one(&payload, |tick| {
                assert_eq!(tick.source_event_id, id.trim());
                assert_eq!(tick.instrument_id, instrument.trim());
                assert_eq!(tick.price, price);
                assert_eq!(tick.node, Some(id.trim()));
            });
        }
    }

    #[test]
    fn the_same_bytes_give_the_same_ticks(id in identifier(), (price, _) in price_text()) {
        for (payload, format) in [(envelope(&id, "I", &price), None), (flat(&id, "I", &price), None), (document(&id, &price), FORMATS[1])] {
            let message = RawMessage { format, ..message(payload.as_bytes()) };
            prop_assert_eq!(run(&message), run(&message));
        }
    }

    #[test]
    fn earlier_messages_change_only_quality_flags(ids in proptest::collection::vec(identifier(), 1..8)) {
        let mut used = normalizer();
        for id in &ids {
            for payload in [flat(id, "I", "1.5"), envelope(id, "J", "2")] {
                let mut seen = Vec::new();
                let outcome = used.normalize(&message(payload.as_bytes()), 5, &mut |tick| seen.push(format!("{tick:?}"))).unwrap();
                let (fresh, expected) = run(&message(payload.as_bytes())).unwrap();
                prop_assert_eq!(&seen, &fresh);
                prop_assert_eq!(outcome, expected);
            }
        }
    }
}
