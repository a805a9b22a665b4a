//! Partitions of logs, and their blocks of offsets.

use std::sync::Arc;

/// A partition of a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
}

/// Block `number` of a lane begins at offset `number` times [`BLOCK`](super::blocks::BLOCK).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// Partition.
    pub lane: Lane,
    /// Number of the block.
    pub number: i64,
}
