//! A producer that sends anything a broker accepts: any bytes as key, value and headers, every compression, open
//! transactions.
//!
//! Role: publishes the records of the `zoo` tests. Failure: a record that the broker rejects is a result, not an error.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedHeaders, DeliveryResult, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer};

/// A record of any content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Record {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    /// Names need not be UTF-8, but cannot contain a zero byte.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The broker's answer to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Accepted, at this offset.
    Taken(i64),
    /// Rejected, for this reason.
    Refused(String),
}

#[derive(Default)]
struct Answers(Mutex<BTreeMap<usize, Answer>>);

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let answer = match result {
            Ok(message) => Answer::Taken(message.offset()),
            Err((error, _)) => Answer::Refused(error.to_string()),
        };
        let mut answers = self.0.lock();
        answers.insert(number, answer);
    }
}

fn settings(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("message.max.bytes", "1000000000")
        .set("queue.buffering.max.kbytes", "2097151")
        .set("message.timeout.ms", "60000")
        .set("linger.ms", "0");
    config
}

/// Publishes the records to a topic, each in its own batch. Returns the answer to each.
///
/// # Errors
/// The broker does not answer.
pub fn publish(bootstrap: &str, topic: &str, compression: &str, records: &[Record]) -> anyhow::Result<Vec<Answer>> {
    let producer: BaseProducer<Answers> = settings(bootstrap)
        .set("compression.type", compression)
        .set("batch.num.messages", "1")
        .create_with_context(Answers::default())
        .context("create hostile producer")?;
    for (number, record) in records.iter().enumerate() {
        let mut base = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number).partition(record.partition);
        base.key = record.key.as_deref();
        base.payload = record.payload.as_deref();
        base.headers = (!record.headers.is_empty()).then(|| headers(&record.headers));
        match producer.send(base) {
            Ok(()) => {}
            Err((KafkaError::MessageProduction(code), _)) => {
                let mut answers = producer.context().0.lock();
                answers.insert(number, Answer::Refused(code.to_string()));
            }
            Err((error, _)) => return Err(error.into()),
        }
        producer.poll(Duration::ZERO);
    }
    producer
        .flush(PATIENCE)
        .context("the broker did not answer for every record")?;
    let answers = std::mem::take(&mut *producer.context().0.lock());
    if answers.len() != records.len() {
        bail!("the broker answered for {} of {} records", answers.len(), records.len());
    }
    Ok(answers.into_values().collect())
}

/// Calls librdkafka directly, because the client crate only accepts names in UTF-8.
fn headers(wanted: &[(Vec<u8>, Option<Vec<u8>>)]) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(wanted.len());
    let native = std::ptr::from_ref(headers.as_borrowed())
        .cast_mut()
        .cast::<sys::rd_kafka_headers_t>();
    for (name, value) in wanted {
        let (bytes, size) = value
            .as_ref()
            .map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
        // SAFETY: the list is alive and not shared; name and value are copied.
        unsafe {
            sys::rd_kafka_header_add(
                native,
                name.as_ptr().cast(),
                name.len() as isize,
                bytes.cast(),
                size as isize,
            );
        }
    }
    headers
}

/// Reads headers with librdkafka, because the client crate panics if a name is not UTF-8.
pub(crate) fn read_headers(headers: &BorrowedHeaders) -> Vec<(String, Vec<u8>)> {
    let native = std::ptr::from_ref(headers).cast::<sys::rd_kafka_headers_t>();
    let mut found = Vec::new();
    for index in 0..headers.count() {
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        // SAFETY: the list outlives the loop; name (with its final zero) and value belong to it, and are copied.
        unsafe {
            let _ = sys::rd_kafka_header_get_all(native, index, &mut name, &mut value, &mut size);
            if name.is_null() {
                continue;
            }
            let value = if value.is_null() {
                &[][..]
            } else {
                std::slice::from_raw_parts(value.cast::<u8>(), size)
            };
            found.push((CStr::from_ptr(name).to_string_lossy().into_owned(), value.to_vec()));
        }
    }
    found
}

/// A transaction of one producer.
pub struct Transaction {
    producer: ThreadedProducer<Answers>,
    sent: usize,
}

impl Transaction {
    /// Begins a transaction. The broker aborts it after `timeout`.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn begin(bootstrap: &str, id: &str, timeout: Duration) -> anyhow::Result<Transaction> {
        let producer: ThreadedProducer<Answers> = settings(bootstrap)
            .set("message.timeout.ms", timeout.as_millis().to_string())
            .set("transactional.id", id)
            .set("transaction.timeout.ms", timeout.as_millis().to_string())
            .create_with_context(Answers::default())
            .context("create transactional producer")?;
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
        Ok(Transaction { producer, sent: 0 })
    }

    /// Sends a record in the transaction. Returns its offset.
    ///
    /// # Errors
    /// The broker rejects the record.
    pub fn send(&mut self, topic: &str, record: &Record) -> anyhow::Result<i64> {
        let number = self.sent;
        self.sent += 1;
        let mut base = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, number).partition(record.partition);
        base.key = record.key.as_deref();
        base.payload = record.payload.as_deref();
        self.producer.send(base).map_err(|(error, _)| error)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let answers = self.producer.context().0.lock();
            match answers.get(&number) {
                Some(Answer::Taken(offset)) => return Ok(*offset),
                Some(Answer::Refused(reason)) => bail!("the broker rejected the record: {reason}"),
                None => {}
            }
            drop(answers);
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the broker did not answer for a record of a transaction")
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn commit(self) -> anyhow::Result<()> {
        self.producer.commit_transaction(PATIENCE).context("commit transaction")
    }

    /// Aborts the transaction.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn abort(self) -> anyhow::Result<()> {
        self.producer.abort_transaction(PATIENCE).context("abort transaction")
    }
}
