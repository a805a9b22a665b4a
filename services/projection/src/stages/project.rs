//! The handler: passes ticks to lanes, and the lanes' work to the async runtime. The poll loop never waits for a store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use codec::{Record, Wire};
use delivery::{StartAt, Ticket};
use domain::{Classified, ErrorClass, Micros, RetryPolicy};
use stream::offload::Offload;
use stream::positions::check_range;
use stream::spans::HeldSpans;
use stream::status::wall_clock;
use stream::{FOREIGN_ORIGIN, Handler, Io, Message, Outcome, Partition, StreamError, WorkerConfig};
use tokio::runtime::Handle;

use super::active::{Active, State, still};
use super::mark;
use super::not_loaded::not_loaded;
use super::store_work::{LoadError, Loaded, Stores};
use super::written::count;
use crate::core::ages::Ages;
use crate::core::lane::Lane;
use crate::core::pending::earlier;
use crate::core::work::{Answers, Cadence, Committed, Next, Work};
use crate::freshness::{Freshness, WorkerState};
use crate::metrics::Meters;

/// Name for metrics and dead letters.
pub const NAME: &str = "project";
/// Codes of its dead letters.
pub const DEAD_LETTER_CODES: &[&str] = &[
    "truncated",
    "unknown_schema",
    "invalid_utf8",
    "invalid_value",
    FOREIGN_ORIGIN,
];

/// Interval of turns while a store's answer is due, and the shortest pause before other work.
const WAITING: Duration = Duration::from_millis(5);
const LOAD_RETRY: Micros = 1_000_000;

enum Done {
    Loaded(Partition, u64, Result<Loaded, LoadError>),
    Worked(Partition, u64, Box<Work>, Answers),
}

/// What a projector needs.
pub struct Parts {
    /// Decodes ticks.
    pub wire: Wire,
    /// Stores of the prices.
    pub stores: Stores,
    /// How often prices are written.
    pub cadence: Cadence,
    /// Raw topics, whose ids are checked.
    pub feeds: Vec<String>,
    /// Runtime of the I/O.
    pub runtime: Handle,
    /// Metrics.
    pub meters: Meters,
    /// State for gauges and `/stats`.
    pub freshness: Arc<Freshness>,
}

/// The worker's handler of latest prices.
pub struct Projector {
    parts: Parts,
    lanes: BTreeMap<Partition, Active>,
    offload: Offload<Done>,
    assignments: u64,
    /// Distinguishes this projector's marks in Redis from those of others.
    id: u64,
    /// Whether the last writes succeeded.
    writes_succeed: bool,
    counted_at: Micros,
}

impl Projector {
    /// A projector without partitions.
    pub fn new(parts: Parts) -> Projector {
        Projector {
            offload: Offload::new(parts.runtime.clone()),
            parts,
            lanes: BTreeMap::new(),
            assignments: 0,
            id: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id()),
            writes_succeed: true,
            counted_at: 0,
        }
    }

    fn load(&mut self, partition: &Partition, assignment: u64, config: &WorkerConfig, read: Arc<AtomicU64>) {
        let stores = self.parts.stores.clone();
        let (partition, feeds) = (partition.clone(), self.parts.feeds.clone());
        let (bootstrap, generation) = (config.bootstrap.clone(), config.generation.clone());
        self.offload.begin(async move {
            let result = stores.load(bootstrap, feeds, generation, &partition, &read).await;
            Done::Loaded(partition, assignment, result)
        });
    }

    fn begin_work(&mut self, io: &Io<'_>, drain: bool) {
        let (now, acked_through) = (io.now(), io.acked_through());
        let mut works = Vec::new();
        for (partition, active) in &mut self.lanes {
            let State::Serving(lane) = &mut active.state else {
                continue;
            };
            if active.dead_letter > acked_through {
                continue;
            }
            let Some(work) = lane.work(now, drain) else {
                continue;
            };
            let stores = self.parts.stores.clone();
            let (partition, assignment) = (partition.clone(), active.assignment);
            let mark = mark::of(self.id, assignment, lane.epoch());
            works.push(async move {
                let answers = stores.execute(&partition, &mark, work.clone()).await;
                Done::Worked(partition, assignment, Box::new(work), answers)
            });
        }
        self.offload.begin_together(works);
    }

    fn finish(&mut self, io: &mut Io<'_>, done: Done) -> Result<(), StreamError> {
        match done {
            Done::Loaded(partition, assignment, result) => self.loaded(io, &partition, assignment, result),
            Done::Worked(partition, assignment, work, answers) => {
                self.writes_succeed = count(&self.parts, &work, &answers, io.now());
                self.worked(io, &partition, assignment, answers)
            }
        }
    }

    fn loaded(
        &mut self,
        io: &mut Io<'_>,
        partition: &Partition,
        assignment: u64,
        result: Result<Loaded, LoadError>,
    ) -> Result<(), StreamError> {
        let Some(active) = still(&mut self.lanes, partition, assignment) else {
            return Ok(());
        };
        match result {
            Ok((position, book)) => {
                let start = position.as_ref().map_or(StartAt::Beginning, |loaded| {
                    StartAt::Offset(loaded.position.next_offset)
                });
                if let StartAt::Offset(offset) = start {
                    check_range(&io.config().reader(), partition, offset, io.log_range(partition)?)?;
                }
                tracing::info!(partition = %partition, position = ?start, prices = book.len(), "latest prices loaded");
                let seed = self.id ^ active.assignment;
                active.refused = None;
                active.state = State::Serving(Box::new(Lane::new(self.parts.cadence, seed, position, book)));
                io.start(partition, start);
            }
            Err(error) => {
                let was_let_in = self.parts.stores.was_let_in.load(Ordering::Relaxed);
                active.refused = not_loaded(io, partition, error, was_let_in)?;
                active.state = State::retry(io.now() + LOAD_RETRY);
            }
        }
        Ok(())
    }

    fn worked(
        &mut self,
        io: &mut Io<'_>,
        partition: &Partition,
        assignment: u64,
        answers: Answers,
    ) -> Result<(), StreamError> {
        let Some(active) = still(&mut self.lanes, partition, assignment) else {
            return Ok(());
        };
        let State::Serving(lane) = &mut active.state else {
            return Ok(());
        };
        let next = lane.finished(&answers, io.now());
        if answers.committed == Some(Committed::Yes) {
            active.conflict_waits.succeeded();
        }
        if answers.refused.is_some() {
            active.refused = answers.refused;
        } else if answers.committed == Some(Committed::Yes) || !lane.is_busy() {
            active.refused = None;
        }
        match next {
            Next::Continue => {}
            Next::Stored(next_offset) => {
                self.parts.freshness.stored(lane.stored_tick());
                io.finished(&mut active.spans, next_offset);
                io.commit(partition, next_offset);
            }
            Next::Reload => {
                active.spans.forget();
                self.parts.meters.conflicts.increment(1);
                let delay = active.conflict_waits.after_failure().as_micros() as Micros;
                let attempt = active.conflict_waits.failures();
                tracing::warn!(partition = %partition, attempt, delay_ms = delay / 1_000, "another owner has moved the position, or a rebuild has replaced the prices; both are read again");
                io.stop(partition)?;
                active.state = State::retry(io.now() + delay);
            }
        }
        Ok(())
    }

    fn serving(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter_map(|active| match &active.state {
            State::Serving(lane) => Some(lane.as_ref()),
            State::Loading { .. } => None,
        })
    }

    fn report(&self) {
        let oldest = self
            .serving()
            .fold(None, |oldest, lane| earlier(oldest, lane.oldest_pending()));
        let is_loading = |active: &Active| matches!(active.state, State::Loading { .. });
        let is_well = self.writes_succeed && !self.lanes.values().any(is_loading);
        self.parts.freshness.report(self.id, WorkerState { oldest, is_well });
    }

    fn count_ages(&mut self, now: Micros) {
        if now - self.counted_at >= Ages::COUNTED_EVERY {
            self.counted_at = now;
            let mut ages = Ages::default();
            self.serving().for_each(|lane| ages.add(&lane.ages(now)));
            self.parts.freshness.aged(self.id, ages);
        }
    }

    fn retry_loads(&mut self, io: &Io<'_>) {
        let now = io.now();
        let due: Vec<(Partition, u64, Arc<AtomicU64>)> = self
            .lanes
            .iter_mut()
            .filter_map(|(partition, active)| match &mut active.state {
                State::Loading { retry_at, read } if retry_at.is_some_and(|at| now >= at) => {
                    *retry_at = None;
                    Some((partition.clone(), active.assignment, Arc::clone(read)))
                }
                _ => None,
            })
            .collect();
        due.into_iter()
            .for_each(|(partition, assignment, read)| self.load(&partition, assignment, io.config(), read));
    }
}

impl Drop for Projector {
    fn drop(&mut self) {
        self.parts.freshness.forget(self.id);
    }
}

impl Handler for Projector {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for partition in partitions {
            self.assignments += 1;
            let read = Arc::<AtomicU64>::default();
            let active = Active {
                state: State::Loading {
                    retry_at: None,
                    read: Arc::clone(&read),
                },
                assignment: self.assignments,
                dead_letter: Ticket::default(),
                refused: None,
                conflict_waits: RetryPolicy::CONFLICT.waits(),
                spans: HeldSpans::default(),
            };
            self.lanes.insert(partition.clone(), active);
            self.load(partition, self.assignments, io.config(), read);
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let lane = self
            .lanes
            .iter_mut()
            .find(|(partition, _)| partition.number == message.partition && *partition.topic == *message.topic);
        let Some((
            _,
            Active {
                state: State::Serving(lane),
                dead_letter,
                spans,
                ..
            },
        )) = lane
        else {
            return Ok(Outcome::NotOurs);
        };
        let payload = message.payload.unwrap_or_default();
        let payload = self.parts.wire.current(Record::EnrichedTick, payload);
        match self.parts.wire.decode_enriched(&payload) {
            Ok(enriched) => {
                if let Some(reason) = io.origin_flaw(&enriched.tick.origin)? {
                    lane.skip(message.offset);
                    *dead_letter = io.refuse(message, NAME, FOREIGN_ORIGIN, &reason, "")?;
                    return Ok(Outcome::DeadLettered);
                }
                if lane.take_in(message.offset, &enriched) {
                    spans.hold(io.hold_span(message));
                    Ok(Outcome::Success)
                } else {
                    self.parts.meters.repetitions.increment(1);
                    Ok(Outcome::Duplicate)
                }
            }
            Err(error) if error.class() != ErrorClass::Poison => {
                let reason = format!("read an enriched tick: {error}");
                Err(StreamError::transient(error.code(), reason))
            }
            Err(error) => {
                lane.skip(message.offset);
                *dead_letter = io.refuse(message, NAME, error.code(), &error.to_string(), "")?;
                Ok(Outcome::DeadLettered)
            }
        }
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        while let Some(done) = self.offload.take() {
            self.finish(io, done)?;
        }
        self.retry_loads(io);
        self.begin_work(io, false);
        self.report();
        self.count_ages(io.now());
        Ok(())
    }

    fn patience(&self) -> Duration {
        let now = wall_clock();
        let wait = |active: &Active| match &active.state {
            State::Loading { .. } => WAITING,
            State::Serving(lane) => match lane.due() {
                Some(due) => Duration::from_micros(u64::try_from(due - now).unwrap_or(0)).max(WAITING),
                None if lane.is_busy() => WAITING,
                None => stream::IDLE_POLL_WAIT,
            },
        };
        let waits = self.lanes.values().map(wait);
        waits.fold(stream::IDLE_POLL_WAIT, Duration::min)
    }

    fn restoring(&self, partition: &Partition) -> Option<String> {
        match &self.lanes.get(partition)?.state {
            State::Loading { read, .. } => Some(format!("{} prices read", read.load(Ordering::Relaxed))),
            State::Serving(_) => None,
        }
    }

    fn refused(&self) -> BTreeMap<Partition, String> {
        let refused = |(partition, active): (&Partition, &Active)| Some((partition.clone(), active.refused.clone()?));
        self.lanes.iter().filter_map(refused).collect()
    }

    fn works_until_handover(&self) -> bool {
        true
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let is_busy = |lanes: &BTreeMap<Partition, Active>| {
            partitions.iter().any(|partition| {
                matches!(lanes.get(partition), Some(Active { state: State::Serving(lane), .. }) if lane.is_busy() && !lane.is_unanswered())
            })
        };
        while is_busy(&self.lanes) && Instant::now() < io.drain_deadline() {
            io.poll_acks(Duration::ZERO)?;
            self.begin_work(io, true);
            if let Some(done) = self.offload.wait(Duration::from_millis(20)) {
                self.finish(io, done)?;
            }
        }
        self.lanes.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }
}
