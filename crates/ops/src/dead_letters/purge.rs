//! `dp dlq purge` without filters: removes the oldest dead letters before their retention does.
//!
//! Role: the topic can only be cut at its beginning, so a purge ends before the first letter that must stay; chosen letters are given up instead
//! ([`super::give_up`]), and no longer stand in its way.
//! Invariants: a letter stays while its replay is still in a raw topic, because a reader of that replay checks it against the letter (INV-1).
//! Open letters stay unless the caller gives them up.
//! Failure: a topic that cannot be read or cut is an error, and nothing is removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Micros;
use serde::Serialize;
use stream::dead_letter::ledger::{Entry, Ledger};
use stream::kafka::admin::delete_before;
use stream::kafka::reader::LogReader;
use stream::{Brokers, Partition, StreamError};

use super::{Letter, Place};

/// What may be removed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Only letters that failed before this time.
    pub until: Option<Micros>,
    /// Open letters, too.
    pub open: bool,
}

/// What a purge of one partition removes.
#[derive(Debug, Clone, Serialize)]
pub struct Purge {
    /// Topic and partition.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The first offset that stays.
    pub before: i64,
    /// Letters removed, with their copies.
    pub letters: u64,
    /// Of them, those that are open.
    pub open: u64,
    /// The letter that ends the purge, and why it stays; `None` if everything is removed.
    pub stays: Option<(Place, &'static str)>,
}

/// A letter in the order of the topic.
struct Seen {
    letter: Letter,
    is_open: bool,
    /// Of its replay.
    replay: Option<Place>,
}

/// What a purge would remove, by partition. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn plan(bootstrap: &Brokers, topic: &str, limits: Limits) -> Result<Vec<Purge>, StreamError> {
    let (reader, mut plans) = (LogReader::new(bootstrap)?, Vec::new());
    for partition in reader.partitions(topic)? {
        let (start, end) = reader.log_range(&partition)?;
        let (mut ledger, mut letters, mut replays) = (Ledger::default(), Vec::new(), BTreeMap::new());
        reader.read(&partition, start, end, |message| {
            if let Entry::Marker(marker) = ledger.read(message) {
                replays.insert(marker.letter, Place::parse(&marker.replay));
            }
            letters.extend(Letter::of(message));
            true
        })?;
        let mut seen = Vec::with_capacity(letters.len());
        for letter in letters {
            let offset = letter.place.offset;
            let replay = replays.remove(&offset).flatten();
            let is_kept = match &replay {
                Some(replay) => is_in_its_log(&reader, replay)?,
                None => false,
            };
            seen.push(Seen {
                is_open: ledger.is_open(offset),
                replay: replay.filter(|_| is_kept),
                letter,
            });
        }
        plans.push(decide(&partition, end, &seen, limits));
    }
    Ok(plans)
}

/// Removes what the plan names. Blocks.
///
/// # Errors
/// Kafka does not answer, or refuses.
pub async fn carry_out(bootstrap: &Brokers, plans: &[Purge]) -> Result<(), StreamError> {
    for plan in plans.iter().filter(|plan| plan.letters > 0) {
        let partition = Partition {
            topic: Arc::from(plan.topic.as_str()),
            number: plan.partition,
        };
        delete_before(bootstrap, &partition, plan.before).await?;
    }
    Ok(())
}

fn is_in_its_log(reader: &LogReader, place: &Place) -> Result<bool, StreamError> {
    let partition = Partition {
        topic: Arc::from(place.topic.as_str()),
        number: place.partition,
    };
    Ok(reader.log_range(&partition)?.0 <= place.offset)
}

fn decide(partition: &Partition, end: i64, letters: &[Seen], limits: Limits) -> Purge {
    let why_it_stays = |seen: &Seen| {
        if limits.until.is_some_and(|until| seen.letter.failed_at >= until) {
            Some("it failed later than --until")
        } else if seen.replay.is_some() {
            Some("its replay is still in the raw topic, and needs it")
        } else if seen.is_open && !limits.open {
            Some("it is open: replay it, or give it up with --open")
        } else {
            None
        }
    };
    let kept = letters.iter().position(|seen| why_it_stays(seen).is_some());
    let removed = letters.get(..kept.unwrap_or(letters.len())).unwrap_or_default();
    let stays = kept.and_then(|index| letters.get(index));
    Purge {
        topic: partition.topic.to_string(),
        partition: partition.number,
        before: stays.map_or(end, |seen| seen.letter.place.offset),
        letters: removed.len() as u64,
        open: removed.iter().filter(|seen| seen.is_open).count() as u64,
        stays: stays.and_then(|seen| Some((seen.letter.place.clone(), why_it_stays(seen)?))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::open_letter;
    use super::*;

    fn seen(offset: i64, is_open: bool, replay: Option<&str>) -> Seen {
        Seen {
            letter: Letter {
                failed_at: offset * 100,
                replayed: !is_open,
                ..open_letter(offset)
            },
            is_open,
            replay: replay.map(|place| Place::parse(place).unwrap()),
        }
    }

    #[test]
    fn a_purge_ends_before_the_first_letter_that_must_stay() {
        let dlq = Partition {
            topic: Arc::from("dlq"),
            number: 0,
        };
        let letters = [
            seen(1, false, None),
            seen(2, true, None),
            seen(4, false, None),
            seen(5, false, Some("raw/1/99")),
            seen(8, false, None),
        ];
        let plan = |until, open| {
            let plan = decide(&dlq, 10, &letters, Limits { until, open });
            (
                plan.before,
                plan.letters,
                plan.open,
                plan.stays.map(|(place, _)| place.offset),
            )
        };
        assert_eq!(plan(None, false), (2, 1, 0, Some(2)));
        assert_eq!(plan(None, true), (5, 3, 1, Some(5)));
        assert_eq!(plan(Some(400), true), (4, 2, 1, Some(4)));
        assert_eq!(plan(Some(100), true), (1, 0, 0, Some(1)));
        let all = decide(
            &dlq,
            10,
            &letters[..3],
            Limits {
                until: None,
                open: true,
            },
        );
        assert_eq!((all.before, all.letters, all.stays), (10, 3, None));
    }
}
