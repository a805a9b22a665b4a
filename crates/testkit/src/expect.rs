//! Computes the expected outputs of a raw log.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::curves::PRODUCT;
use crate::kafka::Record;
use crate::parse::{Parser, Tick};
use crate::products::is_of_interval;

/// Length of the event-id window in milliseconds of append time.
const EVENT_WINDOW: i64 = 300_000;
/// Begins what stands for the code of a document with some bad rows, before their numbers: `rows 1,4-6`.
pub const ROWS: &str = "rows ";

/// The expected outputs.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Number of messages.
    pub messages: u64,
    /// Expected ticks, in log order.
    pub ticks: Vec<Tick>,
    /// Messages that repeat an event.
    pub repeated: u64,
    /// Documents of a new event, rejected ones not counted.
    pub documents: u64,
    /// Dead letters: (topic, partition, offset) to code. That of a document with some bad rows is [`ROWS`] and their numbers.
    pub dead_letters: BTreeMap<(String, i32, i64), String>,
    /// Rejected rows of documents, in messages that are not repetitions.
    pub rejected_rows: u64,
}

/// Topic, partition, and the event key of a message.
type Id = (String, i32, [Vec<u8>; 3]);

/// Follows a log from its beginning.
#[derive(Debug, Default)]
pub struct Follower {
    /// Expected outputs of the records so far.
    pub expected: Expected,
    /// The facts that each event key was used for, with the last append time.
    seen: HashMap<Id, Vec<(String, i64)>>,
    /// The dead letters by offset.
    letters: HashMap<i64, Record>,
    /// Places (`topic/partition/offset`) of messages whose dead letters were replayed: the rows, and the code of the letter.
    replayed: HashMap<String, (BTreeSet<i32>, String)>,
    /// Places of messages whose tenant was paused.
    held: HashSet<String>,
}

/// The code of a letter that only holds a message.
const HELD: &str = "tenant_paused";

impl Follower {
    /// Attempt and rows of a replay, and whether its message was held. A record is a replay if its headers name a dead letter and agree
    /// with it.
    fn replayed(&self, record: &Record) -> Option<(u32, BTreeSet<i32>, bool)> {
        let letter = self.letters.get(&record.header("dp.replay.letter")?.parse().ok()?)?;
        let place = rejected(letter)?;
        let rows = letter.header("dp.rejected_rows")?;
        let attempt = letter.header("dp.attempts")?.parse::<u32>().ok()? + 1;
        let is_its = record.header("dp.replay.origin")? == place
            && record.header("dp.replay.rows")? == rows
            && record.header("dp.replay.attempt")? == attempt.to_string()
            && letter.header("dp.service")? == "normalization"
            && letter.payload == record.payload;
        let was_held = attempt > 2 && letter.header("dp.replay.held").is_some();
        let is_held = letter.header("dp.error.code")? == HELD || was_held;
        is_its.then(|| (attempt, numbers(&rows), is_held))
    }

    /// Processes the next record of its partition.
    pub fn follow(&mut self, record: &Record, parser: &Parser) {
        let expected = &mut self.expected;
        expected.messages += 1;
        let place = (record.topic.clone(), record.partition, record.offset);
        let named = format!("{}/{}/{}", place.0, place.1, place.2);
        let (replayed, is_held) = (self.replayed.get(&named), self.held.contains(&named));
        if let Some((rows, code)) = replayed
            && rows.is_empty()
            && !is_held
        {
            // Rejected then; it counts where its replay is.
            expected.dead_letters.insert(place, code.clone());
            return;
        }
        let replayed = replayed.map(|(rows, _)| rows.clone()).unwrap_or_default();
        let mut sound = match parser.parse(record) {
            Ok(sound) => sound,
            Err(code) => {
                expected.dead_letters.insert(place, code.to_owned());
                return;
            }
        };
        let mut of_rows = BTreeSet::new();
        if let Some((attempt, rows, was_held)) = self.replayed(record) {
            // A replay of rejected rows is a new event, and that of a held message. A replay of another whole message is the same event.
            if was_held || !rows.is_empty() {
                sound.facts = format!("attempt {attempt} of {}", sound.facts);
                sound.id[2].extend(format!(" attempt {attempt}").bytes());
            }
            if !rows.is_empty() {
                sound.ticks.retain(|tick| rows.contains(&tick.index));
                sound.rejected.retain(|row| rows.contains(row));
                of_rows = rows;
            }
        }
        sound.ticks.retain(|tick| !replayed.contains(&tick.index));
        sound.rejected.retain(|row| !replayed.contains(row));
        sound.rejected.extend(replayed);
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
        if is_held {
            let code = match of_rows.is_empty() {
                true => HELD.to_owned(),
                false => format!("{ROWS}{}", list(&of_rows)),
            };
            expected.dead_letters.insert(place, code);
            return;
        }
        sound.ticks.iter_mut().for_each(|tick| tick.reused_id = reused_id);
        expected.documents += u64::from(record.header("dp.format").is_some());
        if !sound.rejected.is_empty() {
            expected.rejected_rows += sound.rejected.len() as u64;
            let rows: BTreeSet<i32> = sound.rejected.into_iter().collect();
            expected.dead_letters.insert(place, format!("{ROWS}{}", list(&rows)));
        }
        expected.ticks.extend(sound.ticks);
    }
}

/// The place of the message of a letter.
fn rejected(letter: &Record) -> Option<String> {
    let place = ["topic", "partition", "offset"].map(|part| letter.header(&format!("__connect.errors.{part}")));
    Some(place.into_iter().collect::<Option<Vec<_>>>()?.join("/"))
}

/// The numbers of a list such as `1,4-6`.
fn numbers(list: &str) -> BTreeSet<i32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The opposite of [`numbers`]: ranges as long as possible.
fn list(numbers: &BTreeSet<i32>) -> String {
    let is_first = |number: &&i32| !numbers.contains(&(**number - 1));
    let range = |first: &i32| {
        let last = (*first..).find(|number| !numbers.contains(&(number + 1)));
        match last.filter(|last| last > first) {
            Some(last) => format!("{first}-{last}"),
            None => first.to_string(),
        }
    };
    let ranges: Vec<String> = numbers.iter().filter(is_first).map(range).collect();
    ranges.join(",")
}

impl Expected {
    /// Follows the whole log. `letters`: the records of topic `dlq`.
    pub fn of(records: &[Record], letters: Vec<Record>, parser: &Parser) -> Expected {
        let replayed = letters.iter().filter_map(|marker| {
            let letter: i64 = marker.header("dp.replayed.letter")?.parse().ok()?;
            let letter = letters.iter().find(|one| one.offset == letter)?;
            let rows = numbers(&marker.header("dp.replayed.rows")?);
            Some((
                marker.header("dp.replayed.origin")?,
                (rows, letter.header("dp.error.code")?),
            ))
        });
        let held = letters
            .iter()
            .filter(|letter| letter.header("dp.error.code").as_deref() == Some(HELD));
        let mut follower = Follower {
            replayed: replayed.collect(),
            held: held.filter_map(rejected).collect(),
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

    /// How many ticks give an interval another price than the one before, in the order in which the log was followed.
    pub fn corrections(&self) -> u64 {
        let mut known: HashMap<(&str, &str, &str, i64), i128> = HashMap::new();
        let mut corrections = 0;
        for tick in self.ticks.iter().filter(|tick| is_of_interval(&tick.product)) {
            let interval = (&*tick.tenant, &*tick.instrument, &*tick.product, tick.time);
            let before = known.insert(interval, tick.price);
            corrections += u64::from(before.is_some_and(|price| price != tick.price));
        }
        corrections
    }

    /// How many ticks are quotes of contracts.
    pub fn quotes(&self) -> u64 {
        self.ticks.iter().filter(|tick| tick.product == PRODUCT).count() as u64
    }

    /// The newest tick of every (tenant, instrument); of two prices of one interval the more certain one.
    pub fn latest(&self) -> BTreeMap<(String, String), Tick> {
        let mut latest: BTreeMap<(String, String), Tick> = BTreeMap::new();
        for tick in &self.ticks {
            let key = (tick.tenant.clone(), tick.instrument.clone());
            let rank = |tick: &Tick| (tick.time, certainty(tick));
            let is_newer = |known: &Tick| (rank(tick), order(tick)) > (rank(known), order(known));
            if latest.get(&key).is_none_or(is_newer) {
                latest.insert(key, tick.clone());
            }
        }
        latest
    }
}

/// How certain a price is: less than all others if it is superseded, then by the first word of its version, then by the number after it.
pub fn certainty(tick: &Tick) -> (bool, usize, u32) {
    let version = tick.version.as_deref().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = version.split('.').collect();
    let known = ["preliminary", "unverified", "verified", "final", "corrected"];
    let stage = known.iter().position(|word| words[0] == *word).map_or(0, |at| at + 1);
    let number = words.get(stage.min(1)).filter(|word| word.len() <= 6);
    let number = number.and_then(|word| word.parse().ok()).unwrap_or(0);
    (words.last() != Some(&"superseded"), stage, number)
}

/// The sort key of an instrument's ticks: event time, producer's sequence (ticks without one first), origin.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_listed_in_ranges() {
        for text in ["7", "1,4-6", "0-2,9", ""] {
            assert_eq!(list(&numbers(text)), text);
        }
        assert_eq!(list(&BTreeSet::from([3, 1, 2, 8, 7])), "1-3,7-8");
    }
}
