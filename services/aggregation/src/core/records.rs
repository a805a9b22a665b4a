//! The records of the state topic: keys and encoded batches.
//!
//! Values are the codec's: a window's state is its bar, which contains all that a later tick needs, and its products.
//!
//! Every key of state contains the id of its writer, so that a frozen former owner that resumes cannot change the state of its
//! successor, and a restore uses the records of one writer only. The definition of a derived series belongs to the log and has a key without
//! a writer, which builds that do not know it skip as foreign.

use std::fmt;

use codec::state::SequencerLane;
use delivery::Sequencer;
use domain::{Interval, LastOrigin, Window};

/// Begin of the key of a definition.
const DEFINITION: &str = "derived|";

/// The key of the record with the definition of this derived series.
pub fn definition_key(series: &str) -> String {
    format!("{DEFINITION}{series}")
}

/// The derived series whose definition has this key; `None` for other keys.
pub fn series_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key).ok()?.strip_prefix(DEFINITION)
}

/// The writer of a record. Its ordinal is 1 + the highest seen at its start; the random part distinguishes writers that
/// started at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WriterId {
    /// Grows from owner to owner.
    pub ordinal: u64,
    /// Chosen once per start.
    pub random: u64,
}

/// The subject of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// State of one window.
    Window {
        /// Tenant.
        tenant_id: &'a str,
        /// Instrument.
        instrument_id: &'a str,
        /// The window.
        window: Window,
    },
    /// Position, sequencer and log clock of the partition: this record completes a checkpoint.
    Sequencer,
}

/// Key of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateKey<'a> {
    /// Its writer.
    pub writer: WriterId,
    /// Its subject.
    pub subject: Subject<'a>,
}

impl fmt::Display for StateKey<'_> {
    /// `w|ordinal|random|tenant|instrument|interval|start`, `s|ordinal|random`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WriterId { ordinal, random } = self.writer;
        match self.subject {
            Subject::Window {
                tenant_id,
                instrument_id,
                window,
            } => {
                let interval = window.interval.name();
                write!(
                    f,
                    "w|{ordinal}|{random:016x}|{tenant_id}|{instrument_id}|{interval}|{}",
                    window.start
                )
            }
            Subject::Sequencer => write!(f, "s|{ordinal}|{random:016x}"),
        }
    }
}

impl<'a> StateKey<'a> {
    /// Whether the key has the form that all versions use: a letter, then the writer id.
    pub fn names_a_writer(key: &[u8]) -> bool {
        let mut parts = std::str::from_utf8(key).unwrap_or_default().split('|');
        let is_letter = |kind: &str| kind.len() == 1 && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        parts.next().is_some_and(is_letter)
            && parts.next().is_some_and(|ordinal| ordinal.parse::<u64>().is_ok())
            && parts
                .next()
                .is_some_and(|random| u64::from_str_radix(random, 16).is_ok())
    }

    /// Whether a build without a log clock wrote it: that build kept a watermark per instrument.
    pub fn is_of_older_build(key: &[u8]) -> bool {
        key.starts_with(b"m|")
    }

    /// Parses a key; `None` if it is not one of ours.
    pub fn parse(key: &'a [u8]) -> Option<StateKey<'a>> {
        let mut parts = std::str::from_utf8(key).ok()?.split('|');
        let kind = parts.next()?;
        let writer = WriterId {
            ordinal: parts.next()?.parse().ok()?,
            random: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        let subject = match kind {
            "w" => Subject::Window {
                tenant_id: parts.next()?,
                instrument_id: parts.next()?,
                window: Window {
                    interval: Interval::from_name(parts.next()?)?,
                    start: parts.next()?.parse().ok()?,
                },
            },
            "s" => Subject::Sequencer,
            _ => return None,
        };
        parts.next().is_none().then_some(StateKey { writer, subject })
    }
}

/// A sequencer's state in its wire form.
pub fn to_lanes(origins: Vec<LastOrigin>) -> Vec<SequencerLane> {
    let lane = |LastOrigin {
                    feed,
                    raw_partition,
                    position,
                }| SequencerLane {
        feed,
        raw_partition,
        position,
    };
    origins.into_iter().map(lane).collect()
}

/// The sequencer of a wire form.
pub fn to_sequencer(lanes: &[SequencerLane]) -> Sequencer {
    let origins: Vec<LastOrigin> = lanes
        .iter()
        .map(|lane| LastOrigin {
            feed: lane.feed.clone(),
            raw_partition: lane.raw_partition,
            position: lane.position,
        })
        .collect();
    origins.iter().collect()
}

/// Encoded records, one after the other in one buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    bytes: Vec<u8>,
    /// Ends of key and value.
    ends: Vec<(usize, usize)>,
}

impl Records {
    /// Appends a record; `encode` writes the value.
    pub fn push(&mut self, key: StateKey<'_>, encode: impl FnOnce(&mut Vec<u8>)) {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        let _ = write!(self.bytes, "{key}");
        let key_end = self.bytes.len();
        encode(&mut self.bytes);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// The records as (key, value).
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.ends.iter().scan(0, |start, &(key_end, value_end)| {
            let record = (self.bytes.get(*start..key_end)?, self.bytes.get(key_end..value_end)?);
            *start = value_end;
            Some(record)
        })
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_read_back(ordinal in any::<u64>(), random in any::<u64>(), start in any::<i64>(), interval in 0usize..5,
                              tenant_id in "[a-z%. ]{1,8}", instrument_id in "[A-Z._-]{1,12}", kind in 0..2) {
            let (tenant_id, instrument_id) = (tenant_id.as_str(), instrument_id.as_str());
            let window = Window { interval: Interval::ALL[interval], start };
            let subject = match kind {
                0 => Subject::Window { tenant_id, instrument_id, window },
                _ => Subject::Sequencer,
            };
            let key = StateKey { writer: WriterId { ordinal, random }, subject };
            let text = key.to_string();
            prop_assert_eq!(StateKey::parse(text.as_bytes()), Some(key));
        }

        #[test]
        fn arbitrary_keys_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = StateKey::parse(&bytes);
        }
    }

    #[test]
    fn records_come_back_in_order() {
        let writer = WriterId { ordinal: 1, random: 2 };
        let mut records = Records::default();
        for value in [b"a".as_slice(), b"", b"ccc"] {
            records.push(
                StateKey {
                    writer,
                    subject: Subject::Sequencer,
                },
                |out| out.extend_from_slice(value),
            );
        }
        let values: Vec<&[u8]> = records.iter().map(|(_, value)| value).collect();
        assert_eq!(values, [b"a".as_slice(), b"", b"ccc"]);
    }
}
