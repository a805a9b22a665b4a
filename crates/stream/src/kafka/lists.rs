//! Converts lists of partitions to and from the client library's type.

use std::sync::Arc;

use rdkafka::{Offset, TopicPartitionList};

use super::classify;
use super::consumer::Commit;
use crate::{Partition, StreamError};

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
