//! A blocking publisher for operators: many records fast (`dp simulate`), or one record and its position (`dp send`).
//!
//! Role: all publishing outside of the pipeline's stages. It counts acknowledged records, so that a caller reports as published
//! only what the broker has. Keys go to partitions by [`domain::routing::partition_of`], as in every stage, regardless of the
//! client's partitioner.
//! Failure: while the queue is full, sending waits. A record that the broker refuses, or does not acknowledge within 60 s, is
//! counted and the first reason is kept. No record is lost silently: [`Publisher::finish`] returns an error unless every record
//! is acknowledged.

pub mod atomic;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::routing::partition_of;
use domain::{Classified as _, ErrorClass, Micros};
use parking_lot::{Mutex, MutexGuard};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, util::Timeout};
use rustc_hash::FxHashMap;

use super::brokers::Brokers;
use super::connect::{self, Renewal};
use super::settings::{self, Compression};
use super::watch::{Watch, Watched};
use super::{MISSING_RIGHT, classify};
use crate::{StreamError, record_size};

/// Kafka's own default (`delivery.timeout.ms`): a broker may restart meanwhile.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The first record of a topic waits this long for a broker, so that a load may begin while Kafka restarts.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// Reports are served once per this many records, since each call has a cost.
const SERVE_EVERY: u64 = 512;
const LINGER: Duration = Duration::from_millis(5);
/// Opaque value of a record whose position the caller waits for.
const WANTS_PLACE: usize = 1;

/// A record to publish.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Topic; must exist.
    pub topic: &'a str,
    /// Partition; `None` = by the key, or round-robin without a key.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Headers in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Producer's time in microseconds (kept in milliseconds); `None` = now. Ignored by topics with `LogAppendTime`.
    pub timestamp: Option<Micros>,
}

/// The position of a published record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

struct Context {
    watch: Watch,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    outcome: Mutex<Outcome>,
}

#[derive(Default)]
struct Outcome {
    place: Option<Place>,
    first_error: Option<StreamError>,
}

impl Context {
    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock()
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.watch.on_log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.watch.on_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.watch.on_statistics(&statistics);
    }
}

impl Watched for Context {
    fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match result {
            Ok(message) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if opaque == WANTS_PLACE {
                    self.outcome().place = Some(Place {
                        partition: message.partition(),
                        offset: message.offset(),
                    });
                }
            }
            Err((error, message)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let what = format!("publish to {}", message.topic());
                self.outcome().first_error.get_or_insert_with(|| classify(&what, error));
            }
        }
    }
}

/// Publishes records from one thread.
pub struct Publisher {
    producer: BaseProducer<Context>,
    renewal: Renewal,
    bootstrap: Brokers,
    partitions: FxHashMap<String, i32>,
    sent: u64,
}

impl Publisher {
    /// Connects lazily: an unavailable broker shows on the first record.
    ///
    /// # Errors
    /// Settings that the client refuses.
    pub fn new(bootstrap: &Brokers, client_id: &str) -> Result<Publisher, StreamError> {
        Publisher::lingering(bootstrap, client_id, LINGER)
    }

    /// As [`Publisher::new`]; records wait this long for others of their partition.
    ///
    /// # Errors
    /// Settings that the client refuses.
    pub fn lingering(bootstrap: &Brokers, client_id: &str, linger: Duration) -> Result<Publisher, StreamError> {
        Publisher::with(bootstrap, &config(bootstrap, client_id, linger))
    }

    fn with(bootstrap: &Brokers, config: &ClientConfig) -> Result<Publisher, StreamError> {
        let context = Context {
            watch: bootstrap.watch(),
            acknowledged: AtomicU64::default(),
            refused: AtomicU64::default(),
            outcome: Mutex::default(),
        };
        let (producer, renewal) = connect::producer(bootstrap, config, context)?;
        Ok(Publisher {
            producer,
            renewal,
            bootstrap: bootstrap.clone(),
            partitions: FxHashMap::default(),
            sent: 0,
        })
    }

    /// Enters a record; waits while the queue is full. Acknowledgement comes later: see [`Publisher::finish`].
    ///
    /// # Errors
    /// A topic that does not exist, a record too large to be sent, or a refusal of an earlier record.
    pub fn send(&mut self, record: &Record<'_>) -> Result<(), StreamError> {
        self.enter(record, 0)?;
        if self.sent.is_multiple_of(SERVE_EVERY) {
            self.renewal.renew(self.producer.client());
            self.producer.poll(Duration::ZERO);
        }
        self.refusal()
    }

    /// Publishes one record and waits for its position.
    ///
    /// # Errors
    /// As [`Publisher::send`], or no acknowledgement within 60 s.
    pub fn publish(&mut self, record: &Record<'_>) -> Result<Place, StreamError> {
        self.producer.context().outcome().place = None;
        self.enter(record, WANTS_PLACE)?;
        let deadline = Instant::now() + DELIVERY_TIMEOUT + CALL_TIMEOUT;
        loop {
            self.producer.poll(Duration::from_millis(20));
            self.refusal()?;
            if let Some(place) = self.producer.context().outcome().place.take() {
                return Ok(place);
            }
            if Instant::now() > deadline {
                return Err(unacknowledged(1));
            }
        }
    }

    /// Records that the broker has acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.producer.context().acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until every record is acknowledged; returns how many there were.
    ///
    /// # Errors
    /// A record was refused, or not acknowledged in time: the count in the message says how many.
    pub fn finish(self) -> Result<u64, StreamError> {
        let deadline = Instant::now() + DELIVERY_TIMEOUT + CALL_TIMEOUT;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(Duration::from_millis(20));
        }
        self.refusal()?;
        let acknowledged = self.acknowledged();
        if acknowledged == self.sent {
            Ok(acknowledged)
        } else {
            Err(unacknowledged(self.sent - acknowledged))
        }
    }

    fn enter(&mut self, record: &Record<'_>, opaque: usize) -> Result<(), StreamError> {
        let headers = record.headers.iter();
        let headers = headers
            .map(|(name, value)| record_size::header(name, Some(value)))
            .sum();
        let size = record_size::record(record.key, record.payload, headers);
        if size > settings::MAX_RAW_BYTES {
            let message = format!(
                "a record for {} has {size} bytes, headers included; a topic takes at most {}",
                record.topic,
                settings::MAX_RAW_BYTES
            );
            return Err(StreamError::fatal("record_too_large", message));
        }
        let partition = self.partition_for(record)?;
        loop {
            match self.producer.send(base_record(record, partition, opaque)) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(10));
                    self.refusal()?;
                }
                Err((error, _)) => return Err(classify("publish", &error)),
            }
        }
        self.sent += 1;
        Ok(())
    }

    fn partition_for(&mut self, record: &Record<'_>) -> Result<i32, StreamError> {
        if let Some(partition) = record.partition {
            return Ok(partition);
        }
        let count = match self.partitions.get(record.topic) {
            Some(count) => *count,
            None => {
                let count = self.count_partitions(record.topic)?;
                self.partitions.insert(record.topic.to_owned(), count);
                count
            }
        };
        Ok(match record.key {
            Some(key) => partition_of(key, count),
            None => (self.sent % u64::from(count.unsigned_abs())) as i32,
        })
    }

    fn count_partitions(&self, topic: &str) -> Result<i32, StreamError> {
        let deadline = Instant::now() + FIRST_ANSWER;
        let metadata = loop {
            let answer = self
                .producer
                .client()
                .fetch_metadata(Some(topic), Timeout::After(CALL_TIMEOUT))
                .map_err(|e| classify("read metadata (does Kafka run? see `dp status`)", &e));
            match answer {
                // If the connection breaks during the request, the error comes at once, long before the time limit.
                Err(error)
                    if error.class() == ErrorClass::Transient
                        && Instant::now() < deadline
                        && !self.bootstrap.is_refused() =>
                {
                    self.producer.poll(Duration::from_millis(100));
                }
                Err(error) => return Err(self.bootstrap.explain(error)),
                Ok(metadata) => break metadata,
            }
        };
        let count = metadata
            .topics()
            .iter()
            .filter(|found| found.name() == topic && found.error().is_none())
            .map(|found| found.partitions().len())
            .next()
            .unwrap_or(0);
        match i32::try_from(count) {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(StreamError::fatal(
                "unknown_topic",
                format!("topic {topic} does not exist: create it with `dp topics create`"),
            )),
        }
    }

    fn refusal(&self) -> Result<(), StreamError> {
        let context = self.producer.context();
        if context.refused.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let reason = context.outcome().first_error.clone();
        let said = reason.as_ref().map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "the broker did not accept a record: {said}; {} were acknowledged",
            self.acknowledged()
        );
        Err(match reason {
            Some(error) if error.code() == MISSING_RIGHT => StreamError::fatal(MISSING_RIGHT, message),
            _ => self
                .bootstrap
                .explain(StreamError::transient("delivery_failed", message)),
        })
    }
}

fn config(bootstrap: &Brokers, client_id: &str, linger: Duration) -> ClientConfig {
    let mut config = settings::producer(bootstrap, client_id, Compression::Lz4);
    config
        // An operator waits here: an outage must end in a message, not in silence.
        .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
        .set("enable.gapless.guarantee", "false")
        .set("linger.ms", linger.as_millis().to_string())
        .set("batch.size", "1048576");
    config
}

fn base_record<'r>(record: &Record<'r>, partition: i32, opaque: usize) -> BaseRecord<'r, [u8], [u8], usize> {
    let mut base = BaseRecord::with_opaque_to(record.topic, opaque).partition(partition);
    base.key = record.key;
    base.payload = record.payload;
    base.timestamp = record.timestamp.map(|micros| micros / 1000);
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        base.headers = Some(record.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(*value),
            })
        }));
    }
    base
}

fn unacknowledged(count: u64) -> StreamError {
    let seconds = (DELIVERY_TIMEOUT + CALL_TIMEOUT).as_secs();
    StreamError::transient(
        "kafka_unavailable",
        format!("{count} record(s) were not acknowledged within {seconds} s: check whether Kafka runs (`dp status`)"),
    )
}
