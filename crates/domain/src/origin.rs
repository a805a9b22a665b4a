//! The location of a tick in the raw log: assigned once by normalization, never changed.

use std::fmt;

/// Position inside one raw partition: message offset, then index of the tick inside the message.
///
/// Ordered by offset, then index: the order on which the sequencer (INV-3) depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawPosition {
    /// Offset of the raw message.
    pub offset: i64,
    /// Index of the tick inside the message, from 0.
    pub index: i32,
}

/// `(feed, partition, offset, index)`: the source of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin<'a> {
    /// Name of the raw topic.
    pub feed: &'a str,
    /// Partition of the raw topic.
    pub partition: i32,
    /// Offset of the raw message.
    pub offset: i64,
    /// Index of the tick inside the message, from 0.
    pub index: i32,
}

impl Origin<'_> {
    /// The part that orders the ticks of one raw partition.
    pub fn position(&self) -> RawPosition {
        RawPosition {
            offset: self.offset,
            index: self.index,
        }
    }
}

impl fmt::Display for Origin<'_> {
    /// `feed/partition/offset/index`: also the public `tick_id`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.feed, self.partition, self.offset, self.index)
    }
}
