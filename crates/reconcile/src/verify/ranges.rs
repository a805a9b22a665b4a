//! The parts of the logs that are compared. Fixed once, so messages that arrive later do not change the result.

use std::sync::Arc;

use ops::connection::Connection;
use ops::threads::reading;
use stream::kafka::reader::LogReader;
use stream::{Brokers, Message, Partition, StreamError};

use super::blocks::Lane;
use super::cut::{Arrived, Cut};

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

    /// Whether a consumer has passed this offset.
    pub fn is_passed(&self, offset: i64) -> bool {
        self.gaps.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }

    /// Passes every record from offset `from` to `each`. Records in a gap may be unreadable, and are skipped then. Blocks.
    ///
    /// # Errors
    /// Kafka does not answer, or a record outside of a gap cannot be read.
    pub fn read(
        &self,
        bootstrap: &Brokers,
        mut from: i64,
        mut each: impl FnMut(&Message<'_>),
    ) -> Result<(), StreamError> {
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

/// The ticks that have arrived since the cut. What a store names is judged by them only if they are asked for after it was read.
///
/// # Errors
/// As [`ranges`].
pub(super) async fn arrived(connection: &Connection, cut: &Cut) -> anyhow::Result<Arrived> {
    let (bootstrap, topics) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.raw.clone(),
    );
    let now = reading(move || ranges(&bootstrap, &topics)).await?;
    Ok(cut.arrived(now.iter().map(|range| (range.partition(), range.end)).collect()))
}
