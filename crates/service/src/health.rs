//! Health from real checks: what is asked of each dependency, how often, and what the answers add up to.
//!
//! Role: [`Health`] holds the newest outcome of every check; background tasks refresh them, so that `/health` answers from
//! memory at once. The check of a dependency is the probe of its circuit breaker. Workers report their own progress (`stream::WorkerStatus`), which is read when somebody asks.
//! Levels: a failing critical check makes `unhealthy` (503), any other failing check `degraded` (200).
//! Live means that worker threads go round; ready means that critical dependencies answer, the workers are members of
//! their groups, and their partitions' state is restored. At shutdown readiness goes first.

mod of_workers;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use stream::status::Progress;
use stream::{Shutdown, WorkerState, WorkerStatus};

use crate::breaker::{Breaker, BreakerState};
use crate::life::Tasks;
use crate::metrics;
use of_workers::{partitions_record, state_record, workers_record};

/// Name of the check of restored state.
const STATE: &str = "state";
/// Worker threads that have made no progress for this long are taken for stuck.
const STUCK_AFTER: Duration = Duration::from_secs(90);
/// With the time-out of a check: a dependency that goes away or comes back is seen within five seconds.
const INTERVAL: Duration = Duration::from_secs(2);
const INTERVAL_WHILE_FAILING: Duration = Duration::from_millis(500);
const CHECK_TIMEOUT: Duration = Duration::from_millis(2_500);

/// What all checks add up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Level {
    Healthy,
    Degraded,
    Unhealthy,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Outcome {
    Pass,
    Fail,
    Timeout,
}

impl Outcome {
    /// `pass`, `fail`, `timeout`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Timeout => "timeout",
        }
    }
}

/// The newest result of a check, as `/health` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct CheckRecord {
    pub status: Outcome,
    pub critical: bool,
    pub duration_ms: u64,
    /// What was asked, without secrets.
    pub target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Messages that the groups of this service have not committed, by group, as far as the broker has told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lag: BTreeMap<String, i64>,
    /// RFC 3339; `null` before the first run.
    pub last_check: Option<String>,
}

/// The level of a set of results.
pub fn level_of<'a>(records: impl IntoIterator<Item = &'a CheckRecord>) -> Level {
    records
        .into_iter()
        .map(|record| match (record.status, record.critical) {
            (Outcome::Pass, _) => Level::Healthy,
            (_, false) => Level::Degraded,
            (_, true) => Level::Unhealthy,
        })
        .max()
        .unwrap_or(Level::Healthy)
}

/// What a check has found wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// It refuses, or nobody is there.
    Failed(String),
    /// It is there, but does not answer in time.
    Silent(String),
}

impl From<String> for Wrong {
    fn from(reason: String) -> Wrong {
        Wrong::Failed(reason)
    }
}

/// The answer of a check: nothing, or what is wrong.
pub type Answer = Pin<Box<dyn Future<Output = Result<(), Wrong>> + Send>>;

/// A check to be run in the background.
pub struct Check {
    /// Key in the body: `kafka`, `clickhouse`, `postgres`, `redis`, or the service's own.
    pub name: &'static str,
    /// Whether the service cannot do its work without it.
    pub critical: bool,
    /// What is asked, without secrets.
    pub target: String,
    /// Asks once.
    pub ask: Box<dyn Fn() -> Answer + Send + Sync>,
    /// What the answers open and close.
    pub breaker: Option<Arc<Breaker>>,
}

/// The state of health of the process. Shared by HTTP, metrics and the life cycle.
pub struct Health {
    shutdown: Shutdown,
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
    breakers: Vec<Arc<Breaker>>,
    lag: BTreeMap<String, i64>,
}

/// Sets gauges of a service from what is known of its health.
type Gauges = Box<dyn Fn(&Report) + Send + Sync>;

/// What `/health` and the metrics show.
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
        Arc::new(Health {
            shutdown,
            inner: Mutex::default(),
            gauges: Mutex::default(),
        })
    }

    /// Runs the check in the background until shutdown, beginning now.
    pub fn watch(self: &Arc<Health>, tasks: &Tasks, check: Check) {
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
                tokio::time::sleep(if settled { INTERVAL } else { INTERVAL_WHILE_FAILING }).await;
            }
        });
    }

    /// A worker whose state counts; `critical` where the service is useless without it.
    pub fn add_worker(&self, status: Arc<WorkerStatus>, critical: bool) {
        self.lock().workers.push((status, critical));
    }

    /// The workers, for `/stats`, `/info` and metrics.
    pub fn workers(&self) -> Vec<Arc<WorkerStatus>> {
        self.lock()
            .workers
            .iter()
            .map(|(status, _)| Arc::clone(status))
            .collect()
    }

    /// What the groups of the service have not committed, by group; empty where it is not known.
    pub(crate) fn set_lag(&self, lag: BTreeMap<String, i64>) {
        self.lock().lag = lag;
    }

    /// Sets these gauges before every scrape.
    pub fn add_gauges(&self, gauges: impl Fn(&Report) + Send + Sync + 'static) {
        let mut all = self.gauges.lock();
        all.push(Box::new(gauges));
    }

    /// Sets the gauges of the service.
    pub(crate) fn refresh(&self, report: &Report) {
        let gauges = self.gauges.lock();
        gauges.iter().for_each(|set| set(report));
    }

    /// What the workers of the stage itself have done, its ClickHouse writer left out.
    pub fn stage_progress(&self) -> Vec<Progress> {
        let inner = self.lock();
        let of_stage = inner.workers.iter().filter(|(_, critical)| *critical);
        of_stage.map(|(status, _)| status.progress()).collect()
    }

    /// The breakers, for metrics.
    pub fn breakers(&self) -> Vec<Arc<Breaker>> {
        self.lock().breakers.clone()
    }

    /// All that is known now. Takes no time: nothing is asked of anybody.
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

    /// Whether every worker thread goes round. A dependency that is down does not make a process dead.
    pub fn is_live(&self) -> Result<(), String> {
        for (status, _) in &self.lock().workers {
            if status.state() == WorkerState::Running && status.since_last_turn() > STUCK_AFTER {
                let seconds = status.since_last_turn().as_secs();
                return Err(format!("worker {} has made no progress for {seconds} s", status.name()));
            }
        }
        Ok(())
    }

    /// Whether work should be sent here: critical checks pass, workers are members of their groups with their state
    /// restored, no shutdown.
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
        Ok(Err(Wrong::Failed(error))) => (Outcome::Fail, Some(error)),
        Ok(Err(Wrong::Silent(error))) => (Outcome::Timeout, Some(error)),
        Err(_) => (
            Outcome::Timeout,
            Some(format!("no answer within {} ms", CHECK_TIMEOUT.as_millis())),
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
