//! Carries out the decisions of the lanes: takeovers and inserts run on the async runtime. Their results come back by channel
//! and are processed in the worker's next turn, so the poll loop never waits for the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use domain::{Micros, Origin};
use tokio::runtime::Handle;

use super::lane::{BatchLimits, Lane, Step};
use super::refusal::Refusal;
use super::report;
use super::{BadRow, InsertError, RowEncoder, RowError, RowOutcome, SinkError, TableSink, Takeover};
use crate::kafka::describe::remembered_ids;
use crate::metrics::TableMeters;
use crate::positions::{self, check_range};
use crate::worker::{FOREIGN_ORIGIN, Handler, Io};
use crate::{Message, Outcome, Partition, StartAt, StreamError, Ticket, WorkerConfig};

/// Stage name in dead letters.
const STAGE: &str = "clickhouse";

/// A topic and the table that receives a row for each of its messages.
pub struct TableRoute {
    /// Source topic.
    pub topic: String,
    /// The table.
    pub sink: Arc<dyn TableSink>,
    /// Encodes its rows.
    pub encoder: Box<dyn RowEncoder>,
}

/// Settings of a writer.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// When batches are cut.
    pub limits: BatchLimits,
    /// Topics whose ids are checked in addition to the source topics (the raw feeds that origins name).
    pub feeds: Vec<String>,
}

struct Route {
    route: TableRoute,
    meters: TableMeters,
}

struct Active {
    lane: Lane,
    route: usize,
    /// Distinguishes results of this assignment from those of an earlier one.
    assignment: u64,
    full_since: Option<Micros>,
    paused: bool,
    newest_appended_at: Micros,
    inserting_appended_at: Micros,
    /// No row after a dead letter is inserted, and no floor stored, before the dead letter is acknowledged.
    dead_letter: Ticket,
    refusal: Refusal,
}

enum Done {
    TakenOver(Partition, u64, Result<Takeover, SinkError>),
    Inserted(Partition, u64, usize, Result<(), InsertError>),
}

/// A ClickHouse writer as a worker's handler; one may serve several topics, each with its own table.
pub struct TableWriter {
    config: WriterConfig,
    runtime: Handle,
    routes: Vec<Route>,
    lanes: BTreeMap<Partition, Active>,
    done: (Sender<Done>, Receiver<Done>),
    assignments: u64,
    /// The clock as of this turn: one reading serves a whole batch.
    now: Micros,
    has_room: bool,
}

/// How long fetched messages wait for an insert under way before their partition is paused.
const PAUSE_AFTER: Micros = 300_000;

impl TableWriter {
    /// A writer for these routes.
    pub fn new(config: WriterConfig, routes: Vec<TableRoute>, runtime: Handle) -> TableWriter {
        let routes = routes
            .into_iter()
            .map(|route| Route {
                meters: TableMeters::new(&route.topic, route.sink.table()),
                route,
            })
            .collect();
        TableWriter {
            config,
            runtime,
            routes,
            lanes: BTreeMap::new(),
            done: channel(),
            assignments: 0,
            now: 0,
            has_room: true,
        }
    }

    fn take_over(&self, partition: &Partition, config: &WorkerConfig) {
        let Some(active) = self.lanes.get(partition) else {
            return;
        };
        let Some(route) = self.routes.get(active.route) else {
            return;
        };
        let (sink, sender) = (Arc::clone(&route.route.sink), self.done.0.clone());
        let (partition, assignment) = (partition.clone(), active.assignment);
        let (bootstrap, generation) = (config.bootstrap.clone(), config.generation.clone());
        let (source, feeds) = (partition.topic.to_string(), self.config.feeds.clone());
        self.runtime.spawn(async move {
            let ids = move || remembered_ids(&bootstrap, &source, &feeds, &generation);
            let result = match in_background(ids).await {
                Ok(ids) => match sink.check_topics(ids).await {
                    Ok(()) => sink.take_over(partition.topic.to_string(), partition.number).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            // The receiver is gone only when the writer is: then the result is not needed.
            let _ = sender.send(Done::TakenOver(partition, assignment, result));
        });
    }

    fn begin_due_inserts(&mut self, acked_through: Ticket, drain: bool) {
        let now = self.now;
        for (partition, active) in &mut self.lanes {
            let Some(route) = self.routes.get(active.route) else {
                continue;
            };
            if active.dead_letter > acked_through {
                continue;
            }
            if let Some((claim, floor)) = active.lane.floor_due(now) {
                let saving = route.route.sink.save_floor(claim, floor);
                self.runtime.spawn(async move {
                    if let Err(error) = saving.await {
                        tracing::warn!(error = %error, "floor not stored; will try again");
                    }
                });
            }
            let Some((claim, batch)) = active.lane.cut(now, drain) else {
                continue;
            };
            active.inserting_appended_at = active.newest_appended_at;
            let (sink, sender) = (Arc::clone(&route.route.sink), self.done.0.clone());
            let (partition, assignment, rows) = (partition.clone(), active.assignment, batch.rows);
            self.runtime.spawn(async move {
                let result = sink.insert(claim, batch).await;
                let _ = sender.send(Done::Inserted(partition, assignment, rows, result));
            });
        }
    }

    fn finish(&mut self, io: &mut Io<'_>, done: Done) -> Result<(), StreamError> {
        let now = io.now();
        let (partition, step) = match done {
            Done::TakenOver(partition, assignment, result) => {
                let Some(active) = self
                    .lanes
                    .get_mut(&partition)
                    .filter(|active| active.assignment == assignment)
                else {
                    return Ok(());
                };
                active.refusal.taken_over(&result);
                report::taken_over(&partition, &result);
                (partition, active.lane.taken_over(result, now))
            }
            Done::Inserted(partition, assignment, rows, result) => {
                let Some(active) = self
                    .lanes
                    .get_mut(&partition)
                    .filter(|active| active.assignment == assignment)
                else {
                    return Ok(());
                };
                if let Some(route) = self.routes.get(active.route) {
                    active.refusal.inserted(&result, route.route.sink.table());
                    report::inserted(
                        &route.meters,
                        &partition,
                        rows,
                        &result,
                        now - active.inserting_appended_at,
                    );
                }
                (partition, active.lane.inserted(&result, now))
            }
        };
        self.carry_out(io, &partition, step)
    }

    fn carry_out(&mut self, io: &mut Io<'_>, partition: &Partition, step: Step) -> Result<(), StreamError> {
        match step {
            Step::None => Ok(()),
            Step::Start(at) => {
                if let StartAt::Offset(position) = at {
                    let range = io.log_range(partition)?;
                    check_range(&io.config().reader(), partition, position, range)?;
                    if let (true, Some(active)) = (position == range.1, self.lanes.get_mut(partition)) {
                        active.refusal.nothing_waits();
                    }
                }
                tracing::info!(partition = %partition, position = ?at, "clickhouse writer owns its partition");
                io.start(partition, at);
                Ok(())
            }
            Step::Stop => {
                if let Some(active) = self.lanes.get_mut(partition) {
                    active.paused = false;
                }
                io.stop(partition)
            }
            Step::Confirmed(next_offset) => {
                io.commit(partition, next_offset);
                Ok(())
            }
            Step::Fatal {
                code: positions::TOPIC_ID_CHANGED,
                message,
            } => {
                let remedy = positions::in_a_new_generation(&io.config().reader());
                Err(StreamError::fatal(
                    positions::TOPIC_ID_CHANGED,
                    format!("{message}. {remedy}"),
                ))
            }
            Step::Fatal { code, message } => Err(StreamError::fatal(code, message)),
        }
    }

    /// A full batch waits for the insert under way. For up to [`PAUSE_AFTER`] no message is polled, since pausing discards
    /// fetched messages. Then the partition is paused, so that the other partitions and the group continue.
    fn hold_back(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.has_room = true;
        for (partition, active) in &mut self.lanes {
            if !active.lane.is_full() {
                active.full_since = None;
                if std::mem::take(&mut active.paused) {
                    io.resume(partition)?;
                }
            } else if !active.paused {
                let since = *active.full_since.get_or_insert(self.now);
                if self.now - since >= PAUSE_AFTER {
                    io.pause(partition)?;
                    active.paused = true;
                } else {
                    self.has_room = false;
                }
            }
        }
        Ok(())
    }
}

/// The seed for the jitter of a lane's waits: different in every process.
fn seed(partition: &Partition) -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), partition)
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StreamError> + Send + 'static,
) -> Result<T, SinkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(SinkError::Transient(error.to_string())),
        Err(error) => Err(SinkError::Transient(error.to_string())),
    }
}

impl Handler for TableWriter {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for partition in partitions {
            let Some(route) = self
                .routes
                .iter()
                .position(|route| *route.route.topic == *partition.topic)
            else {
                continue;
            };
            self.assignments += 1;
            self.lanes.insert(
                partition.clone(),
                Active {
                    lane: Lane::new(self.config.limits, seed(partition)),
                    route,
                    assignment: self.assignments,
                    full_since: None,
                    paused: false,
                    newest_appended_at: 0,
                    inserting_appended_at: 0,
                    dead_letter: Ticket::default(),
                    refusal: Refusal::default(),
                },
            );
            self.take_over(partition, io.config());
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let Some((_, active)) = self
            .lanes
            .iter_mut()
            .find(|(partition, _)| partition.number == message.partition && *partition.topic == *message.topic)
        else {
            return Ok(Outcome::NotOurs);
        };
        let Some(route) = self.routes.get_mut(active.route) else {
            return Ok(Outcome::NotOurs);
        };
        let Some((sequencer, rows)) = active.lane.intake(message.offset) else {
            return Ok(Outcome::NotOurs);
        };
        let mut accept = |origin: &Origin<'_>| match io.origin_flaw(origin).map_err(RowError::Later)? {
            Some(message) => Err(RowError::Bad(BadRow {
                code: FOREIGN_ORIGIN,
                message,
            })),
            None => Ok(sequencer.accept(origin.feed, origin.partition, origin.position())),
        };
        let encoded = route.route.encoder.encode(message, &mut accept, rows);
        let outcome = match encoded {
            Ok(RowOutcome::Written { appended_at }) => {
                active.newest_appended_at = appended_at;
                active.lane.took(message.offset, true, self.now);
                Outcome::Success
            }
            Ok(RowOutcome::Repeated) => {
                route.meters.repetitions.increment(1);
                active.lane.took(message.offset, false, self.now);
                Outcome::Duplicate
            }
            Err(RowError::Later(error)) => return Err(error),
            Err(RowError::Bad(bad_row)) => {
                active.dead_letter = io.refuse(message, STAGE, bad_row.code, &bad_row.message, "")?;
                active.lane.took(message.offset, false, self.now);
                Outcome::DeadLettered
            }
        };
        // Full: the next turn cuts the batch, or holds fetching back.
        self.has_room = !active.lane.is_full() || active.paused;
        Ok(outcome)
    }

    fn has_room(&self) -> bool {
        self.has_room
    }

    fn refused(&self) -> BTreeMap<Partition, String> {
        let refused = |(partition, active): (&Partition, &Active)| Some((partition.clone(), active.refusal.text()?));
        self.lanes.iter().filter_map(refused).collect()
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        while let Ok(done) = self.done.1.try_recv() {
            self.finish(io, done)?;
        }
        self.now = io.now();
        let now = self.now;
        let due: Vec<Partition> = self
            .lanes
            .iter_mut()
            .filter_map(|(partition, active)| active.lane.takeover_due(now).then(|| partition.clone()))
            .collect();
        due.iter().for_each(|partition| self.take_over(partition, io.config()));
        self.begin_due_inserts(io.acked_through(), false);
        for (partition, active) in &self.lanes {
            if let Some(position) = active.lane.idle_position() {
                io.commit(partition, position);
            }
        }
        self.hold_back(io)
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let is_busy = |lanes: &BTreeMap<Partition, Active>| {
            partitions
                .iter()
                .any(|partition| lanes.get(partition).is_some_and(|active| active.lane.is_busy()))
        };
        while is_busy(&self.lanes) && Instant::now() < io.drain_deadline() {
            self.now = io.now();
            io.poll_acks(Duration::ZERO)?;
            self.begin_due_inserts(io.acked_through(), true);
            if let Ok(done) = self.done.1.recv_timeout(Duration::from_millis(20)) {
                self.finish(io, done)?;
            }
        }
        self.lanes.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }
}
