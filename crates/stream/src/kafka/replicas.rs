//! Leaders and replicas of partitions, as the cluster reports them.
//!
//! Failure: a topic that does not exist, or that the user may not describe, has no partitions in the result.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use serde::Serialize;

use super::reader::LogReader;
use crate::StreamError;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The replicas of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replicas {
    /// Topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Whether a broker leads it; without a leader it can be neither read nor written.
    pub has_leader: bool,
    /// Brokers that should have it.
    pub replicas: usize,
    /// Of these, the brokers that have all of it.
    pub in_sync: usize,
    /// Ids of the others: they are down, or do not keep up.
    pub missing: Vec<i32>,
}

/// The replicas of some topics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Brokers of the cluster that run.
    pub brokers: usize,
    /// By topic and partition.
    pub partitions: Vec<Replicas>,
}

fn missing(replicas: &[i32], in_sync: &[i32]) -> Vec<i32> {
    let lacks = |broker: &i32| !in_sync.contains(broker);
    replicas.iter().copied().filter(lacks).collect()
}

/// Topic, partition, and its brokers.
pub type Assignment = (String, i32, Vec<i32>);

impl LogReader {
    /// The replicas of these topics.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn replicas(&self, topics: &[String]) -> Result<Cluster, StreamError> {
        self.renewal.renew(self.consumer.client());
        let mut cluster = Cluster::default();
        for name in topics {
            let metadata = self
                .consumer
                .fetch_metadata(Some(name), CALL_TIMEOUT)
                .map_err(|e| self.failed("read replicas", &e))?;
            cluster.brokers = metadata.brokers().len();
            let found = metadata.topics().iter().filter(|topic| topic.name() == name);
            cluster
                .partitions
                .extend(found.flat_map(|topic| topic.partitions()).map(|partition| Replicas {
                    topic: name.clone(),
                    partition: partition.id(),
                    has_leader: partition.leader() >= 0,
                    replicas: partition.replicas().len(),
                    in_sync: partition.isr().len(),
                    missing: missing(partition.replicas(), partition.isr()),
                }));
        }
        Ok(cluster)
    }

    /// The ids of the brokers that run, and the brokers of each partition of these topics, `(topic, partition, brokers)`, the preferred
    /// leader first. A topic that does not exist has no partitions in the result.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn assignments(&self, topics: &[String]) -> Result<(Vec<i32>, Vec<Assignment>), StreamError> {
        self.renewal.renew(self.consumer.client());
        let (mut brokers, mut assignments) = (Vec::new(), Vec::new());
        for name in topics {
            let metadata = self
                .consumer
                .fetch_metadata(Some(name), CALL_TIMEOUT)
                .map_err(|e| self.failed("read replicas", &e))?;
            brokers.extend(metadata.brokers().iter().map(|broker| broker.id()));
            let found = metadata.topics().iter().filter(|topic| topic.name() == name);
            for partition in found.flat_map(|topic| topic.partitions()) {
                assignments.push((name.clone(), partition.id(), partition.replicas().to_vec()));
            }
        }
        brokers.sort_unstable();
        brokers.dedup();
        assignments.sort();
        Ok((brokers, assignments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_are_not_in_sync_are_missing_whatever_their_order() {
        assert_eq!(missing(&[3, 1, 2], &[2, 3]), [1]);
        assert!(missing(&[1, 2], &[2, 1]).is_empty());
    }
}
