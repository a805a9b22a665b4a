//! The baseline of `dp bench`: the client library alone, which consumes a topic and produces it again unchanged, with the
//! settings of production.
//!
//! Role: the upper limit for a hop with this client on this machine. No code of the project is between the two clients: no
//! group, no order, no positions. Acknowledgements are only counted.
//! Failure: a refused record, or half a minute without a message, ends the run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};

use super::brokers::Brokers;
use super::reader::LogReader;
use super::settings::{self, Compression, Pace};
use super::watch::{Watch, Watched};
use super::{classify, connect};
use crate::StreamError;

/// Reports are served once per this many messages, as in a worker.
const SERVE_EVERY: u64 = 1000;
const STALLED: Duration = Duration::from_secs(30);

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moved {
    /// Messages, all acknowledged.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// From the first received message to the last acknowledgement.
    pub elapsed: Duration,
}

/// The compression of the services on a local stack, where this runs.
const COMPRESSION: Compression = Compression::None;

struct Context {
    watch: Watch,
    acknowledged: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.watch.on_log(level, facility, message);
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
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                let mut failure = self.failure.lock();
                failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Settings of the two production clients, consumer first, without address and names.
pub fn client_settings() -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let nowhere = Brokers::plaintext("");
    let named = |config: &rdkafka::ClientConfig| {
        let of_one_run = ["bootstrap.servers", "group.id", "client.id", "security.protocol"];
        let set = config.config_map().into_iter();
        set.filter(|(name, _)| !of_one_run.contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    (
        named(&settings::consumer(&nowhere, "", "", Pace::PROMPT)),
        named(&settings::producer(&nowhere, "", COMPRESSION)),
    )
}

/// Moves `messages` messages from the beginning of topic `from` to the same partitions of topic `to`; `began` is called
/// with the first one.
///
/// # Errors
/// Kafka does not answer, a topic does not exist, a record is refused, or no message comes for 30 s.
pub fn run(
    bootstrap: &Brokers,
    from: &str,
    to: &str,
    messages: u64,
    mut began: impl FnMut(),
) -> Result<Moved, StreamError> {
    let consumer = assigned(bootstrap, from)?;
    let context = Context {
        watch: bootstrap.watch(),
        acknowledged: AtomicU64::default(),
        failure: Mutex::default(),
    };
    let config = settings::producer(bootstrap, "dp-passthrough", COMPRESSION);
    let (producer, _) = connect::producer(bootstrap, &config, context)?;
    let (mut moved, mut bytes, mut start, mut last) = (0, 0, None, Instant::now());
    while moved < messages {
        let message = match consumer.poll(Duration::from_millis(2)) {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(classify("consume", &error)),
            None if last.elapsed() > STALLED => return Err(stalled(moved, messages)),
            None => continue,
        };
        if start.is_none() {
            start = Some(Instant::now());
            began();
        }
        let record = BaseRecord::<[u8], [u8], ()>::to(to).partition(message.partition());
        let record = match message.key() {
            Some(key) => record.key(key),
            None => record,
        };
        send(&producer, record.payload(message.payload().unwrap_or_default()))?;
        moved += 1;
        bytes += message.payload().map_or(0, <[u8]>::len) as u64;
        if moved.is_multiple_of(SERVE_EVERY) {
            producer.poll(Duration::ZERO);
            last = Instant::now();
        }
    }
    acknowledged(&producer, messages)?;
    Ok(Moved {
        messages: moved,
        bytes,
        elapsed: start.map_or(Duration::ZERO, |start| start.elapsed()),
    })
}

fn assigned(bootstrap: &Brokers, topic: &str) -> Result<BaseConsumer<Watch>, StreamError> {
    let config = settings::consumer(bootstrap, "dp-passthrough", "dp-passthrough", Pace::PROMPT);
    let (consumer, _) = connect::consumer(bootstrap, &config, bootstrap.watch())?;
    let mut list = TopicPartitionList::new();
    for partition in LogReader::new(bootstrap)?.partitions(topic)? {
        list.add_partition_offset(&partition.topic, partition.number, Offset::Beginning)
            .map_err(|e| classify("make partition list", &e))?;
    }
    consumer.assign(&list).map_err(|e| classify("assign partitions", &e))?;
    Ok(consumer)
}

fn send(producer: &BaseProducer<Context>, record: BaseRecord<'_, [u8], [u8], ()>) -> Result<(), StreamError> {
    let mut record = record;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                record = same;
                producer.poll(Duration::from_millis(5));
                refused(producer)?;
            }
            Err((error, _)) => return Err(classify("produce", &error)),
        }
    }
}

fn acknowledged(producer: &BaseProducer<Context>, messages: u64) -> Result<(), StreamError> {
    let (mut seen, mut last) = (0, Instant::now());
    loop {
        refused(producer)?;
        let now = producer.context().acknowledged.load(Ordering::Relaxed);
        if now >= messages {
            return Ok(());
        }
        if now > seen {
            (seen, last) = (now, Instant::now());
        }
        if last.elapsed() > STALLED {
            return Err(stalled(now, messages));
        }
        producer.poll(Duration::from_millis(1));
    }
}

fn refused(producer: &BaseProducer<Context>) -> Result<(), StreamError> {
    let failure = producer.context().failure.lock();
    match failure.as_deref() {
        Some(reason) => Err(StreamError::transient(
            "delivery_failed",
            format!("the broker did not accept a record: {reason}"),
        )),
        None => Ok(()),
    }
}

fn stalled(moved: u64, messages: u64) -> StreamError {
    let seconds = STALLED.as_secs();
    StreamError::transient(
        "kafka_unavailable",
        format!("no message has moved for {seconds} s; {moved} of {messages} messages are done"),
    )
}
