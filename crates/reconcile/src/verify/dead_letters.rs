//! Compares the dead letter topic with the expected dead letters (INV-5).
//!
//! Stages are at-least-once, so a dead letter may be stored twice. Its headers name the rejected message, which identifies it.
//! A letter that was replayed or given up is not compared: the parser may accept its message by now, and only the replay counts, if any.
//! That the tenant of a message was paused follows from no message: its letter (`tenant_paused`) is what says so.
//! A letter whose message is valid by the rules of today is the outcome of its message as well, until it is replayed: it is named as such.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Micros, RowRanges};
use service::control::order::HELD_CODE;
use stream::Brokers;
use stream::dead_letter::{TRUNCATED_TO, header, ledger::Marker};
use stream::kafka::reader::LogReader;
use stream::{Message, StreamError};
use xxhash_rust::xxh64::xxh64;

use super::report::{Check, Differences};

/// Topic, partition and offset of the rejected message.
pub type Place = (String, i32, i64);

/// The compared fields of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Code of the reason.
    pub code: String,
    /// Rejected rows; empty means the whole message.
    pub rows: RowRanges,
    /// Number of rejected rows, if their list was cut.
    pub row_count: Option<u64>,
    /// Its payload.
    pub payload: Digest,
    /// Size of the original payload, if the letter was cut.
    pub original_size: Option<usize>,
}

/// Size and hashes of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    size: usize,
    whole: u64,
    /// Hash of the bytes that a truncated letter contains.
    start: u64,
}

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest {
            size: bytes.len(),
            whole: xxh64(bytes, 0),
            start: xxh64(bytes.get(..TRUNCATED_TO).unwrap_or(bytes), 0),
        }
    }

    /// Whether the letter contains these bytes, cut or not.
    pub fn is_kept_by(self, letter: &Letter) -> bool {
        let cut = letter.payload;
        match letter.original_size {
            Some(size) if size > cut.size => size == self.size && (cut.size != TRUNCATED_TO || cut.whole == self.start),
            _ => self == cut,
        }
    }
}

/// An expected dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedLetter {
    /// Codes that it may have: the code of the message, or the codes of its rejected rows.
    pub codes: Vec<&'static str>,
    /// Rejected rows; empty means the whole message.
    pub rows: RowRanges,
    /// The original bytes.
    pub payload: Digest,
    /// Whether the letter is there, though the rules of today accept the message, or rows that the letter names: `codes` and `rows` are
    /// those of today.
    pub is_valid_now: bool,
}

/// The dead letters of the topic.
#[derive(Debug, Clone, Default)]
pub struct Letters {
    /// Every copy, by the location of the rejected message.
    pub by_place: BTreeMap<Place, Vec<Letter>>,
    /// Rejected messages whose letters were replayed or given up, with the rows of the letter; empty means the whole message.
    pub replayed: BTreeMap<Place, RowRanges>,
    /// Messages that were held because their tenant was paused.
    pub held: BTreeSet<Place>,
    /// Records whose headers do not name a message.
    pub nameless: Vec<String>,
    /// Whether retention has removed dead letters.
    pub is_cut: bool,
}

impl Letters {
    /// The messages of a partition that were rejected as a whole and not held, by offset, with whether the letter is closed: replayed or
    /// given up. Their events have not entered the event window.
    pub fn rejected(&self, topic: &str, partition: i32) -> BTreeMap<i64, (Letter, bool)> {
        let of_it = self.by_place.iter();
        let of_it = of_it.filter(|(place, _)| place.0 == topic && place.1 == partition && !self.held.contains(place));
        of_it
            .filter_map(|(place, copies)| {
                let letter = copies.iter().find(|letter| letter.is_whole())?;
                let is_closed = self.replayed.get(place).is_some_and(RowRanges::is_empty);
                Some((place.2, (letter.clone(), is_closed)))
            })
            .collect()
    }

    /// The first copy of each letter of a message that was rejected, and neither held, nor replayed, nor given up.
    pub fn open(&self) -> BTreeMap<Place, Letter> {
        let is_open = |place: &Place| !self.replayed.contains_key(place) && !self.held.contains(place);
        let open = self.by_place.iter().filter(|(place, _)| is_open(place));
        open.filter_map(|(place, copies)| Some((place.clone(), copies.first()?.clone())))
            .collect()
    }
}

impl Letter {
    /// Whether it is of a whole message, not of rows of it.
    pub fn is_whole(&self) -> bool {
        self.rows.is_empty() && self.row_count.unwrap_or(0) == 0
    }
}

/// Reads the whole topic. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn read(bootstrap: &Brokers, topic: &str) -> Result<Letters, StreamError> {
    read_since(bootstrap, topic, None)
}

/// Reads the topic from this time on. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn read_since(bootstrap: &Brokers, topic: &str, since: Option<Micros>) -> Result<Letters, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut letters = Letters::default();
    for partition in reader.partitions(topic)? {
        let (mut first, end) = reader.log_range(&partition)?;
        letters.is_cut |= first > 0;
        if let Some(since) = since {
            first = reader.offset_at(&partition, since)?.unwrap_or(end).max(first);
        }
        reader.read(&partition, first, end, |message| {
            match (place(message), replayed(message)) {
                (Some(place), _) => {
                    let letter = letter(message);
                    if letter.code == HELD_CODE {
                        letters.held.insert(place.clone());
                    }
                    letters.by_place.entry(place).or_default().push(letter);
                }
                (None, Some((place, rows))) => _ = letters.replayed.insert(place, rows),
                (None, None) => letters.nameless.push(format!("{partition} offset {}", message.offset)),
            }
            true
        })?;
    }
    Ok(letters)
}

fn text<'m>(message: &Message<'m>, name: &str) -> Option<&'m str> {
    std::str::from_utf8(message.header(name)?).ok()
}

fn number<N: std::str::FromStr>(message: &Message<'_>, name: &str) -> Option<N> {
    text(message, name)?.parse().ok()
}

fn place(message: &Message<'_>) -> Option<Place> {
    Some((
        text(message, header::TOPIC)?.to_owned(),
        number(message, header::PARTITION)?,
        number(message, header::OFFSET)?,
    ))
}

/// Of a marker.
fn replayed(message: &Message<'_>) -> Option<(Place, RowRanges)> {
    let marker = Marker::of(message)?;
    let origin = ops::dead_letters::Place::parse(&marker.origin)?;
    let (rows, _) = RowRanges::read(&marker.rows).ok()?;
    Some(((origin.topic, origin.partition, origin.offset), rows))
}

fn letter(message: &Message<'_>) -> Letter {
    let rows = text(message, header::REJECTED_ROWS).unwrap_or_default();
    Letter {
        code: text(message, header::CODE).unwrap_or_default().to_owned(),
        // An unreadable list becomes an empty one, which is then a difference.
        rows: RowRanges::read(rows).map_or_else(|_| RowRanges::default(), |(rows, _)| rows),
        row_count: number(message, header::REJECTED_ROWS_COUNT),
        payload: Digest::of(message.payload.unwrap_or_default()),
        original_size: number(message, header::ORIGINAL_SIZE),
    }
}

/// Compares the dead letters. `claimed`: whether a location in a raw topic is compared. Later stages have their own check:
/// they must have no dead letters, except those that accepted gaps explain (`explained`, by location and code).
pub fn compare(
    expected: &BTreeMap<Place, ExpectedLetter>,
    found: &Letters,
    raw: &[String],
    claimed: impl Fn(&Place) -> bool,
    explained: impl Fn(&Place, &str) -> bool,
) -> Vec<Check> {
    vec![
        of_raw_messages(expected, found, raw, claimed),
        valid_now(expected, found),
        of_later_stages(found, raw, explained),
    ]
}

/// The letters of messages that are valid now are the work of `dp dlq replay`: nothing else brings their rows.
fn valid_now(expected: &BTreeMap<Place, ExpectedLetter>, found: &Letters) -> Check {
    let valid = expected.iter().filter(|(_, letter)| letter.is_valid_now);
    let differences: Differences = valid
        .map(|(place, _)| {
            let copies = found.by_place.get(place);
            let letter = copies.and_then(|copies| copies.first());
            format!(
                "{}/{}/{} is a dead letter ({}), but {} valid now: `dp dlq replay` sends it",
                place.0,
                place.1,
                place.2,
                letter.map_or("", |letter| letter.code.as_str()),
                match letter.is_none_or(Letter::is_whole) {
                    true => "is".to_owned(),
                    false => "rows of it are".to_owned(),
                }
            )
        })
        .collect();
    Check::new("dead letters that are valid now", 0, differences.total, differences)
}

fn of_raw_messages(
    expected: &BTreeMap<Place, ExpectedLetter>,
    found: &Letters,
    raw: &[String],
    claimed: impl Fn(&Place) -> bool,
) -> Check {
    let mut differences = Differences::default();
    let mut places: BTreeSet<&Place> = expected.keys().collect();
    places.extend(
        found
            .by_place
            .keys()
            .filter(|place| raw.contains(&place.0) && claimed(place)),
    );
    let mut present = 0;
    for place in places {
        let name = format!("{}/{}/{}", place.0, place.1, place.2);
        match (expected.get(place), found.by_place.get(place)) {
            _ if found.replayed.contains_key(place) => present += u64::from(expected.contains_key(place)),
            // It has a check of its own.
            (Some(letter), _) if letter.is_valid_now => present += 1,
            (Some(letter), None) if found.is_cut => {
                // Retention may have removed it.
                present += u64::from(!letter.codes.is_empty());
            }
            (Some(letter), None) => differences.add(format!(
                "the dead letter of {name} is missing ({})",
                letter.codes.join(", ")
            )),
            (None, Some(copies)) => {
                let code = copies.first().map_or("", |letter| letter.code.as_str());
                differences.add(format!("{name} is dead-lettered ({code}), but the message is valid"));
            }
            (Some(letter), Some(copies)) => {
                present += 1;
                differences.extend(
                    copies
                        .iter()
                        .filter_map(|copy| contradiction(&name, letter, copy))
                        .take(1),
                );
            }
            (None, None) => {}
        }
    }
    let nameless = found.nameless.iter();
    differences.extend(nameless.map(|place| format!("{place} contains a record without the headers of a dead letter")));
    let count = expected.len() as u64;
    Check::new("dead letters of raw messages", count, present, differences)
}

/// Every dead letter of a later stage is a difference, unless an accepted gap explains it.
fn of_later_stages(found: &Letters, raw: &[String], explained: impl Fn(&Place, &str) -> bool) -> Check {
    let later: Differences = found
        .by_place
        .iter()
        .filter(|(place, _)| !raw.contains(&place.0))
        .map(|(place, copies)| (place, copies.first().map_or("", |letter| letter.code.as_str())))
        .filter(|(place, code)| !explained(place, code))
        .map(|(place, code)| {
            format!(
                "{}/{}/{} was dead-lettered ({code}): its tick is missing in all later stores",
                place.0, place.1, place.2
            )
        })
        .collect();
    Check::new("dead letters of later stages", 0, later.total, later)
}

fn contradiction(name: &str, expected: &ExpectedLetter, found: &Letter) -> Option<String> {
    if !expected.codes.contains(&found.code.as_str()) {
        Some(format!(
            "the dead letter of {name} has code {} instead of {}",
            found.code,
            expected.codes.join(" or ")
        ))
    } else if !expected.rows.starts_with(&found.rows)
        || expected.rows.len() != found.row_count.unwrap_or(found.rows.len())
    {
        Some(format!(
            "the dead letter of {name} lists the rows [{}] instead of [{}]",
            found.rows.text(60),
            expected.rows.text(60)
        ))
    } else if !expected.payload.is_kept_by(found) {
        Some(format!("the dead letter of {name} does not contain the original bytes"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> BTreeMap<Place, ExpectedLetter> {
        let letter = |codes: &[&'static str], rows: &[i32]| ExpectedLetter {
            codes: codes.to_vec(),
            rows: rows.iter().copied().collect(),
            payload: Digest::of(b"7"),
            is_valid_now: false,
        };
        [
            (("raw".to_owned(), 0, 1), letter(&["broken_json"], &[])),
            (
                ("raw".to_owned(), 0, 2),
                letter(&["invalid_price", "invalid_time"], &[3, 9]),
            ),
        ]
        .into()
    }

    fn found(letters: &[(&str, i64, &str, &[i32], u64)]) -> Letters {
        let mut found = Letters::default();
        for (topic, offset, code, rows, payload) in letters {
            found
                .by_place
                .entry(((*topic).to_owned(), 0, *offset))
                .or_default()
                .push(Letter {
                    code: (*code).to_owned(),
                    rows: rows.iter().copied().collect(),
                    row_count: None,
                    payload: Digest::of(payload.to_string().as_bytes()),
                    original_size: None,
                });
        }
        found
    }

    fn differences(found: &Letters) -> Vec<String> {
        let explained = |place: &Place, code: &str| place.0 == "later" && code == "row_missing";
        let checks = compare(&expected(), found, &["raw".to_owned()], |_| true, explained);
        checks.into_iter().flat_map(|check| check.differences.named).collect()
    }

    const BOTH: [(&str, i64, &str, &[i32], u64); 2] = [
        ("raw", 1, "broken_json", &[], 7),
        ("raw", 2, "invalid_time", &[3, 9], 7),
    ];

    #[test]
    fn repeated_dead_letters_are_no_difference() {
        assert!(differences(&found(&[BOTH[0], BOTH[0], BOTH[1]])).is_empty());
    }

    #[test]
    fn what_an_accepted_gap_explains_is_no_difference() {
        let gap = ("later", 3, "row_missing", &[][..], 7);
        assert!(differences(&found(&[BOTH[0], BOTH[1], gap])).is_empty());
    }

    #[test]
    fn each_difference_names_the_message() {
        for (letters, difference) in [
            (
                vec![BOTH[0]],
                "the dead letter of raw/0/2 is missing (invalid_price, invalid_time)",
            ),
            (
                vec![BOTH[0], BOTH[1], ("raw", 5, "oversize", &[], 7)],
                "raw/0/5 is dead-lettered (oversize), but the message is valid",
            ),
            (
                vec![("raw", 1, "oversize", &[], 7), BOTH[1]],
                "the dead letter of raw/0/1 has code oversize instead of broken_json",
            ),
            (
                vec![("raw", 1, "broken_json", &[], 8), BOTH[1]],
                "the dead letter of raw/0/1 does not contain the original bytes",
            ),
            (
                vec![BOTH[0], ("raw", 2, "invalid_time", &[3], 7)],
                "the dead letter of raw/0/2 lists the rows [3] instead of [3,9]",
            ),
            (
                vec![BOTH[0], BOTH[1], ("later", 1, "truncated", &[], 7)],
                "later/0/1 was dead-lettered (truncated): its tick is missing in all later stores",
            ),
        ] {
            assert_eq!(differences(&found(&letters)), [difference]);
        }
    }

    #[test]
    fn letters_that_are_valid_now_are_named_with_the_command_that_sends_them() {
        let valid = |rows: &[i32]| ExpectedLetter {
            codes: Vec::new(),
            rows: rows.iter().copied().collect(),
            payload: Digest::of(b"7"),
            is_valid_now: true,
        };
        let mut expected = expected();
        expected.insert(("raw".to_owned(), 0, 3), valid(&[]));
        expected.insert(("raw".to_owned(), 0, 4), valid(&[]));
        let found = found(&[
            BOTH[0],
            BOTH[1],
            ("raw", 3, "unknown_market", &[], 7),
            ("raw", 4, "quality_rule", &[1], 7),
        ]);
        let checks = compare(&expected, &found, &["raw".to_owned()], |_| true, |_, _| false);
        let failed: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!((failed[0].expected, failed[0].found), (0, 2));
        assert_eq!(
            failed[0].differences.named,
            [
                "raw/0/3 is a dead letter (unknown_market), but is valid now: `dp dlq replay` sends it",
                "raw/0/4 is a dead letter (quality_rule), but rows of it are valid now: `dp dlq replay` sends it",
            ]
        );
    }

    #[test]
    fn a_letter_is_open_until_it_is_replayed_and_a_held_one_is_no_rejected_one() {
        let mut letters = found(&[
            BOTH[0],
            BOTH[1],
            ("raw", 3, "unknown_market", &[], 7),
            ("raw", 4, HELD_CODE, &[], 7),
        ]);
        letters.replayed.insert(("raw".to_owned(), 0, 1), RowRanges::default());
        letters.held.insert(("raw".to_owned(), 0, 4));
        let open = letters.open();
        let offsets: Vec<i64> = open.keys().map(|place| place.2).collect();
        assert_eq!(offsets, [2, 3]);
        let whole: Vec<bool> = open.values().map(Letter::is_whole).collect();
        assert_eq!(whole, [false, true]);
    }

    #[test]
    fn a_truncated_letter_is_compared_by_the_bytes_that_it_contains() {
        let bytes = vec![7; TRUNCATED_TO + 9];
        let expected = ExpectedLetter {
            codes: vec!["oversize"],
            rows: [1, 3, 4, 6].into_iter().collect(),
            payload: Digest::of(&bytes),
            is_valid_now: false,
        };
        let letter = |rows: &[i32], size: usize, held: &[u8]| Letter {
            code: "oversize".to_owned(),
            rows: rows.iter().copied().collect(),
            row_count: Some(4),
            payload: Digest::of(held),
            original_size: Some(size),
        };
        let differs = |letter: &Letter| contradiction("x", &expected, letter).is_some();
        let start = &bytes[..TRUNCATED_TO];
        assert!(!differs(&letter(&[1, 3, 4], bytes.len(), start)));
        assert!(differs(&letter(&[1, 4], bytes.len(), start)));
        assert!(differs(&letter(&[1, 3, 4], bytes.len() + 1, start)));
        assert!(differs(&letter(&[1, 3, 4], bytes.len(), &vec![8; TRUNCATED_TO])));
    }

    #[test]
    fn what_retention_may_have_removed_is_no_difference() {
        let mut letters = found(&[BOTH[0]]);
        letters.is_cut = true;
        assert!(
            compare(&expected(), &letters, &["raw".to_owned()], |_| true, |_, _| false)
                .iter()
                .all(|check| check.ok)
        );
    }
}
