//! The key that identifies the event of a message.
//!
//! Invariants: transport fields are not part of the key (correlation and trace ids, send times, Kafka key, spelling of a
//! number or a time), so a producer's retry has the same key as its first attempt. Parts are separated for any bytes of an
//! id: strings carry their length, numbers have fixed widths. No allocation: the hashed bytes are built in a reused buffer.

use domain::{Decimal, EventKey};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::event::Event;

/// The key of one tick: tenant, source and event id; parsed instrument, event time, price, volume, bid, ask and sequence.
pub(crate) fn of_tick(event: &Event<'_>, attempt: u32, buffer: &mut Vec<u8>) -> EventKey {
    EventKey {
        id: id(
            event.tenant_id.as_str(),
            event.source(),
            event.event_id.as_str().as_bytes(),
            attempt,
            buffer,
        ),
        facts: facts(event, buffer),
    }
}

/// The key of a document, from tenant, format and bytes. Also returns the hash of the bytes.
pub(crate) fn of_document(
    tenant_id: &str,
    format: &str,
    payload: &[u8],
    attempt: u32,
    buffer: &mut Vec<u8>,
) -> (EventKey, u128) {
    let hash = xxh3_128(payload);
    let key = EventKey {
        id: id(tenant_id, format, &hash.to_le_bytes(), attempt, buffer),
        facts: hash as u64,
    };
    (key, hash)
}

fn id(tenant_id: &str, source: &str, event_id: &[u8], attempt: u32, buffer: &mut Vec<u8>) -> u64 {
    buffer.clear();
    buffer.extend_from_slice(&attempt.to_le_bytes());
    for text in [tenant_id, source] {
        buffer.extend_from_slice(&(text.len() as u64).to_le_bytes());
        buffer.extend_from_slice(text.as_bytes());
    }
    // The last part needs no length prefix.
    buffer.extend_from_slice(event_id);
    xxh3_64(buffer)
}

fn facts(event: &Event<'_>, buffer: &mut Vec<u8>) -> u64 {
    let optional = [
        event.volume.map(Decimal::unscaled),
        event.bid.map(Decimal::unscaled),
        event.ask.map(Decimal::unscaled),
        event.sequence,
    ];
    buffer.clear();
    // An absent number differs from 0.
    for value in optional {
        buffer.push(u8::from(value.is_some()));
    }
    buffer.extend_from_slice(&event.event_time.to_le_bytes());
    buffer.extend_from_slice(&event.price.unscaled().to_le_bytes());
    for value in optional {
        buffer.extend_from_slice(&value.unwrap_or(0).to_le_bytes());
    }
    buffer.extend_from_slice(event.instrument_id.as_str().as_bytes());
    xxh3_64(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_parts_never_have_the_same_id() {
        let key = |tenant: &str, source: &str, event: &str, attempt| {
            id(tenant, source, event.as_bytes(), attempt, &mut Vec::new())
        };
        let parts = ["", "a", "b", "ab", "a|b", "a|", "|b", "a\u{1}", "\0", "a:b", "%7C"];
        let mut known = std::collections::BTreeMap::new();
        for tenant in parts {
            for source in parts {
                for event in parts {
                    for attempt in [0, 1, 2] {
                        let event = (tenant, source, event, attempt);
                        let other = known.insert(key(event.0, event.1, event.2, event.3), event);
                        assert_eq!(other, None, "{event:?}");
                    }
                }
            }
        }
    }
}
