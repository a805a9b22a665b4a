//! Circuit breaker: stops requests to a failing dependency until it responds again.
//!
//! ```text
//!            failures in a row, or a failed probe
//!   closed ────────────────────────────────────────▶ open ◀───────────┐
//!     ▲                                               │                │ a failure
//!     │ successes in a row                            ▼                │
//!     └────────────────────────────────────────── half-open ──────────┘
//! ```
//! Role: a pure state machine that gets the time as an argument; [`Breaker`] wraps it for several threads. The health check
//! of the dependency is its probe: a failed probe opens the breaker, and passed probes close it without any user request.
//! If the dependency answers probes but not requests, the breaker stays open for a time that doubles each time it opens
//! again without having closed, up to a maximum.
//! Invariant: only failures of the dependency itself count, never its rejection of a bad request ([`Breaker::call`]).

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use stores::StoreError;

use crate::metrics;
use crate::settings::BreakerSettings;

/// State, with the numbers that dashboards use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BreakerState {
    Closed = 0,
    Open = 1,
    HalfOpen = 2,
}

impl BreakerState {
    /// `closed`, `open`, `half_open`.
    pub fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// The breaker of one dependency.
#[derive(Debug)]
pub struct Breaker {
    dependency: &'static str,
    machine: Mutex<Machine>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(dependency: &'static str, settings: BreakerSettings) -> Breaker {
        Breaker {
            dependency,
            machine: Mutex::new(Machine::new(settings)),
        }
    }

    /// Name of the dependency.
    pub fn dependency(&self) -> &'static str {
        self.dependency
    }

    /// Whether a request may be sent now. Half-open allows one at a time.
    pub fn allows(&self, now: Instant) -> bool {
        self.update(|machine| machine.allows(now))
    }

    /// A request succeeded.
    pub fn succeeded(&self) {
        self.update(Machine::succeeded);
    }

    /// A request failed.
    pub fn failed(&self, now: Instant) {
        self.update(|machine| machine.failed(now));
    }

    /// Records the result of a health check.
    pub fn probed(&self, answered: bool, now: Instant) {
        self.update(|machine| machine.probed(answered, now));
    }

    /// Calls a store, unless the breaker is open, and records the outcome.
    ///
    /// # Errors
    /// [`Denied::Open`] at once if the breaker is open, else the error of the call.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, Denied> {
        if !self.allows(Instant::now()) {
            return Err(Denied::Open(self.dependency));
        }
        let result = call.await;
        match &result {
            Err(error) if error.is_outage() => {
                stream::metrics::error(domain::Classified::code(error), self.dependency);
                self.failed(Instant::now());
            }
            // Any other error still shows that it is up.
            _ => self.succeeded(),
        }
        result.map_err(Denied::Failed)
    }

    /// The current state.
    pub fn state(&self) -> BreakerState {
        self.lock().state
    }

    fn update<T>(&self, change: impl FnOnce(&mut Machine) -> T) -> T {
        let mut machine = self.lock();
        let before = machine.state;
        let result = change(&mut machine);
        let after = machine.state;
        drop(machine);
        if before != after {
            let dependency = self.dependency;
            metrics::breaker_changed(dependency, before.name(), after.name());
            tracing::warn!(
                event = "circuit_breaker",
                dependency,
                from = before.name(),
                to = after.name(),
                "circuit breaker changed"
            );
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock()
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The breaker is open: no request was sent.
    #[error("{0} is unavailable: its circuit breaker is open; the health check retries it in the background")]
    Open(&'static str),
    /// The request failed.
    #[error(transparent)]
    Failed(#[from] StoreError),
}

impl Denied {
    /// Whether this error means that the dependency is unavailable.
    pub fn is_outage(&self) -> bool {
        match self {
            Denied::Open(_) => true,
            Denied::Failed(error) => error.is_outage(),
        }
    }
}

#[derive(Debug)]
struct Machine {
    settings: BreakerSettings,
    state: BreakerState,
    failures: u32,
    successes: u32,
    open_for: Duration,
    opened_at: Option<Instant>,
    probing: bool,
    /// The last probe failed: requests are denied until a probe passes.
    probe_failed: bool,
}

impl Machine {
    fn new(settings: BreakerSettings) -> Machine {
        Machine {
            settings,
            state: BreakerState::Closed,
            failures: 0,
            successes: 0,
            open_for: settings.base_timeout,
            opened_at: None,
            probing: false,
            probe_failed: false,
        }
    }

    fn probed(&mut self, answered: bool, now: Instant) {
        let had_failed = std::mem::replace(&mut self.probe_failed, !answered);
        match (self.state, answered) {
            (BreakerState::Closed, true) => {}
            (BreakerState::Closed | BreakerState::HalfOpen, false) => self.open(now),
            (BreakerState::Open, false) => {}
            (BreakerState::HalfOpen, true) => self.succeeded(),
            (BreakerState::Open, true) if had_failed || self.has_waited(now) => {
                self.half_open();
                self.succeeded();
            }
            (BreakerState::Open, true) => {}
        }
    }

    fn allows(&mut self, now: Instant) -> bool {
        match self.state {
            BreakerState::Closed => true,
            BreakerState::Open if !self.probe_failed && self.has_waited(now) => {
                self.half_open();
                self.probing = true;
                true
            }
            BreakerState::Open => false,
            BreakerState::HalfOpen => !std::mem::replace(&mut self.probing, true),
        }
    }

    fn succeeded(&mut self) {
        self.failures = 0;
        self.probing = false;
        if self.state == BreakerState::HalfOpen {
            self.successes += 1;
            if self.successes >= self.settings.success_threshold {
                self.state = BreakerState::Closed;
                self.open_for = self.settings.base_timeout;
            }
        }
    }

    fn failed(&mut self, now: Instant) {
        self.probing = false;
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures >= self.settings.failure_threshold => self.open(now),
            BreakerState::HalfOpen => {
                self.open_for = (self.open_for * 2).min(self.settings.max_timeout);
                self.open(now);
            }
            _ => {}
        }
    }

    fn has_waited(&self, now: Instant) -> bool {
        self.opened_at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.open_for)
    }

    fn half_open(&mut self) {
        self.state = BreakerState::HalfOpen;
        self.successes = 0;
        self.probing = false;
    }

    fn open(&mut self, now: Instant) {
        self.state = BreakerState::Open;
        self.opened_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: BreakerSettings = BreakerSettings {
        failure_threshold: 3,
        success_threshold: 2,
        base_timeout: Duration::from_secs(30),
        max_timeout: Duration::from_secs(100),
    };

    fn opened(start: Instant) -> Breaker {
        let breaker = Breaker::new("redis", SETTINGS);
        (0..3).for_each(|_| breaker.failed(start));
        breaker
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (breaker, now) = (Breaker::new("redis", SETTINGS), Instant::now());
        for _ in 0..5 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(opened(now).state(), BreakerState::Open);
        assert!(!opened(now).allows(now));
    }

    #[test]
    fn half_open_lets_one_request_through_at_a_time_and_closes_after_successes() {
        let now = Instant::now();
        let (breaker, later) = (opened(now), now + Duration::from_secs(30));
        assert!(breaker.allows(later));
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.allows(later));
        breaker.succeeded();
        assert!(breaker.allows(later));
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_opens_and_closes_it_without_any_request() {
        let (breaker, now) = (Breaker::new("postgres", SETTINGS), Instant::now());
        breaker.probed(false, now);
        assert_eq!(breaker.state(), BreakerState::Open);
        let long_after = now + Duration::from_secs(1_000);
        assert!(
            !breaker.allows(long_after),
            "no request is spent on a dependency that is down"
        );
        breaker.probed(true, now);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        breaker.probed(true, now);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn opened_by_requests_it_stays_open_for_its_time_and_then_passed_probes_close_it() {
        let now = Instant::now();
        let breaker = opened(now);
        breaker.probed(true, now);
        assert_eq!(breaker.state(), BreakerState::Open);
        let later = now + Duration::from_secs(30);
        breaker.probed(true, later);
        breaker.probed(true, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn each_failed_probe_doubles_the_open_time_up_to_the_maximum() {
        let mut now = Instant::now();
        let breaker = opened(now);
        for seconds in [30, 60, 100, 100] {
            assert!(!breaker.allows(now + Duration::from_secs(seconds - 1)), "{seconds}");
            now += Duration::from_secs(seconds);
            assert!(breaker.allows(now), "{seconds}");
            breaker.failed(now);
            assert_eq!(breaker.state(), BreakerState::Open);
        }
    }
}
