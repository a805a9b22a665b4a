//! Invalid messages, as hostile and broken producers send them.
//!
//! Role: breaks a valid message in one of several ways. Each result must become a dead letter without any tick.

use super::said::Made;
use crate::random::Random;

/// In milliseconds. No tick may be a year ahead, and no trade six days.
const YEAR: i64 = 365 * 86_400_000;
const SIX_DAYS: i64 = 6 * 86_400_000;

/// Breaks a valid message. `now` is in milliseconds since 1970.
pub(super) fn spoiled(random: &mut Random, sound: Made, now: i64) -> Made {
    let text = sound.payload.clone().unwrap_or_default();
    let (key, headers) = (sound.key.clone(), Vec::new());
    let with = |payload: Vec<u8>| Made {
        key: key.clone(),
        payload: Some(payload),
        headers: Vec::new(),
        partition: sound.partition,
    };
    match random.below(12) {
        // A tombstone without a key.
        0 => Made {
            key: None,
            payload: None,
            headers,
            partition: None,
        },
        1 => with(vec![random.below(256) as u8]),
        // Compressed by the producer itself.
        2 => with([&[0x1f, 0x8b, 8, 0][..], &text].concat()),
        // UTF-16.
        3 => with(text.iter().flat_map(|byte| [*byte, 0]).collect()),
        4 => with([&text[..], &text].concat()),
        5 => with(text[..text.len() / 2].to_vec()),
        // The frame of an Avro datum, followed by other bytes.
        6 => with([&[0xc3, 0x01][..], &text].concat()),
        7 => with(vec![b'['; 50_000]),
        8 => Made {
            headers: (0..2_000).map(|_| ("hostile", Some(vec![b'h'; 20]))).collect(),
            ..with(text[..text.len() - 1].to_vec())
        },
        // A field that almost fills the largest message.
        9 => {
            let start = String::from_utf8_lossy(&text[..text.len() - 1]).into_owned();
            with(format!("{start},\"correlation_id\":\"{}", "c".repeat(900_000)).into_bytes())
        }
        10 if !String::from_utf8_lossy(&text).contains("day_ahead") => with(stamped(&text, now + SIX_DAYS)),
        _ => with(stamped(&text, now + YEAR)),
    }
}

/// Sets the event time. In both shapes the last `timestamp` is the tick's, in milliseconds.
fn stamped(text: &[u8], time: i64) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let Some((before, after)) = text.rsplit_once("timestamp") else {
        return Vec::new();
    };
    let digits: String = after
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    format!("{before}timestamp{}", after.replacen(&digits, &time.to_string(), 1)).into_bytes()
}
