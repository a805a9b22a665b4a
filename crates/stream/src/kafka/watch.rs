//! Hears what the client library says of its connections, and keeps what only an operator can correct.
//!
//! Role: the library retries a refused login or certificate for ever, and says so only in callbacks. [`Watch`] is the
//! context of every client; it sorts what it hears (`kafka::trouble`), keeps the newest in [`Troubles`], and logs one line
//! a minute. The check at start and health ask [`Troubles`].
//! Failure: what is not trouble is logged at the level of its consequence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::brokers::Security;
use super::trouble::{ANSWERS_TLS, Facts, Trouble, sort};

/// The same trouble is logged again after this long.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Older than this, a trouble says nothing of a call that fails now: connections are tried at least once a second.
const RECENT: Duration = Duration::from_secs(15);

/// What clients of some brokers noticed.
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

    /// Takes in what the library says; whether it was something for an operator.
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
        // What is certain is not hidden by a guess that follows from it.
        let hides = state
            .newest
            .as_ref()
            .is_some_and(|(at, newest)| newest.is_certain && !trouble.is_certain && now.duration_since(*at) < RECENT);
        if !hides {
            state.newest = Some((now, trouble));
        }
        true
    }

    /// Whether it is time to look for TLS again: a broker notes each look as a broken request.
    pub(super) fn may_look_for_tls(&self) -> bool {
        let mut state = self.state();
        let is_due = state.looked_for_tls.is_none_or(|at| at.elapsed() >= LOG_EVERY);
        if is_due {
            state.looked_for_tls = Some(Instant::now());
        }
        is_due
    }

    /// Takes in that the listener speaks TLS, which a client without TLS found out by a look of its own.
    pub(super) fn note_tls(&self) {
        self.note(None, ANSWERS_TLS);
    }

    /// What was noticed within the last seconds.
    pub fn recent(&self) -> Option<Trouble> {
        let state = self.state();
        let (at, trouble) = state.newest.as_ref()?;
        (at.elapsed() < RECENT).then(|| trouble.clone())
    }

    /// A broker has answered: what was noticed before is over.
    pub(super) fn clear(&self) {
        self.state().newest = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The context of a client: hears what the library says of the connection.
#[derive(Clone)]
pub(crate) struct Watch(pub(super) Arc<Troubles>);

impl Watch {
    /// A line of the library's log, at the level of its consequence for us.
    pub(super) fn heard_log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                // The client repairs connections itself; what it cannot repair reaches us as an error of a call.
                if !self.0.note(None, message) {
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
    pub(super) fn heard_error(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if self.0.note(code, reason) {
            return;
        }
        if code == Some(Code::AllBrokersDown) && self.0.recent().is_some() {
            // It follows from what is said already.
            tracing::debug!(error = %error, reason, "kafka client reports a problem");
        } else {
            tracing::warn!(error = %error, reason, "kafka client reports a problem");
        }
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.heard_log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.heard_error(&error, reason);
    }
}

impl ConsumerContext for Watch {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_does_not_hide_what_is_certain_and_an_answer_ends_it() {
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
