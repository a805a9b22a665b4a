//! Receives the client library's reports about connections, and keeps the problems that only an operator can correct.
//!
//! Role: the library retries a refused login or certificate for ever, and reports it only in callbacks. [`Watch`] is the context
//! of every client. It sorts the reports (`kafka::trouble`), keeps the newest in [`Troubles`], and logs one line a minute.
//! Health and the check at start read [`Troubles`].
//! Failure: other reports are logged at the level of their consequence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Broker, Statistics};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::brokers::Security;
use super::trouble::{ANSWERS_TLS, Facts, Trouble, sort};

/// The same trouble is logged again after this long.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// An older trouble does not explain a call that fails now: connections are tried at least once a second.
const RECENT: Duration = Duration::from_secs(15);

/// The problems that clients of some brokers reported.
pub struct Troubles {
    facts: Facts,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    looked_for_tls: Option<Instant>,
    newest: Option<(Instant, Trouble)>,
    logged: BTreeMap<&'static str, Instant>,
}

impl Troubles {
    pub(super) fn new(security: &Security) -> Troubles {
        Troubles {
            facts: Facts::of(security),
            state: Mutex::default(),
        }
    }

    /// Stores a report of the library; returns whether it is a problem for an operator.
    fn note(&self, code: Option<Code>, reason: &str) -> bool {
        let Some(trouble) = sort(code, reason, &self.facts) else {
            return false;
        };
        let now = Instant::now();
        let mut state = self.state();
        let is_due = state
            .logged
            .get(trouble.code)
            .is_none_or(|at| now.duration_since(*at) >= LOG_EVERY);
        if is_due {
            state.logged.insert(trouble.code, now);
            tracing::warn!(
                code = trouble.code,
                error = trouble.message,
                "kafka refuses this client"
            );
        }
        // A guess must not hide the certain problem from which it follows.
        let hides = state
            .newest
            .as_ref()
            .is_some_and(|(at, newest)| newest.is_certain && !trouble.is_certain && now.duration_since(*at) < RECENT);
        if !hides {
            state.newest = Some((now, trouble));
        }
        true
    }

    /// Whether it is time to look for TLS again: a broker logs each look as a broken request.
    pub(super) fn may_look_for_tls(&self) -> bool {
        let mut state = self.state();
        let is_due = state.looked_for_tls.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if is_due {
            state.looked_for_tls = Some(Instant::now());
        }
        is_due
    }

    /// Records that the listener uses TLS, as a check of a client without TLS found.
    pub(super) fn note_tls(&self) {
        self.note(None, ANSWERS_TLS);
    }

    /// The trouble of the last seconds.
    pub fn recent(&self) -> Option<Trouble> {
        let state = self.state();
        let (at, trouble) = state.newest.as_ref()?;
        (at.elapsed() < RECENT).then(|| trouble.clone())
    }

    /// A broker has answered: earlier troubles are over.
    pub(super) fn clear(&self) {
        self.state().newest = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The context of a client: receives the library's reports about the connection.
#[derive(Clone)]
pub(crate) struct Watch {
    troubles: Arc<Troubles>,
    has_forgotten: Arc<AtomicBool>,
}

/// The context of a client that can be restored (`kafka::connect`).
pub(super) trait Watched {
    fn watch(&self) -> &Watch;
}

impl Watch {
    /// For one client.
    pub(super) fn new(troubles: &Arc<Troubles>) -> Watch {
        Watch {
            troubles: Arc::clone(troubles),
            has_forgotten: Arc::default(),
        }
    }

    /// Whether the client knew no broker when it last reported its figures; true once for each report.
    pub(super) fn take_forgotten(&self) -> bool {
        self.has_forgotten.load(Ordering::Relaxed) && self.has_forgotten.swap(false, Ordering::Relaxed)
    }

    /// The figures of the client, which it reports every `statistics.interval.ms`.
    pub(super) fn on_statistics(&self, statistics: &Statistics) {
        // What is "logical" stands for the coordinator of a group, and has the address of another one.
        let is_broker = |broker: &Broker| ["learned", "configured"].contains(&broker.source.as_str());
        let knows = statistics.brokers.values().any(is_broker);
        self.has_forgotten.store(!knows, Ordering::Relaxed);
    }

    /// A line of the library's log, logged at the level of its consequence for the pipeline.
    pub(super) fn on_log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                // The client repairs connections by itself; what it cannot repair arrives as an error of a call.
                if !self.troubles.note(None, message) {
                    tracing::warn!(facility, detail = message, "kafka client");
                }
            }
            RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, detail = message, "kafka client");
            }
            _ => tracing::trace!(facility, detail = message, "kafka client"),
        }
    }

    /// An error that concerns the whole client.
    pub(super) fn on_error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if code == Some(Code::PartitionEOF) || matches!(error, KafkaError::PartitionEOF(_)) {
            // What a reader of a range asks for. Here the client does not say of which partition.
            tracing::trace!(reason, "end of a partition");
            return;
        }
        if self.troubles.note(code, reason) {
            return;
        }
        if code == Some(Code::AllBrokersDown) && self.troubles.recent().is_some() {
            // It follows from a problem that was already logged.
            tracing::debug!(error = %error, reason, "kafka client reports a problem");
        } else {
            tracing::warn!(error = %error, reason, "kafka client reports a problem");
        }
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.on_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.on_error(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.on_statistics(&statistics);
    }
}

impl ConsumerContext for Watch {}

impl Watched for Watch {
    fn watch(&self) -> &Watch {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_does_not_hide_a_certain_problem_and_an_answer_clears_it() {
        let troubles = Troubles::new(&Security::default());
        let code = || troubles.recent().map(|trouble| trouble.code);
        assert!(troubles.note(
            None,
            "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?"
        ));
        assert_eq!(code(), Some("kafka_listener_is_plaintext"));
        assert!(troubles.note(None, "SSL handshake failed: certificate verify failed"));
        assert!(troubles.note(
            None,
            "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?"
        ));
        assert_eq!(code(), Some("kafka_certificate_refused"));
        troubles.clear();
        assert_eq!(code(), None);
    }
}
