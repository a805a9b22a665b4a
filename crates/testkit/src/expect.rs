//! What ought to have become of a raw log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::kafka::Record;
use crate::parse::{Parser, Tick};

/// Length of the window in which the same event is a repetition, in milliseconds of append time.
const EVENT_WINDOW: i64 = 300_000;

/// The fate of every raw message.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// All messages.
    pub messages: u64,
    /// Ticks that ought to exist, in log order.
    pub ticks: Vec<Tick>,
    /// Messages that repeat an event.
    pub repeated: u64,
    /// Dead letters: (topic, partition, offset) to code. A document with some bad rows has the code `rows`.
    pub dead_letters: BTreeMap<(String, i32, i64), String>,
    /// Rows of documents that cannot be used, in messages that are not repetitions.
    pub rejected_rows: u64,
}

/// Topic, partition, and whose id it is.
type Id = (String, i32, [Vec<u8>; 3]);

/// Follows a log from its beginning, as far as it has been read.
#[derive(Debug, Default)]
pub struct Follower {
    /// The fate of what was read.
    pub expected: Expected,
    /// What was said under each id, and when last, by topic and partition.
    seen: HashMap<Id, Vec<(String, i64)>>,
    /// The dead letters that there are, by their offset.
    letters: HashMap<i64, Record>,
}

impl Follower {
    /// Attempt and rows of a dead letter that was sent again: its headers name a letter, and say nothing else than it.
    fn replayed(&self, record: &Record) -> Option<(u32, BTreeSet<i32>)> {
        let letter = self.letters.get(&record.header("dp.replay.letter")?.parse().ok()?)?;
        let place = ["topic", "partition", "offset"].map(|part| letter.header(&format!("__connect.errors.{part}")));
        let place = place.into_iter().collect::<Option<Vec<_>>>()?.join("/");
        let rows = letter.header("dp.rejected_rows")?;
        let attempt = letter.header("dp.attempts")?.parse::<u32>().ok()? + 1;
        let is_its = record.header("dp.replay.origin")? == place
            && record.header("dp.replay.rows")? == rows
            && record.header("dp.replay.attempt")? == attempt.to_string()
            && letter.header("dp.service")? == "normalization"
            && letter.payload == record.payload;
        is_its.then(|| (attempt, numbers(&rows)))
    }

    /// Takes the next record of its partition.
    pub fn follow(&mut self, record: &Record, parser: &Parser) {
        let expected = &mut self.expected;
        expected.messages += 1;
        let place = (record.topic.clone(), record.partition, record.offset);
        let mut sound = match parser.parse(record) {
            Ok(sound) => sound,
            Err(code) => {
                expected.dead_letters.insert(place, code.to_owned());
                return;
            }
        };
        if let Some((attempt, rows)) = self.replayed(record) {
            // Rows of a document that were refused are an event of their own; a whole message is the one that it was.
            if !rows.is_empty() {
                sound.facts = format!("attempt {attempt} of {}", sound.facts);
                sound.ticks.retain(|tick| rows.contains(&tick.index));
                sound.rejected.retain(|row| rows.contains(row));
            }
        }
        let expected = &mut self.expected;
        let key = (record.topic.clone(), record.partition, sound.id);
        let said = self.seen.entry(key).or_default();
        said.retain(|(_, at)| *at >= record.timestamp - EVENT_WINDOW);
        let reused_id = !said.is_empty();
        if let Some((_, at)) = said.iter_mut().find(|(facts, _)| *facts == sound.facts) {
            *at = record.timestamp;
            expected.repeated += 1;
            return;
        }
        said.push((sound.facts, record.timestamp));
        sound.ticks.iter_mut().for_each(|tick| tick.reused_id = reused_id);
        if !sound.rejected.is_empty() {
            expected.rejected_rows += sound.rejected.len() as u64;
            expected.dead_letters.insert(place, "rows".to_owned());
        }
        expected.ticks.extend(sound.ticks);
    }
}

/// The numbers of a list such as `1,4-6`.
fn numbers(list: &str) -> BTreeSet<i32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

impl Expected {
    /// Follows the whole log; `letters` are those of topic `dlq`.
    pub fn of(records: &[Record], letters: Vec<Record>, parser: &Parser) -> Expected {
        let mut follower = Follower {
            letters: letters.into_iter().map(|letter| (letter.offset, letter)).collect(),
            ..Follower::default()
        };
        let mut records: Vec<&Record> = records.iter().collect();
        records.sort_by_key(|record| (record.topic.clone(), record.partition, record.offset));
        for record in records {
            follower.follow(record, parser);
        }
        follower.expected
    }

    /// The newest tick of every (tenant, instrument).
    pub fn latest(&self) -> BTreeMap<(String, String), Tick> {
        let mut latest: BTreeMap<(String, String), Tick> = BTreeMap::new();
        for tick in &self.ticks {
            let key = (tick.tenant.clone(), tick.instrument.clone());
            if latest.get(&key).is_none_or(|known| order(tick) > order(known)) {
                latest.insert(key, tick.clone());
            }
        }
        latest
    }
}

/// Time, then the producer's sequence where it gives one, then origin: what decides between two ticks of an instrument.
pub fn order(tick: &Tick) -> (i64, Option<i64>, &str, i32, i64, i32) {
    (
        tick.time,
        tick.sequence,
        &tick.feed,
        tick.partition,
        tick.offset,
        tick.index,
    )
}
