//! The reader's standing in each partition, from the client's statistics.

use std::time::Instant;

use rdkafka::statistics;

use crate::Partition;
use delivery::StartAt;

/// The reader's standing in a partition, as of the last statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Partition.
    pub partition: Partition,
    /// Offset after the last delivered message; before the first message, the offset where reading began.
    pub position: i64,
    /// Offset after the newest record.
    pub end: i64,
    /// When the client reported it.
    pub as_of: Instant,
}

/// The statistics of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    next: Option<i64>,
    oldest: i64,
    end: i64,
    as_of: Instant,
}

impl Seen {
    /// `None` before the first answer of a broker.
    pub(super) fn of(partition: &statistics::Partition, as_of: Instant) -> Option<Seen> {
        (partition.hi_offset >= 0).then(|| Seen {
            next: (partition.app_offset >= 0).then_some(partition.app_offset),
            oldest: partition.lo_offset.max(0),
            end: partition.hi_offset,
            as_of,
        })
    }

    pub(super) fn standing(&self, partition: &Partition, began: StartAt) -> Standing {
        let began = match began {
            StartAt::Beginning => self.oldest,
            StartAt::Offset(offset) => offset,
        };
        Standing {
            partition: partition.clone(),
            position: self.next.unwrap_or(began),
            end: self.end,
            as_of: self.as_of,
        }
    }
}
