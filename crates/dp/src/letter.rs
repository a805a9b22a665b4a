//! A dead letter as a block of text, the most important facts first.

use std::collections::BTreeMap;

use stream::dead_letter::header;

use crate::message::{Shown, shortened};
use ops::present::{iso, printable};

/// Characters of the payload that are shown.
const PAYLOAD_CHARACTERS: usize = 200;
/// Headers that the block shows elsewhere, or that repeat those in Kafka Connect's terms.
const SHOWN_ELSEWHERE: [&str; 12] = [
    header::TOPIC,
    header::PARTITION,
    header::OFFSET,
    header::STAGE,
    header::CLASS,
    header::MESSAGE,
    header::CODE,
    header::SERVICE,
    header::CORRELATION_ID,
    header::ATTEMPTS,
    header::FAILED_AT,
    header::REJECTED_ROWS,
];

/// The block of a dead letter; `None` if the message has no error code.
pub fn block(shown: &Shown, payload: &str) -> Option<String> {
    let text = |name: &str| {
        shown
            .headers
            .get(name)
            .filter(|value| !value.is_empty())
            .map(|value| printable(value))
    };
    let code = text(header::CODE)?;
    let failed_at = text(header::FAILED_AT).and_then(|micros| micros.parse().ok()).map(iso);
    let or_unknown = |name: &str| text(name).unwrap_or_else(|| "?".to_owned());
    let mut lines = vec![
        format!("{}  {code}", failed_at.unwrap_or_else(|| shown.timestamp.clone())),
        line("reason", &shortened(&or_unknown(header::MESSAGE))),
        line(
            "origin",
            &format!(
                "{}/{}/{}, dead letter {}/{}/{}",
                or_unknown(header::TOPIC),
                or_unknown(header::PARTITION),
                or_unknown(header::OFFSET),
                shown.topic,
                shown.partition,
                shown.offset
            ),
        ),
        line(
            "stage",
            &format!(
                "{} of {}, attempt {}",
                or_unknown(header::STAGE),
                or_unknown(header::SERVICE),
                or_unknown(header::ATTEMPTS)
            ),
        ),
    ];
    lines.extend(shown.key.as_ref().map(|key| line("key", &printable(key))));
    lines.extend(text(header::CORRELATION_ID).map(|id| line("correlation", &shortened(&id))));
    lines.extend(text(header::REJECTED_ROWS).map(|rows| line("rows", &shortened(&rows))));
    lines.extend(others(&shown.headers).map(|headers| line("headers", &headers)));
    lines.push(line("payload", &beginning(payload)));
    Some(lines.join("\n"))
}

fn line(name: &str, value: &str) -> String {
    format!("  {name:<12}{value}")
}

/// The original headers of the message.
fn others(headers: &BTreeMap<String, String>) -> Option<String> {
    let others: Vec<String> = headers
        .iter()
        .filter(|(name, _)| !SHOWN_ELSEWHERE.contains(&name.as_str()))
        .map(|(name, value)| format!("{}={}", printable(name), shortened(&printable(value))))
        .collect();
    (!others.is_empty()).then(|| others.join(" "))
}

fn beginning(payload: &str) -> String {
    match payload.char_indices().nth(PAYLOAD_CHARACTERS) {
        Some((end, _)) => format!(
            "{}… ({} bytes as shown; --json shows all)",
            payload.get(..end).unwrap_or(payload),
            payload.len()
        ),
        None => payload.to_owned(),
    }
}
