//! Offsets of a topic, and where its records of a given time begin.

use domain::Micros;
use serde::Serialize;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

/// The log of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartitionRange {
    /// Number of the partition.
    pub partition: i32,
    /// Offset of the oldest record.
    pub oldest: i64,
    /// Offset after the newest record.
    pub end: i64,
    /// Offsets between both. A compacted topic has fewer records.
    pub messages: i64,
    /// The first offset at or after the time that was asked for; `end` if all records are older.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_time: Option<i64>,
}

/// The logs of all partitions of a topic. Blocks.
///
/// # Errors
/// Kafka does not answer, or the topic does not exist.
pub fn offsets(bootstrap: &Brokers, topic: &str, time: Option<Micros>) -> Result<Vec<PartitionRange>, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let mut ranges = Vec::new();
    for partition in reader.partitions(topic)? {
        let (oldest, end) = reader.log_range(&partition)?;
        let at_time = match time {
            Some(time) => Some(reader.offset_at(&partition, time)?.unwrap_or(end)),
            None => None,
        };
        ranges.push(PartitionRange {
            partition: partition.number,
            oldest,
            end,
            messages: end - oldest,
            at_time,
        });
    }
    ranges.sort_by_key(|range| range.partition);
    Ok(ranges)
}
