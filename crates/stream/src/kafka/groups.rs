//! Reads what a consumer group has committed, and which member owns which partition, without joining it: for operators (`dp groups`,
//! `dp demo`).
//!
//! Committed offsets serve lag tools and the stateless stages; the other stages store their positions elsewhere.
//! [`GroupReader::commit`] moves the position of a stateless stage whose service is stopped (`dp position`).

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};

use super::brokers::Brokers;
use super::connect::Renewal;
use super::consumer::{Commit, Committed};
use super::lists::commit_list;
use super::watch::Watch;
use super::{assignment, classify, connect, settings};
use crate::{Partition, StreamError};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Protocol of the groups whose members own partitions; other programs use groups for other purposes.
const CONSUMERS: &str = "consumer";

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

/// State and members of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupState {
    /// The broker's term: `Stable`, `PreparingRebalance`, `Empty`, …
    pub state: String,
    /// Its members.
    pub members: Vec<Member>,
}

impl GroupState {
    fn of(group: &GroupInfo) -> GroupState {
        let owns = group.protocol_type() == CONSUMERS;
        GroupState {
            state: group.state().to_owned(),
            members: group.members().iter().map(|member| Member::of(member, owns)).collect(),
        }
    }

    /// The member that owns this partition; `None` while nobody does.
    pub fn owner(&self, partition: &Partition) -> Option<&Member> {
        self.members.iter().find(|member| member.partitions.contains(partition))
    }
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Id that the broker has given it, unique in the group.
    pub id: String,
    /// Name that its program has given itself; several members may have the same.
    pub client_id: String,
    /// Address from which it is connected, as the broker sees it.
    pub host: String,
    /// The partitions that it owns; none while the group rebalances.
    pub partitions: Vec<Partition>,
}

impl Member {
    fn of(member: &GroupMemberInfo, owns: bool) -> Member {
        let assigned = member.assignment().filter(|_| owns);
        Member {
            id: member.id().to_owned(),
            client_id: member.client_id().to_owned(),
            // The broker writes an address as `name/address`, mostly without the name.
            host: member.client_host().trim_start_matches('/').to_owned(),
            partitions: assigned.and_then(assignment::owned).unwrap_or_default(),
        }
    }
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
        let found = list.groups().iter().find(|group| group.name() == self.group);
        Ok(found.map(GroupState::of))
    }
}
