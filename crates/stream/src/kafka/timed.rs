//! Sends records with the producer settings of a worker and measures how long each waits for its acknowledgement
//! (`dp bench produce`).
//!
//! Role: a load for a broker, outside of the pipeline. As in a worker, one thread sends and serves the acknowledgements.
//! Failure: while the queue is full, sending waits; that time counts. A record that the broker refuses, or does not acknowledge within
//! 60 s, ends the load.

use std::time::{Duration, Instant};

use domain::{Classified as _, ErrorClass};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;

use super::brokers::Brokers;
use super::settings::{self, Compression};
use super::watch::{Watch, Watched};
use super::{classify, connect};
use crate::StreamError;

const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const SERVE: Duration = Duration::from_millis(5);

/// Records to send.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// Topic; must exist.
    pub topic: &'a str,
    /// Its partitions, which get the records in turn.
    pub partitions: i32,
    /// How many records.
    pub records: u64,
    /// Records a second; `None` means as fast as possible.
    pub rate: Option<u64>,
    /// Compression of the records.
    pub compression: Compression,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Timed {
    /// From the first record to the last acknowledgement.
    pub elapsed: Duration,
    /// From the moment when a record was to be sent to its acknowledgement, in microseconds, in the order of the acknowledgements.
    pub latencies: Vec<u64>,
}

struct Context {
    watch: Watch,
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    latencies: Vec<u64>,
    /// From the beginning to the newest acknowledgement.
    newest: Duration,
    refusal: Option<StreamError>,
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
    /// Microseconds from the beginning to the time at which the record was to be sent.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due: usize) {
        let now = self.began.elapsed();
        let mut seen = self.seen.lock();
        match result {
            Ok(_) => {
                seen.latencies.push(micros(now).saturating_sub(due as u64));
                seen.newest = now;
            }
            Err((error, message)) => {
                let what = format!("publish to {}", message.topic());
                seen.refusal.get_or_insert_with(|| classify(&what, error));
            }
        }
    }
}

/// Sends the load. `fill` writes the payload of each record; `keep_going` learns how many records are acknowledged, and may end the
/// load with an error.
///
/// # Errors
/// Kafka does not answer or refuses a record, or `keep_going` ends the load.
pub fn send(
    bootstrap: &Brokers,
    load: &Load<'_>,
    mut fill: impl FnMut(&mut Vec<u8>),
    keep_going: impl FnMut(u64) -> Result<(), StreamError>,
) -> Result<Timed, StreamError> {
    let mut config = settings::producer(bootstrap, "dp-bench-produce", load.compression);
    config
        // An operator waits here: an outage must end in a message, not in silence.
        .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
        .set("enable.gapless.guarantee", "false");
    let began = Instant::now();
    let context = Context {
        watch: bootstrap.watch(),
        began,
        seen: Mutex::default(),
    };
    let (producer, renewal) = connect::producer(bootstrap, &config, context)?;
    let mut sending = Sending {
        producer,
        bootstrap,
        keep_going,
    };
    sending.await_topic(load.topic)?;
    let first = began.elapsed();
    let partitions = u64::from(load.partitions.unsigned_abs()).max(1);
    let mut payload = Vec::new();
    for index in 0..load.records {
        renewal.renew(sending.producer.client());
        payload.clear();
        fill(&mut payload);
        let due = load.rate.map(|rate| first + pause(index, rate));
        let wait = |due: Duration| due.saturating_sub(began.elapsed()).min(SERVE);
        sending.serve(due.map_or(Duration::ZERO, wait))?;
        while due.is_some_and(|due| due > began.elapsed()) {
            sending.serve(due.map_or(Duration::ZERO, wait))?;
        }
        let due = due.unwrap_or_else(|| began.elapsed());
        sending.enter(load.topic, (index % partitions) as i32, due, &payload)?;
    }
    sending.finish(first)
}

/// A load on its way.
struct Sending<'a, F> {
    producer: BaseProducer<Context>,
    bootstrap: &'a Brokers,
    keep_going: F,
}

impl<F: FnMut(u64) -> Result<(), StreamError>> Sending<'_, F> {
    /// Connects before the first record, which would otherwise be measured with it.
    fn await_topic(&mut self, topic: &str) -> Result<(), StreamError> {
        let deadline = Instant::now() + CALL_TIMEOUT;
        loop {
            let answer = self.producer.client().fetch_metadata(Some(topic), CALL_TIMEOUT);
            match answer.map_err(|error| classify("read metadata (does Kafka run? see `dp status`)", &error)) {
                Ok(_) => return Ok(()),
                Err(error) if error.class() == ErrorClass::Transient && Instant::now() < deadline => {
                    self.serve(SERVE)?;
                }
                Err(error) => return Err(self.bootstrap.explain(error)),
            }
        }
    }

    /// Enters a record that was due at this time; waits while the queue is full.
    fn enter(&mut self, topic: &str, partition: i32, due: Duration, payload: &[u8]) -> Result<(), StreamError> {
        let due = usize::try_from(micros(due)).unwrap_or(usize::MAX);
        loop {
            let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(topic, due).partition(partition);
            record.payload = Some(payload);
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => self.serve(SERVE)?,
                Err((error, _)) => return Err(self.bootstrap.explain(classify("publish", &error))),
            }
        }
    }

    /// Waits for the acknowledgements. The client acknowledges or refuses each record within its time limit.
    fn finish(mut self, first: Duration) -> Result<Timed, StreamError> {
        while self.producer.in_flight_count() > 0 {
            self.serve(SERVE)?;
        }
        self.serve(Duration::ZERO)?;
        let mut seen = self.producer.context().seen.lock();
        Ok(Timed {
            elapsed: seen.newest.saturating_sub(first),
            latencies: std::mem::take(&mut seen.latencies),
        })
    }

    /// Serves the acknowledgements that have come; waits at most this time for the first.
    fn serve(&mut self, wait: Duration) -> Result<(), StreamError> {
        let count = |producer: &BaseProducer<Context>| producer.context().seen.lock().latencies.len();
        let mut before = count(&self.producer);
        self.producer.poll(wait);
        // One poll serves one event: the acknowledgements of one partition.
        loop {
            let now = count(&self.producer);
            if now == before {
                break;
            }
            before = now;
            self.producer.poll(Duration::ZERO);
        }
        let refusal = self.producer.context().seen.lock().refusal.clone();
        let Some(refusal) = refusal else {
            return (self.keep_going)(before as u64);
        };
        let message = format!("the broker did not accept a record: {refusal}; {before} were acknowledged");
        Err(self.bootstrap.explain(match refusal.class() {
            ErrorClass::Transient => StreamError::transient("delivery_failed", message),
            _ => StreamError::fatal(refusal.code(), message),
        }))
    }
}

/// From the first record to the one of this number, at a steady rate.
fn pause(index: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(index as f64 / rate.max(1) as f64)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_at_a_steady_rate_have_a_fixed_time_each() {
        assert_eq!(pause(0, 200), Duration::ZERO);
        assert_eq!(pause(1, 200), Duration::from_millis(5));
        assert_eq!(pause(400, 200), Duration::from_secs(2));
    }
}
