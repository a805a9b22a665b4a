//! The second stage's handler: late ticks in, bars of their windows out, computed by ClickHouse.
//!
//! Role: carries out what [`crate::core::restate`] decides. Statements run on the async runtime, one at a time per worker, and
//! their answers come back by channel, so the poll loop never waits for the table.
//! Invariants: a bar goes to the partition number that its late tick came from (INV-4); the offset is committed when every
//! bar before it is acknowledged (INV-2), so after a failure bars are sent again with equal versions and equal content.
//! Failure: a statement that fails is asked again, for ever; meanwhile late ticks wait in the log and live bars go on.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use codec::Record;
use domain::{AskedWindow, Classified, ErrorClass, Micros, RowRanges};
use stores::{History, Oldest, RestatedRow};
use stream::positions::check_range;
use stream::{DeadLetter, Handler, Io, Message, Outcome, Partition, StartAt, StreamError, Ticket};
use tokio::runtime::Handle;

use super::outbox::{Outbox, Shared};
use super::restate_rows::{Found, find, name_expired, name_refused};
use crate::core::found::{Fate, fate};
use crate::core::restate::{Answer, RestateRules, Restater};
use crate::core::window_state::Shown;
use crate::metrics::{RestateMeters, Restated};

/// Stage name in dead letters and metrics.
pub const STAGE: &str = "restate";
const MISSING_PAYLOAD: &str = "missing_payload";
/// Every code of a dead letter of this stage: ours, then the codec's.
pub const CODES: [&str; 5] = [
    MISSING_PAYLOAD,
    "truncated",
    "invalid_utf8",
    "invalid_value",
    "unknown_schema",
];
const SHOWN_OF_ERRORS: usize = 600;
/// How long fetched late ticks wait for a statement before their partition is paused.
const PAUSE_AFTER: Micros = 300_000;

struct Lane {
    restater: Restater,
    /// Tells answers of this assignment from those of an earlier one.
    assignment: u64,
    full_since: Option<Micros>,
    paused: bool,
}

struct Done {
    partition: Partition,
    assignment: u64,
    asked: Vec<AskedWindow>,
    found: Found,
}

/// Computes the bars of late ticks as a worker's handler.
pub struct RestateHandler {
    rules: RestateRules,
    history: History,
    runtime: Handle,
    shared: Shared,
    meters: RestateMeters,
    lanes: BTreeMap<Partition, Lane>,
    done: (Sender<Done>, Receiver<Done>),
    assignments: u64,
    is_running: bool,
    /// Whose statement was the last: the others come first.
    served_last: Option<Partition>,
    has_room: bool,
    now: Micros,
}

impl RestateHandler {
    /// A handler without partitions.
    pub fn new(
        rules: RestateRules,
        history: History,
        runtime: Handle,
        shared: Shared,
        meters: RestateMeters,
    ) -> RestateHandler {
        RestateHandler {
            rules,
            history,
            runtime,
            shared,
            meters,
            lanes: BTreeMap::new(),
            done: channel(),
            assignments: 0,
            is_running: false,
            served_last: None,
            has_room: true,
            now: stream::status::wall_clock(),
        }
    }

    fn begin_statement(&mut self, last_ticket: Ticket) {
        if self.is_running {
            return;
        }
        let (before, after): (Vec<_>, Vec<_>) = self
            .lanes
            .iter_mut()
            .partition(|(partition, _)| Some(*partition) <= self.served_last.as_ref());
        for (partition, lane) in after.into_iter().chain(before) {
            let Some(windows) = lane.restater.next_statement(self.now, last_ticket) else {
                continue;
            };
            let (asked, partition, assignment) = (windows.to_vec(), partition.clone(), lane.assignment);
            let (history, sender) = (self.history.clone(), self.done.0.clone());
            self.served_last = Some(partition.clone());
            self.is_running = true;
            self.runtime.spawn(async move {
                let found = find(&history, partition.number, &asked).await;
                // The receiver is gone only when the handler is: then nobody waits for the answer.
                let _ = sender.send(Done {
                    partition,
                    assignment,
                    asked,
                    found,
                });
            });
            return;
        }
    }

    fn finish(&mut self, io: &mut Io<'_>, done: Done) -> Result<(), StreamError> {
        self.is_running = false;
        let assignment = self.lanes.get(&done.partition).map(|lane| lane.assignment);
        if assignment != Some(done.assignment) {
            return Ok(());
        }
        let answer = match done.found {
            Found::Behind => Answer::Behind,
            Found::Failed(error) => {
                // The server repeats the statement, and with it all of its windows.
                let reason: String = error.to_string().chars().take(SHOWN_OF_ERRORS).collect();
                tracing::warn!(partition = %done.partition, windows = done.asked.len(), error = reason, code = error.code(), event = "restate_failed", "bars of late ticks not computed; tried again");
                match error.code() {
                    "overloaded" | "timeout" | "cancelled" => Answer::TooMuch,
                    _ => Answer::Failed,
                }
            }
            Found::Rows { rows, oldest, took } => {
                let restated = self.send(io, &done.partition, (&done.asked, &rows), oldest.as_ref())?;
                self.meters.statement(&restated, took);
                Answer::Sent(io.last_ticket())
            }
        };
        if let Some(lane) = self.lanes.get_mut(&done.partition) {
            lane.restater.answered(answer, io.now());
        }
        Ok(())
    }

    /// Sends the bars that the rows give; windows without one are counted and named.
    fn send(
        &mut self,
        io: &mut Io<'_>,
        partition: &Partition,
        (asked, rows): (&[AskedWindow], &[RestatedRow]),
        oldest: Option<&Oldest>,
    ) -> Result<Restated, StreamError> {
        let now = io.now();
        let mut restated = Restated::default();
        let mut of_window: Vec<Option<&RestatedRow>> = vec![None; asked.len()];
        for row in rows {
            if let Some(place) = of_window.get_mut(row.number) {
                *place = Some(row);
            }
        }
        let mut outbox = Outbox::new(io, &mut self.shared, partition.number);
        for (asked, row) in asked.iter().zip(of_window) {
            let last_offset = row.map(|row| row.last_offset);
            let row = match (fate(asked, last_offset, oldest), row) {
                (Fate::Bar, Some(row)) => row,
                (Fate::Expired, _) => {
                    restated.expired += 1;
                    name_expired(partition, asked, oldest);
                    continue;
                }
                (Fate::Missing | Fate::Bar, _) => {
                    restated.missing += 1;
                    name_refused(
                        partition,
                        asked,
                        "row_missing",
                        "the table lacks the row of the late tick",
                    );
                    continue;
                }
            };
            let Some(bar) = row.bar(asked) else {
                restated.overflowed += 1;
                name_refused(partition, asked, "sum_overflow", "a sum of its ticks fits no column");
                continue;
            };
            outbox.show(Shown::Bar(&bar), None);
            if let Some(count) = restated.bars.get_mut(asked.window.interval.index()) {
                *count += 1;
            }
            restated.delays.push(now - row.asked_appended_at);
        }
        outbox.finish()?;
        Ok(restated)
    }

    /// A full partition waits for the statement under way. For a moment nothing is polled then, since pausing throws away
    /// what was fetched; after it the partition is paused, so that the others and the group go on.
    fn hold_back(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.has_room = true;
        for (partition, lane) in &mut self.lanes {
            if !lane.restater.is_full() {
                lane.full_since = None;
                if std::mem::take(&mut lane.paused) {
                    io.resume(partition)?;
                }
            } else if !lane.paused {
                let since = *lane.full_since.get_or_insert(self.now);
                if self.now - since >= PAUSE_AFTER {
                    io.pause(partition)?;
                    lane.paused = true;
                } else {
                    self.has_room = false;
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self, io: &mut Io<'_>) {
        let acked_through = io.acked_through();
        for (partition, lane) in &mut self.lanes {
            if let Some(position) = lane.restater.durable(acked_through) {
                io.commit(partition, position);
            }
        }
    }

    fn dead_letter(
        &self,
        io: &mut Io<'_>,
        message: &Message<'_>,
        (code, reason): (&str, &str),
    ) -> Result<(), StreamError> {
        let service = io.config().service.clone();
        let letter = DeadLetter {
            service: &service,
            stage: STAGE,
            code,
            message: reason,
            rejected_rows: RowRanges::NONE,
            attempts: 1,
            correlation_id: "",
        };
        io.dead_letter(message, &letter).map(drop)
    }
}

/// The committed offset, or the oldest one of a log that does not hold it: to compute bars again is harmless, and live bars
/// have to go on.
fn within(io: &Io<'_>, partition: &Partition, committed: i64) -> Result<i64, StreamError> {
    let (oldest, next) = io.log_range(partition)?;
    match check_range(&io.config().reader(), partition, committed, (oldest, next)) {
        Ok(()) => Ok(committed),
        Err(error) => {
            tracing::error!(
                event = "restate_position_lost",
                partition = %partition,
                committed,
                oldest,
                next,
                error = %error,
                "the log of late ticks does not hold the committed offset; it is read from its oldest one on. Bars of late ticks that are gone stay without them: `dp verify` names those bars"
            );
            Ok(oldest)
        }
    }
}

impl Handler for RestateHandler {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        for (partition, committed) in io.committed(partitions)? {
            let start = match committed {
                None => StartAt::Beginning,
                Some(offset) => StartAt::Offset(within(io, &partition, offset)?),
            };
            self.assignments += 1;
            let lane = Lane {
                restater: Restater::new(self.rules),
                assignment: self.assignments,
                full_since: None,
                paused: false,
            };
            self.lanes.insert(partition.clone(), lane);
            io.start(&partition, start)?;
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let lane = self
            .lanes
            .iter_mut()
            .find(|(partition, _)| partition.number == message.partition && *partition.topic == *message.topic);
        let Some((_, lane)) = lane else {
            return Ok(Outcome::NotOurs);
        };
        let Some(payload) = message.payload else {
            lane.restater.pass(message.offset);
            self.dead_letter(io, message, (MISSING_PAYLOAD, "a late tick without a value"))?;
            return Ok(Outcome::DeadLettered);
        };
        let payload = self.shared.wire.current(Record::LateTick, payload);
        match self.shared.wire.decode_late(&payload) {
            Ok(late) => {
                lane.restater.take(message.offset, &late, self.now);
                // Full: the turn that follows cuts it, or holds fetching back.
                self.has_room = !lane.restater.is_full() || lane.paused;
                Ok(Outcome::Success)
            }
            Err(error) if error.class() == ErrorClass::Poison => {
                lane.restater.pass(message.offset);
                self.dead_letter(io, message, (error.code(), &error.to_string()))?;
                Ok(Outcome::DeadLettered)
            }
            Err(error) => Err(StreamError::transient(
                error.code(),
                format!("read a late tick: {error}"),
            )),
        }
    }

    fn has_room(&self) -> bool {
        self.has_room
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.now = io.now();
        while let Ok(done) = self.done.1.try_recv() {
            self.finish(io, done)?;
        }
        self.begin_statement(io.last_ticket());
        self.commit(io);
        self.meters
            .waiting(self.lanes.values().map(|lane| lane.restater.len()).sum());
        self.hold_back(io)
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let is_unacknowledged = |lanes: &BTreeMap<Partition, Lane>| {
            let mut ours = partitions.iter().filter_map(|partition| lanes.get(partition));
            ours.any(|lane| lane.restater.is_unacknowledged())
        };
        self.commit(io);
        while is_unacknowledged(&self.lanes) && Instant::now() < io.drain_deadline() {
            io.poll_acks(Duration::from_millis(5))?;
            self.commit(io);
        }
        // What was not sent is asked for again by the next owner.
        self.lanes.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }
}
