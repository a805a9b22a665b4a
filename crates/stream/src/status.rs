//! The state of a worker for the rest of the process, and the request to stop it: shared data, no callbacks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::Micros;
use parking_lot::Mutex;

use crate::recent::Recent;
use crate::{OutcomeCounts, Partition};

/// Requests that workers drain and end. Cheap to clone; a request cannot be withdrawn.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// Requests the shutdown.
    pub fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether shutdown is requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a worker is doing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerState {
    /// Not yet a member of its group.
    Joining,
    /// Member of the group.
    Running,
    /// Waiting before it rebuilds after this error.
    BackingOff(String),
    /// Ended by this fatal error.
    Failed(String),
    /// Drained and ended.
    Stopped,
}

/// Shared view of one worker: written by its thread, read by health checks, `/stats` and metrics.
#[derive(Debug)]
pub struct WorkerStatus {
    name: String,
    last_turn: AtomicI64,
    rebuilds: AtomicU64,
    has_worked: AtomicBool,
    /// The only order that goes to the worker: to take no messages.
    pause_ordered: AtomicBool,
    progress: Mutex<Progress>,
    inner: Mutex<Inner>,
}

/// What a worker has done since the process started.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Messages by outcome.
    pub messages: OutcomeCounts,
    /// Time spent handling batches.
    pub busy: Duration,
    /// End of the last batch.
    pub last: Option<Micros>,
    recent: Recent,
}

impl Progress {
    /// Messages by outcome, of the last [`Recent::SECONDS`] seconds.
    pub fn recent(&self, now: Micros) -> OutcomeCounts {
        self.recent.counts(now.div_euclid(1_000_000))
    }
}

#[derive(Debug)]
struct Inner {
    state: WorkerState,
    assigned: Vec<Partition>,
    lag: BTreeMap<Partition, i64>,
    blocked: BTreeMap<Partition, String>,
    restoring: BTreeMap<Partition, String>,
    refused: BTreeMap<Partition, String>,
    paused: Option<u64>,
}

impl WorkerStatus {
    /// A worker that has not begun.
    pub fn new(name: impl Into<String>) -> Arc<WorkerStatus> {
        Arc::new(WorkerStatus {
            name: name.into(),
            last_turn: AtomicI64::new(wall_clock()),
            rebuilds: AtomicU64::new(0),
            has_worked: AtomicBool::new(false),
            pause_ordered: AtomicBool::new(false),
            progress: Mutex::default(),
            inner: Mutex::new(Inner {
                state: WorkerState::Joining,
                assigned: Vec::new(),
                lag: BTreeMap::new(),
                blocked: BTreeMap::new(),
                restoring: BTreeMap::new(),
                refused: BTreeMap::new(),
                paused: None,
            }),
        })
    }

    /// Its name, unique in the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Time since the last turn of its loop: liveness is measured by progress.
    pub fn since_last_turn(&self) -> Duration {
        Duration::from_micros(
            (wall_clock() - self.last_turn.load(Ordering::Relaxed))
                .max(0)
                .unsigned_abs(),
        )
    }

    /// Messages handled since the start of the process.
    pub fn messages(&self) -> u64 {
        let progress = self.progress.lock();
        progress.messages.total()
    }

    /// What it has done since the start of the process.
    pub fn progress(&self) -> Progress {
        self.progress.lock().clone()
    }

    /// How often it was rebuilt after a transient error.
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// What it is doing now.
    pub fn state(&self) -> WorkerState {
        self.lock().state.clone()
    }

    /// Partitions that it owns.
    pub fn assigned(&self) -> Vec<Partition> {
        self.lock().assigned.clone()
    }

    /// Messages between its position and the end of the log, by partition.
    pub fn lag(&self) -> BTreeMap<Partition, i64> {
        self.lock().lag.clone()
    }

    /// Blocked partitions, each with an explanation for operators.
    pub fn blocked(&self) -> BTreeMap<Partition, String> {
        self.lock().blocked.clone()
    }

    /// Partitions whose state is not restored yet, each with its progress.
    pub fn restoring(&self) -> BTreeMap<Partition, String> {
        self.lock().restoring.clone()
    }

    /// Partitions whose writes a store refuses until an operator corrects something, or takes long to confirm, each with what that is.
    pub fn refused(&self) -> BTreeMap<Partition, String> {
        self.lock().refused.clone()
    }

    /// Orders it to take no messages, or to take them again. It obeys before it polls the next message.
    pub fn order_pause(&self, is_paused: bool) {
        self.pause_ordered.store(is_paused, Ordering::Release);
    }

    /// Whether it has the order to take no messages.
    pub fn is_pause_ordered(&self) -> bool {
        self.pause_ordered.load(Ordering::Acquire)
    }

    /// While it takes no messages as ordered: how many it has taken before and not finished yet.
    pub fn paused(&self) -> Option<u64> {
        self.lock().paused
    }

    /// Whether it has confirmed a position, so that it had every right that it needs.
    pub(crate) fn has_worked(&self) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }

    pub(crate) fn worked(&self, has_confirmed: bool) {
        self.has_worked.fetch_or(has_confirmed, Ordering::Relaxed);
    }

    pub(crate) fn turned(&self, counts: &OutcomeCounts, took: Duration) {
        let now = wall_clock();
        self.last_turn.store(now, Ordering::Relaxed);
        if counts.total() > 0 {
            let mut progress = self.progress.lock();
            progress.messages.merge(counts);
            progress.busy += took;
            progress.last = Some(now);
            progress.recent.add(now.div_euclid(1_000_000), counts);
        }
    }

    pub(crate) fn rebuilt(&self) {
        self.rebuilds.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_state(&self, state: WorkerState) {
        self.lock().state = state;
    }

    pub(crate) fn set_assigned(&self, assigned: Vec<Partition>) {
        let mut inner = self.lock();
        inner.lag.retain(|partition, _| assigned.contains(partition));
        inner.blocked.retain(|partition, _| assigned.contains(partition));
        inner.restoring.retain(|partition, _| assigned.contains(partition));
        inner.refused.retain(|partition, _| assigned.contains(partition));
        inner.assigned = assigned;
    }

    pub(crate) fn set_lag(&self, partition: Partition, lag: i64) {
        self.lock().lag.insert(partition, lag);
    }

    pub(crate) fn set_restoring(&self, restoring: BTreeMap<Partition, String>) {
        self.lock().restoring = restoring;
    }

    pub(crate) fn set_refused(&self, refused: BTreeMap<Partition, String>) {
        self.lock().refused = refused;
    }

    pub(crate) fn set_paused(&self, in_flight: Option<u64>) {
        self.lock().paused = in_flight;
    }

    pub(crate) fn set_blocked(&self, partition: Partition, explained: Option<String>) {
        let mut inner = self.lock();
        match explained {
            Some(explained) => inner.blocked.insert(partition, explained),
            None => inner.blocked.remove(&partition),
        };
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

/// The wall clock in microseconds.
pub fn wall_clock() -> Micros {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}
