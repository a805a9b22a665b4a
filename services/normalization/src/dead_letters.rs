//! The number of open dead letters, and the age of the oldest, as metrics.
//!
//! Role: normalization reads topic `dlq` once after its start, and then what is new. It reports the letters of all stages, because
//! one running replica must be enough; with several, use `max by (topic)`.
//! Invariant: the counts come from the topic, so they are right after a restart. Memory: about 100 bytes for each letter.
//! Failure: while the topic cannot be read, both gauges are `NaN`.

use std::sync::Arc;
use std::time::Duration;

use stream::dead_letter::ledger::Ledger;
use stream::kafka::reader::LogReader;
use stream::status::wall_clock;
use stream::{Brokers, DLQ_PARTITION, Partition, Shutdown, StreamError};

use crate::metrics;

const INTERVAL: Duration = Duration::from_secs(30);

/// The ledger of the topic, read up to an offset.
struct Watched {
    dlq: Partition,
    ledger: Ledger,
    next: i64,
}

/// Keeps both gauges current until shutdown.
pub(crate) async fn watch(bootstrap: Brokers, topic: String, shutdown: Shutdown) {
    let dlq = Partition {
        topic: Arc::from(topic.as_str()),
        number: DLQ_PARTITION,
    };
    let mut watched = Watched {
        dlq,
        ledger: Ledger::default(),
        next: 0,
    };
    while !shutdown.is_requested() {
        let (brokers, ending) = (bootstrap.clone(), shutdown.clone());
        let read = tokio::task::spawn_blocking(move || {
            let outcome = watched.read(&brokers, &ending);
            (watched, outcome)
        });
        let outcome;
        (watched, outcome) = match read.await {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(error = %error, "the watch of the dead letters ended; their metrics are missing until a restart");
                return;
            }
        };
        if let Err(error) = &outcome {
            tracing::debug!(error = %error, "the dead letters cannot be read; retrying");
        }
        watched.report(outcome.is_ok());
        tokio::time::sleep(INTERVAL).await;
    }
}

impl Watched {
    fn read(&mut self, bootstrap: &Brokers, ending: &Shutdown) -> Result<(), StreamError> {
        let reader = LogReader::new(bootstrap)?;
        let (start, end) = reader.log_range(&self.dlq)?;
        // A topic that was created again begins at 0.
        if end < self.next {
            (self.ledger, self.next) = (Ledger::default(), 0);
        }
        self.ledger.expire(start);
        reader.read(&self.dlq, self.next.max(start), end, |message| {
            self.ledger.read(message);
            self.next = message.offset + 1;
            !ending.is_requested()
        })
    }

    fn report(&self, is_known: bool) {
        let known = |value: f64| if is_known { value } else { f64::NAN };
        let age = self.ledger.oldest().map_or(0, |oldest| (wall_clock() - oldest).max(0));
        metrics::dead_letters(
            &self.dlq.topic,
            known(self.ledger.len() as f64),
            known(age as f64 / 1e6),
        );
    }
}
