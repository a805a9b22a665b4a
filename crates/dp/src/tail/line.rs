//! A message as one line of text.

use ops::present::printable;
use serde_json::Value;

use crate::letter;
use crate::message::{Shown, shortened};

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

#[cfg(test)]
mod tests {
    use super::*;

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
