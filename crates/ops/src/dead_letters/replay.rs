//! `dp dlq replay`: sends rejected messages to their raw topics again, each letter once.
//!
//! Role: normalization reads a replay as the rejected message, with the rows that the letter names (`normalization::replays`).
//! Invariants: a replay and the [`Marker`] of its letter are in one transaction, so a letter without a marker was not replayed,
//! whenever a run was killed. A run claims a transactional id before it reads the topic: what an older run would still send is refused.
//! A replay goes to the partition of the rejected message, where the event window of that message is.
//! Failure: an error ends the run; the report of the next run shows what is left. A letter that cannot be replayed is
//! reported with the reason and does not stop the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::RowRanges;
use markets::Replay as ReplayHeaders;
use normalization::DEFINITION;
use normalization::stages::normalize;
use rustc_hash::FxHashMap;
use serde::Serialize;
use service::control::order::tenant_argument;
use stream::dead_letter::{header, is_statement, ledger::Marker};
use stream::kafka::publisher::Record;
use stream::kafka::publisher::atomic::{AtomicPublisher, Group};
use stream::kafka::reader::LogReader;
use stream::{Brokers, Message, Partition, StreamError};

use super::{Letter, Passed, Place, Wanted, each, names};

/// The transactional id of a replay and of giving up: one run at a time. A user needs the rights Write and Describe on it.
pub const TRANSACTIONAL_ID: &str = "dp-dlq-replay";
/// A transaction ends after this many letters or bytes, because the readers of the raw topic wait for its end.
pub(super) const BATCH_LETTERS: usize = 100;
const BATCH_BYTES: usize = 8 << 20;

/// What to replay.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Which letters.
    pub wanted: Wanted,
    /// Offsets of letters; empty means all that are wanted.
    pub offsets: Vec<i64>,
    /// At most this many, the oldest first.
    pub limit: usize,
    /// Letters that were tried this often are not replayed.
    pub max_attempts: u32,
    /// Letters of these tenants are not replayed: normalization would hold them again.
    pub paused_tenants: BTreeSet<String>,
    /// Only report.
    pub dry_run: bool,
}

/// A letter that was replayed, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Replayed {
    /// The letter.
    #[serde(flatten)]
    pub letter: Letter,
    /// Position of the replay; `None` in a dry run.
    pub replay: Option<Place>,
}

/// A letter that cannot be replayed.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// The letter.
    #[serde(flatten)]
    pub letter: Letter,
    /// Why, and what to do.
    pub why: String,
}

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the order of sending.
    pub replayed: Vec<Replayed>,
    /// Those that cannot be replayed.
    pub kept: Vec<Kept>,
    /// The given offsets at which no open letter is: it was replayed or given up, does not match the filters, or never existed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<i64>,
    /// Letters that could be replayed and were beyond the limit.
    pub left: u64,
    /// Whether the run was interrupted; then `left` counts what it did not reach.
    pub interrupted: bool,
    /// Records that were passed over.
    pub passed: Passed,
    /// Which name of the filter no letter has, if nothing was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Replays letters of topic `topic`; `done` gets the number of letters sent and their total. Blocks.
///
/// # Errors
/// Kafka does not answer, refuses, or a later run has claimed the transactional id.
pub fn run(
    bootstrap: &Brokers,
    topic: &str,
    raw: &[String],
    orders: &Orders,
    interrupted: &AtomicBool,
    mut done: impl FnMut(usize, usize),
) -> Result<Report, StreamError> {
    let claimed = match orders.dry_run {
        true => None,
        false => Some(AtomicPublisher::claim(bootstrap, "dp-dlq", TRANSACTIONAL_ID)?),
    };
    let (chosen, mut report) = choose(bootstrap, topic, raw, orders)?;
    let Some(mut publisher) = claimed else {
        let would = chosen.into_iter().map(|letter| Replayed { letter, replay: None });
        report.replayed = would.collect();
        return Ok(report);
    };
    let (reader, total) = (LogReader::new(bootstrap)?, chosen.len());
    let mut rest = chosen.as_slice();
    while let Some(size) = batch(rest) {
        if interrupted.load(Ordering::Relaxed) {
            report.interrupted = true;
            report.left += rest.len() as u64;
            break;
        }
        let (letters, later) = rest.split_at(size);
        let originals = originals(&reader, letters)?;
        let sent = publisher.together(|group| {
            let each = letters.iter().zip(&originals).map(|(letter, original)| match original {
                Ok(original) => original.send(group, letter).map(Ok),
                Err(why) => Ok(Err(why.clone())),
            });
            each.collect::<Result<Vec<_>, StreamError>>()
        })?;
        for (letter, sent) in letters.iter().cloned().zip(sent) {
            match sent {
                Ok(place) => report.replayed.push(Replayed {
                    letter,
                    replay: Some(place),
                }),
                Err(why) => report.kept.push(Kept { letter, why }),
            }
        }
        rest = later;
        done(total - rest.len(), total);
    }
    Ok(report)
}

/// The letters to replay, and the report about the others.
fn choose(
    bootstrap: &Brokers,
    topic: &str,
    raw: &[String],
    orders: &Orders,
) -> Result<(Vec<Letter>, Report), StreamError> {
    let (mut chosen, mut report) = (Vec::new(), Report::default());
    report.absent.clone_from(&orders.offsets);
    report.passed = each(bootstrap, topic, &orders.wanted, |letter, _| {
        if orders.offsets.is_empty() || orders.offsets.contains(&letter.place.offset) {
            report.absent.retain(|offset| *offset != letter.place.offset);
            match refusal(&letter, raw, orders) {
                Some(why) => report.kept.push(Kept { letter, why }),
                None if chosen.len() < orders.limit => chosen.push(letter),
                None => report.left += 1,
            }
        }
        true
    })?;
    if chosen.is_empty() && report.kept.is_empty() {
        report.unknown = names::unknown(bootstrap, topic, &orders.wanted)?;
    }
    Ok((chosen, report))
}

/// Why the letter cannot be replayed; `None` if it can.
fn refusal(letter: &Letter, raw: &[String], orders: &Orders) -> Option<String> {
    let max_attempts = orders.max_attempts;
    if (letter.service.as_str(), letter.stage.as_str()) != (DEFINITION.name, normalize::NAME) {
        return Some(format!(
            "{} rejected this message. Only raw messages can be replayed: see docs/runbooks/DeadLettersOpen.md",
            letter.service
        ));
    }
    if !raw.contains(&letter.origin.topic) {
        return Some(format!(
            "{} is not a raw topic of this configuration: add it to DATA_PROC_RAW_TOPICS",
            letter.origin.topic
        ));
    }
    if orders.paused_tenants.contains(&letter.tenant) {
        return Some(format!(
            "its tenant is paused, so it would come back as a letter: `dp resume {}` first",
            tenant_argument(&letter.tenant)
        ));
    }
    if letter.attempts >= max_attempts {
        return Some(format!(
            "it failed {} times: correct the cause that `dp dlq show {}` names, then use --max-attempts {}",
            letter.attempts,
            letter.place.offset,
            letter.attempts.saturating_add(1)
        ));
    }
    letter.rows.ends_with(RowRanges::CUT).then(|| {
        "its list of rejected rows was too long for the letter: publish the document again with `dp ingest`".to_owned()
    })
}

/// Number of letters in the next transaction, all of one partition of `dlq`; `None` if there are none.
fn batch(letters: &[Letter]) -> Option<usize> {
    let (mut bytes, number) = (0, letters.first()?.place.partition);
    let fits = letters.iter().take(BATCH_LETTERS).take_while(|letter| {
        let is_first = bytes == 0;
        bytes += letter.bytes.max(1);
        letter.place.partition == number && (is_first || bytes <= BATCH_BYTES)
    });
    Some(fits.count()).filter(|count| *count > 0)
}

/// A rejected message as it was, ready to be sent. Headers without a value are left out; none of them has a meaning.
struct Original {
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

impl Original {
    fn of(message: &Message<'_>) -> Original {
        // A letter of a replay also has the headers of that replay.
        let is_ours = |name: &str| is_statement(name) || name.starts_with("dp.replay.");
        let headers = message.headers().filter(|(name, _)| !is_ours(name));
        Original {
            key: message.key.map(<[u8]>::to_vec),
            payload: message.payload.map(<[u8]>::to_vec),
            headers: headers
                .filter_map(|(name, value)| Some((name.into_owned(), value?.to_vec())))
                .collect(),
        }
    }

    /// Sends it with the headers of a replay, and the marker of its letter.
    fn send(&self, group: &mut Group<'_>, letter: &Letter) -> Result<Place, StreamError> {
        let stated = [
            (ReplayHeaders::LETTER_HEADER, letter.place.offset.to_string()),
            (ReplayHeaders::ORIGIN_HEADER, letter.origin.to_string()),
            (ReplayHeaders::ROWS_HEADER, letter.rows.clone()),
            (
                ReplayHeaders::ATTEMPT_HEADER,
                letter.attempts.saturating_add(1).to_string(),
            ),
        ];
        let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(self.headers.len() + stated.len());
        headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice())),
        );
        headers.extend(stated.iter().map(|(name, value)| (*name, value.as_bytes())));
        if letter.held {
            headers.push((ReplayHeaders::HELD_HEADER, b"true"));
        }
        let sent = group.publish(&Record {
            topic: &letter.origin.topic,
            partition: Some(letter.origin.partition),
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: &headers,
            ..Record::default()
        })?;
        let replay = Place {
            topic: letter.origin.topic.clone(),
            partition: sent.partition,
            offset: sent.offset,
        };
        let shown = format!("letter {} was replayed to {replay}", letter.place.offset);
        mark(group, letter, &replay.to_string(), &shown)?;
        Ok(replay)
    }
}

/// Closes a letter; `replay` is a place or [`Marker::GIVEN_UP`], `shown` says the same for people.
pub(super) fn mark(group: &mut Group<'_>, letter: &Letter, replay: &str, shown: &str) -> Result<(), StreamError> {
    let marker = Marker {
        letter: letter.place.offset,
        origin: letter.origin.to_string(),
        rows: letter.rows.clone(),
        attempts: letter.attempts.to_string(),
        replay: replay.to_owned(),
    };
    let headers = marker.headers();
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    group.send(&Record {
        topic: &letter.place.topic,
        partition: Some(letter.place.partition),
        payload: Some(shown.as_bytes()),
        headers: &headers,
        ..Record::default()
    })
}

/// The rejected messages of letters of one partition in the order of their offsets; for each, or why there is none.
fn originals(reader: &LogReader, letters: &[Letter]) -> Result<Vec<Result<Original, String>>, StreamError> {
    let (Some(first), Some(last)) = (letters.first(), letters.last()) else {
        return Ok(Vec::new());
    };
    let mut found: FxHashMap<i64, Option<Original>> = FxHashMap::default();
    let wanted = |offset| {
        letters
            .binary_search_by_key(&offset, |letter| letter.place.offset)
            .is_ok()
    };
    reader.read(
        &partition(&first.place),
        first.place.offset,
        last.place.offset + 1,
        |message| {
            if wanted(message.offset) {
                let is_truncated = message.header(header::TRUNCATED) == Some(b"true");
                found.insert(message.offset, (!is_truncated).then(|| Original::of(message)));
            }
            true
        },
    )?;
    let mut originals = Vec::with_capacity(letters.len());
    for letter in letters {
        originals.push(match found.remove(&letter.place.offset) {
            Some(Some(original)) => Ok(original),
            Some(None) => at(reader, &letter.origin)?.ok_or_else(|| {
                let origin = &letter.origin;
                format!("the letter holds only its beginning, and {origin} has expired: publish the document again")
            }),
            None => Err(format!("{} has expired meanwhile", letter.place)),
        });
    }
    Ok(originals)
}

/// The message at a place; `None` if it has expired.
fn at(reader: &LogReader, place: &Place) -> Result<Option<Original>, StreamError> {
    let (start, end) = reader.log_range(&partition(place))?;
    let mut found = None;
    if (start..end).contains(&place.offset) {
        reader.read(&partition(place), place.offset, place.offset + 1, |message| {
            found = (message.offset == place.offset).then(|| Original::of(message));
            false
        })?;
    }
    Ok(found)
}

fn partition(place: &Place) -> Partition {
    Partition {
        topic: Arc::from(place.topic.as_str()),
        number: place.partition,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::open_letter;
    use super::*;

    fn letter(change: impl FnOnce(&mut Letter)) -> Letter {
        let mut letter = Letter {
            service: "normalization".to_owned(),
            stage: "normalize".to_owned(),
            code: "no_price".to_owned(),
            bytes: 100,
            ..open_letter(7)
        };
        change(&mut letter);
        letter
    }

    #[test]
    fn only_a_raw_message_that_may_be_tried_again_is_replayed() {
        let raw = ["raw".to_owned()];
        let orders = Orders {
            wanted: Wanted::default(),
            offsets: Vec::new(),
            limit: 1,
            max_attempts: 5,
            paused_tenants: BTreeSet::from(["acme".to_owned()]),
            dry_run: false,
        };
        assert_eq!(refusal(&letter(|_| ()), &raw, &orders), None);
        assert_eq!(refusal(&letter(|letter| letter.attempts = 4), &raw, &orders), None);
        let refused = |change: fn(&mut Letter)| refusal(&letter(change), &raw, &orders).unwrap();
        assert!(refused(|letter| letter.tenant = "acme".to_owned()).contains("dp resume --tenant acme"));
        assert!(refused(|letter| letter.service = "enrichment".to_owned()).contains("enrichment"));
        assert!(refused(|letter| letter.origin.topic = "other".to_owned()).contains("DATA_PROC_RAW_TOPICS"));
        assert!(refused(|letter| letter.attempts = 5).contains("--max-attempts 6"));
        assert!(refused(|letter| letter.rows = "1,3,...".to_owned()).contains("dp ingest"));
    }

    #[test]
    fn a_transaction_is_bounded_by_letters_and_bytes_and_holds_at_least_one() {
        let sized = |sizes: &[usize]| -> Vec<Letter> {
            sizes.iter().map(|size| letter(|letter| letter.bytes = *size)).collect()
        };
        assert_eq!(batch(&[]), None);
        assert_eq!(batch(&sized(&[0; 300])), Some(BATCH_LETTERS));
        assert_eq!(batch(&sized(&[BATCH_BYTES / 2, BATCH_BYTES / 2, 1])), Some(2));
        assert_eq!(batch(&sized(&[BATCH_BYTES * 4, 1])), Some(1));
    }
}
