//! Reads raw messages, what became of them, and dead letters. All functions block; the caller runs them on a separate thread.
//!
//! Invariant: whether a message is a repetition is decided after reading the whole event-id window before it. If that window
//! has too many messages ([`Search::UpTo`]), only the wanted messages are read, and repetitions are not reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Context as _;
use delivery::event_window::WindowLimits;
use domain::Micros;
use serde::Serialize;
use stream::Brokers;
use stream::dead_letter::header;
use stream::kafka::reader::LogReader;
use stream::{Message, Partition};

use super::content::Content;
use super::follow::{Follow, Followed};
use super::{At, Place};
use crate::raw::Rules;
use crate::verify::dead_letters::{self, Letter};

/// The timestamp of a dead letter is from the broker or from a service, so allow a minute of clock difference.
const CLOCK_SKEW: Micros = 60_000_000;

/// How raw messages are read.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct RawReading {
    pub rules: Rules,
    /// Topic of the dead letters.
    pub dlq: String,
    /// Bytes of a message that are shown.
    pub shown: usize,
}

/// How much of the log is searched for repetitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// The whole event-id window.
    Whole,
    /// The whole event-id window if it has at most so many messages in a partition, else nothing.
    UpTo(i64),
}

/// A raw message, if the log still has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RawRecord {
    /// Its position.
    pub place: Place,
    /// Oldest offset that the partition still has.
    pub oldest: i64,
    /// The message, unless retention has removed it.
    pub kept: Option<Kept>,
}

/// A raw message in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Kept {
    pub appended_at: At,
    pub key: Option<Content>,
    pub headers: Vec<(String, String)>,
    pub content: Content,
    /// What normalization decided about it.
    pub decided: Option<Followed>,
    /// Whether the log was searched for repetitions.
    pub is_searched: bool,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct LetterRow {
    /// The rejected message.
    pub of: Place,
    /// Position of the letter.
    pub place: Place,
    pub stage: String,
    pub code: String,
    pub message: String,
    /// Rejected rows of the message; empty means the whole message.
    pub rows: String,
    pub written_at: At,
}

/// Reads the messages at these positions.
///
/// # Errors
/// Kafka does not answer, the topic or partition does not exist, or an offset is beyond the end.
pub fn read(
    reading: &RawReading,
    wanted: &BTreeSet<Place>,
    search: Search,
) -> anyhow::Result<BTreeMap<Place, RawRecord>> {
    let mut partitions: BTreeMap<(&str, i32), BTreeSet<i64>> = BTreeMap::new();
    for place in wanted {
        let offsets = partitions.entry((place.topic.as_str(), place.partition)).or_default();
        offsets.insert(place.offset);
    }
    let mut records = BTreeMap::new();
    for ((topic, number), offsets) in partitions {
        let partition = Partition {
            topic: Arc::from(topic),
            number,
        };
        let found = read_partition(reading, &partition, &offsets, search);
        for record in found.with_context(|| format!("read {topic}[{number}]"))? {
            records.insert(record.place.clone(), record);
        }
    }
    Ok(records)
}

fn read_partition(
    reading: &RawReading,
    partition: &Partition,
    offsets: &BTreeSet<i64>,
    search: Search,
) -> anyhow::Result<Vec<RawRecord>> {
    let log = LogReader::new(&reading.rules.bootstrap)?;
    let known = log.partitions(&partition.topic)?;
    anyhow::ensure!(
        known.contains(partition),
        "the partition does not exist: the topic has {} partitions",
        known.len()
    );
    let (oldest, end) = log.log_range(partition)?;
    if let Some(beyond) = offsets.iter().find(|offset| **offset >= end) {
        anyhow::bail!(
            "offset {beyond} is beyond the end: the newest message has offset {}",
            end - 1
        );
    }
    let kept: BTreeSet<i64> = offsets.range(oldest..).copied().collect();
    let mut found = BTreeMap::new();
    if let (Some(first), Some(last)) = (kept.first(), kept.last()) {
        let (from, to, since) = window_around(&log, partition, reading.rules.limits, (*first, *last), (oldest, end))?;
        let since = since.saturating_sub(CLOCK_SKEW);
        let letters = dead_letters::read_since(&reading.rules.bootstrap, &reading.dlq, Some(since))?;
        let rejected = letters.rejected(&partition.topic, partition.number);
        if matches!(search, Search::UpTo(most) if to - from > most) {
            for offset in &kept {
                walk(
                    reading,
                    &log,
                    partition,
                    (*offset, *offset + 1),
                    (&BTreeSet::from([*offset]), &rejected),
                    &mut found,
                )?;
            }
            found.values_mut().for_each(|kept| kept.is_searched = false);
        } else {
            walk(reading, &log, partition, (from, to), (&kept, &rejected), &mut found)?;
        }
    }
    let records = offsets.iter().map(|offset| RawRecord {
        place: Place {
            topic: partition.topic.to_string(),
            partition: partition.number,
            offset: *offset,
        },
        oldest,
        kept: found.remove(offset),
    });
    Ok(records.collect())
}

/// The offsets from one window length before the first message to one window length after the last one, and the time of the first of them.
fn window_around(
    log: &LogReader,
    partition: &Partition,
    limits: WindowLimits,
    (first, last): (i64, i64),
    (oldest, end): (i64, i64),
) -> anyhow::Result<(i64, i64, Micros)> {
    let (mut begins, mut ends): (Micros, Micros) = (0, 0);
    log.read(partition, first, first + 1, |message| {
        begins = message.timestamp.saturating_sub(limits.micros);
        false
    })?;
    log.read(partition, last, last + 1, |message| {
        ends = message.timestamp.saturating_add(limits.micros);
        false
    })?;
    let most = i64::from(limits.max_ids);
    let from = log.offset_at(partition, begins)?.unwrap_or(first);
    let to = log.offset_at(partition, ends)?.unwrap_or(end);
    Ok((
        from.clamp(first.saturating_sub(most).max(oldest), first),
        to.clamp(last + 1, last.saturating_add(most).min(end)),
        begins,
    ))
}

fn walk(
    reading: &RawReading,
    log: &LogReader,
    partition: &Partition,
    (from, to): (i64, i64),
    (wanted, rejected): (&BTreeSet<i64>, &BTreeMap<i64, (Letter, bool)>),
    found: &mut BTreeMap<i64, Kept>,
) -> anyhow::Result<()> {
    let mut follow = Follow::new(reading.rules.walk(), wanted.clone());
    follow.rejected.clone_from(rejected);
    reading.rules.each(
        |show| log.read(partition, from, to, show),
        |message, read| {
            if wanted.contains(&message.offset) {
                found.insert(message.offset, kept(message, reading.shown));
            }
            follow.message(read);
        },
    )?;
    for (offset, decided) in std::mem::take(&mut follow.found) {
        if let Some(kept) = found.get_mut(&offset) {
            kept.decided = Some(decided);
        }
    }
    Ok(())
}

fn kept(message: &Message<'_>, shown: usize) -> Kept {
    let headers = message.headers().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.unwrap_or_default());
        (name.into_owned(), value.into_owned())
    });
    Kept {
        appended_at: At(message.timestamp),
        key: message.key.map(|key| Content::new(key, 200)),
        headers: headers.collect(),
        content: Content::new(message.payload.unwrap_or_default(), shown),
        decided: None,
        is_searched: true,
    }
}

/// The dead letters of these messages that were written since a time.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn letters(bootstrap: &Brokers, dlq: &str, of: &BTreeSet<Place>, since: Micros) -> anyhow::Result<Vec<LetterRow>> {
    let log = LogReader::new(bootstrap)?;
    let mut letters = Vec::new();
    for partition in log.partitions(dlq)? {
        let (oldest, end) = log.log_range(&partition)?;
        let from = log
            .offset_at(&partition, since.saturating_sub(CLOCK_SKEW))?
            .unwrap_or(end);
        log.read(&partition, from.max(oldest), end, |message| {
            letters.extend(letter(message).filter(|letter| of.contains(&letter.of)));
            true
        })?;
    }
    Ok(letters)
}

fn letter(message: &Message<'_>) -> Option<LetterRow> {
    let text = |name| std::str::from_utf8(message.header(name)?).ok().map(str::to_owned);
    Some(LetterRow {
        of: Place {
            topic: text(header::TOPIC)?,
            partition: text(header::PARTITION)?.parse().ok()?,
            offset: text(header::OFFSET)?.parse().ok()?,
        },
        place: Place {
            topic: message.topic.to_owned(),
            partition: message.partition,
            offset: message.offset,
        },
        stage: text(header::STAGE).unwrap_or_default(),
        code: text(header::CODE).unwrap_or_default(),
        message: text(header::MESSAGE).unwrap_or_default(),
        rows: text(header::REJECTED_ROWS).unwrap_or_default(),
        written_at: At(message.timestamp),
    })
}
