//! A message of any topic, decoded: what `dp tail` and `dp dlq` show.
//!
//! Failure: a payload that cannot be decoded is kept as text or hexadecimal; it is never an error.

use std::collections::BTreeMap;

use codec::Wire;
use serde::Serialize;
use serde_json::Value;
use stream::Message;

use ops::present::iso;

/// Characters of a value in text output; `--json` shows all.
const SHOWN_CHARACTERS: usize = 800;

/// A message as `dp tail` shows it.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: String,
    pub key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Name of the Avro record, `json`, `text`, `bytes` or `tombstone`.
    pub format: &'static str,
    pub value: Value,
}

impl Shown {
    pub fn of(wire: &Wire, message: &Message<'_>) -> Shown {
        let (format, value) = decode(wire, message.payload);
        Shown {
            topic: message.topic.to_owned(),
            partition: message.partition,
            offset: message.offset,
            timestamp: iso(message.timestamp),
            key: message.key.map(|key| String::from_utf8_lossy(key).into_owned()),
            headers: message
                .headers()
                .map(|(name, value)| {
                    (
                        name.into_owned(),
                        String::from_utf8_lossy(value.unwrap_or_default()).into_owned(),
                    )
                })
                .collect(),
            format,
            value,
        }
    }
}

/// The format of a payload and its decoded value. A payload that cannot be decoded is shown as text or in hexadecimal.
fn decode(wire: &Wire, payload: Option<&[u8]>) -> (&'static str, Value) {
    let Some(payload) = payload else {
        return ("tombstone", Value::Null);
    };
    if matches!(payload, [0xC3, 0x01, ..] | [0x00, ..]) {
        return match codec::json::describe(wire, payload) {
            Ok((record, value)) => (record.name(), value),
            Err(error) => ("bytes", Value::String(format!("{error}: {}", hex::encode(payload)))),
        };
    }
    match std::str::from_utf8(payload) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(value) => ("json", value),
            Err(_) => ("text", Value::String(text.to_owned())),
        },
        Err(_) => ("bytes", Value::String(hex::encode(payload))),
    }
}

/// The beginning of a text, with its length if it is longer than what is shown.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!(
            "{}… ({} bytes; --json shows all)",
            text.get(..end).unwrap_or(text),
            text.len()
        ),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_payload_is_shown_decoded_or_as_bytes() {
        let wire = Wire::single_object();
        assert_eq!(decode(&wire, None), ("tombstone", Value::Null));
        assert_eq!(decode(&wire, Some(b"{\"a\":1}")).0, "json");
        assert_eq!(
            decode(&wire, Some(b"{\"a\":")),
            ("text", Value::String("{\"a\":".to_owned()))
        );
        assert_eq!(
            decode(&wire, Some(&[0xff, 0x00])),
            ("bytes", Value::String("ff00".to_owned()))
        );
        let (format, value) = decode(&wire, Some(&[0xC3, 0x01, 2]));
        assert!(
            format == "bytes" && value.as_str().unwrap().ends_with("c30102"),
            "{value}"
        );
    }
}
