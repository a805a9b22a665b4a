//! The consumer groups of the pipeline, and how far behind they are.
//!
//! Role: lists every group with its topics, and reads committed offsets, ends of logs, the states of the groups and who owns which
//! partition.
//! Invariant: a group whose stage is switched off ([`is_switched_off`]) has no lag.
//! Failure: a broker that does not answer or a topic that does not exist is an error; nothing is guessed.

use std::collections::BTreeMap;

use serde::Serialize;
use service::{Names, is_switched_off};
use stream::Brokers;
use stream::kafka::groups::{GroupReader, GroupState, Member, PartitionLag};
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

/// The state of a group whose stage is switched off, in place of the broker's.
pub const OFF: &str = "off";

/// A consumer group and a topic that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Id of the group.
    pub group: String,
    /// Topic.
    pub topic: String,
}

/// Every group of the pipeline with each of its topics, in the order in which data flows.
pub fn subscriptions(names: &Names) -> Vec<Subscription> {
    let mut all: Vec<(String, &String)> = names
        .raw
        .iter()
        .map(|raw| (names.group("normalization"), raw))
        .collect();
    all.extend([
        (names.writer_group("normalization"), &names.normalized),
        (names.group("enrichment"), &names.normalized),
        (names.writer_group("enrichment"), &names.enriched),
        (names.group("aggregation"), &names.enriched),
        (names.writer_group("aggregation"), &names.bars),
        (names.writer_group("aggregation"), &names.late),
        (names.writer_group("aggregation"), &names.derived),
        (names.writer_group("aggregation"), &names.curves),
        (names.restate_group("aggregation"), &names.late),
        (names.derived_group("aggregation"), &names.legs),
        (names.curves_group("aggregation"), &names.legs),
        (names.group("projection"), &names.enriched),
        (names.served_group("projection"), &names.curves),
        (names.served_group("projection"), &names.derived),
    ]);
    all.into_iter()
        .map(|(group, topic)| Subscription {
            group,
            topic: topic.clone(),
        })
        .collect()
}

/// Reads the lag of all groups repeatedly over the same connections.
pub struct LagWatch {
    readers: BTreeMap<String, GroupReader>,
    watched: Vec<(Subscription, Vec<Partition>)>,
    /// As [`Names::optional_groups`].
    optional: Vec<(String, String)>,
}

/// The lag of one subscription.
#[derive(Debug)]
pub struct Lag {
    /// The group and its topic.
    pub subscription: Subscription,
    /// By partition.
    pub partitions: Vec<PartitionLag>,
    /// Whether its stage is switched off, so that nobody waits for it.
    pub is_off: bool,
}

impl Lag {
    /// Messages of all partitions that the group has not committed; none if its stage is switched off.
    pub fn total(&self) -> i64 {
        if self.is_off {
            return 0;
        }
        self.partitions.iter().map(PartitionLag::lag).sum()
    }
}

impl LagWatch {
    /// Looks up the partitions of every topic.
    ///
    /// # Errors
    /// Kafka does not answer, or a topic does not exist.
    pub fn new(bootstrap: &Brokers, names: &Names) -> Result<LagWatch, StreamError> {
        let reader = LogReader::new(bootstrap)?;
        let mut readers = BTreeMap::new();
        let mut watched = Vec::new();
        for subscription in subscriptions(names) {
            let partitions = reader.partitions(&subscription.topic)?;
            if !readers.contains_key(&subscription.group) {
                readers.insert(
                    subscription.group.clone(),
                    GroupReader::new(bootstrap, &subscription.group)?,
                );
            }
            watched.push((subscription, partitions));
        }
        Ok(LagWatch {
            readers,
            watched,
            optional: names.optional_groups(),
        })
    }

    /// The current lags, upstream first. A stage commits an input when its outputs are acknowledged, so zero for every group,
    /// read in this order, means that all messages have been processed.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn lags(&self) -> Result<Vec<Lag>, StreamError> {
        let mut lags = Vec::with_capacity(self.watched.len());
        for (subscription, partitions) in &self.watched {
            if let Some(reader) = self.readers.get(&subscription.group) {
                let partitions = reader.lag(partitions)?;
                lags.push(Lag {
                    subscription: subscription.clone(),
                    is_off: self.is_off(&subscription.group, &partitions)?,
                    partitions,
                });
            }
        }
        Ok(lags)
    }

    fn is_off(&self, group: &str, lags: &[PartitionLag]) -> Result<bool, StreamError> {
        let readers = self.optional.iter().find(|(optional, _)| optional == group);
        let readers = readers.and_then(|(own, other)| self.readers.get(own).zip(self.readers.get(other)));
        readers.map_or(Ok(false), |(own, other)| is_off(own, other, lags))
    }
}

/// Whether the stage of a group that a setting may switch off is switched off. `other` reads a group of the same service that always runs.
///
/// # Errors
/// Kafka does not answer.
pub fn is_off(own: &GroupReader, other: &GroupReader, lags: &[PartitionLag]) -> Result<bool, StreamError> {
    if lags.iter().all(|lag| lag.lag() == 0) {
        return Ok(false);
    }
    let has_members = |reader: &GroupReader| Ok(reader.state()?.is_some_and(|state| !state.members.is_empty()));
    let has_committed = lags.iter().any(|lag| lag.committed.is_some());
    Ok(is_switched_off(has_committed, has_members(own)?, has_members(other)?))
}

/// A group and one of its topics, with the state of the group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupLag {
    /// Id of the group.
    pub group: String,
    /// Topic that it reads.
    pub topic: String,
    /// State by the broker; `none` if the broker does not know the group, [`OFF`] if its stage is switched off.
    pub state: String,
    /// Members of the group.
    pub members: usize,
    /// Messages of all partitions that are not committed yet.
    pub lag: i64,
    /// By partition.
    pub partitions: Vec<PartitionOffsets>,
}

/// One partition as a group sees it.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionOffsets {
    /// Number of the partition.
    pub partition: i32,
    /// Committed offset, the next one to read; `null` before the first commit.
    pub committed: Option<i64>,
    /// Offset after the newest message.
    pub end: i64,
    /// Messages that are not committed yet.
    pub lag: i64,
    /// The member that reads it; `null` if the group has no members, or is rebalancing.
    pub owner: Option<Owner>,
}

/// The member of a group that owns a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Owner {
    /// Name that its program has given itself: service and stage.
    pub client_id: String,
    /// Address from which it is connected, as the broker sees it.
    pub host: String,
    /// Id that the broker has given it: tells members with the same name apart.
    pub member: String,
}

impl Owner {
    /// Of this member.
    pub fn of(member: &Member) -> Owner {
        Owner {
            client_id: member.client_id.clone(),
            host: member.host.clone(),
            member: member.id.clone(),
        }
    }
}

/// Reads lag and state of every group. Blocks.
///
/// # Errors
/// Kafka does not answer, or a topic does not exist.
pub fn survey(bootstrap: &Brokers, names: &Names) -> Result<Vec<GroupLag>, StreamError> {
    let watch = LagWatch::new(bootstrap, names)?;
    let mut listed = Vec::new();
    for lag in watch.lags()? {
        let state = watch
            .readers
            .get(&lag.subscription.group)
            .map(GroupReader::state)
            .transpose()?
            .flatten();
        listed.push(GroupLag {
            lag: lag.total(),
            state: match (&state, lag.is_off) {
                (_, true) => OFF.to_owned(),
                (Some(state), _) => state.state.clone(),
                (None, _) => "none".to_owned(),
            },
            members: state.as_ref().map_or(0, |state| state.members.len()),
            partitions: lag
                .partitions
                .iter()
                .map(|of_partition| offsets_of(of_partition, lag.is_off, state.as_ref()))
                .collect(),
            group: lag.subscription.group,
            topic: lag.subscription.topic,
        });
    }
    Ok(listed)
}

fn offsets_of(lag: &PartitionLag, is_off: bool, state: Option<&GroupState>) -> PartitionOffsets {
    PartitionOffsets {
        partition: lag.partition.number,
        committed: lag.committed,
        end: lag.end,
        lag: if is_off { 0 } else { lag.lag() },
        owner: state.and_then(|state| state.owner(&lag.partition)).map(Owner::of),
    }
}
