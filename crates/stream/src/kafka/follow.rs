//! Follows a small topic of one partition from its beginning, without a group: the orders to the services.
//!
//! Role: a compacted topic is a table, and this reads it and then waits for changes. An idle follower costs the broker a request in
//! [`FOLLOW_WAIT`], and a new record ends that wait at once.
//! Failure: an error ends the follower; the next one reads everything again. A batch that cannot be unpacked is skipped with a
//! warning: what it held is unknown, and the rest must not wait for it.

use std::time::Duration;

use domain::Classified as _;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::access::accepts_connections;
use super::brokers::Brokers;
use super::consumer::borrow;
use super::consumption::{self, Consumption};
use super::reader::{LogReader, UNKNOWN_TOPIC};
use super::{classify, settings};
use crate::{Message, Partition, StreamError};

/// Code of an attempt while no broker accepts connections: then no other client of the process works either.
pub const NO_BROKER: &str = "kafka_no_broker";
/// How long a fetch waits for a record.
pub(super) const FOLLOW_WAIT: Duration = Duration::from_secs(10);

/// A reader that waits at the end of partition 0.
pub struct Follower {
    reader: LogReader,
    partition: Partition,
    /// The next offset.
    next: i64,
    /// The end of the log when it was opened.
    end: i64,
}

impl Follower {
    /// Begins at the oldest record; `None` if the topic does not exist.
    ///
    /// # Errors
    /// Kafka does not answer, or refuses.
    pub fn open(bootstrap: &Brokers, client_id: &str, topic: &str) -> Result<Option<Follower>, StreamError> {
        // The calls below wait long for a broker, and the process cannot end meanwhile.
        if !accepts_connections(bootstrap.addresses()) {
            let message = format!("no broker of {bootstrap} accepts connections");
            return Err(StreamError::transient(NO_BROKER, message));
        }
        let reader = LogReader::with(bootstrap, &settings::follower(bootstrap, client_id))?;
        match reader.partitions(topic) {
            Ok(_) => {}
            Err(error) if error.code() == UNKNOWN_TOPIC => return Ok(None),
            Err(error) => return Err(error),
        }
        let partition = Partition {
            topic: topic.into(),
            number: 0,
        };
        let (next, end) = reader.log_range(&partition)?;
        let follower = Follower {
            reader,
            partition,
            next,
            end,
        };
        follower.assign()?;
        Ok(Some(follower))
    }

    /// Whether it has read everything that was there when it was opened.
    pub fn is_current(&self) -> bool {
        self.next >= self.end
    }

    /// The next offset: everything before it was read.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Passes the next record to `each`; waits up to `wait` for it. Returns whether there was one.
    ///
    /// # Errors
    /// Kafka refuses, or the topic is gone.
    pub fn poll(&mut self, wait: Duration, each: impl FnOnce(&Message<'_>)) -> Result<bool, StreamError> {
        let consumer = &self.reader.consumer;
        self.reader.renewal.renew(consumer.client());
        match consumer.poll(wait) {
            None => Ok(false),
            Some(Ok(message)) => {
                let message = borrow(&message);
                self.next = message.offset + 1;
                each(&message);
                Ok(true)
            }
            // Compaction may have removed the last records.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                self.next = self.next.max(self.end);
                Ok(false)
            }
            Some(Err(KafkaError::MessageConsumption(code))) => match consumption::of(code) {
                Consumption::Passing => {
                    tracing::debug!(error = %code, partition = %self.partition, "a follower waits");
                    Ok(false)
                }
                Consumption::Unreadable => self.pass(&code.to_string()).map(|()| false),
                Consumption::Unknown | Consumption::OutOfRange | Consumption::Refused => {
                    let what = format!("read {}", self.partition);
                    Err(classify(&what, &KafkaError::MessageConsumption(code)))
                }
            },
            Some(Err(error)) => Err(classify("read orders", &error)),
        }
    }

    fn pass(&mut self, why: &str) -> Result<(), StreamError> {
        let (_, end) = self.reader.log_range(&self.partition)?;
        let next = self.reader.next_readable(&self.partition, self.next, end)?;
        tracing::warn!(partition = %self.partition, position = self.next, next, error = why, "skipped records that cannot be read");
        self.next = next;
        self.assign()
    }

    fn assign(&self) -> Result<(), StreamError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.partition.topic, self.partition.number, Offset::Offset(self.next))
            .map_err(|e| classify("make partition list", &e))?;
        let consumer = &self.reader.consumer;
        consumer.assign(&list).map_err(|e| classify("assign follower", &e))
    }
}
