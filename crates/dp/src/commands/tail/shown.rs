//! A message as text or JSON: the decoded value, key and headers.

use std::collections::BTreeMap;

use codec::Wire;
use serde::Serialize;
use serde_json::Value;
use stream::Message;

use super::letter;
use crate::commands::present::{iso, printable};

/// Characters of a value in text output; `--json` shows all.
const SHOWN_CHARACTERS: usize = 800;

/// A message as `dp tail` shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: String,
    pub(super) key: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
    /// Name of the Avro record, `json`, `text`, `bytes` or `tombstone`.
    format: &'static str,
    value: Value,
}

impl Shown {
    pub(super) fn of(wire: &Wire, message: &Message<'_>) -> Shown {
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
            Err(error) => ("bytes", Value::String(format!("{error}: {}", hexadecimal(payload)))),
        };
    }
    match std::str::from_utf8(payload) {
        Ok(text) => match serde_json::from_str(text) {
            Ok(value) => ("json", value),
            Err(_) => ("text", Value::String(text.to_owned())),
        },
        Err(_) => ("bytes", Value::String(hexadecimal(payload))),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The message as one line, or as a block if it is a dead letter.
pub(super) fn line(shown: &Shown) -> String {
    let value = match &shown.value {
        Value::Null => String::new(),
        // Without the quotes and escapes of JSON.
        Value::String(text) => printable(text),
        value => value.to_string(),
    };
    if let Some(block) = letter::block(shown, &value) {
        return block;
    }
    let mut line = format!("{} {}/{}", shown.timestamp, shown.partition, shown.offset);
    if let Some(key) = &shown.key {
        line.push_str(&format!(" [{}]", printable(key)));
    }
    for (name, value) in &shown.headers {
        line.push_str(&format!(" {}={}", printable(name), shortened(&printable(value))));
    }
    if !shown.value.is_null() {
        line.push_str(&format!(" {}: {}", shown.format, shortened(&value)));
    }
    if shown.format == "tombstone" {
        line.push_str(" tombstone");
    }
    line
}

pub(super) fn shortened(text: &str) -> String {
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

    fn shown(headers: &[(&str, &str)], value: Value) -> Shown {
        Shown {
            topic: "dlq".to_owned(),
            partition: 0,
            offset: 17,
            timestamp: "2026-01-01T00:00:00Z".to_owned(),
            key: Some("A\u{1b}[2J".to_owned()),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            format: "text",
            value,
        }
    }

    #[test]
    fn a_dead_letter_is_a_block_without_repetition() {
        use stream::dead_letter::header;
        let letter = shown(
            &[
                (header::TOPIC, "raw"),
                (header::PARTITION, "2"),
                (header::OFFSET, "42"),
                (header::STAGE, "normalize"),
                (header::SERVICE, "normalization"),
                (header::ATTEMPTS, "1"),
                (header::CODE, "broken_json"),
                (header::CLASS, "broken_json"),
                (header::MESSAGE, "no value\r\nat byte 0"),
                (header::FAILED_AT, "1700000000000000"),
                ("dp.format", "x\u{1b}]0;title"),
            ],
            Value::String("x".repeat(5_000)),
        );
        let text = line(&letter);
        assert!(text.starts_with("2023-11-14T22:13:20Z  broken_json\n"), "{text}");
        for part in [
            "raw/2/42, dead letter dlq/0/17",
            "normalize of normalization",
            r"no value\r\nat byte 0",
            "(5000 bytes",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert_eq!(text.matches("broken_json").count(), 1, "{text}");
        assert!(!text.contains("__connect") && !text.contains("1700000000"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.len() < 900, "{} bytes", text.len());
    }

    #[test]
    fn control_characters_of_a_message_are_escaped() {
        let text = line(&shown(
            &[("a\u{1b}", "b\rc\nd\u{202e}")],
            Value::String("\u{9b}2J".to_owned()),
        ));
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
