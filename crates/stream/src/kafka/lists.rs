//! Converts lists of partitions and offsets to and from the client library's type.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};

use super::classify;
use crate::{Partition, StreamError};
use delivery::log_mark::LogMark;

/// An offset to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Where.
    pub partition: Partition,
    /// Next offset to read.
    pub next_offset: i64,
    /// A [`delivery::log_mark::LogMark`].
    pub metadata: String,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where.
    pub partition: Partition,
    /// Next offset to read; `None` if nothing was committed.
    pub next_offset: Option<i64>,
    /// The committer's mark of the log.
    pub mark: Option<LogMark>,
}

impl Committed {
    pub(crate) fn of(partition: &Partition, answer: &TopicPartitionList) -> Committed {
        let element = answer.find_partition(&partition.topic, partition.number);
        let next_offset = element.as_ref().and_then(|element| match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        });
        Committed {
            partition: partition.clone(),
            next_offset,
            mark: element.and_then(|element| LogMark::from_metadata(element.metadata())),
        }
    }
}

pub(super) fn commit_list(commits: &[Commit]) -> Result<TopicPartitionList, StreamError> {
    let mut list = TopicPartitionList::new();
    for commit in commits {
        let Partition { topic, number } = &commit.partition;
        let mut element = list.add_partition(topic, *number);
        element
            .set_offset(Offset::Offset(commit.next_offset))
            .map_err(|e| classify("make partition list", &e))?;
        element.set_metadata(&commit.metadata);
    }
    Ok(list)
}

pub(super) fn list<'p>(
    partitions: impl IntoIterator<Item = (&'p Partition, Offset)>,
) -> Result<TopicPartitionList, StreamError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, partition.number, offset)
            .map_err(|e| classify("make partition list", &e))?;
    }
    Ok(list)
}

pub(super) fn partitions_of(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements()
        .iter()
        .map(|element| Partition {
            topic: Arc::from(element.topic()),
            number: element.partition(),
        })
        .collect()
}
