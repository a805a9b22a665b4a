//! The part of a partition that is compared.

use std::sync::Arc;

use stream::kafka::reader::LogReader;
use stream::{Brokers, Message, Partition, StreamError};

use super::lane::Lane;

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
