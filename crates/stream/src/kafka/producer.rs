//! The ordered producer of a worker (INV-7): outputs enter in input order, and the first delivery error ends it.
//!
//! Role: returns a ticket for each output and reports acknowledgements into an [`AckWindow`]. Reports are served on the worker's
//! thread, inside [`OrderedProducer::serve`].
//! Failure: while the queue is full, sending waits and serves reports. Any delivery error poisons the producer: the worker drops
//! it without waiting for reports that may never come, and starts again from committed positions.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use domain::Classified as _;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};

use super::brokers::Brokers;
use super::connect::Renewal;
use super::questions::Questions;
use super::settings::{self, Compression};
use super::trouble::right_in;
use super::watch::{Watch, Watched};
use super::{MISSING_RIGHT, classify, connect, headers, push};
use crate::StreamError;
use crate::record_size::{self, Headers};
use delivery::acks::{AckWindow, Ticket};

struct Context {
    reports: Arc<Mutex<Reports>>,
    watch: Watch,
}

#[derive(Default)]
struct Reports {
    window: AckWindow,
    /// Reports so far, of whichever output.
    count: u64,
    failure: Option<StreamError>,
    /// Size of a record that a topic did not accept.
    refused_size: Option<usize>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        self.watch.on_log(level, fac, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = right_in(reason) {
            // The library fails all outputs with a code that carries no further information.
            let refused = classify(&format!("produce: {reason}"), &KafkaError::Global(code));
            self.reports.lock().failure = Some(refused);
        }
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

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let mut reports = self.reports.lock();
        reports.count += 1;
        match result {
            Ok(_) => reports.window.acknowledge(Ticket(ticket as u64)),
            Err((error, message)) => {
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
                    let headers = message.headers().into_iter().flat_map(headers::iter);
                    let headers = headers.map(|(name, value)| record_size::header(&name, value)).sum();
                    let size = record_size::record(message.key(), message.payload(), headers);
                    reports.refused_size.get_or_insert(size);
                }
                reports.failure.get_or_insert_with(|| {
                    let what = format!("deliver an output to {}", message.topic());
                    let refused = classify(&what, error);
                    match refused.code() {
                        MISSING_RIGHT => refused,
                        _ => StreamError::transient("delivery_failed", format!("{what}: {error}")),
                    }
                });
            }
        }
    }
}

/// An output record.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Partition: always explicit (INV-4).
    pub partition: i32,
    /// Key, or null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Headers.
    pub headers: &'a Headers,
}

impl Output<'_> {
    /// Upper bound of its bytes in the log.
    pub fn size(&self) -> usize {
        record_size::record(self.key, self.payload, record_size::headers(self.headers))
    }
}

/// A producer whose outputs enter in order; their acknowledgements may come in any order.
///
/// Its client connects with the first output, or with [`OrderedProducer::connect`]: most workers send nothing but dead letters,
/// and an idle client costs its threads and the broker wake-ups.
pub struct OrderedProducer {
    bootstrap: Brokers,
    config: ClientConfig,
    reports: Arc<Mutex<Reports>>,
    client: OnceCell<(BaseProducer<Context>, Renewal)>,
}

impl OrderedProducer {
    /// A producer without outputs.
    pub fn new(bootstrap: &Brokers, client_id: &str, compression: Compression) -> OrderedProducer {
        OrderedProducer {
            bootstrap: bootstrap.clone(),
            config: settings::producer(bootstrap, client_id, compression),
            reports: Arc::default(),
            client: OnceCell::new(),
        }
    }

    /// Connects, unless it is connected, so that the first output does not wait for it.
    pub fn connect(&self) -> Result<(), StreamError> {
        self.connected().map(|_| ())
    }

    fn connected(&self) -> Result<&BaseProducer<Context>, StreamError> {
        let (producer, _) = match self.client.get() {
            Some(client) => client,
            None => {
                let context = Context {
                    reports: Arc::clone(&self.reports),
                    watch: self.bootstrap.watch(),
                };
                let client = connect::producer(&self.bootstrap, &self.config, context)?;
                self.client.get_or_init(|| client)
            }
        };
        Ok(producer)
    }

    /// Enters an output. Waits while the queue is full, serving reports; `keep_waiting` may end the wait.
    pub fn send(&self, output: &Output<'_>, keep_waiting: impl Fn() -> bool) -> Result<Ticket, StreamError> {
        let size = output.size();
        if size > settings::MAX_SENT_BYTES {
            return Err(StreamError::fatal(
                "output_too_large",
                format!(
                    "an output for {} has {size} bytes; at most {} can be sent",
                    output.topic,
                    settings::MAX_SENT_BYTES
                ),
            ));
        }
        let producer = self.connected()?;
        let ticket = self.reports().window.issue();
        loop {
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(output.topic, ticket.0 as usize)
                .partition(output.partition);
            record.key = output.key;
            record.payload = output.payload;
            if !output.headers.is_empty() {
                record = record.headers(owned_headers(output.headers));
            }
            match producer.send(record) {
                Ok(()) => return Ok(ticket),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    if !keep_waiting() {
                        self.reports().window.withdraw_last();
                        return Err(StreamError::transient(
                            "shutdown",
                            "stopped while waiting for room in the producer's queue",
                        ));
                    }
                    self.renew();
                    self.serve(Duration::from_millis(5))?;
                }
                Err((error, _)) => {
                    // A producer that has failed reports the reason in a callback.
                    self.serve(Duration::from_millis(20))?;
                    return Err(classify("send output", &error));
                }
            }
        }
    }

    /// Serves the delivery reports that have come; waits at most this time for the first.
    pub fn serve(&self, timeout: Duration) -> Result<(), StreamError> {
        let Some((producer, _)) = self.client.get() else {
            return Ok(());
        };
        let mut before = self.reports().count;
        producer.poll(timeout);
        // One poll serves one event: the reports of one partition. Those of others are waiting, in any order.
        loop {
            let now = self.reports().count;
            if now == before {
                break;
            }
            before = now;
            producer.poll(Duration::ZERO);
        }
        self.reports().failure.clone().map_or(Ok(()), Err)
    }

    /// Takes over a renewed password or token; to be called once a round.
    pub fn renew(&self) {
        if let Some((producer, renewal)) = self.client.get() {
            renewal.renew(producer.client());
        }
    }

    /// For questions, which are answered at once; `None` if it is not connected.
    pub(crate) fn questions(&self) -> Option<&dyn Questions> {
        self.client
            .get()
            .map(|(producer, _)| producer.client() as &dyn Questions)
    }

    /// Size of a record that its topic did not accept.
    pub fn refused_size(&self) -> Option<usize> {
        self.reports().refused_size
    }

    /// Sends lingering outputs now.
    pub fn push(&self) {
        if let Some((producer, _)) = self.client.get() {
            push::push(producer);
        }
    }

    /// Every output up to this one is acknowledged.
    pub fn acked_through(&self) -> Ticket {
        self.reports().window.acked_through()
    }

    /// The newest output.
    pub fn last_ticket(&self) -> Ticket {
        self.reports().window.last()
    }

    fn reports(&self) -> parking_lot::MutexGuard<'_, Reports> {
        self.reports.lock()
    }
}

fn owned_headers(headers: &Headers) -> OwnedHeaders {
    headers
        .iter()
        .fold(OwnedHeaders::new_with_capacity(headers.len()), |owned, (key, value)| {
            owned.insert(Header {
                key,
                value: value.as_deref(),
            })
        })
}
