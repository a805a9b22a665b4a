//! Recognizes replayed dead letters.
//!
//! Role: a replay is a separate event, and emits only some rows of a document. Any producer can set its headers, so they
//! count only if they name an existing dead letter and match it. Used by normalization, `dp verify` and `dp explain`.
//! Invariants: the result is a function of the raw log and of `dlq` (INV-1). Once `dlq` has expired the letter, the replay
//! is an ordinary message.
//! Failure: headers that do not match are ignored and logged. A broker that does not answer is transient.

use std::str;

use markets::{RawMessage, Replay};
use service::names::DLQ;
use stream::Brokers;
use stream::dead_letter::header;
use stream::kafka::reader::LogReader;
use stream::{DLQ_PARTITION, Partition, StreamError};

use crate::stages::normalize::NAME;

/// Looks up dead letters.
pub struct Replays {
    bootstrap: Brokers,
    reader: Option<LogReader>,
}

impl Replays {
    /// Connects at the first message that claims to be a replay.
    pub fn new(bootstrap: &Brokers) -> Replays {
        Replays {
            bootstrap: bootstrap.clone(),
            reader: None,
        }
    }

    /// The message; its replay headers are dropped unless they match the dead letter.
    ///
    /// # Errors
    /// `dlq` cannot be read at present.
    pub fn checked<'a>(&mut self, message: RawMessage<'a>) -> Result<RawMessage<'a>, StreamError> {
        let Some(replay) = message.replay else {
            return Ok(message);
        };
        if self.letter_agrees(&replay, message.payload)? {
            return Ok(message);
        }
        let RawMessage {
            feed,
            partition,
            offset,
            ..
        } = message;
        tracing::warn!(
            event = "replay_ignored",
            topic = feed,
            partition,
            offset,
            correlation_id = format!("{feed}/{partition}/{offset}"),
            letter = replay.letter,
            "the headers dp.replay.* match no dead letter; they are ignored"
        );
        Ok(RawMessage {
            replay: None,
            ..message
        })
    }

    fn letter_agrees(&mut self, replay: &Replay<'_>, payload: &[u8]) -> Result<bool, StreamError> {
        let dlq = Partition {
            topic: DLQ.into(),
            number: DLQ_PARTITION,
        };
        let reader = match &mut self.reader {
            Some(reader) => reader,
            empty => empty.insert(LogReader::uncommitted(&self.bootstrap)?),
        };
        let (first, end) = reader.log_range(&dlq)?;
        let mut agrees = false;
        if (first..end).contains(&replay.letter) {
            reader.read(&dlq, replay.letter, replay.letter + 1, |letter| {
                let kept = letter.payload.unwrap_or_default();
                agrees = letter.offset == replay.letter && agree(|name| letter.header(name), kept, replay, payload);
                false
            })?;
        }
        Ok(agrees)
    }
}

/// Whether the letter matches the replay headers and contains these bytes. `stated` returns the letter's own headers.
fn agree<'l>(stated: impl Fn(&str) -> Option<&'l [u8]>, kept: &[u8], replay: &Replay<'_>, payload: &[u8]) -> bool {
    let text = |name: &str| stated(name).and_then(|value| str::from_utf8(value).ok());
    let is = |name: &str, expected: &str| text(name) == Some(expected);
    let origin = [header::TOPIC, header::PARTITION, header::OFFSET].map(|name| text(name).unwrap_or_default());
    let attempts = text(header::ATTEMPTS).and_then(|attempts| attempts.parse::<u32>().ok());
    let same_bytes = if is(header::TRUNCATED, "true") {
        is(header::ORIGINAL_SIZE, &payload.len().to_string()) && payload.starts_with(kept)
    } else {
        kept == payload
    };
    is(header::SERVICE, crate::DEFINITION.name)
        && is(header::STAGE, NAME)
        && origin.join("/") == replay.origin
        && is(header::REJECTED_ROWS, replay.rows)
        && attempts.and_then(|attempts| attempts.checked_add(1)) == Some(replay.attempt)
        && same_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] = b"the bytes of the document";
    const REPLAY: Replay<'static> = Replay {
        letter: 5,
        origin: "raw/2/7",
        rows: "1,3",
        attempt: 2,
    };
    const LETTER: [(&str, &str); 7] = [
        (header::TOPIC, "raw"),
        (header::PARTITION, "2"),
        (header::OFFSET, "7"),
        (header::STAGE, "normalize"),
        (header::SERVICE, "normalization"),
        (header::ATTEMPTS, "1"),
        (header::REJECTED_ROWS, "1,3"),
    ];

    /// Whether the replay matches a letter whose header `changed.0` has the value `changed.1`.
    fn agrees(changed: (&str, &str), kept: &[u8]) -> bool {
        let stated = |name: &str| {
            let original = LETTER.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
            let value = if changed.0 == name { Some(changed.1) } else { original };
            value.map(str::as_bytes)
        };
        agree(stated, kept, &REPLAY, BYTES)
    }

    #[test]
    fn a_replay_must_match_its_letter_in_every_header_and_in_the_bytes() {
        assert!(agrees(("", ""), BYTES));
        for changed in LETTER.map(|(name, _)| (name, "9")) {
            assert!(!agrees(changed, BYTES), "{changed:?}");
        }
        assert!(!agrees(("", ""), b"other bytes"));
    }

    #[test]
    fn a_truncated_letter_is_matched_by_its_beginning_and_the_original_size() {
        let (beginning, truncated) = (&BYTES[..9], (header::TRUNCATED, "true"));
        assert!(!agrees(("", ""), beginning));
        assert!(!agrees(truncated, beginning), "no size is stated");
        let sized = |size: &'static str| {
            let stated = move |name: &str| match name {
                header::TRUNCATED => Some("true".as_bytes()),
                header::ORIGINAL_SIZE => Some(size.as_bytes()),
                _ => LETTER
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.as_bytes()),
            };
            (
                agree(stated, beginning, &REPLAY, BYTES),
                agree(stated, b"the x", &REPLAY, BYTES),
            )
        };
        assert_eq!(sized("25"), (true, false));
        assert_eq!(sized("26"), (false, false));
    }
}
