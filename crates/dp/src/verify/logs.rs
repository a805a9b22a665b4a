//! Reads the logs: the raw topics with normalization's rules, the later topics record by record.
//!
//! All functions block; the caller runs them on a separate thread. Ranges are fixed once, so messages that arrive later do
//! not change the result.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use codec::{Record, Wire};
use delivery::Sequencer;
use delivery::event_window::WindowLimits;
use domain::{Classified, LastOrigin, Origin, Tick};
use markets::{Normalizer, NormalizerConfig, RawMessage};
use normalization::replays::Replays;
use normalization::stages::normalize::raw_message;
use stream::Brokers;
use stream::kafka::reader::LogReader;
use stream::{Message, Partition, StreamError};

use super::blocks::{BLOCK, BlockKey, Blocks, Lane, Row};
use super::canonical::{RawText, SourceText};
use super::gaps::{self, Hole};
use super::raw_walk::{Counts, ExpectedLetter, RawWalk, Unreadable};

/// The part of a partition that is compared.
#[derive(Debug, Clone)]
pub struct Range {
    /// Partition.
    pub lane: Lane,
    /// First compared offset.
    pub first: i64,
    /// Offset after the last compared one.
    pub end: i64,
    /// Whether retention has removed earlier messages.
    pub is_cut: bool,
    /// Offsets that a consumer has passed, `[from, to)`. They are not compared.
    pub gaps: Vec<(i64, i64)>,
}

impl Range {
    /// Whether this offset is compared.
    pub fn counts(&self, offset: i64) -> bool {
        (self.first..self.end).contains(&offset) && !self.is_passed(offset)
    }

    fn is_passed(&self, offset: i64) -> bool {
        self.gaps.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }

    /// Passes every record from offset `from` to `each`. Records in a gap may be unreadable, and are skipped then.
    fn read(&self, bootstrap: &Brokers, mut from: i64, mut each: impl FnMut(&Message<'_>)) -> Result<(), StreamError> {
        let (reader, partition) = (LogReader::new(bootstrap)?, self.partition());
        let mut show = |message: &Message<'_>| {
            each(message);
            true
        };
        for (gap, behind) in &self.gaps {
            reader.read(&partition, from, (*gap).min(self.end), &mut show)?;
            from = from.max(*gap);
            // Normalization adds the readable records of a gap to its event-id window as well.
            reader.read_passing(&partition, from, (*behind).min(self.end), &mut show, |_, _| true)?;
            from = from.max(*behind);
        }
        reader.read(&partition, from, self.end, &mut show)
    }

    /// The partition of the range.
    pub fn partition(&self) -> Partition {
        Partition {
            topic: Arc::clone(&self.lane.topic),
            number: self.lane.partition,
        }
    }
}

/// The current ranges of all partitions of these topics.
///
/// # Errors
/// A topic does not exist, or Kafka does not answer.
pub fn ranges(bootstrap: &Brokers, topics: &[String]) -> Result<Vec<Range>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut ranges = Vec::new();
    for topic in topics {
        for partition in reader.partitions(topic)? {
            let (first, end) = reader.log_range(&partition)?;
            ranges.push(Range {
                lane: Lane {
                    topic: partition.topic,
                    partition: partition.number,
                },
                first,
                end,
                is_cut: first > 0,
                gaps: Vec::new(),
            });
        }
    }
    Ok(ranges)
}

/// The raw topics, and normalization's settings for them.
pub struct RawLog {
    /// Brokers.
    pub bootstrap: Brokers,
    /// Configuration of the parser.
    pub config: NormalizerConfig,
    /// Limits of the event-id window.
    pub limits: WindowLimits,
    /// The ranges to read. [`RawLog::expect`] moves `first` to the first offset that can be compared.
    pub ranges: Vec<Range>,
    /// Number of partitions of the later topics.
    pub partitions: i32,
}

/// The outputs that the raw topics require.
#[derive(Debug, Default)]
pub struct RawExpectation {
    /// Ticks by raw offset, with the columns of each table.
    pub blocks: BTreeMap<&'static str, Blocks>,
    /// The counts of INV-5.
    pub counts: Counts,
    /// Expected dead letters, by topic, partition and offset.
    pub letters: BTreeMap<(String, i32, i64), ExpectedLetter>,
}

impl RawLog {
    /// Reads all ranges for the tables with these texts, and narrows them to the offsets that can be compared.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn expect(&mut self, texts: &[RawText]) -> Result<RawExpectation, StreamError> {
        let mut expected = RawExpectation::default();
        let mut text = String::new();
        for index in 0..self.ranges.len() {
            let Some(range) = self.ranges.get(index).cloned() else {
                continue;
            };
            let walk = self.walk(&range, &mut |tick| {
                for of in texts {
                    of.write(tick, &mut text);
                    let blocks = expected.blocks.entry(of.table).or_default();
                    blocks.add(&range.lane, tick.origin.offset, &text);
                }
            })?;
            expected.counts.add(&walk.counts);
            let (topic, partition) = (range.lane.topic.to_string(), range.lane.partition);
            expected.letters.extend(
                walk.letters
                    .into_iter()
                    .map(|(offset, letter)| ((topic.clone(), partition, offset), letter)),
            );
            if let (Some(range), true) = (self.ranges.get_mut(index), range.is_cut) {
                range.first = walk.first_offset.unwrap_or(range.end);
            }
        }
        Ok(expected)
    }

    /// Ticks by raw offset, without those in the holes.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn outside(&self, of: &RawText, holes: &[Hole]) -> Result<Blocks, StreamError> {
        let (mut blocks, mut text) = (Blocks::default(), String::new());
        for range in &self.ranges {
            self.walk(range, &mut |tick| {
                if range.counts(tick.origin.offset) && !gaps::swallows(holes, tick, self.partitions) {
                    of.write(tick, &mut text);
                    blocks.add(&range.lane, tick.origin.offset, &text);
                }
            })?;
        }
        Ok(blocks)
    }

    /// The rows of these blocks without those in the holes. Reads the log a second time.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn rows(&self, of: &RawText, blocks: &[BlockKey], holes: &[Hole]) -> Result<Vec<Row>, StreamError> {
        let wanted: BTreeSet<&BlockKey> = blocks.iter().collect();
        let mut rows = Vec::new();
        for range in self
            .ranges
            .iter()
            .filter(|range| blocks.iter().any(|block| block.lane == range.lane))
        {
            self.walk(range, &mut |tick| {
                let number = tick.origin.offset.div_euclid(BLOCK);
                let is_wanted = wanted.contains(&BlockKey {
                    lane: range.lane.clone(),
                    number,
                });
                let is_expected = range.counts(tick.origin.offset) && !gaps::swallows(holes, tick, self.partitions);
                if is_wanted && is_expected {
                    let mut text = String::new();
                    of.write(tick, &mut text);
                    rows.push(Row {
                        id: tick.origin.to_string(),
                        text,
                    });
                }
            })?;
        }
        Ok(rows)
    }

    fn walk(&self, range: &Range, emit: &mut dyn FnMut(&Tick<'_>)) -> Result<RawWalk, StreamError> {
        let mut walk = RawWalk::new(Normalizer::new(self.config.clone()), self.limits, range.is_cut);
        walk.passed.clone_from(&range.gaps);
        // The event-id window also needs the messages before the compared range.
        let (oldest, _) = LogReader::new(&self.bootstrap)?.log_range(&range.partition())?;
        let (mut replays, mut failed) = (Replays::new(&self.bootstrap), None);
        range.read(&self.bootstrap, oldest, |message| {
            match readable(message, &mut replays) {
                Ok(read) => walk.message(read, emit),
                Err(error) => failed = Some(error),
            }
        })?;
        failed.map_or(Ok(walk), Err)
    }
}

/// The message as normalization reads it.
///
/// # Errors
/// The message is a replay, and its dead letter cannot be read now.
pub fn readable<'m>(
    message: &Message<'m>,
    replays: &mut Replays,
) -> Result<Result<RawMessage<'m>, Unreadable<'m>>, StreamError> {
    match raw_message(message) {
        Ok(raw) => replays.checked(raw).map(Ok),
        Err(rejection) => Ok(Err(Unreadable {
            offset: message.offset,
            appended_at: message.timestamp,
            code: rejection.code(),
            payload: message.payload.unwrap_or_default(),
        })),
    }
}

/// The source topic of a table.
pub struct SourceLog {
    /// Brokers.
    pub bootstrap: Brokers,
    /// Decodes the records.
    pub wire: Wire,
    /// Their schema.
    pub record: Record,
    /// What is compared.
    pub text: SourceText,
    /// The ranges to read.
    pub ranges: Vec<Range>,
    /// For each partition, the last origins in the table from before the beginning of the log (INV-3).
    pub accepted_before: BTreeMap<i32, Vec<LastOrigin>>,
    /// Offset after the newest record of each raw partition.
    pub raw_ends: BTreeMap<Partition, i64>,
}

impl SourceLog {
    /// The expected rows by offset in the topic, and the number of foreign records. A foreign record is unreadable, or names
    /// a raw message that does not exist.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn expect(&self) -> Result<(Blocks, u64), StreamError> {
        let (mut blocks, mut foreign) = (Blocks::default(), 0);
        for range in &self.ranges {
            foreign += self.read(range, &mut |offset, _, text| blocks.add(&range.lane, offset, text))?;
        }
        Ok((blocks, foreign))
    }

    /// The rows of these blocks. Reads the log a second time.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn rows(&self, blocks: &[BlockKey]) -> Result<Vec<Row>, StreamError> {
        let mut rows = Vec::new();
        for range in self
            .ranges
            .iter()
            .filter(|range| blocks.iter().any(|block| block.lane == range.lane))
        {
            self.read(range, &mut |offset, id, text| {
                if blocks
                    .iter()
                    .any(|block| block.lane == range.lane && block.number == offset.div_euclid(BLOCK))
                {
                    rows.push(Row {
                        id: id.to_owned(),
                        text: text.to_owned(),
                    });
                }
            })?;
        }
        Ok(rows)
    }

    /// Whether a raw message with this origin can exist. For a topic that is no longer a feed the answer is yes.
    fn can_exist(&self, origin: &Origin<'_>) -> bool {
        let is_feed = self.raw_ends.keys().any(|raw| *raw.topic == *origin.feed);
        let partition = Partition {
            topic: origin.feed.into(),
            number: origin.partition,
        };
        !is_feed || self.raw_ends.get(&partition).is_some_and(|end| origin.offset < *end)
    }

    // Passes (offset, tick id, text) of every record that becomes a row to `show`. Returns the number of foreign records.
    fn read(&self, range: &Range, show: &mut dyn FnMut(i64, &str, &str)) -> Result<u64, StreamError> {
        let seed = self.accepted_before.get(&range.lane.partition);
        let mut sequencer: Sequencer = seed.into_iter().flatten().collect();
        let (mut text, mut foreign) = (String::new(), 0);
        range.read(&self.bootstrap, range.first, |message| {
            if range.is_passed(message.offset) {
                return;
            }
            let payload = self.wire.current(self.record, message.payload.unwrap_or_default());
            let offset = message.offset;
            let origin = self.text.write(&self.wire, payload.as_ref(), offset, &mut text);
            match origin {
                Ok(origin) if !self.can_exist(&origin) => foreign += 1,
                Ok(origin) if sequencer.accept(origin.feed, origin.partition, origin.position()) => {
                    show(offset, &origin.to_string(), &text);
                }
                Ok(_) => {}
                Err(_) => foreign += 1,
            }
        })?;
        Ok(foreign)
    }
}
