//! Reads the logs: the raw topics with normalization's rules, the later topics record by record.
//!
//! All functions block; the caller runs them on a separate thread. Ranges are fixed once, so messages that arrive later do
//! not change the result.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Record, Wire};
use delivery::Sequencer;
use domain::{LastOrigin, Origin, RowRanges, Tick};
use stream::kafka::reader::LogReader;
use stream::{Brokers, Partition, StreamError};

use super::blocks::{BLOCK, BlockKey, Blocks};
use super::canonical::{RawText, SourceText};
use super::dead_letters::{ExpectedLetter, Letter, Place};
use super::gaps::{self, Hole};
use super::ranges::Range;
use super::raw_walk::{Counts, RawWalk};
use crate::raw::Rules;
use ops::progress::Progress;

/// Progress is shown at each of these offsets.
const SHOWN_EVERY: u64 = 512;

/// The raw topics, and normalization's rules for them.
pub struct RawLog {
    /// How messages are read.
    pub rules: Rules,
    /// The ranges to read. [`RawLog::expect`] moves `first` to the first offset that can be compared.
    pub ranges: Vec<Range>,
    /// Number of partitions of the later topics.
    pub partitions: i32,
    /// Messages whose rejected rows were replayed; empty means the whole message.
    pub replayed: BTreeMap<Place, RowRanges>,
    /// Messages that were held because their tenant was paused.
    pub held: BTreeSet<Place>,
    /// Letters of messages that were rejected, and not replayed since.
    pub open: BTreeMap<Place, Letter>,
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
        let messages = self.ranges.iter().map(|range| range.end - range.first).sum::<i64>();
        let mut progress = Progress::new("reading the raw log", u64::try_from(messages).unwrap_or(0), "messages");
        for index in 0..self.ranges.len() {
            let Some(range) = self.ranges.get(index).cloned() else {
                continue;
            };
            let (topic, partition) = (range.lane.topic.to_string(), range.lane.partition);
            let (before, detail) = (expected.counts.messages, format!("{topic}[{partition}]"));
            let walk = self.walk(&range, &mut |tick| {
                let read = u64::try_from(tick.origin.offset - range.first).unwrap_or(0);
                if read.is_multiple_of(SHOWN_EVERY) {
                    progress.set(before + read, &detail);
                }
                for of in texts {
                    of.write(tick, &mut text);
                    let blocks = expected.blocks.entry(of.table).or_default();
                    blocks.add(&range.lane, tick.origin.offset, &text);
                }
            })?;
            expected.counts.add(&walk.counts);
            progress.set(expected.counts.messages, &detail);
            expected.letters.extend(
                walk.letters
                    .into_iter()
                    .map(|(offset, letter)| ((topic.clone(), partition, offset), letter)),
            );
            if let (Some(range), true) = (self.ranges.get_mut(index), range.is_cut) {
                range.first = walk.first_offset.unwrap_or(range.end);
            }
        }
        progress.finish();
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

    /// Passes (tick id, text) of the rows of these blocks, without those in the holes, to `show`. Reads the log a second time.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn each_in(
        &self,
        of: &RawText,
        blocks: &[BlockKey],
        holes: &[Hole],
        show: &mut dyn FnMut(&str, &str),
    ) -> Result<(), StreamError> {
        let (wanted, mut text): (BTreeSet<&BlockKey>, _) = (blocks.iter().collect(), String::new());
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
                    of.write(tick, &mut text);
                    show(&tick.origin.to_string(), &text);
                }
            })?;
        }
        Ok(())
    }

    fn walk(&self, range: &Range, emit: &mut dyn FnMut(&Tick<'_>)) -> Result<RawWalk, StreamError> {
        let mut walk = RawWalk::new(self.rules.walk(), self.rules.limits.micros, range.is_cut);
        walk.passed.clone_from(&range.gaps);
        let is_its = |place: &Place| *place.0 == *range.lane.topic && place.1 == range.lane.partition;
        let replayed = self.replayed.iter().filter(|(place, _)| is_its(place));
        walk.replayed = replayed.map(|(place, rows)| (place.2, rows.clone())).collect();
        let held = self.held.iter().filter(|place| is_its(place));
        walk.held = held.map(|place| place.2).collect();
        let open = self.open.iter().filter(|(place, _)| is_its(place));
        walk.open = open.map(|(place, letter)| (place.2, letter.clone())).collect();
        let bootstrap = &self.rules.bootstrap;
        // The event-id window also needs the messages before the compared range.
        let (oldest, _) = LogReader::new(bootstrap)?.log_range(&range.partition())?;
        self.rules.each(
            |show| range.read(bootstrap, oldest, |message| _ = show(message)),
            |_, read| walk.message(read, emit),
        )?;
        Ok(walk)
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

    /// For each partition, offset and tick id of every record in these blocks that becomes a row.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn places(&self, blocks: &[BlockKey]) -> Result<BTreeMap<i32, Vec<(i64, String)>>, StreamError> {
        let mut places: BTreeMap<i32, Vec<(i64, String)>> = BTreeMap::new();
        self.each_in(blocks, &mut |partition, offset, id, _| {
            places.entry(partition).or_default().push((offset, id.to_owned()));
        })?;
        Ok(places)
    }

    /// Passes (partition, offset, tick id, text) of the rows of these blocks to `show`. Reads the log a second time.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn each_in(&self, blocks: &[BlockKey], show: &mut dyn FnMut(i32, i64, &str, &str)) -> Result<(), StreamError> {
        for range in &self.ranges {
            let wanted: BTreeSet<i64> = blocks
                .iter()
                .filter(|block| block.lane == range.lane)
                .map(|block| block.number)
                .collect();
            if wanted.is_empty() {
                continue;
            }
            self.read(range, &mut |offset, id, text| {
                if wanted.contains(&offset.div_euclid(BLOCK)) {
                    show(range.lane.partition, offset, id, text);
                }
            })?;
        }
        Ok(())
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
