//! Recognizes replayed dead letters, and messages that were rejected as a whole.
//!
//! Role: a replay is a separate event, and emits only some rows of a document. Any producer can set its headers, so they
//! count only if they name an existing dead letter and match it. Used by normalization, `dp verify` and `dp explain`.
//! Invariants: the result is a function of the raw log and of `dlq` (INV-1). Once `dlq` has expired the letter, the replay
//! is an ordinary message.
//! A message that was rejected as a whole must not enter the event window when messages are read back, even if the current
//! rules would accept it. Otherwise its replay would be dropped as a repetition. One that was only held, because its tenant was paused, has
//! entered it, and its replay is an event of its own.
//! Failure: headers that do not match are ignored and logged. A broker that does not answer is transient.

use std::collections::{BTreeMap, BTreeSet};
use std::str;

use domain::Micros;
use markets::{RawMessage, RejectCode, Replay};
use service::names::DLQ;
use stream::Brokers;
use stream::dead_letter::header;
use stream::kafka::reader::LogReader;
use stream::{DLQ_PARTITION, Partition, StreamError};

use crate::stages::normalize::NAME;

/// The clocks of the broker and of a letter's sender may differ by this much.
const CLOCK_SKEW: Micros = 60_000_000;

/// Looks up dead letters.
pub struct Replays {
    bootstrap: Brokers,
    reader: Option<LogReader>,
    /// Messages rejected as a whole: partition and offset by feed.
    rejected: BTreeMap<String, BTreeSet<(i32, i64)>>,
    /// The time since which `rejected` has all letters; `None` if newer ones may be missing.
    complete_since: Option<Micros>,
}

impl Replays {
    /// Connects at the first message that claims to be a replay.
    pub fn new(bootstrap: &Brokers) -> Replays {
        Replays {
            bootstrap: bootstrap.clone(),
            reader: None,
            rejected: BTreeMap::new(),
            complete_since: None,
        }
    }

    /// Messages of another range are read back next: their letters may not be known.
    pub fn reads_back(&mut self) {
        self.complete_since = None;
    }

    /// Whether a message that is read back was rejected as a whole when it was processed.
    ///
    /// # Errors
    /// `dlq` cannot be read at present.
    pub fn was_rejected(&mut self, message: &RawMessage<'_>) -> Result<bool, StreamError> {
        // Partitions are read back side by side, each from a time of its own.
        let since = message.appended_at - CLOCK_SKEW;
        if self.complete_since.is_none_or(|complete| since < complete) {
            self.read_rejected(since)?;
            self.complete_since = Some(since);
        }
        let rejected = self.rejected.get(message.feed);
        Ok(rejected.is_some_and(|places| places.contains(&(message.partition, message.offset))))
    }

    /// Reads the letters since a time. They were acknowledged before the position of their messages was committed.
    fn read_rejected(&mut self, since: Micros) -> Result<(), StreamError> {
        let dlq = dlq();
        let Replays {
            bootstrap,
            reader,
            rejected,
            ..
        } = self;
        let reader = opened(reader, bootstrap)?;
        let (first, end) = reader.log_range(&dlq)?;
        let from = reader.offset_at(&dlq, since)?.unwrap_or(end).max(first);
        reader.read(&dlq, from, end, |letter| {
            let text = |name: &str| letter.header(name).and_then(|value| str::from_utf8(value).ok());
            let is_whole = text(header::REJECTED_ROWS) == Some("");
            let is_held = text(header::CODE) == Some(RejectCode::TenantPaused.name());
            if is_whole
                && !is_held
                && text(header::SERVICE) == Some(crate::DEFINITION.name)
                && text(header::STAGE) == Some(NAME)
            {
                let number = |name| text(name)?.parse::<i64>().ok();
                if let (Some(feed), Some(partition), Some(offset)) =
                    (text(header::TOPIC), number(header::PARTITION), number(header::OFFSET))
                    && let Ok(partition) = i32::try_from(partition)
                {
                    rejected.entry(feed.to_owned()).or_default().insert((partition, offset));
                }
            }
            true
        })
    }

    /// The message; its replay headers are dropped unless they match the dead letter.
    ///
    /// # Errors
    /// `dlq` cannot be read at present.
    pub fn checked<'a>(&mut self, message: RawMessage<'a>) -> Result<RawMessage<'a>, StreamError> {
        let Some(replay) = message.replay else {
            return Ok(message);
        };
        if let Some(held) = self.letter_agrees(&replay, message.payload)? {
            let replay = Some(Replay { held, ..replay });
            return Ok(RawMessage { replay, ..message });
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

    /// If the letter matches the replay: whether its message was held, before any other reason.
    fn letter_agrees(&mut self, replay: &Replay<'_>, payload: &[u8]) -> Result<Option<bool>, StreamError> {
        let dlq = dlq();
        let reader = opened(&mut self.reader, &self.bootstrap)?;
        let (first, end) = reader.log_range(&dlq)?;
        let mut held = None;
        if (first..end).contains(&replay.letter) {
            reader.read(&dlq, replay.letter, replay.letter + 1, |letter| {
                let kept = letter.payload.unwrap_or_default();
                if letter.offset == replay.letter && agree(|name| letter.header(name), kept, replay, payload) {
                    held = Some(was_held(|name| letter.header(name)));
                }
                false
            })?;
        }
        Ok(held)
    }
}

/// Whether the message of a letter was held because its tenant was paused, now or before an earlier replay. `stated` returns the letter's
/// headers. A producer's own header counts for nothing: only a replay that was checked has more than one attempt.
pub fn was_held<'l>(stated: impl Fn(&str) -> Option<&'l [u8]>) -> bool {
    let is_first = stated(header::ATTEMPTS).is_none_or(|attempts| attempts == b"1");
    stated(header::CODE) == Some(RejectCode::TenantPaused.name().as_bytes())
        || (!is_first && stated(Replay::HELD_HEADER).is_some())
}

fn dlq() -> Partition {
    Partition {
        topic: DLQ.into(),
        number: DLQ_PARTITION,
    }
}

fn opened<'r>(reader: &'r mut Option<LogReader>, bootstrap: &Brokers) -> Result<&'r LogReader, StreamError> {
    match reader {
        Some(reader) => Ok(reader),
        empty => Ok(empty.insert(LogReader::uncommitted(bootstrap)?)),
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
        held: false,
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
    fn a_letter_says_that_its_message_was_held_and_a_producer_cannot() {
        let is_held = |code: &'static str, attempts: &'static str, claims: bool| {
            was_held(move |name| match name {
                header::CODE => Some(code.as_bytes()),
                header::ATTEMPTS => Some(attempts.as_bytes()),
                Replay::HELD_HEADER => claims.then_some(b"true".as_slice()),
                _ => None,
            })
        };
        assert!(is_held("tenant_paused", "1", false));
        assert!(is_held("quality_rule", "2", true), "its replay failed");
        assert!(!is_held("quality_rule", "1", true) && !is_held("quality_rule", "2", false));
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
