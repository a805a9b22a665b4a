//! Kafka clients of the tests: read and publish records, commit offsets, change topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Wake;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::PATIENCE;
use crate::hostile::read_headers;

/// A record of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// Timestamp of the record, in milliseconds since 1970.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The last header with this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    }
}

/// A record to publish.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Outgoing {
    pub partition: Option<i32>,
    pub key: Option<String>,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, String)>,
}

fn consumer(bootstrap: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        // A compressed batch may expand to much more than the largest record.
        .set("receive.message.max.bytes", "1000000000")
        // The default of 10 s would add to the measured recovery time.
        .set("reconnect.backoff.max.ms", "500")
        .create()
        .context("create consumer")
}

/// Numbers of the partitions of a topic.
pub fn partitions(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<i32>> {
    let metadata = consumer(bootstrap, "oracle")?.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata
        .topics()
        .iter()
        .find(|t| t.name() == topic)
        .context("the topic does not exist")?;
    if found.partitions().is_empty() {
        bail!("topic {topic} does not exist");
    }
    Ok(found.partitions().iter().map(|p| p.id()).collect())
}

/// Names of all topics.
pub fn topics(bootstrap: &str) -> anyhow::Result<BTreeSet<String>> {
    let metadata = consumer(bootstrap, "oracle")?.fetch_metadata(None, PATIENCE)?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// The next offset of each partition.
pub fn ends(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<(i32, i64)>> {
    let consumer = consumer(bootstrap, "oracle")?;
    let mut ends = Vec::new();
    for partition in partitions(bootstrap, topic)? {
        ends.push((partition, consumer.fetch_watermarks(topic, partition, PATIENCE)?.1));
    }
    Ok(ends)
}

/// Reads all records of the topic, by partition and offset.
pub fn read_all(bootstrap: &str, topic: &str) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::new();
    read_on(bootstrap, topic, &mut BTreeMap::new(), |record| records.push(record))?;
    Ok(records)
}

/// Reads all records from these positions to the end, by partition and offset, and advances the positions. A partition without
/// a position is read from its beginning.
pub fn read_on(
    bootstrap: &str,
    topic: &str,
    positions: &mut BTreeMap<i32, i64>,
    mut take: impl FnMut(Record),
) -> anyhow::Result<()> {
    for partition in partitions(bootstrap, topic)? {
        let consumer = consumer(bootstrap, "oracle")?;
        let (start, end) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        let next = positions.entry(partition).or_insert(start);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(*next))?;
        consumer.assign(&list)?;
        let mut deadline = Instant::now() + PATIENCE;
        while *next < end {
            match consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => {
                    *next = message.offset() + 1;
                    deadline = Instant::now() + PATIENCE;
                    take(owned(&message));
                }
                // The log ends with compacted offsets or control records.
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => return Err(error).with_context(|| format!("read {topic}[{partition}]")),
                None if Instant::now() > deadline => {
                    bail!("{topic}[{partition}] was not read up to its end {end} in time")
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Reads the sum of a topic's end offsets repeatedly over one connection.
pub struct Ends {
    consumer: BaseConsumer,
    partitions: BTreeMap<String, Vec<i32>>,
}

impl Ends {
    /// A reader for these topics, which must exist.
    pub fn new(bootstrap: &str, topics: &[&str]) -> anyhow::Result<Ends> {
        let mut known = BTreeMap::new();
        for topic in topics {
            known.insert((*topic).to_owned(), partitions(bootstrap, topic)?);
        }
        Ok(Ends {
            consumer: consumer(bootstrap, "oracle")?,
            partitions: known,
        })
    }

    /// The sum of the end offsets of a topic's partitions.
    pub fn sum(&self, topic: &str, limit: Duration) -> anyhow::Result<i64> {
        let partitions = self.partitions.get(topic).context("the topic does not exist")?;
        let mut sum = 0;
        for partition in partitions {
            sum += self.consumer.fetch_watermarks(topic, *partition, limit)?.1;
        }
        Ok(sum)
    }
}

fn owned(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or(Vec::new(), read_headers);
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(-1),
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().unwrap_or_default().to_vec(),
        headers,
    }
}

/// Publishes records in order and waits until all are acknowledged, across restarts of the broker.
pub struct Publisher {
    producer: BaseProducer,
    topic: String,
    sent: u64,
}

impl Publisher {
    /// A publisher to this topic.
    pub fn new(bootstrap: &str, topic: &str) -> anyhow::Result<Publisher> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "120000")
            .set("message.max.bytes", "8000000")
            .set("linger.ms", "5")
            .create()
            .context("create producer")?;
        Ok(Publisher {
            producer,
            topic: topic.to_owned(),
            sent: 0,
        })
    }

    /// Queues a record.
    pub fn send(&mut self, outgoing: &Outgoing) -> anyhow::Result<()> {
        let headers = outgoing
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(value),
                })
            });
        let mut record = BaseRecord::to(&self.topic).payload(&outgoing.payload).headers(headers);
        record.partition = outgoing.partition;
        record.key = outgoing.key.as_ref();
        let mut pending = record;
        loop {
            match self.producer.send::<String, Vec<u8>>(pending) {
                Ok(()) => break,
                Err((
                    rdkafka::error::KafkaError::MessageProduction(rdkafka::types::RDKafkaErrorCode::QueueFull),
                    back,
                )) => {
                    pending = back;
                    self.producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.sent += 1;
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits for every acknowledgement.
    pub fn finish(&self) -> anyhow::Result<()> {
        self.producer
            .flush(Duration::from_secs(120))
            .context("some published records are not acknowledged")
    }
}

/// The committed offset of a group and the end offset, for each partition of a topic.
pub fn committed(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<Vec<(i32, Option<i64>, i64)>> {
    let consumer = consumer(bootstrap, group)?;
    let mut list = TopicPartitionList::new();
    for partition in partitions(bootstrap, topic)? {
        list.add_partition(topic, partition);
    }
    let committed = consumer.committed_offsets(list, PATIENCE)?;
    let mut answer = Vec::new();
    for element in committed.elements() {
        let offset = match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        answer.push((
            element.partition(),
            offset,
            consumer.fetch_watermarks(topic, element.partition(), PATIENCE)?.1,
        ));
    }
    Ok(answer)
}

/// Commits the beginning of the log for a group without members, as `ConsumerGroupCommand --reset-offsets
/// --to-earliest` does.
pub fn reset_to_earliest(bootstrap: &str, group: &str, topic: &str) -> anyhow::Result<()> {
    let consumer = consumer(bootstrap, group)?;
    let mut list = TopicPartitionList::new();
    for partition in partitions(bootstrap, topic)? {
        let (start, _) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        list.add_partition_offset(topic, partition, Offset::Offset(start))?;
    }
    consumer
        .commit(&list, CommitMode::Sync)
        .with_context(|| format!("reset {group} on {topic}"))
}

/// Deletes groups without members, as `ConsumerGroupCommand --delete` does. A missing group is not an error.
pub fn delete_groups(bootstrap: &str, groups: &[&str]) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .context("create admin client")?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    for deleted in block_on(admin.delete_groups(groups, &options))? {
        match deleted {
            Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
            Err((group, code)) => bail!("delete group {group}: {code}"),
        }
    }
    Ok(())
}

/// Changes topics as an operator or retention would.
pub struct Topics {
    admin: AdminClient<DefaultClientContext>,
    options: AdminOptions,
}

impl Topics {
    /// A client for this broker.
    pub fn new(bootstrap: &str) -> anyhow::Result<Topics> {
        Ok(Topics {
            admin: ClientConfig::new()
                .set("bootstrap.servers", bootstrap)
                .create()
                .context("create admin client")?,
            options: AdminOptions::new()
                .request_timeout(Some(PATIENCE))
                .operation_timeout(Some(PATIENCE)),
        })
    }

    /// Removes the records before this offset, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> anyhow::Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let answer = block_on(self.admin.delete_records(&list, &self.options))?;
        answer.elements().iter().try_for_each(|element| Ok(element.error()?))
    }

    /// Increases the number of partitions of a topic to `partitions`.
    pub fn add_partitions(&self, topic: &str, partitions: usize) -> anyhow::Result<()> {
        let wanted = [NewPartitions::new(topic, partitions)];
        done(block_on(self.admin.create_partitions(&wanted, &self.options))?)
    }

    /// Deletes a topic.
    pub fn delete(&self, topic: &str) -> anyhow::Result<()> {
        done(block_on(self.admin.delete_topics(&[topic], &self.options))?)
    }

    /// Sets one setting of a topic and resets its other settings.
    pub fn set(&self, topic: &str, name: &str, value: &str) -> anyhow::Result<()> {
        let change = [AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value)];
        match block_on(self.admin.alter_configs(&change, &self.options))?.pop() {
            Some(Err((_, code))) => bail!("set {name} of {topic}: {code}"),
            _ => Ok(()),
        }
    }
}

fn done(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> anyhow::Result<()> {
    results.into_iter().try_for_each(|result| {
        result
            .map(drop)
            .map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))
    })
}

/// Waits for a future that other threads complete.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = std::pin::pin!(future);
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}
