//! Where the reading of partitions stands, as the client's statistics tell.

use rdkafka::statistics;

use crate::{Partition, StartAt};

/// Where the reading of a partition stands, as of the last statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Partition.
    pub partition: Partition,
    /// Offset after the last message that was handed over; before the first one, where reading began.
    pub position: i64,
    /// Offset after the newest record.
    pub end: i64,
}

/// What the statistics say of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    next: Option<i64>,
    oldest: i64,
    end: i64,
}

impl Seen {
    /// `None` before the first answer of a broker.
    pub(super) fn of(partition: &statistics::Partition) -> Option<Seen> {
        (partition.hi_offset >= 0).then(|| Seen {
            next: (partition.app_offset >= 0).then_some(partition.app_offset),
            oldest: partition.lo_offset.max(0),
            end: partition.hi_offset,
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
        }
    }
}
