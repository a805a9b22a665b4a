//! Reads ranges of a log outside of any group: restoring state, rebuilding windows, `dp tail` and `dp verify`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Classified as _, Micros};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::brokers::Brokers;
use super::connect::Renewal;
use super::consumer::borrow;
use super::consumption::{self, Consumption};
use super::trouble::missing_right;
use super::watch::Watch;
use super::{classify, connect, settings};
use crate::{Message, Partition, StreamError};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Code of a topic that does not exist.
pub const UNKNOWN_TOPIC: &str = "unknown_topic";

/// A reader of single partitions.
pub struct LogReader {
    pub(super) consumer: BaseConsumer<Watch>,
    pub(super) renewal: Renewal,
    bootstrap: Brokers,
}

/// An offset that cannot be read.
struct Unreadable {
    offset: i64,
    code: RDKafkaErrorCode,
}

impl LogReader {
    /// Connects lazily: errors show on the first call.
    pub fn new(bootstrap: &Brokers) -> Result<LogReader, StreamError> {
        LogReader::with(bootstrap, &settings::reader(bootstrap, "dp-reader"))
    }

    /// A reader that also sees records of open or aborted transactions, and the end of the log behind them.
    pub fn uncommitted(bootstrap: &Brokers) -> Result<LogReader, StreamError> {
        LogReader::with(
            bootstrap,
            settings::reader(bootstrap, "dp-reader").set("isolation.level", "read_uncommitted"),
        )
    }

    pub(super) fn with(bootstrap: &Brokers, config: &ClientConfig) -> Result<LogReader, StreamError> {
        let (consumer, renewal) = connect::consumer(bootstrap, config, bootstrap.watch())?;
        Ok(LogReader {
            consumer,
            renewal,
            bootstrap: bootstrap.clone(),
        })
    }

    /// The error of a call, with the problem of the connection.
    pub(super) fn failed(&self, what: &str, error: &KafkaError) -> StreamError {
        let error = classify(what, error);
        connect::serve_callbacks(&self.bootstrap, &self.consumer);
        if error.code() == super::UNAVAILABLE {
            self.bootstrap.look_for_tls();
        }
        self.bootstrap.explain(error)
    }

    /// Partition numbers of a topic; fatal if it does not exist.
    pub fn partitions(&self, topic: &str) -> Result<Vec<Partition>, StreamError> {
        self.renewal.renew(self.consumer.client());
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), CALL_TIMEOUT)
            .map_err(|e| self.failed("read metadata", &e))?;
        let refused = metadata.topics().iter().find_map(|found| found.error());
        if let Some(code) = refused.map(RDKafkaErrorCode::from)
            && missing_right(code).is_some()
        {
            let what = format!("read metadata of topic {topic}");
            return Err(classify(&what, &KafkaError::MetadataFetch(code)));
        }
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
                UNKNOWN_TOPIC,
                format!("topic {topic} does not exist: create it with `dp topics create`"),
            ));
        }
        Ok(partitions)
    }

    /// Oldest offset and the offset after the newest.
    pub fn log_range(&self, partition: &Partition) -> Result<(i64, i64), StreamError> {
        self.consumer
            .fetch_watermarks(&partition.topic, partition.number, CALL_TIMEOUT)
            .map_err(|e| self.failed("read log range", &e))
    }

    /// The first offset whose timestamp is at or after `time`; `None` if there is none.
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

    /// Passes every message of `[from, to)` to `each` in order. `each` returns false to stop early.
    ///
    /// # Errors
    /// Kafka does not answer, or a batch cannot be read: the error names its position.
    pub fn read(
        &self,
        partition: &Partition,
        from: i64,
        to: i64,
        mut each: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<(), StreamError> {
        match self.read_range(partition, from, to, &mut each)? {
            None => Ok(()),
            Some(Unreadable { offset, code }) => Err(StreamError::transient(
                "unreadable_batch",
                format!("{partition} cannot be read at offset {offset}: {code}"),
            )),
        }
    }

    /// Like [`LogReader::read`], but skips an unreadable batch `[first, next)` and continues, if `may_pass` returns true.
    ///
    /// # Errors
    /// As [`LogReader::read`], if `may_pass` returns false.
    pub fn read_passing(
        &self,
        partition: &Partition,
        from: i64,
        to: i64,
        mut each: impl FnMut(&Message<'_>) -> bool,
        mut may_pass: impl FnMut(i64, i64) -> bool,
    ) -> Result<(), StreamError> {
        let mut from = from;
        while let Some(Unreadable { offset, code }) = self.read_range(partition, from, to, &mut each)? {
            let next = self.next_readable(partition, offset, to)?;
            if !may_pass(offset, next) {
                return Err(StreamError::transient(
                    "unreadable_batch",
                    format!(
                        "{partition} cannot be read at offset {offset}: {code}; the next readable offset is {next}"
                    ),
                ));
            }
            from = next;
        }
        Ok(())
    }

    fn read_range(
        &self,
        partition: &Partition,
        from: i64,
        to: i64,
        each: &mut dyn FnMut(&Message<'_>) -> bool,
    ) -> Result<Option<Unreadable>, StreamError> {
        if from >= to {
            return Ok(None);
        }
        self.renewal.renew(self.consumer.client());
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&partition.topic, partition.number, Offset::Offset(from))
            .map_err(|e| classify("make partition list", &e))?;
        self.consumer.assign(&list).map_err(|e| classify("assign reader", &e))?;
        let result = self.read_assigned(partition, from, to, each);
        let _ = self.consumer.unassign();
        result
    }

    fn read_assigned(
        &self,
        partition: &Partition,
        from: i64,
        to: i64,
        each: &mut dyn FnMut(&Message<'_>) -> bool,
    ) -> Result<Option<Unreadable>, StreamError> {
        let (mut offset, mut last_progress) = (from, Instant::now());
        loop {
            match self.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    last_progress = Instant::now();
                    let message = borrow(&message);
                    offset = message.offset + 1;
                    // Compaction may have removed the last offset of the range: the next one beyond ends it too.
                    if message.offset >= to || !each(&message) || offset >= to {
                        return Ok(None);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(KafkaError::MessageConsumption(code))) => match consumption::of(code) {
                    Consumption::Unreadable => {
                        let offset = self.position(partition).map_or(offset, |position| position.max(offset));
                        return Ok((offset < to).then_some(Unreadable { offset, code }));
                    }
                    Consumption::Passing if last_progress.elapsed() < CALL_TIMEOUT => {
                        tracing::debug!(error = %code, partition = %partition, "reader waits");
                    }
                    _ => return Err(classify("read log", &KafkaError::MessageConsumption(code))),
                },
                Some(Err(error)) => return Err(classify("read log", &error)),
                None if last_progress.elapsed() > CALL_TIMEOUT => {
                    return Err(StreamError::transient(
                        "kafka_unavailable",
                        format!(
                            "no message came from {partition} at offset {offset} for {} s",
                            CALL_TIMEOUT.as_secs()
                        ),
                    ));
                }
                None => {}
            }
        }
    }

    /// The client's position: also after transaction markers, which it does not deliver.
    fn position(&self, partition: &Partition) -> Option<i64> {
        let positions = self.consumer.position().ok()?;
        match positions.find_partition(&partition.topic, partition.number)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}
