//! Offsets of a topic, and where its records of a given time begin; partitions that lack copies.

use anyhow::Context as _;
use domain::Micros;
use serde::Serialize;
use stream::kafka::reader::LogReader;
use stream::kafka::replicas::Replicas;
use stream::{Brokers, StreamError};

use crate::connection::Connection;
use crate::threads::reading;
use crate::topics::specs;

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

/// The partitions of the pipeline's topics that lack copies, and how many partitions were looked at.
///
/// # Errors
/// Kafka does not answer, or none of the topics exists.
pub async fn under_replicated(connection: &Connection) -> anyhow::Result<(Vec<Replicas>, usize)> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let specs = specs(&connection.names, &connection.settings, None);
    let topics: Vec<String> = specs.into_iter().map(|spec| spec.name).collect();
    let cluster = reading(move || LogReader::new(&bootstrap)?.replicas(&topics))
        .await
        .context("read the replicas: is Kafka running (`dp status`)?")?;
    anyhow::ensure!(
        !cluster.partitions.is_empty(),
        "none of the pipeline's topics exists, so nothing could be checked: create them with `dp topics create`"
    );
    let looked_at = cluster.partitions.len();
    Ok((lacking(cluster.partitions), looked_at))
}

/// Those with fewer replicas in sync than they should have. The last copy of a partition counts as in sync while its broker is down, so
/// those without a leader are taken too.
fn lacking(mut partitions: Vec<Replicas>) -> Vec<Replicas> {
    partitions.retain(|one| one.in_sync < one.replicas || !one.has_leader);
    partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: i32, replicas: usize, missing: &[i32], has_leader: bool) -> Replicas {
        Replicas {
            topic: "t".to_owned(),
            partition,
            has_leader,
            replicas,
            in_sync: replicas - missing.len(),
            missing: missing.to_vec(),
        }
    }

    #[test]
    fn partitions_with_all_their_copies_are_left_out() {
        let found = lacking(vec![
            partition(3, 1, &[], false),
            partition(2, 3, &[1, 2], true),
            partition(1, 3, &[], true),
            partition(0, 1, &[], true),
        ]);
        let shown: Vec<_> = found
            .iter()
            .map(|one| (one.partition, one.in_sync, one.missing.as_slice(), one.has_leader))
            .collect();
        assert_eq!(shown, [(2, 1, &[1, 2][..], true), (3, 1, &[][..], false)]);
    }
}
