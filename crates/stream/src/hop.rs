//! A stateless stage between two topics: at-least-once, in order, committed at the frontier.
//!
//! Role: normalization and enrichment are [`Stage`]s; the handling of positions is shared here.
//! Invariants: INV-2 (frontier), INV-7 (outputs enter in input order). Positions are the group's committed offsets: a
//! reset or lost offset only repeats work, and the sequencers downstream reject the repeated outputs (INV-3).
//! Failure: poison goes to the dead letter topic, and the frontier waits for its acknowledgement. Errors of the producer
//! rebuild the worker. A committed offset outside of the log is fatal, and the error names the remedy.

use std::time::{Duration, Instant};

use domain::{Micros, RowRanges};

use crate::dead_letter::{DeadLetter, RowReason};
use crate::kafka::producer::Output;
use crate::kafka::reader::LogReader;
use crate::kafka::settings::MAX_SENT_BYTES;
use crate::positions::check_range;
use crate::read_back::{after_memory, memory_start, time_at};
use crate::record_size;
use crate::stage_output::Held;
pub use crate::stage_output::StageOutput;
use crate::stall::{Cause, Stall};
use crate::worker::{Handler, Io};
use crate::{Message, Outcome, Partition, StreamError};
use delivery::StartAt;
use delivery::frontier::Frontier;

/// The decisions of a stateless stage: a function of the message and of the stage's memory.
pub trait Stage {
    /// Name for metrics and dead letters.
    fn name(&self) -> &'static str;

    /// Processes one message and writes its outputs into `out`, in order. Some of them may be sent before it returns, so
    /// an error means that the message is processed again from its beginning.
    fn process(&mut self, message: &Message<'_>, out: &mut StageOutput<'_>) -> Result<Verdict, StreamError>;

    /// Shows a message that an earlier owner finished, so that memory (an event-id window) can be rebuilt.
    fn observe(&mut self, message: &Message<'_>) -> Result<(), StreamError> {
        let _ = message;
        Ok(())
    }

    /// How far back [`Stage::observe`] needs to see; `None` if the stage has no memory.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// How far back [`Stage::observe`] needs to see for what only describes outputs (quality flags), if that is further than
    /// [`Stage::memory`].
    fn learns_from(&self) -> Option<Memory> {
        None
    }

    /// Whether outputs are right only with the whole memory: without a committed offset, the first messages of a log that retention has cut
    /// then only rebuild the memory. Their outputs were sent before the offset was lost.
    fn begins_after_memory(&self) -> bool {
        false
    }

    /// The time of a message on the clock by which [`Stage::memory`] is measured, if that is not the time of the message.
    fn time_of(&self, message: &Message<'_>) -> Micros {
        message.timestamp
    }

    /// Restores what is kept of the memory. `time_at` is the append time of a record in the log. Returns the offset from which the
    /// rest is read back.
    fn recall(&mut self, partition: &Partition, range: ReadBack, time_at: &dyn Fn(i64) -> Option<Micros>) -> i64 {
        let _ = (partition, time_at);
        range.memory.min(range.learns)
    }

    /// After each batch: add up counters. In a quiet market the next batch may be a while away.
    fn turn(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    /// The partition was revoked: drop the memory of it.
    fn forget(&mut self, partition: &Partition) {
        let _ = partition;
    }
}

/// How much of the log a stage's memory covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Append time.
    pub micros: Micros,
    /// Offsets.
    pub offsets: i64,
}

/// Offsets of a partition whose messages before the committed one are read again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// From here on, [`Stage::memory`] needs them.
    pub memory: i64,
    /// From here on, [`Stage::learns_from`] needs them; that of the memory if the stage has no such method.
    pub learns: i64,
    /// Messages from here on are processed.
    pub committed: i64,
}

/// The result for a message, besides its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Finished.
    Done,
    /// Seen before; it has no outputs.
    Duplicate,
    /// All of it, or some rows of it, cannot be used.
    DeadLetter(Rejected),
}

/// Why a message, or rows of it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Code of a closed set.
    pub code: &'static str,
    /// What is wrong and where, for operators.
    pub message: String,
    /// The refused rows of a document whose other rows were emitted; empty means the whole message.
    pub rows: RowRanges,
    /// Why the first of these rows were refused.
    pub reasons: Vec<RowReason>,
    /// Of the message, if it could be read.
    pub correlation_id: String,
    /// The tenant of the message, if that is why it is kept; else empty.
    pub tenant: String,
    /// How often it has been tried.
    pub attempts: u32,
}

impl Rejected {
    /// Code of a message with an output that is larger than any topic accepts.
    pub const OVERSIZE: &str = "oversize";

    fn too_large(size: usize) -> Rejected {
        Rejected {
            code: Rejected::OVERSIZE,
            message: format!("one of its outputs has {size} bytes; a topic accepts at most {MAX_SENT_BYTES}"),
            rows: RowRanges::default(),
            reasons: Vec::new(),
            correlation_id: String::new(),
            tenant: String::new(),
            attempts: 1,
        }
    }
}

struct Lane {
    partition: Partition,
    frontier: Frontier,
    /// Messages before this offset were finished by an earlier owner: observed, not processed.
    process_from: i64,
    /// From here on the memory is whole: between this offset and `process_from` there are only transaction markers or unreadable batches.
    whole_from: i64,
    /// The offset after the last message seen; before the first message, the offset where reading began.
    next: Option<i64>,
}

/// Runs a [`Stage`] as a worker's handler.
pub struct Hop<S> {
    stage: S,
    output_topic: String,
    lanes: Vec<Lane>,
    held: Held,
}

impl<S: Stage> Hop<S> {
    /// A hop that writes to this topic.
    pub fn new(stage: S, output_topic: String) -> Hop<S> {
        Hop {
            stage,
            output_topic,
            lanes: Vec::new(),
            held: Held::default(),
        }
    }

    fn begin(
        &mut self,
        io: &mut Io<'_>,
        reader: &LogReader,
        partition: &Partition,
        committed: Option<i64>,
    ) -> Result<(), StreamError> {
        let mut process_from = committed.unwrap_or(0);
        let mut last_before = None;
        let start = match committed {
            None => {
                self.stage.recall(partition, ReadBack::default(), &|_| None);
                let memory = self.stage.memory().filter(|_| self.stage.begins_after_memory());
                if let Some(memory) = memory
                    && let Some(offset) = after_memory(reader, partition, memory)?
                {
                    process_from = offset;
                    io.commit(partition, offset);
                }
                StartAt::Beginning
            }
            Some(offset) => {
                check_range(&io.config().reader(), partition, offset, io.log_range(partition)?)?;
                StartAt::Offset(match self.stage.memory() {
                    Some(memory) => {
                        let time_of = |message: &Message<'_>| self.stage.time_of(message);
                        let reaches = (memory, self.stage.learns_from());
                        let start = memory_start(reader, partition, offset, reaches, &time_of)?;
                        last_before = start.last.map(|(last, _)| last);
                        let time_at = |at| match start.last {
                            Some((last, time)) if last == at => Some(time),
                            _ => time_at(reader, partition, at).ok().flatten(),
                        };
                        self.stage.recall(partition, start.range, &time_at)
                    }
                    None => offset,
                })
            }
        };
        self.lanes.push(Lane {
            partition: partition.clone(),
            frontier: Frontier::default(),
            process_from,
            whole_from: last_before.map_or(process_from, |last| last + 1),
            next: match start {
                StartAt::Beginning => None,
                StartAt::Offset(offset) => Some(offset),
            },
        });
        io.start(partition, start);
        Ok(())
    }

    fn commit_frontiers(&mut self, io: &mut Io<'_>) {
        let acked_through = io.acked_through();
        for lane in &mut self.lanes {
            if let Some(next_offset) = lane.frontier.advance(acked_through) {
                io.commit(&lane.partition, next_offset);
            }
        }
    }
}

impl<S: Stage> Handler for Hop<S> {
    fn assigned(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        let reader = LogReader::new(&io.config().bootstrap)?;
        for (partition, committed) in io.committed(partitions)? {
            self.begin(io, &reader, &partition, committed)?;
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let Some(lane) = self
            .lanes
            .iter_mut()
            .find(|lane| lane.partition.number == message.partition && *lane.partition.topic == *message.topic)
        else {
            return Ok(Outcome::NotOurs);
        };
        let next_offset = message.offset + 1;
        lane.next = Some(next_offset);
        if message.offset < lane.process_from {
            self.stage.observe(message)?;
            return Ok(Outcome::Observed);
        }
        let outcome = process(&mut self.stage, &mut self.held, &self.output_topic, io, message)?;
        lane.frontier.handled(next_offset, io.last_ticket());
        Ok(outcome)
    }

    fn position(&self, partition: &Partition) -> Option<i64> {
        let lane = self.lanes.iter().find(|lane| lane.partition == *partition)?;
        lane.next
    }

    fn restoring(&self, partition: &Partition) -> Option<String> {
        let lane = self.lanes.iter().find(|lane| lane.partition == *partition)?;
        let next = lane.next.filter(|next| *next < lane.whole_from)?;
        Some(format!(
            "reading earlier messages again, {} left",
            lane.whole_from - next
        ))
    }

    fn stalled(&mut self, io: &mut Io<'_>, stall: &Stall) -> Result<bool, StreamError> {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.partition == stall.partition) else {
            return Ok(false);
        };
        match &stall.cause {
            // Transaction markers count as handled, so that the committed offset reaches the end of the log.
            Cause::NothingReadable if lane.next.is_none_or(|next| next == stall.position) => {
                lane.next = Some(stall.end);
                if stall.end > lane.process_from {
                    lane.frontier.handled(stall.end, io.last_ticket());
                }
                Ok(false)
            }
            // The batch was skipped before a later offset was committed; only the memory reads it again.
            Cause::Unreadable { next, .. } if stall.position < lane.process_from => {
                let next = (*next).min(lane.process_from);
                tracing::warn!(partition = %stall.partition, position = stall.position, next, "skipped an unreadable batch while reading back");
                io.stop(&stall.partition)?;
                lane.next = Some(next);
                io.start(&stall.partition, StartAt::Offset(next));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.commit_frontiers(io);
        self.stage.turn()
    }

    fn sends(&self) -> bool {
        true
    }

    fn works_until_handover(&self) -> bool {
        true
    }

    fn revoked(&mut self, io: &mut Io<'_>, partitions: &[Partition]) -> Result<(), StreamError> {
        self.stage.turn()?;
        while Instant::now() < io.drain_deadline()
            && self
                .lanes
                .iter()
                .any(|lane| partitions.contains(&lane.partition) && lane.frontier.is_waiting())
        {
            io.poll_acks(Duration::from_millis(5))?;
            self.commit_frontiers(io);
        }
        self.lanes.retain(|lane| !partitions.contains(&lane.partition));
        partitions.iter().for_each(|partition| self.stage.forget(partition));
        Ok(())
    }
}

/// Lets the stage process one message, and sends its outputs or its dead letter.
fn process<S: Stage>(
    stage: &mut S,
    memory: &mut Held,
    topic: &str,
    io: &mut Io<'_>,
    message: &Message<'_>,
) -> Result<Outcome, StreamError> {
    let headers = io.trace_headers();
    let mut send = |partition: i32, key: &[u8], value: &[u8]| {
        let output = Output {
            topic,
            partition,
            key: Some(key),
            payload: Some(value),
            headers: &headers,
        };
        io.send(&output).map(|_| ())
    };
    let mut out = StageOutput::new(std::mem::take(memory), record_size::headers(&headers), &mut send);
    let mut verdict = stage.process(message, &mut out)?;
    let too_large;
    (*memory, too_large) = out.finish()?;
    if let Some(size) = too_large {
        verdict = Verdict::DeadLetter(Rejected::too_large(size));
    }
    let outcome = match &verdict {
        Verdict::Done => Outcome::Success,
        Verdict::Duplicate => Outcome::Duplicate,
        Verdict::DeadLetter(rejected) if rejected.rows.is_empty() => Outcome::DeadLettered,
        Verdict::DeadLetter(_) => Outcome::Partial,
    };
    if let Verdict::DeadLetter(rejected) = verdict {
        let service = io.config().service.clone();
        io.dead_letter(
            message,
            &DeadLetter {
                service: &service,
                stage: stage.name(),
                code: rejected.code,
                message: &rejected.message,
                rejected_rows: &rejected.rows,
                reasons: &rejected.reasons,
                attempts: rejected.attempts,
                correlation_id: &rejected.correlation_id,
                tenant: &rejected.tenant,
            },
        )?;
    }
    Ok(outcome)
}
