//! A load of raw messages with a ledger. The ledger counts published messages independently of the log.
//!
//! Role: publishes ticks of made-up instruments in message shapes A and B, at a steady rate from its own thread, across
//! restarts of the broker. The load contains:
//! - live trades, prices of intervals and their corrections, day-ahead hours in any order;
//! - ticks of producers that are minutes, an hour or years late;
//! - repetitions: the same bytes, or a producer's retry with other transport fields;
//! - if wanted, documents of several markets: new, corrected, again, days late, with a bad row ([`crate::documents`]), and quotes of contracts;
//! - messages with the event id of another tenant or of another price;
//! - poison: an invalid price, and messages of hostile producers (bytes, sizes, headers, nulls).
//!
//! All other event ids are unique within seed and session, so the ledger can be compared with the counts of a reader.
//! Failure: if the broker rejects a message, the next [`Load::pause`] returns an error.

mod hostile;
mod messages;
mod quotes;
mod said;
mod times;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::{Condvar, Mutex};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use messages::Maker;

const FLUSH_LIMIT: Duration = Duration::from_secs(300);

/// Parameters of a load.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// Raw topic.
    pub topic: String,
    /// Seed of the contents.
    pub seed: u64,
    /// Number of this publisher among those with the same seed. It is part of every event id.
    pub session: u32,
    /// Messages a second.
    pub rate: u32,
    /// Whether some of the messages are documents of markets and quotes of contracts.
    pub extras: bool,
}

/// The counts of what was published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// All messages.
    pub messages: u64,
    /// Ticks of new events: one for each message with a tick, one for each good row of a document.
    pub ticks: u64,
    /// Documents of new events.
    pub documents: u64,
    /// Bad rows of these documents.
    pub rejected_rows: u64,
    /// Quotes of new events.
    pub quotes: u64,
    /// Messages that repeat an event.
    pub repeated: u64,
    /// Ticks with an event id that their tenant has used for another price.
    pub reused_ids: u64,
    /// Invalid messages, and documents with an invalid row.
    pub poison: u64,
}

#[derive(Default)]
struct Deliveries {
    refused: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *self.refused.lock() = Some(error.to_string());
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    Pause,
    End,
}

struct Shared {
    wish: Mutex<Wish>,
    changed: Condvar,
    /// The thread's answer to a wish to pause, after every message is acknowledged.
    paused: Mutex<Option<anyhow::Result<Ledger>>>,
    answered: Condvar,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts publishing immediately.
    pub fn start(bootstrap: &str, plan: LoadPlan) -> anyhow::Result<Load> {
        let context = Deliveries::default();
        let refused = Arc::clone(&context.refused);
        let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("enable.idempotence", "true")
            // Waits for an unavailable broker without a limit.
            .set("message.timeout.ms", "0")
            .set("linger.ms", "5")
            .set("reconnect.backoff.max.ms", "1000")
            .create_with_context(context)
            .context("create producer")?;
        let shared = Arc::new(Shared {
            wish: Mutex::new(Wish::Run),
            changed: Condvar::new(),
            paused: Mutex::new(None),
            answered: Condvar::new(),
        });
        let sent = Arc::new(AtomicU64::new(0));
        let publishing = Publishing {
            sent: Arc::clone(&sent),
            producer,
            shared: Arc::clone(&shared),
            refused,
            maker: Maker::new(plan),
        };
        let thread = std::thread::spawn(move || publishing.run());
        Ok(Load {
            shared,
            sent,
            thread: Some(thread),
        })
    }

    /// Waits until this number of additional messages was created. The broker may not have accepted them yet.
    pub fn go_on_for(&self, messages: u64) {
        let goal = self.sent.load(Ordering::SeqCst) + messages;
        while self.sent.load(Ordering::SeqCst) < goal
            && self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
        {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops publishing. Returns the ledger after every message is acknowledged.
    pub fn pause(&self) -> anyhow::Result<Ledger> {
        self.wish(Wish::Pause);
        let mut answer = self.shared.paused.lock();
        loop {
            if let Some(answer) = answer.take() {
                return answer;
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                bail!("the thread of the load has ended");
            }
            self.shared.answered.wait_for(&mut answer, Duration::from_secs(1));
        }
    }

    /// Resumes publishing.
    pub fn resume(&self) {
        self.wish(Wish::Run);
    }

    fn wish(&self, wish: Wish) {
        *self.shared.wish.lock() = wish;
        self.shared.changed.notify_all();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.wish(Wish::End);
        // The thread ends between two messages. Errors are reported by `pause`.
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

struct Publishing {
    sent: Arc<AtomicU64>,
    producer: ThreadedProducer<Deliveries>,
    shared: Arc<Shared>,
    refused: Arc<Mutex<Option<String>>>,
    maker: Maker,
}

impl Publishing {
    fn run(mut self) {
        let mut due = Instant::now();
        let step = Duration::from_secs(1) / self.maker.plan().rate.max(1);
        loop {
            let wish = *self.shared.wish.lock();
            match wish {
                Wish::Run => {
                    self.publish();
                    due += step;
                    // After an outage the load continues at its rate. It does not send a burst to catch up.
                    due = due.max(Instant::now() - Duration::from_secs(1));
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                Wish::Pause => {
                    let ledger = self.settle();
                    *self.shared.paused.lock() = Some(ledger);
                    self.shared.answered.notify_all();
                    // After a long pause, a repetition would be a new event, because the event-id window has forgotten it.
                    self.maker.forget_recent();
                    self.await_other(Wish::Pause);
                    due = Instant::now();
                }
                Wish::End => return,
            }
        }
    }

    fn await_other(&self, wish: Wish) {
        let mut current = self.shared.wish.lock();
        while *current == wish {
            self.shared.changed.wait(&mut current);
        }
    }

    fn publish(&mut self) {
        let made = self.maker.next(now_ms());
        self.sent.fetch_add(1, Ordering::SeqCst);
        let topic = self.maker.plan().topic.clone();
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic);
        (record.key, record.payload, record.partition) = (made.key.as_deref(), made.payload.as_deref(), made.partition);
        if !made.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(made.headers.len());
            record.headers = Some(made.headers.iter().fold(headers, |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: value.as_deref(),
                })
            }));
        }
        // The queue is full if the broker has been unavailable for long. The same message is sent again.
        while let Err((error, back)) = self.producer.send(record) {
            if *self.shared.wish.lock() == Wish::End {
                return;
            }
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                *self.refused.lock() = Some(error.to_string());
                return;
            }
            record = back;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn settle(&self) -> anyhow::Result<Ledger> {
        self.producer
            .flush(FLUSH_LIMIT)
            .context("some published messages are not acknowledged")?;
        match self.refused.lock().take() {
            Some(error) => bail!("a message of the load was rejected: {error}"),
            None => Ok(self.maker.ledger()),
        }
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
