//! Short questions to the brokers over the connection of an existing client.
//!
//! A broker answers the requests of one connection in order. On the connection of a consumer, a question waits until the running fetch
//! is answered, which takes up to `fetch.wait.max.ms`. So a worker that has a producer asks over that one's connection.

use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;

use super::describe::{TopicDescription, describe_over};
use super::{NO_SUCH_PARTITION, classify};
use crate::{Partition, StreamError};
use domain::Classified as _;

/// A client that answers questions about topics.
pub(crate) trait Questions {
    /// Oldest and next offset of a partition.
    fn log_range(&self, partition: &Partition, timeout: Duration) -> Result<(i64, i64), StreamError>;
    /// Ids and partition counts of these topics.
    fn describe(&self, topics: &[String], timeout: Duration) -> Result<Vec<TopicDescription>, StreamError>;
    /// Whether the topic has the partition, as of now. The client's metadata may be older than partitions that were added.
    fn has(&self, partition: &Partition, timeout: Duration) -> Result<bool, StreamError>;

    /// Offset after the newest record; `None` if the broker reports that the partition does not exist.
    fn end_if_there(&self, partition: &Partition, timeout: Duration) -> Result<Option<i64>, StreamError> {
        match self.log_range(partition, timeout) {
            Err(error) if error.code() == NO_SUCH_PARTITION => {}
            range => return range.map(|(_, end)| Some(end)),
        }
        match self.has(partition, timeout)? {
            true => self.log_range(partition, timeout).map(|(_, end)| Some(end)),
            false => Ok(None),
        }
    }
}

impl<C: ClientContext> Questions for Client<C> {
    fn log_range(&self, partition: &Partition, timeout: Duration) -> Result<(i64, i64), StreamError> {
        self.fetch_watermarks(&partition.topic, partition.number, timeout)
            .map_err(|e| classify("read log range", &e))
    }

    fn describe(&self, topics: &[String], timeout: Duration) -> Result<Vec<TopicDescription>, StreamError> {
        describe_over(self, topics, timeout)
    }

    fn has(&self, partition: &Partition, timeout: Duration) -> Result<bool, StreamError> {
        let metadata = self
            .fetch_metadata(Some(&partition.topic), timeout)
            .map_err(|e| classify("read metadata", &e))?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        Ok(partitions.any(|known| known.id() == partition.number))
    }
}
