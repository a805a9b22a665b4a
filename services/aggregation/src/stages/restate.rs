//! The second stage's handler: reads late ticks and writes the bars of their windows, computed by ClickHouse.
//!
//! Role: executes the decisions of [`crate::core::restate`]. Statements run on the async runtime, one at a time per worker;
//! answers return through a channel, so the poll loop never waits for the table.
//! Invariants: a bar goes to the partition number of its late tick (INV-4); an offset is committed when all bars before it
//! are acknowledged (INV-2), so after a failure bars are sent again with equal versions and equal content.
//! Failure: a failed statement is retried without limit; until it succeeds, late ticks wait in the log and live bars continue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use codec::Record;
use delivery::{StartAt, Ticket};
use domain::{AskedWindow, Classified, ErrorClass, LateTick, Micros};
use stores::History;
use stream::offload::Offload;
use stream::positions::check_range;
use stream::spans::HeldSpans;
use stream::{FOREIGN_ORIGIN, FOREIGN_REMEDY, Handler, Io, KeptMessage, Message, Outcome, Partition, StreamError};
use tokio::runtime::Handle;

use super::outbox::{Outbox, Shared};
pub use super::restate_letters::{CODES, STAGE};
use super::restate_letters::{MISSING_PAYLOAD, dead_letter};
use super::restate_rows::{Found, find, in_health, log_refused, send, shortened};
use crate::core::restate::{Answer, ROW_MISSING, RestateRules, Restater, flaw};
use crate::metrics::RestateMeters;

/// How long fetched late ticks wait for a statement before their partition is paused.
const PAUSE_AFTER: Micros = 300_000;

struct Lane {
    restater: Restater,
    /// The partition of the enriched offsets in its records.
    enriched: Partition,
    /// The last known end of that partition.
    enriched_end: i64,
    /// Distinguishes answers of this assignment from those of an earlier one.
    assignment: u64,
    full_since: Option<Micros>,
    paused: bool,
    /// What ClickHouse refuses until an operator corrects it.
    refused: Option<String>,
    /// Those of late ticks whose bars are not acknowledged yet.
    spans: HeldSpans,
}

struct Done {
    partition: Partition,
    assignment: u64,
    asked: Vec<AskedWindow>,
    found: Found,
}

/// The worker's handler that restates the bars of late ticks.
pub struct RestateHandler {
    rules: RestateRules,
    /// The topic of table `enriched_ticks`.
    enriched: Arc<str>,
    history: History,
    shared: Shared,
    meters: RestateMeters,
    lanes: BTreeMap<Partition, Lane>,
    /// One statement at a time.
    offload: Offload<Done>,
    assignments: u64,
    /// The partition of the last statement: the others are served first.
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
            enriched: history.topic().into(),
            history,
            shared,
            meters,
            lanes: BTreeMap::new(),
            offload: Offload::new(runtime),
            assignments: 0,
            served_last: None,
            has_room: true,
            now: stream::status::wall_clock(),
        }
    }

    fn begin_statement(&mut self, last_ticket: Ticket) {
        if self.offload.is_busy() {
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
            let history = self.history.clone();
            self.served_last = Some(partition.clone());
            self.offload.begin(async move {
                let found = find(&history, partition.number, &asked).await;
                Done {
                    partition,
                    assignment,
                    asked,
                    found,
                }
            });
            return;
        }
    }

    fn finish(&mut self, io: &mut Io<'_>, done: Done) -> Result<(), StreamError> {
        let assignment = self.lanes.get(&done.partition).map(|lane| lane.assignment);
        if assignment != Some(done.assignment) {
            return Ok(());
        }
        if let Some(lane) = self.lanes.get_mut(&done.partition) {
            match &done.found {
                Found::Failed(error) if error.is_refusal() => lane.refused = Some(in_health(error)),
                // The server may be away for another reason in between.
                Found::Failed(_) => {}
                Found::Behind | Found::Rows { .. } => lane.refused = None,
            }
        }
        let answer = match done.found {
            Found::Behind => Answer::Behind,
            Found::Failed(error) => {
                let reason = shortened(&error);
                tracing::warn!(partition = %done.partition, windows = done.asked.len(), error = reason, code = error.code(), event = "restate_failed", "the bars of late ticks could not be computed; will retry");
                match error.code() {
                    "overloaded" | "timeout" | "cancelled" | "invalid_statement" => Answer::TooMuch,
                    _ => Answer::Failed,
                }
            }
            Found::Rows {
                rows,
                oldest,
                kept,
                took,
            } => {
                let now = io.now();
                let mut outbox = Outbox::new(io, &mut self.shared, done.partition.number);
                let sent = send(
                    &mut outbox,
                    &done.partition,
                    (&done.asked, &rows),
                    (oldest.as_ref(), &kept),
                    now,
                );
                outbox.finish()?;
                self.refuse(io, &done.partition, &done.asked, &sent.without_row)?;
                self.meters.statement(&sent.restated, took);
                Answer::Sent(io.last_ticket())
            }
        };
        if let Some(lane) = self.lanes.get_mut(&done.partition) {
            lane.restater.answered(answer, io.now());
            if lane.restater.needs_end(io.now()) {
                let (_, end) = io.log_range(&lane.enriched)?;
                for record in lane.restater.ends_at(end, io.now()) {
                    lane.spans.became(record.offset, Outcome::DeadLettered);
                    let reason = format!(
                        "its enriched offset does not exist: the enriched partition ends at {end}; {FOREIGN_REMEDY}"
                    );
                    dead_letter(io, &record.message(), (FOREIGN_ORIGIN, &reason))?;
                }
            }
        }
        Ok(())
    }

    /// Dead-letters the records whose late tick has no row in these windows.
    fn refuse(
        &mut self,
        io: &mut Io<'_>,
        partition: &Partition,
        asked: &[AskedWindow],
        without_row: &[usize],
    ) -> Result<(), StreamError> {
        for number in without_row {
            if let Some(asked) = asked.get(*number) {
                log_refused(
                    partition,
                    asked,
                    ROW_MISSING,
                    "the table has no row of the late tick at its enriched offset",
                );
            }
            let lane = self.lanes.get_mut(partition);
            if let Some((record, spans)) = lane.and_then(|lane| Some((lane.restater.refuse(*number)?, &mut lane.spans)))
            {
                spans.became(record.offset, Outcome::DeadLettered);
                let reason = format!(
                    "at its enriched offset the table has no row, or one of another instrument or time; if no accepted gap of \
                     the table's writer explains this, {FOREIGN_REMEDY}"
                );
                dead_letter(io, &record.message(), (ROW_MISSING, &reason))?;
            }
        }
        Ok(())
    }

    /// Accepts a decoded late tick, or dead-letters it.
    fn late(&mut self, io: &mut Io<'_>, message: &Message<'_>, late: &LateTick<'_>) -> Result<Outcome, StreamError> {
        let lane = self.lanes.iter_mut().find(|(partition, _)| is_of(message, partition));
        let Some((partition, lane)) = lane else {
            return Ok(Outcome::NotOurs);
        };
        let ask_end = || io.log_range(&lane.enriched).map(|(_, end)| end);
        match flaw(late, &self.rules, &mut lane.enriched_end, ask_end)? {
            None => {
                lane.restater.take(KeptMessage::of(message, partition), late, self.now);
                lane.spans.hold(io.hold_span(message));
                // If it is full, the next turn starts a statement or pauses fetching.
                self.has_room = !lane.restater.is_full() || lane.paused;
                Ok(Outcome::Success)
            }
            Some((code, reason)) => {
                lane.restater.pass(message.offset);
                dead_letter(io, message, (code, &reason))?;
                Ok(Outcome::DeadLettered)
            }
        }
    }

    /// A full partition waits for the running statement. For [`PAUSE_AFTER`] the worker polls nothing, since a pause discards
    /// fetched messages; after it the partition is paused, so that the others and the group continue.
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
                io.finished(&mut lane.spans, position);
                io.commit(partition, position);
            }
        }
    }

    fn unreadable(
        &mut self,
        io: &mut Io<'_>,
        message: &Message<'_>,
        why: (&str, &str),
    ) -> Result<Outcome, StreamError> {
        let lane = self.lanes.iter_mut().find(|(partition, _)| is_of(message, partition));
        let Some((_, lane)) = lane else {
            return Ok(Outcome::NotOurs);
        };
        lane.restater.pass(message.offset);
        dead_letter(io, message, why)?;
        Ok(Outcome::DeadLettered)
    }
}

fn is_of(message: &Message<'_>, partition: &Partition) -> bool {
    partition.number == message.partition && *partition.topic == *message.topic
}

/// The committed offset, or the log's oldest if the committed one is outside of it: computing bars again is harmless, and
/// live bars must continue.
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
                "the committed offset is outside of the log of late ticks; reading continues at its oldest offset; bars of the lost late ticks do not count them: `dp verify` lists these bars"
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
                enriched: Partition {
                    topic: Arc::clone(&self.enriched),
                    number: partition.number,
                },
                enriched_end: 0,
                restater: Restater::new(self.rules),
                assignment: self.assignments,
                full_since: None,
                paused: false,
                refused: None,
                spans: HeldSpans::default(),
            };
            self.lanes.insert(partition.clone(), lane);
            io.start(&partition, start);
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let Some(payload) = message.payload else {
            return self.unreadable(io, message, (MISSING_PAYLOAD, "the late tick has no value"));
        };
        // The late tick borrows from the codec: a clone of the handle is free.
        let wire = self.shared.wire.clone();
        let payload = wire.current(Record::LateTick, payload);
        match wire.decode_late(&payload) {
            Ok(late) => self.late(io, message, &late),
            Err(error) if error.class() == ErrorClass::Poison => {
                self.unreadable(io, message, (error.code(), &error.to_string()))
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

    fn patience(&self) -> Duration {
        self.offload.patience()
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.now = io.now();
        while let Some(done) = self.offload.take() {
            self.finish(io, done)?;
        }
        self.begin_statement(io.last_ticket());
        self.commit(io);
        self.meters
            .waiting(self.lanes.values().map(|lane| lane.restater.len()).sum());
        self.hold_back(io)
    }

    fn refused(&self) -> BTreeMap<Partition, String> {
        let refused = |(partition, lane): (&Partition, &Lane)| Some((partition.clone(), lane.refused.clone()?));
        self.lanes.iter().filter_map(refused).collect()
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
        // The next owner computes the bars that were not sent.
        self.lanes.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }
}
