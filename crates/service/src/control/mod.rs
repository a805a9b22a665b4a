//! Orders to the stages of this process: which of them an operator has paused, and for which tenants.
//!
//! Role: [`watch`](Control::watch) follows `pipeline.control.v1` on a thread of its own and passes what it says to the workers
//! ([`stream::WorkerStatus::order_pause`]). Health, metrics and `/stats` read what is in force from [`Control`].
//! Normalization asks [`HeldTenants`] for the tenants that are paused.
//! Invariants: a worker takes no input before the orders are known, so what is paused stays paused when its service restarts. The
//! last known orders stay in force while the topic cannot be read.
//! Failure: a record that is no order is logged once and ignored. If there is no such topic, there are no orders. If the orders
//! cannot be read for [`PATIENCE`], or a right is missing, health says so, and stages that still wait for them begin: the topic of orders must
//! not stop the pipeline.

pub mod order;
pub mod tenants;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Classified, ErrorClass, Micros, RetryPolicy};
use parking_lot::Mutex;
use serde_json::{Value, json};
use stream::kafka::follow::{Follower, NO_BROKER};
use stream::status::wall_clock;
use stream::{Brokers, Shutdown, StreamError, WorkerStatus};

use crate::metrics;
use order::{Book, Subject};
use tenants::HeldTenants;

/// How long it may take to read the orders while a broker accepts connections.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a pause for a time is looked at, and the shutdown. The end of a wait is a wake-up of this thread; an order ends it at
/// once.
const TURN: Duration = Duration::from_millis(500);
/// How often a topic that does not exist is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// What check `paused` says of orders that cannot be read; they are no pause.
pub const ORDERS_UNREAD: &str = "cannot be read, so `dp pause` and `dp resume` have no effect here";

/// A worker, and the stage that it belongs to.
struct Follows {
    stage: &'static str,
    group: String,
    status: Arc<WorkerStatus>,
    /// What was logged and shown last.
    is_paused: bool,
}

#[derive(Default)]
struct State {
    follows: Vec<Follows>,
    book: Book,
    /// The paused tenants that were logged last.
    tenants: BTreeSet<String>,
    /// Whether the book has been read once, or is given up.
    is_known: bool,
    /// Every record before this offset was read.
    read_to: i64,
    /// Since when they cannot be read.
    failing: Option<Instant>,
    problem: Option<String>,
}

impl State {
    /// Whether an order is for this process.
    fn concerns(&self, subject: &Subject) -> bool {
        self.follows.iter().any(|follows| follows.stage == subject.stage())
    }

    /// Logs which tenants are paused now, and were not, or the other way round.
    fn tell_tenants(&mut self, now: Micros) {
        let paused = self.book.all_paused(now).into_iter();
        let paused: BTreeSet<String> = paused
            .filter(|(subject, _)| self.concerns(subject))
            .filter_map(|(subject, _)| match subject {
                Subject::Tenant(id) => Some(id),
                Subject::Stage(_) => None,
            })
            .collect();
        for tenant in paused.difference(&self.tenants) {
            let order = self.book.tenant(tenant);
            tracing::warn!(
                event = "tenant_paused",
                tenant,
                by = order.map(|order| order.by.as_str()),
                reason = order.and_then(|order| order.reason.as_deref()),
                "the messages of the tenant become dead letters"
            );
        }
        for tenant in self.tenants.difference(&paused) {
            tracing::info!(
                event = "tenant_resumed",
                tenant,
                "the messages of the tenant are processed again"
            );
        }
        self.tenants = paused;
    }
}

/// The orders to the stages of this process.
#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
    tenants: Arc<HeldTenants>,
}

impl Control {
    /// Adds a worker; it takes no input until the orders are known.
    pub(crate) fn add(&self, stage: &'static str, group: &str, status: Arc<WorkerStatus>) {
        status.order_pause(true);
        metrics::consumer_paused(group, stage, false);
        let follows = Follows {
            stage,
            group: group.to_owned(),
            status,
            is_paused: false,
        };
        self.state.lock().follows.push(follows);
    }

    /// The tenants whose messages are held.
    pub(crate) fn tenants(&self) -> Arc<HeldTenants> {
        Arc::clone(&self.tenants)
    }

    /// What an operator must know: paused stages and tenants, and orders that cannot be read.
    pub(crate) fn problems(&self, now: Micros) -> Vec<String> {
        let state = self.state.lock();
        let paused = state.book.all_paused(now).into_iter();
        paused
            .filter(|(subject, _)| state.concerns(subject))
            .map(|(subject, order)| order.explain(&subject))
            .chain(state.problem.clone())
            .collect()
    }

    /// Whether an order to this stage, of this service or another, is in force.
    pub(crate) fn is_paused(&self, stage: &str, now: Micros) -> bool {
        self.state.lock().book.paused(stage, now).is_some()
    }

    /// For `/stats`: how far the orders were read, and what each worker does about them.
    pub(crate) fn stats(&self) -> Value {
        let state = self.state.lock();
        let workers: Vec<Value> = state
            .follows
            .iter()
            .map(|follows| {
                json!({
                    "worker": follows.status.name(),
                    "stage": follows.stage,
                    "paused": state.is_known && follows.is_paused,
                    "takes_input": follows.status.paused().is_none(),
                    "in_flight": follows.status.paused(),
                })
            })
            .collect();
        let paused = state.book.all_paused(wall_clock()).into_iter();
        let tenants: Vec<String> = paused
            .filter_map(|(subject, _)| match subject {
                Subject::Tenant(id) => Some(id),
                Subject::Stage(_) => None,
            })
            .collect();
        json!({ "read_to": state.read_to, "error": state.problem, "workers": workers, "tenants": tenants })
    }

    /// Follows the orders until shutdown.
    pub(crate) fn watch(&self, bootstrap: &Brokers, topic: &str, client_id: &str, shutdown: &Shutdown) {
        let mut waits = RetryPolicy::STANDARD.waits();
        let mut missing = false;
        while !shutdown.is_requested() {
            let wait = match Follower::open(bootstrap, client_id, topic) {
                Ok(Some(follower)) => {
                    missing = false;
                    match self.follow(follower, topic, shutdown) {
                        Ok(()) => return,
                        Err(error) => self.failed(&error, topic, waits.after_failure()),
                    }
                }
                Ok(None) => {
                    if !std::mem::replace(&mut missing, true) {
                        tracing::warn!(
                            topic,
                            "there is no topic of orders, so no stage can be paused; `dp topics create` creates it"
                        );
                    }
                    self.read_nothing();
                    LOOK_AGAIN
                }
                Err(error) => self.failed(&error, topic, waits.after_failure()),
            };
            let end = Instant::now() + wait;
            while Instant::now() < end && !shutdown.is_requested() {
                std::thread::sleep(TURN.min(end.saturating_duration_since(Instant::now())));
                self.apply(wall_clock());
            }
        }
    }

    /// Reads the book, then follows it. Until it is read, the book before it stays in force.
    fn follow(&self, mut follower: Follower, topic: &str, shutdown: &Shutdown) -> Result<(), StreamError> {
        let mut book = Book::default();
        while !shutdown.is_requested() {
            if follower.is_current() {
                self.read(&book, follower.next());
            }
            self.apply(wall_clock());
            follower.poll(TURN, |record| {
                if let Err(reason) = book.take(record.key, record.payload) {
                    tracing::warn!(
                        topic,
                        offset = record.offset,
                        reason,
                        "a record is not an order, and is ignored"
                    );
                }
            })?;
        }
        Ok(())
    }

    fn read(&self, book: &Book, read_to: i64) {
        let mut state = self.state.lock();
        (state.is_known, state.read_to) = (true, read_to);
        (state.failing, state.problem) = (None, None);
        if state.book != *book {
            self.tenants.follow(book);
            state.book = book.clone();
        }
    }

    /// There is no such topic. If there was one before, its orders stay in force.
    fn read_nothing(&self) {
        let mut state = self.state.lock();
        state.is_known = true;
        (state.failing, state.problem) = (None, None);
        drop(state);
        self.apply(wall_clock());
    }

    /// Returns how long to wait before the next attempt.
    fn failed(&self, error: &StreamError, topic: &str, wait: Duration) -> Duration {
        let is_fatal = error.class() == ErrorClass::Fatal;
        let mut state = self.state.lock();
        if error.code() == NO_BROKER {
            // The stages wait for Kafka too. They must not be faster than the orders when it is back.
            state.failing = None;
            return wait.min(Duration::from_secs(1));
        }
        let since = *state.failing.get_or_insert_with(Instant::now);
        if !is_fatal && since.elapsed() < PATIENCE {
            tracing::debug!(topic, error = %error, code = error.code(), "the orders cannot be read; retrying");
            return wait;
        }
        let problem = format!("the orders in {topic} {ORDERS_UNREAD}: {error}");
        if state.problem.as_ref() != Some(&problem) {
            let begins = !state.is_known;
            tracing::warn!(topic, error = %error, code = error.code(), begins_without = begins, "the orders cannot be read; the last known ones stay in force");
        }
        (state.is_known, state.problem) = (true, Some(problem));
        if is_fatal { LOOK_AGAIN } else { wait }
    }

    /// Passes the orders in force to the workers.
    fn apply(&self, now: Micros) {
        let mut state = self.state.lock();
        state.tell_tenants(now);
        let State {
            follows,
            book,
            is_known,
            ..
        } = &mut *state;
        for follows in follows.iter_mut() {
            let order = book.paused(follows.stage, now);
            follows.status.order_pause(!*is_known || order.is_some());
            if std::mem::replace(&mut follows.is_paused, order.is_some()) == order.is_some() {
                continue;
            }
            metrics::consumer_paused(&follows.group, follows.stage, order.is_some());
            let worker = follows.status.name();
            match order {
                Some(order) => {
                    tracing::warn!(
                        event = "stage_paused",
                        worker,
                        stage = follows.stage,
                        by = order.by,
                        reason = order.reason,
                        "the stage takes no input"
                    );
                }
                None => tracing::info!(
                    event = "stage_resumed",
                    worker,
                    stage = follows.stage,
                    "the stage takes input again"
                ),
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const PAUSED: &str = r#"{"paused":true,"since":"2026-10-01T00:00:00Z","by":"ann","until":"2026-10-01T00:10:00Z"}"#;

    fn micros(text: &str) -> Micros {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    fn followed(stage: &'static str) -> (Control, Arc<WorkerStatus>) {
        let (control, status) = (Control::default(), WorkerStatus::new("enrich-0"));
        control.add(stage, "enrichment-local", Arc::clone(&status));
        (control, status)
    }

    fn right_missing() -> StreamError {
        StreamError::fatal("kafka_right_missing", "grant Read")
    }

    #[test]
    fn a_worker_waits_for_the_orders_and_then_follows_them() {
        let (control, status) = followed("enrichment");
        let (before, after) = (micros("2026-10-01T00:09:59Z"), micros("2026-10-01T00:10:00Z"));
        control.apply(before);
        assert!(status.is_pause_ordered(), "the orders are not known yet");
        assert_eq!(control.problems(before), Vec::<String>::new());

        let mut book = Book::default();
        book.take(Some(b"enrichment"), Some(PAUSED.as_bytes())).unwrap();
        book.take(Some(b"projection"), Some(PAUSED.as_bytes())).unwrap();
        control.read(&book, 2);
        control.apply(before);
        assert!(status.is_pause_ordered());
        let problems = control.problems(before);
        assert!(
            problems.len() == 1 && problems[0].contains("enrichment is paused"),
            "{problems:?}"
        );
        let shown = control.stats();
        assert_eq!(
            (&shown["read_to"], &shown["workers"][0]["paused"]),
            (&json!(2), &json!(true))
        );

        control.apply(after);
        assert!(!status.is_pause_ordered(), "its time is over");
        assert_eq!(control.problems(after), Vec::<String>::new());
    }

    #[test]
    fn orders_that_cannot_be_read_do_not_stop_the_pipeline_and_known_ones_stay_in_force() {
        let now = micros("2026-10-01T00:00:01Z");
        let long_ago = Instant::now().checked_sub(PATIENCE);
        let transient = |code| StreamError::transient(code, "no answer");
        for (error, failing, is_held) in [
            (right_missing(), None, false),
            (transient("kafka_unavailable"), None, true),
            (transient("kafka_unavailable"), long_ago, false),
            (transient(NO_BROKER), long_ago, true),
        ] {
            let (control, status) = followed("enrichment");
            control.state.lock().failing = failing;
            control.failed(&error, "t", Duration::ZERO);
            control.apply(now);
            assert_eq!(status.is_pause_ordered(), is_held, "{error} {failing:?}");
            let problems = control.problems(now);
            assert_eq!(problems.len(), usize::from(!is_held), "{problems:?}");
            control.read(&Book::default(), 0);
            assert_eq!(control.problems(now), Vec::<String>::new());
        }
        let (control, status) = followed("enrichment");
        let mut book = Book::default();
        book.take(Some(b"enrichment"), Some(PAUSED.as_bytes())).unwrap();
        control.read(&book, 1);
        control.failed(&right_missing(), "t", Duration::ZERO);
        control.apply(now);
        assert!(status.is_pause_ordered());
    }

    #[test]
    fn only_normalization_says_that_a_tenant_is_paused_and_its_workers_know_it_before_they_take_input() {
        let now = micros("2026-10-01T00:00:20Z");
        let mut book = Book::default();
        book.take(Some(b"tenant:acme"), Some(PAUSED.as_bytes())).unwrap();
        for (stage, says) in [("normalization", true), ("enrichment", false)] {
            let (control, status) = followed(stage);
            let tenants = control.tenants();
            assert!(!tenants.holds("acme", now));
            control.read(&book, 1);
            assert!(status.is_pause_ordered() && tenants.holds("acme", now), "{stage}");
            control.apply(now);
            assert!(!status.is_pause_ordered());
            let problems = control.problems(now);
            assert_eq!(
                problems.iter().any(|problem| problem.contains("tenant acme is paused")),
                says,
                "{problems:?}"
            );
            assert_eq!(control.state.lock().tenants.contains("acme"), says);
            control.read(&Book::default(), 2);
            assert!(!tenants.holds("acme", now));
        }
    }
}
