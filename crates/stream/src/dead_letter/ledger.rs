//! Which dead letters are open: neither replayed, nor given up, nor expired.
//!
//! Role: reads topic `dlq` in order. It contains the letters and, for each letter that was replayed or given up, a [`Marker`]; that of a
//! replay is written in one transaction with it. Pure: the caller reads the topic.
//! Invariants: a letter is identified by the rejected message, its rejected rows and its attempt, not by its offset: a frozen
//! owner can send a letter again, and one replay closes all of its copies. A marker is newer than its letter, so the topic's
//! retention removes the letter first.
//! Failure: a record that is neither is counted by the caller as [`Entry::Foreign`].

use std::collections::BTreeMap;

use domain::Micros;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::header;
use crate::Message;

/// A letter whatever its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LetterId(u128);

impl LetterId {
    /// The letter with this origin (`topic/partition/offset`), these rejected rows and attempts.
    pub fn new(origin: &str, rows: &str, attempts: &str) -> LetterId {
        LetterId(xxh3_128(format!("{origin}\n{rows}\n{attempts}").as_bytes()))
    }

    /// The letter in a message; `None` if it is none.
    pub fn of(message: &Message<'_>) -> Option<LetterId> {
        let text = |name| message.header(name).and_then(|value| std::str::from_utf8(value).ok());
        text(header::CODE)?;
        let [topic, partition, offset] = [header::TOPIC, header::PARTITION, header::OFFSET].map(text);
        let origin = format!("{}/{}/{}", topic?, partition?, offset?);
        let rows = text(header::REJECTED_ROWS).unwrap_or_default();
        Some(LetterId::new(&origin, rows, text(header::ATTEMPTS).unwrap_or("1")))
    }
}

/// The record that says that a letter was replayed or given up. All fields are headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Offset of the letter.
    pub letter: i64,
    /// `topic/partition/offset` of the rejected message.
    pub origin: String,
    /// The rejected rows.
    pub rows: String,
    /// The letter's number of attempts.
    pub attempts: String,
    /// `topic/partition/offset` of the replay, or [`Marker::GIVEN_UP`].
    pub replay: String,
}

impl Marker {
    /// In place of the replay: nobody will send the message again. A build that does not know this reads it as a replay whose place it
    /// cannot read, and counts the letter as closed, too.
    pub const GIVEN_UP: &'static str = "given up";

    const LETTER: &'static str = "dp.replayed.letter";
    const ORIGIN: &'static str = "dp.replayed.origin";
    const ROWS: &'static str = "dp.replayed.rows";
    const ATTEMPTS: &'static str = "dp.replayed.attempts";
    const REPLAY: &'static str = "dp.replayed.to";

    /// The marker in a message; `None` if it is none.
    pub fn of(message: &Message<'_>) -> Option<Marker> {
        let text = |name| {
            let value = message.header(name).and_then(|value| std::str::from_utf8(value).ok());
            value.map(str::to_owned)
        };
        Some(Marker {
            letter: text(Marker::LETTER)?.parse().ok()?,
            origin: text(Marker::ORIGIN)?,
            rows: text(Marker::ROWS)?,
            attempts: text(Marker::ATTEMPTS)?,
            replay: text(Marker::REPLAY)?,
        })
    }

    /// Its headers.
    pub fn headers(&self) -> [(&'static str, String); 5] {
        [
            (Marker::LETTER, self.letter.to_string()),
            (Marker::ORIGIN, self.origin.clone()),
            (Marker::ROWS, self.rows.clone()),
            (Marker::ATTEMPTS, self.attempts.clone()),
            (Marker::REPLAY, self.replay.clone()),
        ]
    }

    /// Whether the letter was given up, not replayed.
    pub fn is_given_up(&self) -> bool {
        self.replay == Marker::GIVEN_UP
    }

    fn id(&self) -> LetterId {
        LetterId::new(&self.origin, &self.rows, &self.attempts)
    }
}

/// What a record of the topic is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A letter.
    Letter,
    /// A copy of an earlier letter.
    Repeated,
    /// The marker of a letter that was replayed or given up.
    Marker(Marker),
    /// Neither.
    Foreign,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// With the offset of its first copy.
    Open(i64),
    /// With the offset of its marker.
    Closed(i64),
}

/// The open letters of the part of the topic that was read.
#[derive(Debug, Default)]
pub struct Ledger {
    states: FxHashMap<LetterId, State>,
    /// Offset of the first copy to the time of its record.
    open: BTreeMap<i64, Micros>,
}

impl Ledger {
    /// Reads the next record of the topic.
    pub fn read(&mut self, message: &Message<'_>) -> Entry {
        if let Some(marker) = Marker::of(message) {
            self.close(marker.id(), message.offset);
            return Entry::Marker(marker);
        }
        match LetterId::of(message) {
            Some(id) if self.failed(id, message.offset, message.timestamp) => Entry::Letter,
            Some(_) => Entry::Repeated,
            None => Entry::Foreign,
        }
    }

    /// Whether the letter is the first copy.
    fn failed(&mut self, id: LetterId, offset: i64, time: Micros) -> bool {
        let is_first = !self.states.contains_key(&id);
        if is_first {
            self.states.insert(id, State::Open(offset));
            self.open.insert(offset, time);
        }
        is_first
    }

    fn close(&mut self, id: LetterId, offset: i64) {
        if let Some(State::Open(letter)) = self.states.insert(id, State::Closed(offset)) {
            self.open.remove(&letter);
        }
    }

    /// Forgets what the topic no longer contains: everything before `start`.
    pub fn expire(&mut self, start: i64) {
        if self.open.first_key_value().is_some_and(|(first, _)| *first < start) {
            self.open = self.open.split_off(&start);
        }
        self.states.retain(|_, state| match state {
            State::Open(offset) | State::Closed(offset) => *offset >= start,
        });
    }

    /// Whether the letter whose first copy has this offset is open.
    pub fn is_open(&self, offset: i64) -> bool {
        self.open.contains_key(&offset)
    }

    /// Number of open letters.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no letter is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the oldest open letter was written.
    pub fn oldest(&self) -> Option<Micros> {
        self.open.first_key_value().map(|(_, time)| *time)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rdkafka::message::{Header, OwnedHeaders};

    /// Reads a record of these headers.
    pub(in super::super) fn read(ledger: &mut Ledger, offset: i64, headers: &[(&str, String)]) -> Entry {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value.as_bytes()),
            })
        });
        ledger.read(&Message {
            topic: "dlq",
            partition: 0,
            offset,
            timestamp: 1_000 * offset,
            has_append_time: true,
            key: None,
            payload: None,
            headers: Some(headers.as_borrowed()),
        })
    }

    fn letter(origin: i64, attempts: u32) -> Vec<(&'static str, String)> {
        vec![
            (header::CODE, "no_price".to_owned()),
            (header::TOPIC, "raw".to_owned()),
            (header::PARTITION, "2".to_owned()),
            (header::OFFSET, origin.to_string()),
            (header::REJECTED_ROWS, "1,3".to_owned()),
            (header::ATTEMPTS, attempts.to_string()),
        ]
    }

    fn marker(origin: i64, attempts: u32) -> Marker {
        Marker {
            letter: 0,
            origin: format!("raw/2/{origin}"),
            rows: "1,3".to_owned(),
            attempts: attempts.to_string(),
            replay: "raw/2/99".to_owned(),
        }
    }

    #[test]
    fn a_marker_closes_all_copies_of_its_letter_and_no_other_attempt() {
        let mut ledger = Ledger::default();
        assert_eq!(read(&mut ledger, 4, &letter(7, 1)), Entry::Letter);
        assert_eq!(read(&mut ledger, 5, &letter(7, 1)), Entry::Repeated);
        assert_eq!(read(&mut ledger, 6, &letter(7, 2)), Entry::Letter);
        assert_eq!(read(&mut ledger, 7, &[("h", String::new())]), Entry::Foreign);
        assert_eq!((ledger.len(), ledger.oldest()), (2, Some(4_000)));
        let marked = marker(7, 1);
        assert_eq!(read(&mut ledger, 8, &marked.headers()), Entry::Marker(marked));
        // A frozen owner sends it once more.
        assert_eq!(read(&mut ledger, 9, &letter(7, 1)), Entry::Repeated);
        assert_eq!((ledger.len(), ledger.oldest()), (1, Some(6_000)));
        assert!(ledger.is_open(6) && !ledger.is_open(4) && !ledger.is_open(9));
        ledger.expire(7);
        assert!(ledger.is_empty() && ledger.oldest().is_none());
    }

    #[test]
    fn a_letter_that_was_given_up_is_closed_as_a_replayed_one() {
        let mut ledger = Ledger::default();
        read(&mut ledger, 4, &letter(7, 1));
        let given_up = Marker {
            replay: Marker::GIVEN_UP.to_owned(),
            ..marker(7, 1)
        };
        assert!(given_up.is_given_up() && !marker(7, 1).is_given_up());
        assert_eq!(read(&mut ledger, 5, &given_up.headers()), Entry::Marker(given_up));
        assert!(ledger.is_empty() && !ledger.is_open(4));
        // Its next attempt would be another letter.
        assert_eq!(read(&mut ledger, 6, &letter(7, 2)), Entry::Letter);
        assert_eq!(ledger.len(), 1);
    }

    proptest! {
        /// Against the definition, over the whole log: open is what has a letter and no marker.
        #[test]
        fn the_open_letters_are_those_without_a_marker(
            log in proptest::collection::vec((0i64..6, 1u32..3, any::<bool>()), 0..60),
        ) {
            let mut ledger = Ledger::default();
            for (offset, (origin, attempts, is_marker)) in log.iter().enumerate() {
                let headers = if *is_marker { marker(*origin, *attempts).headers().to_vec() } else { letter(*origin, *attempts) };
                read(&mut ledger, offset as i64, &headers);
            }
            for (offset, record) in log.iter().enumerate() {
                let (origin, attempts, is_marker) = *record;
                let is_first = log.iter().position(|other| *other == (origin, attempts, false)) == Some(offset);
                let is_replayed = log.contains(&(origin, attempts, true));
                prop_assert_eq!(ledger.is_open(offset as i64), !is_marker && is_first && !is_replayed);
            }
        }
    }
}
