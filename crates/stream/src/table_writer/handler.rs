//! The writer as a worker's handler: messages become rows of a lane, groups of lanes are inserted together, and results of the
//! table are processed in the worker's next turn, so the poll loop never waits for the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use delivery::table_writer::Claiming;
use delivery::table_writer::group::{BatchLimits, Candidate, Group};
use delivery::table_writer::lane::{Lane, Step};
use delivery::{StartAt, Ticket};
use domain::{Micros, Origin};
use tokio::runtime::Handle;

use super::pace::Pace;
use super::refusal::Refusal;
use super::report;
use super::work::{self, Done, Member, Owned};
use super::{BadRow, RowEncoder, RowError, RowOutcome, TableSink};
use crate::metrics::TableMeters;
use crate::offload::Offload;
use crate::positions::check_range;
use crate::spans::{HeldSpans, Span};
use crate::worker::{FOREIGN_ORIGIN, Handler, Io};
use crate::{Message, Outcome, Partition, StreamError, WorkerConfig};

/// Stage name in dead letters and traces.
pub const STAGE: &str = "clickhouse";

/// A topic and the table that receives a row for each of its messages.
pub struct TableRoute<B> {
    /// Source topic.
    pub topic: String,
    /// The table.
    pub sink: Arc<dyn TableSink<B>>,
    /// Encodes its rows.
    pub encoder: Box<dyn RowEncoder<B>>,
    /// When its rows are inserted.
    pub limits: BatchLimits,
}

struct Route<B> {
    topic: String,
    sink: Arc<dyn TableSink<B>>,
    encoder: Box<dyn RowEncoder<B>>,
    meters: TableMeters,
    group: Group,
    pace: Pace,
    full_since: Option<Micros>,
}

struct Active<B> {
    lane: Lane<B>,
    route: usize,
    /// Unique for this assignment: recognises its results and its claims.
    owner: u64,
    paused: bool,
    newest_appended_at: Micros,
    /// No row after a dead letter is inserted, and no floor stored, before the dead letter is acknowledged.
    dead_letter: Ticket,
    refusal: Refusal,
    /// Those of rows that are not in the table yet.
    spans: HeldSpans,
}

/// A ClickHouse writer as a worker's handler; one may serve several topics, each with its own table. `B` holds rows.
pub struct TableWriter<B> {
    /// Topics whose ids are checked in addition to the source topics (the raw feeds that origins name).
    feeds: Vec<String>,
    routes: Vec<Route<B>>,
    lanes: BTreeMap<Partition, Active<B>>,
    offload: Offload<Done>,
    /// The clock as of this turn: one reading serves a whole batch.
    now: Micros,
    has_room: bool,
}

/// How long fetched messages wait for an insert under way before their partitions are paused.
const PAUSE_AFTER: Micros = 300_000;

impl<B: Clone + Send + 'static> TableWriter<B> {
    /// A writer for these routes; `feeds` are the raw topics that origins name.
    pub fn new(feeds: Vec<String>, routes: Vec<TableRoute<B>>, runtime: Handle) -> TableWriter<B> {
        let route = |route: TableRoute<B>| Route {
            meters: TableMeters::new(&route.topic, route.sink.table()),
            topic: route.topic,
            sink: route.sink,
            encoder: route.encoder,
            group: Group::new(route.limits),
            pace: Pace::default(),
            full_since: None,
        };
        TableWriter {
            feeds,
            routes: routes.into_iter().map(route).collect(),
            lanes: BTreeMap::new(),
            offload: Offload::new(runtime),
            now: 0,
            has_room: true,
        }
    }

    fn take_over(&mut self, partition: &Partition, claiming: Claiming, config: &WorkerConfig) {
        let Some(active) = self.lanes.get(partition) else {
            return;
        };
        let Some(route) = self.routes.get(active.route) else {
            return;
        };
        let owned = Owned {
            partition: partition.clone(),
            owner: active.owner,
        };
        let (sink, feeds) = (Arc::clone(&route.sink), self.feeds.clone());
        self.offload
            .begin(work::take_over(sink, owned, claiming, config, feeds));
    }

    fn begin_due_takeovers(&mut self, config: &WorkerConfig) {
        let now = self.now;
        let due = |(partition, active): (&Partition, &mut Active<B>)| {
            let claiming = active.lane.takeover_due(now)?;
            Some((partition.clone(), claiming))
        };
        let due: Vec<(Partition, Claiming)> = self.lanes.iter_mut().filter_map(due).collect();
        due.iter()
            .for_each(|(partition, claiming)| self.take_over(partition, *claiming, config));
    }

    fn begin_due_inserts(&mut self, acked_through: Ticket, drain: bool) {
        for (index, route) in self.routes.iter_mut().enumerate() {
            let lanes = self.lanes.iter_mut().filter(|(_, active)| active.route == index);
            let candidates = lanes.map(|(partition, active)| Candidate {
                key: (partition, active.owner, active.newest_appended_at),
                lane: &mut active.lane,
                is_clear: active.dead_letter <= acked_through,
            });
            let Some(cut) = route.group.cut(candidates, self.now, drain) else {
                continue;
            };
            let (mut members, mut parts) = (Vec::new(), Vec::new());
            for ((partition, owner, newest_appended_at), claim, rows) in cut.parts {
                members.push(Member {
                    lane: Owned {
                        partition: partition.clone(),
                        owner,
                    },
                    rows: rows.count,
                    newest_appended_at,
                });
                parts.push((claim, rows));
            }
            route.pace.begins(self.now);
            self.offload
                .begin(work::insert(index, members, route.sink.insert(parts)));
        }
    }

    fn save_due_floors(&mut self, acked_through: Ticket) {
        for active in self.lanes.values_mut() {
            if active.dead_letter > acked_through {
                continue;
            }
            let floor = active.lane.floor_due(self.now);
            if let (Some((claim, floor)), Some(route)) = (floor, self.routes.get(active.route)) {
                let saved = route.sink.save_floor(claim, floor);
                self.offload.begin(async move { Done::FloorSaved(saved.await) });
            }
        }
    }

    /// The lane, if it is still assigned as it was.
    fn still(&mut self, lane: &Owned) -> Option<&mut Active<B>> {
        let active = self.lanes.get_mut(&lane.partition);
        active.filter(|active| active.owner == lane.owner)
    }

    fn finish(&mut self, io: &mut Io<'_>, done: Done) -> Result<(), StreamError> {
        let now = io.now();
        match done {
            Done::TakenOver(lane, result) => {
                let Some(active) = self.still(&lane) else {
                    return Ok(());
                };
                active.refusal.taken_over(&result);
                report::taken_over(&lane.partition, &result);
                let step = active.lane.taken_over(result, now);
                self.carry_out(io, &lane.partition, step)
            }
            Done::Inserted(route, members, took, result) => {
                if let Some(route) = self.routes.get_mut(route) {
                    route.group.ended();
                    route.pace.ended(took, now);
                    report::inserted(&route.meters, &members, took, &result, now);
                }
                for Member { lane, .. } in members {
                    let table = self.routes.get(route).map_or("", |route| route.sink.table()).to_owned();
                    if let Some(active) = self.still(&lane) {
                        active.refusal.inserted(&result, &table);
                        let step = active.lane.inserted(&result, now);
                        self.carry_out(io, &lane.partition, step)?;
                    }
                }
                Ok(())
            }
            Done::FloorSaved(result) => {
                if let Err(error) = result {
                    tracing::warn!(error = %error, "floor not stored; will try again");
                }
                Ok(())
            }
        }
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
                    active.spans.forget();
                }
                io.stop(partition)
            }
            Step::Confirmed(next_offset) => {
                if let Some(active) = self.lanes.get_mut(partition) {
                    io.finished(&mut active.spans, next_offset);
                }
                io.commit(partition, next_offset);
                Ok(())
            }
            Step::Fatal { code, message } => Err(report::fatal(code, message, &io.config().reader())),
        }
    }

    /// A full table waits for the insert under way. For up to [`PAUSE_AFTER`] no message is polled, since pausing discards
    /// fetched messages. Then its partitions are paused, so that other tables and the group continue.
    fn hold_back(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.has_room = true;
        for (index, route) in self.routes.iter_mut().enumerate() {
            let lanes = self.lanes.iter_mut().filter(|(_, active)| active.route == index);
            if !route.group.is_full() {
                route.full_since = None;
                for (partition, active) in lanes {
                    if std::mem::take(&mut active.paused) {
                        io.resume(partition)?;
                    }
                }
            } else if self.now - *route.full_since.get_or_insert(self.now) < PAUSE_AFTER {
                self.has_room = false;
            } else {
                for (partition, active) in lanes {
                    if !active.paused && active.lane.is_writing() {
                        io.pause(partition)?;
                        active.paused = true;
                    }
                }
            }
        }
        Ok(())
    }
}

impl<B: Clone + Send + 'static> Handler for TableWriter<B> {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for partition in partitions {
            let mut routes = self.routes.iter().enumerate();
            let Some((route, found)) = routes.find(|(_, route)| *route.topic == *partition.topic) else {
                continue;
            };
            let owner = work::unique();
            let active = Active {
                lane: Lane::new(owner, found.encoder.empty()),
                route,
                owner,
                paused: false,
                newest_appended_at: 0,
                dead_letter: Ticket::default(),
                refusal: Refusal::default(),
                spans: HeldSpans::default(),
            };
            self.lanes.insert(partition.clone(), active);
            self.take_over(partition, Claiming::Assigned, io.config());
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
        let encoded = route.encoder.encode(message, &mut accept, rows);
        let mut size = None;
        let outcome = match encoded {
            Ok(RowOutcome::Written { appended_at, bytes }) => {
                active.newest_appended_at = appended_at;
                size = Some(bytes);
                route.group.took(bytes);
                let span = io.hold_span(message);
                let table = || Some(route.sink.table().to_owned());
                active.spans.hold(span.map(|span| Span { table: table(), ..span }));
                Outcome::Success
            }
            Ok(RowOutcome::Repeated) => {
                route.meters.repetitions.increment(1);
                Outcome::Duplicate
            }
            Err(RowError::Later(error)) => return Err(error),
            Err(RowError::Bad(bad_row)) => {
                active.dead_letter = io.refuse(message, STAGE, bad_row.code, &bad_row.message, "")?;
                Outcome::DeadLettered
            }
        };
        active.lane.took(message.offset, size, self.now);
        // Full: the next turn begins an insert, or holds fetching back.
        self.has_room = !route.group.is_full() || active.paused;
        Ok(outcome)
    }

    fn has_room(&self) -> bool {
        self.has_room
    }

    fn refused(&self) -> BTreeMap<Partition, String> {
        let hindered = |(partition, active): (&Partition, &Active<B>)| {
            let route = self.routes.get(active.route);
            let slow = || route.and_then(|route| route.pace.text(route.sink.table(), self.now));
            Some((partition.clone(), active.refusal.text().or_else(slow)?))
        };
        self.lanes.iter().filter_map(hindered).collect()
    }

    fn patience(&self) -> Duration {
        self.offload.patience()
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        while let Some(done) = self.offload.take() {
            self.finish(io, done)?;
        }
        self.now = io.now();
        self.begin_due_takeovers(io.config());
        self.save_due_floors(io.acked_through());
        self.begin_due_inserts(io.acked_through(), false);
        for (partition, active) in &self.lanes {
            if let Some(position) = active.lane.idle_position() {
                io.commit(partition, position);
            }
        }
        self.hold_back(io)
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let is_busy = |lanes: &BTreeMap<Partition, Active<B>>| {
            partitions
                .iter()
                .any(|partition| lanes.get(partition).is_some_and(|active| active.lane.is_busy()))
        };
        while is_busy(&self.lanes) && Instant::now() < io.drain_deadline() {
            self.now = io.now();
            io.poll_acks(Duration::ZERO)?;
            self.begin_due_inserts(io.acked_through(), true);
            if let Some(done) = self.offload.wait(Duration::from_millis(20)) {
                self.finish(io, done)?;
            }
        }
        self.lanes.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }
}
