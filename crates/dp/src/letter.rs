//! A dead letter as a block of text, the most important facts first.

use std::collections::BTreeMap;

use stream::dead_letter::{RowReason, header};

use crate::message::{Shown, shortened};
use ops::present::{iso, printable};

/// Characters of the payload that are shown.
const PAYLOAD_CHARACTERS: usize = 200;
/// Headers that the block shows elsewhere, or that repeat those in Kafka Connect's terms.
const SHOWN_ELSEWHERE: [&str; 14] = [
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
    header::REJECTED_REASONS,
    header::REJECTED_REASONS_LEFT_OUT,
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

/// Each rejected row of the letter with its code and reason, as far as the letter contains them; `None` if it contains none.
pub fn reasons(shown: &Shown) -> Option<String> {
    let listed: Vec<RowReason> = serde_json::from_str(shown.headers.get(header::REJECTED_REASONS)?).ok()?;
    let left_out = shown.headers.get(header::REJECTED_REASONS_LEFT_OUT);
    let rows = listed.iter().map(|row| {
        format!(
            "  row {}: {}: {}",
            row.row,
            printable(&row.code),
            printable(&row.reason)
        )
    });
    let more = left_out.map(|count| format!("  {} more row(s)", printable(count)));
    Some(rows.chain(more).collect::<Vec<_>>().join("\n"))
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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_rejected_row_has_its_reason_and_what_is_missing_is_said() {
        let shown = |headers: &[(&str, &str)]| Shown {
            topic: "dlq".to_owned(),
            partition: 0,
            offset: 17,
            timestamp: String::new(),
            key: None,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            format: "text",
            value: Value::Null,
        };
        let listed = r#"[{"row":1,"code":"invalid_price","reason":"line 3: LMP is \"\u001b\""},{"row":4,"code":"invalid_time","reason":"line 6"}]"#;
        let all = [(header::CODE, "invalid_price"), (header::REJECTED_REASONS, listed)];
        let text = reasons(&shown(&all)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("  row 1: invalid_price: line 3: LMP is ") && !text.contains('\u{1b}'),
            "{text}"
        );
        assert_eq!(lines[1..], ["  row 4: invalid_time: line 6"]);
        let cut = [all[0], all[1], (header::REJECTED_REASONS_LEFT_OUT, "98")];
        assert!(
            reasons(&shown(&cut))
                .unwrap_or_default()
                .ends_with("\n  98 more row(s)")
        );
        assert_eq!(reasons(&shown(&all[..1])), None);
        let block = block(&shown(&cut), "").unwrap_or_default();
        assert!(!block.contains("line 6") && !block.contains("98"), "{block}");
    }
}
