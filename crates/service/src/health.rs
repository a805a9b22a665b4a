//! Health from real checks: what is checked, how often, and how the results are combined.
//!
//! Role: [`Health`] stores the newest result of every check. Background tasks refresh them, so that `/health` answers from
//! memory. The check of a dependency is the probe of its circuit breaker. Workers report their own progress
//! (`stream::WorkerStatus`), which is read on each request.
//! Levels: a failing critical check results in `unhealthy` (503), any other failing check in `degraded` (200).
//! Live means that the worker threads make progress. Ready means that critical dependencies respond, the workers are members
//! of their groups, and their partitions' state is restored. At shutdown the service first becomes not ready.

mod of_workers;
mod record;
mod stalled;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use stream::kafka::groups::PartitionLag;
use stream::status::{Progress, wall_clock};
use stream::{Shutdown, WorkerState, WorkerStatus};

use crate::breaker::{Breaker, BreakerState};
use crate::control::Control;
use crate::life::Tasks;
use crate::metrics;
use of_workers::{
    consumers_record, dead_letters_record, partitions_record, paused_record, repetitions_record, state_record,
    workers_record,
};
pub use record::{CheckRecord, Level, Outcome, level_of};
use stalled::{Stalls, seen};

/// Name of the check for restored state.
const STATE: &str = "state";
/// A worker thread without progress for this long counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(90);
/// With the time-out of a check: a dependency that fails is detected within seven seconds; one that recovers, within three. Every check
/// costs both sides wake-ups, and an idle stack little else.
const INTERVAL: Duration = Duration::from_secs(4);
const INTERVAL_WHILE_FAILING: Duration = Duration::from_millis(500);
const CHECK_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Why a check failed, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The dependency returned an error or is unreachable.
    Failed(String),
    /// The dependency responds, and refuses this client until an operator changes a login, a right or how it encrypts.
    Refused(String),
    /// The dependency is reachable, but does not respond in time.
    Silent(String),
}

impl From<String> for Wrong {
    fn from(reason: String) -> Wrong {
        Wrong::Failed(reason)
    }
}

/// The result of a check.
pub type Answer = Pin<Box<dyn Future<Output = Result<(), Wrong>> + Send>>;

/// A check that runs in the background.
pub struct Check {
    /// Key in the body: `kafka`, `clickhouse`, `postgres`, `redis`, or the service's own.
    pub name: &'static str,
    /// Whether the service needs it to work.
    pub critical: bool,
    /// The checked address, without secrets.
    pub target: String,
    /// Runs the check once.
    pub ask: Box<dyn Fn() -> Answer + Send + Sync>,
    /// The breaker that the results open and close.
    pub breaker: Option<Arc<Breaker>>,
}

/// The health of the process. Shared by HTTP, metrics and the life cycle.
pub struct Health {
    shutdown: Shutdown,
    control: Arc<Control>,
    inner: Mutex<Inner>,
    gauges: Mutex<Vec<Gauges>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    checks: BTreeMap<&'static str, CheckRecord>,
    workers: Vec<(Arc<WorkerStatus>, bool)>,
    /// The consumer group of each worker, by its name.
    groups: BTreeMap<String, String>,
    breakers: Vec<Arc<Breaker>>,
    lag: BTreeMap<String, i64>,
    stalls: Stalls,
    /// Groups of the service that fall behind, or that nobody reads, each with an explanation.
    backlogs: Vec<String>,
}

/// Sets gauges of a service from a health report.
type Gauges = Box<dyn Fn(&Report) + Send + Sync>;

/// The content of `/health` and of the health metrics.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Report {
    pub level: Level,
    pub checks: BTreeMap<&'static str, CheckRecord>,
    /// The worst of all breakers.
    pub breaker: BreakerState,
    pub breakers: BTreeMap<&'static str, BreakerState>,
}

impl Health {
    /// No checks yet.
    pub fn new(shutdown: Shutdown) -> Arc<Health> {
        Health::with_orders(shutdown, Arc::default())
    }

    /// No checks yet; the orders to the workers are these.
    pub(crate) fn with_orders(shutdown: Shutdown, control: Arc<Control>) -> Arc<Health> {
        Arc::new(Health {
            shutdown,
            control,
            inner: Mutex::default(),
            gauges: Mutex::default(),
        })
    }

    /// Whether the service stops.
    pub(crate) fn is_ending(&self) -> bool {
        self.shutdown.is_requested()
    }

    /// Runs the check in the background until shutdown, starting now.
    pub fn watch(self: &Arc<Health>, tasks: &Tasks, check: Check) {
        self.watch_at(tasks, check, INTERVAL, INTERVAL_WHILE_FAILING);
    }

    /// The same at another interval, for what changes slowly.
    pub(crate) fn watch_slowly(self: &Arc<Health>, tasks: &Tasks, check: Check, every: Duration) {
        self.watch_at(tasks, check, every, every);
    }

    fn watch_at(self: &Arc<Health>, tasks: &Tasks, check: Check, settled_every: Duration, failing_every: Duration) {
        let pending = CheckRecord {
            status: Outcome::Fail,
            critical: check.critical,
            duration_ms: 0,
            target: check.target.clone(),
            error: Some("not checked yet".to_owned()),
            lag: BTreeMap::new(),
            last_check: None,
        };
        {
            let mut inner = self.lock();
            inner.checks.insert(check.name, pending);
            inner.breakers.extend(check.breaker.clone());
        }
        if let Some(breaker) = &check.breaker {
            metrics::breaker_exists(breaker.dependency());
        }
        metrics::error_exists(Outcome::Fail.name(), check.name);
        metrics::error_exists(Outcome::Timeout.name(), check.name);
        let health = Arc::clone(self);
        tasks.spawn(check.name, async move {
            while !health.shutdown.is_requested() {
                let record = run(&check).await;
                let mut settled = record.status == Outcome::Pass;
                if let Some(breaker) = &check.breaker {
                    breaker.probed(settled, Instant::now());
                    settled &= breaker.state() != BreakerState::HalfOpen;
                }
                health.store(check.name, record);
                tokio::time::sleep(if settled { settled_every } else { failing_every }).await;
            }
        });
    }

    /// Adds a worker to the checks; `critical` if the service is unhealthy without it.
    pub fn add_worker(&self, status: Arc<WorkerStatus>, critical: bool) {
        self.lock().workers.push((status, critical));
    }

    /// Names the consumer group of a worker.
    pub(crate) fn join(&self, worker: &str, group: &str) {
        self.lock().groups.insert(worker.to_owned(), group.to_owned());
    }

    /// Whether a worker of this process is configured to read for this group.
    pub(crate) fn runs(&self, group: &str) -> bool {
        self.lock().groups.values().any(|known| known == group)
    }

    /// The workers, for `/stats`, `/info` and metrics.
    pub fn workers(&self) -> Vec<Arc<WorkerStatus>> {
        self.lock()
            .workers
            .iter()
            .map(|(status, _)| Arc::clone(status))
            .collect()
    }

    /// Uncommitted messages by group and partition; empty while unknown. Those of groups without a worker here are no matter of this process.
    pub(crate) fn set_lag(&self, lags: &[(String, PartitionLag)]) {
        let mut inner = self.lock();
        let is_own = |(group, _): &&(String, PartitionLag)| inner.groups.values().any(|known| known == group);
        let mut lag = BTreeMap::new();
        for (group, of_partition) in lags.iter().filter(is_own) {
            *lag.entry(group.clone()).or_default() += of_partition.lag();
        }
        inner.lag = lag;
        if !lags.is_empty() {
            let seen = seen(lags, &inner.workers, &inner.groups);
            inner.stalls.observe(&seen, Instant::now());
        }
    }

    /// The groups of the service that fall behind, or that nobody reads, each with an explanation.
    pub(crate) fn set_backlogs(&self, problems: Vec<String>) {
        self.lock().backlogs = problems;
    }

    /// Whether a worker of this process reads a partition as this group.
    pub(crate) fn reads(&self, group: &str) -> bool {
        let inner = self.lock();
        let is_of = |status: &WorkerStatus| inner.groups.get(status.name()).is_some_and(|of| of == group);
        inner
            .workers
            .iter()
            .any(|(status, _)| is_of(status) && !status.assigned().is_empty())
    }

    /// Registers a function that sets gauges before every scrape.
    pub fn add_gauges(&self, gauges: impl Fn(&Report) + Send + Sync + 'static) {
        let mut all = self.gauges.lock();
        all.push(Box::new(gauges));
    }

    /// Sets the registered gauges.
    pub(crate) fn refresh(&self, report: &Report) {
        let gauges = self.gauges.lock();
        gauges.iter().for_each(|set| set(report));
    }

    /// The progress of the stage's own workers, without its ClickHouse writer.
    pub fn stage_progress(&self) -> Vec<Progress> {
        let inner = self.lock();
        let of_stage = inner.workers.iter().filter(|(_, critical)| *critical);
        of_stage.map(|(status, _)| status.progress()).collect()
    }

    /// The breakers, for metrics.
    pub fn breakers(&self) -> Vec<Arc<Breaker>> {
        self.lock().breakers.clone()
    }

    /// The current report, from memory.
    pub fn report(&self) -> Report {
        let inner = self.lock();
        let mut checks = inner.checks.clone();
        for critical in [true, false] {
            if inner.workers.iter().any(|(_, is_critical)| *is_critical == critical) {
                let name = if critical { "workers" } else { "writers" };
                checks.insert(name, workers_record(&inner.workers, critical));
            }
        }
        if !inner.workers.is_empty() {
            checks.insert("partitions", partitions_record(&inner.workers, &inner.lag));
            checks.insert(STATE, state_record(&inner.workers));
            let recent = of_workers::recent(&inner.workers, wall_clock());
            checks.insert("dead_letters", dead_letters_record(&recent));
            checks.insert("repetitions", repetitions_record(&recent));
            let stalled = inner.stalls.problems(Instant::now());
            checks.insert("paused", paused_record(self.control.problems(wall_clock())));
            checks.insert("consumers", consumers_record(stalled, &inner.backlogs));
        }
        let worst = |state: &BreakerState| match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        let breakers: BTreeMap<&'static str, BreakerState> = inner
            .breakers
            .iter()
            .map(|breaker| (breaker.dependency(), breaker.state()))
            .collect();
        let breaker = breakers.values().copied().max_by_key(worst);
        Report {
            level: level_of(checks.values()),
            checks,
            breaker: breaker.unwrap_or(BreakerState::Closed),
            breakers,
        }
    }

    /// Whether every worker thread makes progress. A failed dependency does not affect liveness.
    pub fn is_live(&self) -> Result<(), String> {
        for (status, _) in &self.lock().workers {
            if status.state() == WorkerState::Running && status.since_last_turn() > STUCK_AFTER {
                let seconds = status.since_last_turn().as_secs();
                return Err(format!("worker {} has made no progress for {seconds} s", status.name()));
            }
        }
        Ok(())
    }

    /// Whether the service can accept work: critical checks pass, workers are members of their groups with restored state, and
    /// no shutdown was requested.
    pub fn is_ready(&self) -> Result<(), String> {
        if self.shutdown.is_requested() {
            return Err("shutting down".to_owned());
        }
        let report = self.report();
        let failing = report
            .checks
            .iter()
            .find(|(name, record)| (record.critical || **name == STATE) && record.status != Outcome::Pass);
        match failing {
            Some((name, record)) => Err(format!("{name}: {}", record.error.as_deref().unwrap_or("failing"))),
            None => Ok(()),
        }
    }

    fn store(&self, name: &'static str, record: CheckRecord) {
        let before = self.lock().checks.insert(name, record.clone());
        if record.status != Outcome::Pass {
            stream::metrics::error(record.status.name(), name);
        }
        let changed = before.is_none_or(|before| before.status != record.status);
        match (&record.error, changed) {
            (Some(error), true) => {
                tracing::warn!(
                    event = "health",
                    check = name,
                    target_address = record.target,
                    error,
                    "dependency check fails"
                );
            }
            (None, true) => tracing::info!(
                event = "health",
                check = name,
                target_address = record.target,
                "dependency check passes"
            ),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

async fn run(check: &Check) -> CheckRecord {
    let started = Instant::now();
    let (status, error) = match tokio::time::timeout(CHECK_TIMEOUT, (check.ask)()).await {
        Ok(Ok(())) => (Outcome::Pass, None),
        Ok(Err(Wrong::Failed(error) | Wrong::Refused(error))) => (Outcome::Fail, Some(error)),
        Ok(Err(Wrong::Silent(error))) => (Outcome::Timeout, Some(error)),
        Err(_) => (
            Outcome::Timeout,
            Some(format!("no response within {} ms", CHECK_TIMEOUT.as_millis())),
        ),
    };
    CheckRecord {
        status,
        critical: check.critical,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        target: check.target.clone(),
        error,
        lag: BTreeMap::new(),
        last_check: Some(format!("{:.3}", jiff::Timestamp::now())),
    }
}

#[cfg(test)]
mod tests;
