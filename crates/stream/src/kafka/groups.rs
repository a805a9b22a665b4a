//! Reads what a consumer group has committed without joining it: lag for operators (`dp groups`, `dp demo`).
//!
//! Committed offsets serve lag tools and the stateless stages; the other stages store their positions elsewhere.
//! [`GroupReader::commit`] moves the position of a stateless stage whose service is stopped (`dp position`).

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use super::brokers::Brokers;
use super::connect::Renewal;
use super::consumer::{Commit, Committed};
use super::lists::commit_list;
use super::watch::Watch;
use super::{classify, connect, settings};
use crate::{Partition, StreamError};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How far a group is in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// Partition.
    pub partition: Partition,
    /// Next offset that the group would read; `None` before its first commit.
    pub committed: Option<i64>,
    /// Oldest offset in the log.
    pub start: i64,
    /// Offset after the newest.
    pub end: i64,
}

impl PartitionLag {
    /// Messages in the log that the group has not committed.
    pub fn lag(&self) -> i64 {
        (self.end - self.committed.unwrap_or(self.start).max(self.start)).max(0)
    }
}

/// State and size of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// The broker's term: `Stable`, `PreparingRebalance`, `Empty`, …
    pub state: String,
    /// Number of members.
    pub members: usize,
}

/// Reads one group.
pub struct GroupReader {
    consumer: BaseConsumer<Watch>,
    renewal: Renewal,
    group: String,
}

impl GroupReader {
    /// Connects lazily: errors show on the first call.
    ///
    /// # Errors
    /// Settings that the client refuses.
    pub fn new(bootstrap: &Brokers, group: &str) -> Result<GroupReader, StreamError> {
        // With the group's id but without a subscription, the client finds the coordinator but does not join.
        let mut config = settings::reader(bootstrap, "dp-groups");
        let (consumer, renewal) = connect::consumer(bootstrap, config.set("group.id", group), bootstrap.watch())?;
        Ok(GroupReader {
            consumer,
            renewal,
            group: group.to_owned(),
        })
    }

    /// The group's lag in every one of these partitions, in their order.
    ///
    /// Committed offsets are read before the log's ends, so a lag may look larger than it is, never smaller.
    ///
    /// # Errors
    /// Kafka does not answer, or a partition does not exist.
    pub fn lag(&self, partitions: &[Partition]) -> Result<Vec<PartitionLag>, StreamError> {
        let mut lags = Vec::with_capacity(partitions.len());
        for Committed {
            partition, next_offset, ..
        } in self.committed(partitions)?
        {
            let (start, end) = self
                .consumer
                .fetch_watermarks(&partition.topic, partition.number, CALL_TIMEOUT)
                .map_err(|e| classify("read log range", &e))?;
            lags.push(PartitionLag {
                partition,
                committed: next_offset,
                start,
                end,
            });
        }
        Ok(lags)
    }

    /// What the group has committed, with the mark of the log.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn committed(&self, partitions: &[Partition]) -> Result<Vec<Committed>, StreamError> {
        self.renewal.renew(self.consumer.client());
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(&partition.topic, partition.number);
        }
        let answer = self
            .consumer
            .committed_offsets(asked, CALL_TIMEOUT)
            .map_err(|e| classify(&format!("read committed offsets of {}", self.group), &e))?;
        Ok(partitions
            .iter()
            .map(|partition| Committed::of(partition, &answer))
            .collect())
    }

    /// Commits for the group, which must have no members.
    ///
    /// # Errors
    /// Kafka does not answer, or refuses because the group has members.
    pub fn commit(&self, commit: &Commit) -> Result<(), StreamError> {
        self.consumer
            .commit(&commit_list(std::slice::from_ref(commit))?, CommitMode::Sync)
            .map_err(|e| classify(&format!("commit offsets of {}", self.group), &e))
    }

    /// State and members; `None` if the broker does not have the group.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn state(&self) -> Result<Option<GroupState>, StreamError> {
        let list = self
            .consumer
            .fetch_group_list(Some(&self.group), CALL_TIMEOUT)
            .map_err(|e| classify("describe group", &e))?;
        Ok(list
            .groups()
            .iter()
            .find(|group| group.name() == self.group)
            .map(|group| GroupState {
                state: group.state().to_owned(),
                members: group.members().len(),
            }))
    }
}
