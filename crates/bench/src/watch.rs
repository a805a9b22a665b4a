//! Observes a topic from outside while a stage fills it: how many messages, since when, and which origins.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use codec::Wire;
use localstack::Stack;
use stream::kafka::reader::LogReader;
use stream::{Brokers, Partition};

use super::stage::check_interrupted;
use crate::statistics::lost_and_doubled;
use ops::progress::Progress;

/// Time between two reads. Each costs the broker a few requests, equally for the bare client and the hop.
pub const LOOK: Duration = Duration::from_millis(10);
const STALLED: Duration = Duration::from_secs(60);
const KNOWN_WITHIN: Duration = Duration::from_secs(15);
/// A topic without new messages for this long is complete.
const SETTLED: Duration = Duration::from_secs(5);

/// The ends of a topic.
pub struct Ends {
    reader: LogReader,
    partitions: Vec<Partition>,
    topic: String,
}

impl Ends {
    /// Looks up the partitions; retries while a new topic is not known to every broker.
    pub fn new(bootstrap: &Brokers, topic: &str) -> anyhow::Result<Ends> {
        let deadline = Instant::now() + KNOWN_WITHIN;
        loop {
            match Ends::of_known(bootstrap, topic) {
                Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK),
                result => return result,
            }
        }
    }

    fn of_known(bootstrap: &Brokers, topic: &str) -> anyhow::Result<Ends> {
        let reader = LogReader::new(bootstrap)?;
        let ends = Ends {
            partitions: reader.partitions(topic)?,
            reader,
            topic: topic.to_owned(),
        };
        ends.total()?;
        Ok(ends)
    }

    /// Number of messages that were ever appended.
    pub fn total(&self) -> anyhow::Result<u64> {
        let mut total = 0;
        for partition in &self.partitions {
            total += self.reader.log_range(partition)?.1.unsigned_abs();
        }
        Ok(total)
    }

    /// Waits until the topic contains `wanted` messages; calls `on_first` when it contains the first. Returns the seconds from
    /// the last read of an empty topic to the first read that found all messages.
    ///
    /// # Errors
    /// No message arrived for a minute, Kafka does not answer, or Ctrl-C.
    pub fn until(&self, stack: &Stack, wanted: u64, mut on_first: impl FnMut()) -> anyhow::Result<f64> {
        let mut progress = Progress::new("processing", wanted, "messages");
        let (mut nothing_at, mut seen, mut grown_at) = (Instant::now(), 0, Instant::now());
        loop {
            check_interrupted(stack)?;
            let now = Instant::now();
            let total = self.total()?;
            if total == 0 {
                nothing_at = now;
            } else if seen == 0 {
                on_first();
            }
            if total >= wanted {
                progress.finish();
                return Ok(nothing_at.elapsed().as_secs_f64());
            }
            if total > seen {
                (seen, grown_at) = (total, Instant::now());
                progress.set(total, "");
            }
            if grown_at.elapsed() > STALLED {
                bail!(
                    "{} has {total} of {wanted} messages, and none arrived for {} s: see the logs in {}/logs (run again with --keep)",
                    self.topic,
                    STALLED.as_secs(),
                    stack.config().dir.display()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Reads the whole topic of normalized ticks, until no tick is missing or the topic stands still; returns the number of lost and of
    /// repeated ticks. If records are repeated, those that were counted do not have all of them.
    pub fn check_origins(&self, stack: &Stack, published: u64) -> anyhow::Result<(u64, u64)> {
        let (mut seen, mut grown_at) = (0, Instant::now());
        loop {
            check_interrupted(stack)?;
            let total = self.total()?;
            if total > seen {
                (seen, grown_at) = (total, Instant::now());
                let (lost, repeated) = self.origins(published)?;
                if lost == 0 {
                    return Ok((0, repeated));
                }
            }
            if grown_at.elapsed() > SETTLED {
                return self.origins(published);
            }
            std::thread::sleep(LOOK);
        }
    }

    fn origins(&self, published: u64) -> anyhow::Result<(u64, u64)> {
        let wire = Wire::single_object();
        let mut found = Vec::with_capacity(published as usize);
        let mut unreadable = None;
        for partition in &self.partitions {
            let (start, end) = self.reader.log_range(partition)?;
            self.reader.read(partition, start, end, |message| {
                match wire.decode_tick(message.payload.unwrap_or_default()) {
                    Ok(tick) => found.push((tick.origin.partition, tick.origin.offset, tick.origin.index)),
                    Err(error) => unreadable = Some(error),
                }
                unreadable.is_none()
            })?;
        }
        match unreadable {
            Some(error) => Err(error).with_context(|| format!("read {}", self.topic)),
            None => Ok(lost_and_doubled(published, found)),
        }
    }
}
