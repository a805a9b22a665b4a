//! Records that appear together or not at all, sent by one process at a time.
//!
//! Role: for an operator's command that must not send anything twice, whenever it is killed (`dp dlq replay`). The stages of
//! the pipeline do not use transactions; their consumers read only committed records.
//! Invariants: [`AtomicPublisher::claim`] ends the transaction of an earlier holder of the same id and fences it, so after the
//! claim the log contains all that earlier holders will ever send.
//! Failure: after an error the publisher cannot be used; what it has not committed never appears. A holder that is killed
//! within a transaction delays the readers of its partitions until the next claim, or until [`OPEN_FOR`].

use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;

use super::{CALL_TIMEOUT, Place, Publisher, Record, config, unacknowledged};
use crate::kafka::classify;
use crate::{Brokers, StreamError};

/// The broker ends an open transaction after this time, and those of its readers wait no longer.
pub const OPEN_FOR: Duration = Duration::from_secs(20);
/// Code of the error of a publisher whose id was claimed by another process.
pub const FENCED: &str = "claimed_by_another";

/// Publishes groups of records, each group in one transaction.
pub struct AtomicPublisher(Publisher);

impl AtomicPublisher {
    /// Claims the transactional id `id`.
    ///
    /// # Errors
    /// Kafka does not answer, or the user may not use the id.
    pub fn claim(bootstrap: &Brokers, client_id: &str, id: &str) -> Result<AtomicPublisher, StreamError> {
        let mut config = config(bootstrap, client_id, Duration::ZERO);
        let limit = OPEN_FOR.as_millis().to_string();
        config
            .set("transactional.id", id)
            .set("transaction.timeout.ms", &limit)
            .set("message.timeout.ms", &limit);
        let publisher = Publisher::with(bootstrap, &config)?;
        publisher
            .producer
            .init_transactions(OPEN_FOR)
            .map_err(|error| bootstrap.explain(failed(&format!("claim transactional id {id}"), &error)))?;
        Ok(AtomicPublisher(publisher))
    }

    /// Publishes what `group` sends; all of it appears when this returns without an error, and otherwise none of it, unless
    /// the last answer was lost: the next claim shows which.
    ///
    /// # Errors
    /// That of `group`, a refusal of the broker, or [`FENCED`].
    pub fn together<T>(
        &mut self,
        group: impl FnOnce(&mut Group<'_>) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        let publisher = &mut self.0;
        publisher
            .producer
            .begin_transaction()
            .map_err(|error| failed("begin a transaction", &error))?;
        let sent = group(&mut Group(publisher)).and_then(|sent| publisher.drained().map(|()| sent));
        match sent {
            Ok(sent) => {
                let committed = publisher.producer.commit_transaction(OPEN_FOR);
                committed.map_err(|error| failed("commit a transaction", &error))?;
                Ok(sent)
            }
            Err(error) => {
                // If this fails, too, the broker ends the transaction at the next claim.
                let aborted = publisher.producer.abort_transaction(CALL_TIMEOUT);
                Err(match aborted {
                    Err(aborted) if is_fenced(&aborted) => failed("publish", &aborted),
                    _ => error,
                })
            }
        }
    }
}

/// The records of one transaction.
pub struct Group<'p>(&'p mut Publisher);

impl Group<'_> {
    /// Sends a record and waits for its position.
    ///
    /// # Errors
    /// As [`Publisher::publish`].
    pub fn publish(&mut self, record: &Record<'_>) -> Result<Place, StreamError> {
        self.0.publish(record)
    }

    /// Sends a record.
    ///
    /// # Errors
    /// As [`Publisher::send`].
    pub fn send(&mut self, record: &Record<'_>) -> Result<(), StreamError> {
        self.0.send(record)
    }
}

impl Publisher {
    /// Waits until the broker has acknowledged all records.
    fn drained(&mut self) -> Result<(), StreamError> {
        let deadline = Instant::now() + OPEN_FOR;
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(5));
            if Instant::now() > deadline {
                return Err(unacknowledged(self.sent - self.acknowledged()));
            }
        }
        self.refusal()
    }
}

fn is_fenced(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
    )
}

fn failed(what: &str, error: &KafkaError) -> StreamError {
    if is_fenced(error) {
        let message =
            format!("{what}: another process has claimed the same transactional id since; only the newest may send");
        return StreamError::fatal(FENCED, message);
    }
    classify(what, error)
}
