//! The stage that serves the newest curve snapshots and derived prices: passes records to lanes, and the lanes' work to the async runtime.
//!
//! Role: one worker and one group of its own over both topics, since either is nearly idle; the poll loop never waits for a store.
//! Invariant: the position of a partition is in Postgres, next to its rows ([`crate::core::served_lane`]).
//! Failure: while Postgres does not answer, its partitions are loaded again and again, and nothing is read. While Redis does not answer,
//! rows go to Postgres, and Redis is filled from there. A record that cannot be read or stored is a dead letter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use codec::Wire;
use delivery::StartAt;
use domain::Micros;
use stores::Projection;
use stream::offload::Offload;
use stream::positions::check_range;
use stream::status::wall_clock;
use stream::{Handler, Io, Message, Outcome, Partition, StreamError};
use tokio::runtime::Handle;

use super::not_loaded::not_loaded;
use super::served_active::{Active, State};
use super::served_record::{Record, Unread, read};
use super::served_work::{ServedStores, WasLoaded};
use super::store_work::LoadError;
use crate::core::pending::earlier;
use crate::core::served_lane::{ServedAnswers, ServedLane, ServedWork};
use crate::core::work::{Committed, Next};
use crate::freshness::{Freshness, WorkerState};
use crate::metrics::ServedMeters;

/// Name for metrics and dead letters.
pub const NAME: &str = "serve";
/// Codes of its dead letters.
pub const DEAD_LETTER_CODES: &[&str] = &["truncated", "unknown_schema", "invalid_utf8", "invalid_value"];

const LOAD_RETRY: Micros = 1_000_000;

enum Done {
    Loaded(Partition, u64, Result<WasLoaded, LoadError>),
    Worked(Partition, u64, Box<ServedWork>, ServedAnswers),
}

/// What the stage needs.
pub struct Parts {
    /// Decodes records.
    pub wire: Wire,
    /// Where the rows go.
    pub stores: ServedStores,
    /// Between two commits.
    pub interval: Micros,
    /// The topic of each projection.
    pub topics: Vec<(String, Projection)>,
    /// Raw topics, whose ids are checked.
    pub feeds: Vec<String>,
    /// Runtime of the I/O.
    pub runtime: Handle,
    /// State of each projection, for gauges and `/stats`.
    pub freshness: BTreeMap<Projection, Arc<Freshness>>,
}

/// The worker's handler of newest rows.
pub struct Server {
    parts: Parts,
    meters: BTreeMap<Projection, ServedMeters>,
    lanes: BTreeMap<Partition, Active>,
    offload: Offload<Done>,
    assignments: u64,
    /// Distinguishes this handler's marks in Redis from those of others.
    id: u64,
}

impl Server {
    /// A handler without partitions.
    pub fn new(parts: Parts) -> Server {
        Server {
            offload: Offload::new(parts.runtime.clone()),
            meters: Projection::ALL
                .into_iter()
                .map(|projection| (projection, ServedMeters::new(projection)))
                .collect(),
            parts,
            lanes: BTreeMap::new(),
            assignments: 0,
            id: std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id()),
        }
    }

    fn projection_of(&self, topic: &str) -> Option<Projection> {
        let found = self.parts.topics.iter().find(|(name, _)| name == topic);
        found.map(|(_, projection)| *projection)
    }

    fn load(&mut self, io: &Io<'_>, partition: &Partition, assignment: u64, projection: Projection) {
        let (stores, feeds) = (self.parts.stores.clone(), self.parts.feeds.clone());
        let (bootstrap, generation) = (io.config().bootstrap.clone(), io.config().generation.clone());
        let partition = partition.clone();
        self.offload.begin(async move {
            let result = stores
                .load((bootstrap, feeds, generation), projection, &partition)
                .await;
            Done::Loaded(partition, assignment, result)
        });
    }

    fn retry_loads(&mut self, io: &Io<'_>) {
        let now = io.now();
        let mut due = Vec::new();
        for (partition, active) in &mut self.lanes {
            if let State::Loading { retry_at } = &mut active.state
                && retry_at.is_some_and(|at| now >= at)
            {
                *retry_at = None;
                due.push((partition.clone(), active.assignment, active.projection));
            }
        }
        for (partition, assignment, projection) in due {
            self.load(io, &partition, assignment, projection);
        }
    }

    fn begin_work(&mut self, io: &Io<'_>, drain: bool) {
        let (now, acked_through) = (io.now(), io.acked_through());
        let mut works = Vec::new();
        for (partition, active) in &mut self.lanes {
            let is_acked = active.dead_letter <= acked_through;
            let State::Serving(lane) = &mut active.state else {
                continue;
            };
            let Some(work) = is_acked.then(|| lane.work(now, drain)).flatten() else {
                continue;
            };
            let (stores, partition) = (self.parts.stores.clone(), partition.clone());
            let (assignment, projection) = (active.assignment, active.projection);
            let mark = format!("{}-{assignment}", self.id);
            works.push(async move {
                let answers = stores.execute(projection, &partition, &mark, &work).await;
                Done::Worked(partition, assignment, Box::new(work), answers)
            });
        }
        self.offload.begin_together(works);
    }

    fn finish(&mut self, io: &mut Io<'_>, done: Done) -> Result<(), StreamError> {
        match done {
            Done::Loaded(partition, assignment, result) => self.loaded(io, &partition, assignment, result),
            Done::Worked(partition, assignment, work, answers) => {
                self.worked(io, &partition, assignment, (&work, answers))
            }
        }
    }

    fn loaded(
        &mut self,
        io: &mut Io<'_>,
        partition: &Partition,
        assignment: u64,
        result: Result<WasLoaded, LoadError>,
    ) -> Result<(), StreamError> {
        let active = self.lanes.get_mut(partition);
        let Some(active) = active.filter(|active| active.assignment == assignment) else {
            return Ok(());
        };
        match result {
            Ok((position, newest)) => {
                let start = position.as_ref().map_or(StartAt::Beginning, |loaded| {
                    StartAt::Offset(loaded.position.next_offset)
                });
                if let StartAt::Offset(offset) = start {
                    check_range(&io.config().reader(), partition, offset, io.log_range(partition)?)?;
                }
                let projection = active.projection;
                tracing::info!(partition = %partition, position = ?start, projection = projection.name(), rows = newest.keys(), "served rows loaded");
                active.refused = None;
                active.is_well = true;
                active.behind_since = None;
                let lane = ServedLane::new(self.parts.interval, self.id ^ assignment, position, newest);
                active.state = State::Serving(Box::new(lane));
                io.start(partition, start);
                if let StartAt::Offset(next_offset) = start {
                    // The process, or the answer to the commit, may have been lost before the group knew: without this, a quiet topic shows a lag.
                    io.commit(partition, next_offset);
                }
            }
            Err(error) => {
                let was_let_in = self.parts.stores.was_let_in.load(Ordering::Relaxed);
                active.refused = not_loaded(io, partition, error, was_let_in)?;
                active.state = State::Loading {
                    retry_at: Some(io.now() + LOAD_RETRY),
                };
            }
        }
        Ok(())
    }

    fn worked(
        &mut self,
        io: &mut Io<'_>,
        partition: &Partition,
        assignment: u64,
        (work, answers): (&ServedWork, ServedAnswers),
    ) -> Result<(), StreamError> {
        let active = self.lanes.get_mut(partition);
        let Some(active) = active.filter(|active| active.assignment == assignment) else {
            return Ok(());
        };
        let State::Serving(lane) = &mut active.state else {
            return Ok(());
        };
        let next = lane.finished(&answers, io.now());
        let is_stored = answers.committed.is_none_or(|committed| committed == Committed::Yes);
        active.is_well = answers.redis_ok && is_stored;
        if let Some(meters) = self.meters.get(&active.projection) {
            meters.wrote(work, &answers);
        }
        let freshness = self.parts.freshness.get(&active.projection);
        match next {
            Next::Continue => {}
            Next::Stored(next_offset) => {
                active.refused = None;
                active.waits.succeeded();
                if let (Some(freshness), Some(commit)) = (freshness, &work.commit) {
                    freshness.updated(commit.rows.len() as u64);
                    freshness.wrote(commit.rows.iter().map(|row| row.time));
                }
                io.commit(partition, next_offset);
            }
            Next::Reload => {
                active.refused = answers.refused;
                active.behind_since = lane.oldest_pending();
                let delay = active.waits.after_failure().as_micros() as Micros;
                let attempt = active.waits.failures();
                tracing::warn!(partition = %partition, attempt, delay_ms = delay / 1_000, "the commit was not answered, or another owner or a rebuild has moved the position; position and rows are read again");
                io.stop(partition)?;
                active.state = State::Loading {
                    retry_at: Some(io.now() + delay),
                };
            }
        }
        if let (true, Some(freshness)) = (work.refill && answers.redis_ok, freshness) {
            freshness.refilled();
        }
        Ok(())
    }

    fn report(&self) {
        for (projection, freshness) in &self.parts.freshness {
            let own = || self.lanes.values().filter(|active| active.projection == *projection);
            let oldest = own().fold(None, |oldest, active| earlier(oldest, active.oldest_pending()));
            let is_well = own().all(Active::is_well);
            freshness.report(self.id, WorkerState { oldest, is_well });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let all = self.parts.freshness.values();
        all.for_each(|freshness| freshness.forget(self.id));
    }
}

impl Handler for Server {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for partition in partitions {
            let Some(projection) = self.projection_of(&partition.topic) else {
                continue;
            };
            self.assignments += 1;
            let active = Active::new(projection, self.assignments);
            self.lanes.insert(partition.clone(), active);
            self.load(io, partition, self.assignments, projection);
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let is_its =
            |partition: &Partition| partition.number == message.partition && *partition.topic == *message.topic;
        let active = self.lanes.iter_mut().find(|(partition, _)| is_its(partition));
        let Some((_, active)) = active else {
            return Ok(Outcome::NotOurs);
        };
        let (State::Serving(lane), projection) = (&mut active.state, active.projection) else {
            return Ok(Outcome::NotOurs);
        };
        let wire = &self.parts.wire;
        let taken = read(
            wire,
            projection,
            message.payload.unwrap_or_default(),
            |record: Record<'_>| {
                let place = (message.offset, message.timestamp);
                lane.take_in(place, record.key, record.rank, || record.row(message.partition))
            },
        );
        match taken {
            Ok(is_newer) => {
                if let (false, Some(meters)) = (is_newer, self.meters.get(&projection)) {
                    meters.older.increment(1);
                }
                Ok(Outcome::Success)
            }
            Err(Unread::Later(error)) => Err(error),
            Err(Unread::Poison(code, reason)) => {
                lane.skip(message.offset);
                active.dead_letter = io.refuse(message, NAME, code, &reason, "")?;
                Ok(Outcome::DeadLettered)
            }
        }
    }

    fn has_room(&self) -> bool {
        self.lanes.values().all(Active::has_room)
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        while let Some(done) = self.offload.take() {
            self.finish(io, done)?;
        }
        self.retry_loads(io);
        self.begin_work(io, false);
        self.report();
        Ok(())
    }

    fn patience(&self) -> Duration {
        let now = wall_clock();
        let wait = |due: Micros| Duration::from_micros(u64::try_from(due - now).unwrap_or(0));
        let waits = self.lanes.values().filter_map(Active::due).map(wait);
        // Work that waits for the acknowledgement of a dead letter is due all the time.
        let shortest = waits
            .fold(stream::IDLE_POLL_WAIT, Duration::min)
            .max(Duration::from_millis(10));
        shortest.min(self.offload.patience())
    }

    fn restoring(&self, partition: &Partition) -> Option<String> {
        let active = self.lanes.get(partition)?;
        matches!(active.state, State::Loading { .. }).then(|| "position and ranks are read".to_owned())
    }

    fn refused(&self) -> BTreeMap<Partition, String> {
        let refused = |(partition, active): (&Partition, &Active)| Some((partition.clone(), active.refused.clone()?));
        self.lanes.iter().filter_map(refused).collect()
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let is_busy = |lanes: &BTreeMap<Partition, Active>| {
            partitions.iter().any(|partition| {
                matches!(lanes.get(partition), Some(Active { state: State::Serving(lane), .. }) if lane.is_busy())
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
