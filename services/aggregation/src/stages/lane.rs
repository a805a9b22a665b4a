//! One enriched partition: applies its ticks, sends its outputs, runs its checkpoints one after the other.

use std::time::{Duration, Instant};

use codec::Record;
use domain::{Classified, EnrichedTick, ErrorClass, LateTick, Micros};
use stream::{FOREIGN_ORIGIN, Io, Message, Outcome, Partition, StreamError};

use super::outbox::{Outbox, Shared};
use crate::core::checkpoint::{Checkpoint, Step};
use crate::core::instrument::{Arrived, Verdict};
use crate::core::partition_state::{Applied, PartitionState};

/// Stage name in dead letters and metrics.
pub const STAGE: &str = "aggregation";
const MISSING_PAYLOAD: &str = "missing_payload";
const TIME_OUT_OF_RANGE: &str = "time_out_of_range";
const SUM_OVERFLOW: &str = "sum_overflow";
/// A partition that has shown no bar yet looks for one this often: nobody has seen its bars since it lost its owner.
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Codes of this stage's dead letters: its own, then the codec's.
pub const CODES: [&str; 8] = [
    MISSING_PAYLOAD,
    TIME_OUT_OF_RANGE,
    SUM_OVERFLOW,
    FOREIGN_ORIGIN,
    "truncated",
    "invalid_utf8",
    "invalid_value",
    "unknown_schema",
];

/// Whether a checkpoint is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// One waits for acknowledgements.
    Waiting,
    /// None is running.
    Idle,
}

/// A partition with restored state.
pub struct Lane {
    /// Enriched partition.
    pub partition: Partition,
    /// Its state.
    pub state: PartitionState,
    checkpoint: Option<Checkpoint>,
    /// When the running checkpoint began.
    began: Option<Instant>,
    last_begun: Option<Instant>,
    /// The turn in which bars of this owner were last shown, or could have been; `None` until a checkpoint has shown some.
    last_turn: Option<u128>,
}

impl Lane {
    /// A partition that continues from this state.
    pub fn new(partition: Partition, state: PartitionState) -> Lane {
        Lane {
            partition,
            state,
            checkpoint: None,
            began: None,
            last_begun: None,
            last_turn: None,
        }
    }

    /// Applies the next message. A message that cannot be used is dead-lettered, and the position moves past it; the
    /// checkpoint that saves this position also waits for the acknowledgement of the dead letter.
    pub fn message(
        &mut self,
        io: &mut Io<'_>,
        shared: &mut Shared,
        message: &Message<'_>,
        now: Micros,
    ) -> Result<Outcome, StreamError> {
        let Some(payload) = message.payload else {
            self.state.pass(message.offset);
            io.refuse(message, STAGE, MISSING_PAYLOAD, "the enriched tick has no value", "")?;
            return Ok(Outcome::DeadLettered);
        };
        // The tick borrows from the codec: a clone of the handle is free and leaves `shared` available for outputs.
        let wire = shared.wire.clone();
        let payload = wire.current(Record::EnrichedTick, payload);
        match wire.decode_enriched(&payload) {
            Ok(enriched) => self.tick(io, shared, message, &enriched, now),
            Err(error) if error.class() == ErrorClass::Poison => {
                self.state.pass(message.offset);
                io.refuse(message, STAGE, error.code(), &error.to_string(), "")?;
                Ok(Outcome::DeadLettered)
            }
            Err(error) => Err(StreamError::transient(
                error.code(),
                format!("read an enriched tick: {error}"),
            )),
        }
    }

    fn tick(
        &mut self,
        io: &mut Io<'_>,
        shared: &mut Shared,
        message: &Message<'_>,
        enriched: &EnrichedTick<'_>,
        now: Micros,
    ) -> Result<Outcome, StreamError> {
        let tick = &enriched.tick;
        if let Some(reason) = io.origin_flaw(&tick.origin)? {
            self.state.pass(message.offset);
            io.refuse(message, STAGE, FOREIGN_ORIGIN, &reason, tick.correlation_id)?;
            return Ok(Outcome::DeadLettered);
        }
        let arrived = Arrived {
            tick,
            offset: message.offset,
            now,
        };
        // A closing carries the clock that closed it, which includes this tick's append time.
        let clock = self.state.log_clock().max(Some(tick.appended_at));
        let mut outbox = Outbox::new(io, shared, self.partition.number);
        let applied = self.state.apply(&arrived, &mut |shown| outbox.show(shown, clock));
        match applied {
            Applied::Duplicate => {
                outbox.finish()?;
                shared.tally.duplicates += 1;
                Ok(Outcome::Duplicate)
            }
            Applied::Counted(verdict) => {
                if verdict.by_table != 0 {
                    outbox.late(&late_tick(&arrived, &verdict, clock))?;
                }
                let clock = clock.unwrap_or(tick.appended_at);
                outbox.legs(enriched, message.offset, clock, self.state.marks())?;
                outbox.finish()?;
                count_revisions(&mut shared.tally.revisions, verdict.revised);
                shared.newest_appended_at = shared.newest_appended_at.max(Some(tick.appended_at));
                if verdict.overflowed == 0 {
                    Ok(Outcome::Success)
                } else {
                    let reason = format!(
                        "the sums of the intervals with bits {:#07b} would overflow; these bars do not count the tick",
                        verdict.overflowed
                    );
                    io.refuse(message, STAGE, SUM_OVERFLOW, &reason, tick.correlation_id)?;
                    Ok(Outcome::Partial)
                }
            }
            Applied::TimeOutOfRange => {
                outbox.finish()?;
                let reason = format!(
                    "event time {} µs or append time {} µs is out of range",
                    tick.event_time, tick.appended_at
                );
                io.refuse(message, STAGE, TIME_OUT_OF_RANGE, &reason, tick.correlation_id)?;
                Ok(Outcome::DeadLettered)
            }
        }
    }

    /// Sends ended windows as closed if no ticks arrive.
    pub fn close_idle(&mut self, io: &mut Io<'_>, shared: &mut Shared, now: Micros) -> Result<(), StreamError> {
        let clock = self.state.log_clock();
        let mut outbox = Outbox::new(io, shared, self.partition.number);
        self.state.close_idle(now, &mut |shown| outbox.show(shown, clock));
        outbox.finish()
    }

    /// Begins a checkpoint if none is running and the partition has its turn.
    pub fn begin_in_turn(&mut self, io: &mut Io<'_>, shared: &mut Shared, turn: u128) -> Result<(), StreamError> {
        let is_due = match (self.last_turn, self.last_begun) {
            (Some(last), _) => last != turn,
            (None, Some(begun)) => begun.elapsed() >= FIRST_LOOK,
            (None, None) => true,
        };
        if self.checkpoint.is_some() || !is_due {
            return Ok(());
        }
        let is_first = self.last_begun.is_none();
        let shows = self.begin_checkpoint(io, shared)?;
        // The first one copies the state as it was restored.
        if self.last_turn.is_some() || (shows && !is_first) {
            self.last_turn = Some(turn);
        }
        Ok(())
    }

    /// Takes all steps of the running checkpoint that the acknowledgements allow.
    pub fn advance(&mut self, io: &mut Io<'_>, shared: &mut Shared) -> Result<Progress, StreamError> {
        while let Some(checkpoint) = &mut self.checkpoint {
            match checkpoint.next(io.acked_through()) {
                Step::Wait => return Ok(Progress::Waiting),
                Step::Send(records) => {
                    Outbox::new(io, shared, self.partition.number).state(&records)?;
                    checkpoint.sent(io.last_ticket());
                }
                Step::Finish { position, tombstones } => {
                    io.commit(&self.partition, position);
                    Outbox::new(io, shared, self.partition.number).tombstones(&tombstones)?;
                    shared.tally.checkpoints += 1;
                    shared
                        .checkpoints_took
                        .extend(self.began.take().map(|began| began.elapsed()));
                }
                Step::Done => self.checkpoint = None,
            }
        }
        Ok(Progress::Idle)
    }

    /// Sends the open bars that have changed, and begins to save everything read so far. Returns whether there were such bars. None
    /// may be running.
    pub fn begin_checkpoint(&mut self, io: &mut Io<'_>, shared: &mut Shared) -> Result<bool, StreamError> {
        let now = Instant::now();
        (self.began, self.last_begun) = (Some(now), Some(now));
        let mut shows = false;
        let wire = shared.wire.clone();
        let clock = self.state.log_clock();
        let mut outbox = Outbox::new(io, shared, self.partition.number);
        let snapshot = self.state.snapshot(&wire, &mut |shown| {
            shows = true;
            outbox.show(shown, clock);
        });
        outbox.finish()?;
        self.checkpoint = snapshot.map(|snapshot| Checkpoint::begin(snapshot, io.last_ticket()));
        Ok(shows)
    }
}

fn late_tick<'a>(arrived: &Arrived<'_, 'a>, verdict: &Verdict, clock: Option<Micros>) -> LateTick<'a> {
    let tick = arrived.tick;
    LateTick {
        origin: tick.origin,
        tenant_id: tick.tenant_id,
        instrument_id: tick.instrument_id,
        event_time: tick.event_time,
        price: tick.price,
        volume: tick.volume,
        missed_intervals: verdict.by_table,
        // Forgotten windows were closed before.
        closed_intervals: verdict.closed,
        is_close: false,
        watermark: clock.unwrap_or(tick.appended_at),
        enriched_offset: arrived.offset,
    }
}

fn count_revisions(counts: &mut [u64], revised: u8) {
    for (bit, count) in counts.iter_mut().enumerate() {
        *count += u64::from(revised >> bit & 1);
    }
}
