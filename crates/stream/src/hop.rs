//! A stateless stage between two topics: at-least-once, in order, committed at the frontier.
//!
//! Role: normalization and enrichment are [`Stage`]s; everything that has to be right about positions is here, once.
//! Invariants: INV-2 (frontier), INV-7 (outputs enter in input order). Positions are the group's committed offsets: a
//! reset or lost offset only repeats work, whose outputs are refused downstream (INV-3).
//! Failure: poison goes to the dead letter topic and holds the frontier until it is acknowledged there; errors of the
//! producer rebuild the worker. A committed offset outside of the log is fatal and names the remedy.

use std::time::{Duration, Instant};

use domain::{Micros, RowRanges};

use crate::dead_letter::DeadLetter;
use crate::frontier::Frontier;
use crate::kafka::producer::Output;
use crate::kafka::reader::LogReader;
use crate::kafka::settings::MAX_SENT_BYTES;
use crate::positions::check_range;
use crate::record_size;
use crate::worker::{Handler, Io};
use crate::{Message, Outcome, Partition, StartAt, StreamError};

/// The decisions of a stateless stage: a function of the message and of what it remembers.
pub trait Stage {
    /// Name for metrics and dead letters.
    fn name(&self) -> &'static str;

    /// Decides about one message and writes its outputs into `out`, in order. Some of them may be sent before it returns, so
    /// an error means that the message is processed again from its beginning.
    fn process(&mut self, message: &Message<'_>, out: &mut StageOutput<'_>) -> Result<Verdict, StreamError>;

    /// Shows a message that was finished by an earlier owner, so that memory (an event-id window) can be rebuilt.
    fn observe(&mut self, message: &Message<'_>) -> Result<(), StreamError> {
        let _ = message;
        Ok(())
    }

    /// How far back [`Stage::observe`] needs to see; `None` where the stage remembers nothing.
    fn memory(&self) -> Option<Memory> {
        None
    }

    /// After each batch: refresh snapshots, add up counters.
    fn turn(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    /// The partition went away: forget what was remembered for it.
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

/// What became of a message besides its outputs.
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
    /// For people: what and where.
    pub message: String,
    /// The refused rows of a document whose other rows were emitted; empty means the whole message.
    pub rows: RowRanges,
    /// Of the message, where it could be read.
    pub correlation_id: String,
    /// How often it has been tried.
    pub attempts: u32,
}

impl Rejected {
    /// Code of a message with an output that no topic takes.
    pub const OVERSIZE: &str = "oversize";

    fn too_large(size: usize) -> Rejected {
        Rejected {
            code: Rejected::OVERSIZE,
            message: format!("an output of it has {size} bytes where a topic takes {MAX_SENT_BYTES}"),
            rows: RowRanges::default(),
            correlation_id: String::new(),
            attempts: 1,
        }
    }
}

/// Encoded outputs of one message that are held before they are sent: one message may be a document of a million ticks.
const HELD_BYTES: usize = 1 << 18;

type Send<'s> = dyn FnMut(i32, &[u8], &[u8]) -> Result<(), StreamError> + 's;

/// The outputs of one message, encoded into one reused buffer. Where there is somebody to send them, the buffer is emptied
/// whenever it is full; else (in tests) it holds them all.
#[derive(Default)]
pub struct StageOutput<'s> {
    held: Held,
    send: Option<&'s mut Send<'s>>,
    failed: Option<StreamError>,
    /// Size of an output that no topic takes. Nothing is sent after it: the message is a dead letter.
    too_large: Option<usize>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    partition: i32,
    key: (usize, usize),
    payload: (usize, usize),
}

impl<'s> StageOutput<'s> {
    /// Outputs for `send`, in memory that was used before.
    fn new(held: Held, send: &'s mut Send<'s>) -> StageOutput<'s> {
        StageOutput {
            held,
            send: Some(send),
            failed: None,
            too_large: None,
        }
    }

    /// Adds a record; `write` appends its value to the buffer.
    pub fn push<E>(
        &mut self,
        partition: i32,
        key: &[&[u8]],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes = &mut self.held.bytes;
        let start = bytes.len();
        key.iter().for_each(|part| bytes.extend_from_slice(part));
        let middle = bytes.len();
        write(bytes)?;
        let end = bytes.len();
        let part = |from, to| bytes.get(from..to);
        let size = record_size::record(part(start, middle), part(middle, end), 0);
        if size > MAX_SENT_BYTES {
            self.too_large.get_or_insert(size);
        }
        self.held.records.push(Record {
            partition,
            key: (start, middle),
            payload: (middle, end),
        });
        if end >= HELD_BYTES {
            self.flush();
        }
        Ok(())
    }

    /// Number of records that are held.
    pub fn len(&self) -> usize {
        self.held.records.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.records.is_empty()
    }

    /// The records that are held: partition, key, value.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &[u8], &[u8])> {
        self.held.iter()
    }

    /// Removes all records, keeps the memory.
    pub fn clear(&mut self) {
        self.held.clear();
    }

    /// Sends what is held. After an error nothing more is sent: the order has no gaps (INV-7).
    fn flush(&mut self) {
        let Some(send) = &mut self.send else { return };
        if self.failed.is_none() && self.too_large.is_none() {
            self.failed = self
                .held
                .iter()
                .try_for_each(|(partition, key, value)| send(partition, key, value))
                .err();
        }
        self.held.clear();
    }

    /// Sends the rest; answers the memory, and the size of an output that is too large.
    fn finish(mut self) -> Result<(Held, Option<usize>), StreamError> {
        self.flush();
        match self.failed {
            None => Ok((self.held, self.too_large)),
            Some(error) => Err(error),
        }
    }
}

impl Held {
    fn iter(&self) -> impl Iterator<Item = (i32, &[u8], &[u8])> {
        self.records
            .iter()
            .map(|record| (record.partition, self.part(record.key), self.part(record.payload)))
    }

    fn part(&self, (start, end): (usize, usize)) -> &[u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }
}

struct Lane {
    partition: Partition,
    frontier: Frontier,
    /// Messages before this offset were finished by an earlier owner: observed, not processed.
    process_from: i64,
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

    fn begin(&mut self, io: &mut Io<'_>, partition: &Partition, committed: Option<i64>) -> Result<(), StreamError> {
        let process_from = committed.unwrap_or(0);
        let start = match committed {
            None => StartAt::Beginning,
            Some(offset) => {
                check_range(&io.config().reader(), partition, offset, io.log_range(partition)?)?;
                StartAt::Offset(match self.stage.memory() {
                    Some(memory) => memory_start(&io.config().bootstrap, partition, offset, memory)?,
                    None => offset,
                })
            }
        };
        self.lanes.push(Lane {
            partition: partition.clone(),
            frontier: Frontier::default(),
            process_from,
        });
        io.start(partition, start)
    }

    fn process(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let topic = &self.output_topic;
        let mut send = |partition: i32, key: &[u8], value: &[u8]| {
            let output = Output {
                topic,
                partition,
                key: Some(key),
                payload: Some(value),
                headers: &[],
            };
            io.send(&output).map(|_| ())
        };
        let mut out = StageOutput::new(std::mem::take(&mut self.held), &mut send);
        let mut verdict = self.stage.process(message, &mut out)?;
        let too_large;
        (self.held, too_large) = out.finish()?;
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
                    stage: self.stage.name(),
                    code: rejected.code,
                    message: &rejected.message,
                    rejected_rows: &rejected.rows,
                    attempts: rejected.attempts,
                    correlation_id: &rejected.correlation_id,
                },
            )?;
        }
        Ok(outcome)
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
        for (partition, committed) in io.committed(partitions)? {
            self.begin(io, &partition, committed)?;
        }
        Ok(())
    }

    fn message(&mut self, io: &mut Io<'_>, message: &Message<'_>) -> Result<Outcome, StreamError> {
        let Some(index) = self
            .lanes
            .iter()
            .position(|lane| lane.partition.number == message.partition && *lane.partition.topic == *message.topic)
        else {
            return Ok(Outcome::NotOurs);
        };
        if self
            .lanes
            .get(index)
            .is_some_and(|lane| message.offset < lane.process_from)
        {
            self.stage.observe(message)?;
            return Ok(Outcome::Observed);
        }
        let outcome = self.process(io, message)?;
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.frontier.handled(message.offset + 1, io.last_ticket());
        }
        Ok(outcome)
    }

    fn turn(&mut self, io: &mut Io<'_>) -> Result<(), StreamError> {
        self.commit_frontiers(io);
        self.stage.turn()
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

/// The first offset that a memory reaching back from `committed` can need.
fn memory_start(bootstrap: &str, partition: &Partition, committed: i64, memory: Memory) -> Result<i64, StreamError> {
    let reader = LogReader::new(bootstrap)?;
    let (oldest, _) = reader.log_range(partition)?;
    let by_count = (committed - memory.offsets).max(oldest);
    let mut last_time = None;
    reader.read(partition, (committed - 1).max(oldest), committed, |message| {
        last_time = Some(message.timestamp);
        true
    })?;
    let Some(last_time) = last_time else {
        return Ok(committed);
    };
    let by_time = reader
        .offset_at(partition, last_time - memory.micros)?
        .unwrap_or(committed);
    Ok(by_time.max(by_count).min(committed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(out: &mut StageOutput<'_>, number: u32) {
        let Ok(()) = out.push(1, &[b"key"], |bytes| {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.resize(bytes.len() + 100, 0);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    #[test]
    fn the_outputs_of_a_large_document_are_sent_in_order_and_few_of_them_are_held() {
        let mut sent = Vec::new();
        let mut send = |partition: i32, key: &[u8], value: &[u8]| {
            assert_eq!((partition, key), (1, &b"key"[..]));
            sent.extend(value.first_chunk::<4>().map(|number| u32::from_le_bytes(*number)));
            Ok(())
        };
        let mut out = StageOutput::new(Held::default(), &mut send);
        for number in 0..100_000 {
            push(&mut out, number);
            assert!(out.held.bytes.len() < HELD_BYTES);
        }
        let held = out.finish().map(|(held, _)| held.bytes.capacity());
        assert!(held.is_ok_and(|capacity| capacity <= 4 * HELD_BYTES));
        assert!(sent.iter().copied().eq(0..100_000));
    }

    #[test]
    fn nothing_is_sent_after_an_output_that_failed() {
        let mut sent = 0;
        let mut send = |_: i32, _: &[u8], _: &[u8]| {
            sent += 1;
            match sent {
                5 => Err(StreamError::transient("shutdown", "stopped")),
                _ => Ok(()),
            }
        };
        let mut out = StageOutput::new(Held::default(), &mut send);
        (0..10_000).for_each(|number| push(&mut out, number));
        let error = out.finish().err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("stopped")));
        assert_eq!(sent, 5);
    }
}
