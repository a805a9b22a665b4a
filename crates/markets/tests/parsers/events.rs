//! Two messages are the same event if tenant, source, id and facts are equal, in any shape. Transport fields do not matter.

use codec::{RawTick, Wire};
use domain::{Decimal, EventKey};
use proptest::prelude::*;
use serde_json::json;

use crate::common::{APPENDED_AT, message, normalizer};

/// The fields that identify an event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    tenant: &'static str,
    source: &'static str,
    id: &'static str,
    instrument: &'static str,
    minute: i64,
    price: i64,
    volume: Option<i64>,
    bid: Option<i64>,
    ask: Option<i64>,
    sequence: Option<i64>,
}

/// The fields that may differ in a retry.
#[derive(Debug, Clone)]
struct Transport {
    shape: u8,
    sent: u32,
    correlation_id: u32,
    trailing_zeros: bool,
    as_text: bool,
    time_form: u8,
}

impl Event {
    fn micros(&self) -> i64 {
        APPENDED_AT - 600_000_000 + self.minute * 60_000_000
    }

    fn write(&self, by: &Transport) -> Vec<u8> {
        match by.shape {
            // Shape A has no sequence.
            0 if self.sequence.is_none() => self.envelope(by),
            1 => self.avro(by),
            _ => self.flat(by),
        }
    }

    fn raw(&self, by: &Transport) -> serde_json::Value {
        let number = |value: i64| {
            let text = format!("{value}{}", if by.trailing_zeros { ".500" } else { ".5" });
            if by.as_text {
                json!(text)
            } else {
                serde_json::from_str(&text).unwrap()
            }
        };
        let time = match by.time_form {
            0 => json!(self.micros()),
            1 => json!(self.micros() / 1_000_000),
            _ => json!(jiff::Timestamp::from_microsecond(self.micros()).unwrap().to_string()),
        };
        json!({"timestamp": time, "price": number(self.price), "volume": self.volume.map(number),
            "bid": self.bid.map(number), "ask": self.ask.map(number)})
    }

    fn envelope(&self, by: &Transport) -> Vec<u8> {
        json!({"envelope": {"event_type": "t", "event_id": self.id, "timestamp": by.sent.to_string(), "tenant_id": self.tenant,
                "source": self.source, "version": "1.0", "correlation_id": by.correlation_id.to_string()},
            "payload": {"market": "miso", "instrument_id": self.instrument, "raw_data": self.raw(by)}})
        .to_string()
        .into_bytes()
    }

    fn flat(&self, by: &Transport) -> Vec<u8> {
        json!({"event_id": self.id, "trace_id": by.correlation_id.to_string(), "schema_version": "1.0.0",
            "tenant_id": self.tenant, "producer": self.source, "occurred_at": 1, "ingested_at": by.sent,
            "payload": {"source_system": "feed", "market": "MISO", "symbol": self.instrument, "sequence": self.sequence,
                "received_at": by.sent, "raw_payload": self.raw(by).to_string(), "retry_count": by.sent % 7}})
        .to_string()
        .into_bytes()
    }

    fn avro(&self, by: &Transport) -> Vec<u8> {
        let number = |value: i64| Decimal::from_unscaled(value * 100_000_000 + 50_000_000).unwrap();
        let correlation_id = by.correlation_id.to_string();
        let tick = RawTick {
            event_id: self.id,
            correlation_id: Some(&correlation_id),
            causation_id: None,
            tenant_id: self.tenant,
            source: self.source,
            market: "MISO",
            instrument_id: self.instrument,
            symbol: None,
            timestamp: self.micros(),
            price: number(self.price),
            volume: self.volume.map(number),
            bid: self.bid.map(number),
            ask: self.ask.map(number),
            node: None,
            zone: None,
            hub: None,
            market_status: None,
            sequence: self.sequence,
            dropped_quote: false,
        };
        let mut bytes = Vec::new();
        Wire::single_object().encode_raw(&tick, &mut bytes);
        bytes
    }
}

fn key(payload: &[u8]) -> EventKey {
    normalizer()
        .parse(&message(payload))
        .unwrap_or_else(|rejection| panic!("{}: {rejection}", String::from_utf8_lossy(payload)))
        .event_key()
}

// Few values, so that equal events are common. Some are equal when concatenated, such as "a" + "b" and "ab" + "".
fn names() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "a:b", "a%7Cb", "a\\b", "0", "é"])
}

prop_compose! {
    fn events()(tenant in names(), source in names(), id in names(), instrument in names(), minute in 0i64..2, price in 0i64..2,
        volume in prop::option::of(0i64..2), bid in prop::option::of(0i64..2), ask in prop::option::of(0i64..2),
        sequence in prop::option::of(0i64..2)) -> Event {
        Event { tenant, source, id, instrument, minute, price, volume, bid, ask, sequence }
    }
}

prop_compose! {
    fn transports()(shape in 0u8..3, sent: u32, correlation_id: u32, trailing_zeros: bool, as_text: bool, time_form in 0u8..3) -> Transport {
        Transport { shape, sent, correlation_id, trailing_zeros, as_text, time_form }
    }
}

/// The event with one part replaced by that of another event.
fn changed(event: &Event, other: &Event, part: usize) -> Event {
    let mut event = event.clone();
    match part {
        0 => event.tenant = other.tenant,
        1 => event.source = other.source,
        2 => event.id = other.id,
        3 => event.instrument = other.instrument,
        4 => event.minute = other.minute,
        5 => event.price = other.price,
        6 => event.volume = other.volume,
        7 => event.bid = other.bid,
        8 => event.ask = other.ask,
        _ => event.sequence = other.sequence,
    }
    event
}

proptest! {
    #[test]
    fn two_messages_have_the_same_key_iff_they_contain_the_same_event(
        event in events(), other in events(), part in 0usize..10, by in transports(), again_by in transports()
    ) {
        let first = key(&event.write(&by));
        for other in [other.clone(), changed(&event, &other, part), event.clone()] {
            let second = key(&other.write(&again_by));
            prop_assert_eq!(first == second, event == other, "{:?} {:?}", event, other);
            let same_id = (event.tenant, event.source, event.id) == (other.tenant, other.source, other.id);
            prop_assert_eq!(first.id == second.id, same_id, "{:?} {:?}", event, other);
        }
    }
}
