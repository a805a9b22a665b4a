//! Reads ranges of a log outside of any group: restoring state, rebuilding windows, `dp tail` and `dp verify`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Micros;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::consumer::borrow;
use super::{classify, settings};
use crate::{Message, Partition, StreamError};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A reader of single partitions.
pub struct LogReader {
    consumer: BaseConsumer,
}

impl LogReader {
    /// Connects lazily: errors show on the first call.
    pub fn new(bootstrap: &str) -> Result<LogReader, StreamError> {
        let consumer = settings::reader(bootstrap, "dp-reader")
            .create()
            .map_err(|e| classify("create reader", &e))?;
        Ok(LogReader { consumer })
    }

    /// Partition numbers of a topic; fatal where it does not exist.
    pub fn partitions(&self, topic: &str) -> Result<Vec<Partition>, StreamError> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), CALL_TIMEOUT)
            .map_err(|e| classify("read metadata", &e))?;
        let name: Arc<str> = Arc::from(topic);
        let partitions: Vec<Partition> = metadata
            .topics()
            .iter()
            .filter(|t| t.error().is_none())
            .flat_map(|t| t.partitions())
            .map(|p| Partition {
                topic: Arc::clone(&name),
                number: p.id(),
            })
            .collect();
        if partitions.is_empty() {
            return Err(StreamError::fatal(
                "unknown_topic",
                format!("topic {topic} does not exist: create it with `dp topics create`"),
            ));
        }
        Ok(partitions)
    }

    /// Oldest offset and the offset after the newest.
    pub fn log_range(&self, partition: &Partition) -> Result<(i64, i64), StreamError> {
        self.consumer
            .fetch_watermarks(&partition.topic, partition.number, CALL_TIMEOUT)
            .map_err(|e| classify("read log range", &e))
    }

    /// The first offset whose timestamp is at or after `time`; `None` where there is none.
    pub fn offset_at(&self, partition: &Partition, time: Micros) -> Result<Option<i64>, StreamError> {
        let mut asked = TopicPartitionList::new();
        asked
            .add_partition_offset(&partition.topic, partition.number, Offset::Offset((time / 1000).max(0)))
            .map_err(|e| classify("make partition list", &e))?;
        let answer = self
            .consumer
            .offsets_for_times(asked, CALL_TIMEOUT)
            .map_err(|e| classify("find offset by time", &e))?;
        Ok(answer
            .find_partition(&partition.topic, partition.number)
            .and_then(|element| match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            }))
    }

    /// Shows every message of `[from, to)` in order. `each` returns false to stop early.
    pub fn read(
        &self,
        partition: &Partition,
        from: i64,
        to: i64,
        mut each: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<(), StreamError> {
        if from >= to {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(from))
            .map_err(|e| classify("make partition list", &e))?;
        self.consumer.assign(&list).map_err(|e| classify("assign reader", &e))?;
        let result = self.read_assigned(partition, to, &mut each);
        let _ = self.consumer.unassign();
        result
    }

    fn read_assigned(
        &self,
        partition: &Partition,
        to: i64,
        each: &mut dyn FnMut(&Message<'_>) -> bool,
    ) -> Result<(), StreamError> {
        let mut last_progress = Instant::now();
        loop {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    last_progress = Instant::now();
                    let message = borrow(&message);
                    // Compaction may have removed the last offset of the range: the next one beyond ends it too.
                    if message.offset >= to || !each(&message) || message.offset + 1 >= to {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(KafkaError::MessageConsumption(code))) if last_progress.elapsed() < CALL_TIMEOUT => {
                    tracing::debug!(error = %code, partition = %partition, "reader waits");
                }
                Some(Err(error)) => return Err(classify("read log", &error)),
                None if last_progress.elapsed() > CALL_TIMEOUT => {
                    return Err(StreamError::transient(
                        "kafka_unavailable",
                        format!("nothing came from {partition} for {} s", CALL_TIMEOUT.as_secs()),
                    ));
                }
                None => {}
            }
        }
    }
}
