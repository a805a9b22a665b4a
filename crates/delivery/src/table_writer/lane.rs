//! The decisions of the writer for one source partition: a state machine without I/O or clock.
//!
//! ```text
//!  TakingOver ──ok──▶ Writing ──fenced──▶ Fenced ──still ours after a while──▶ TakingOver
//!      ▲  └─error─▶ Waiting ─┐    └─unknown outcome─▶ Waiting ─▶ TakingOver
//!      └─────────────────────┘
//! ```
//! Invariants: rows enter a batch only in `Writing`. A batch is cut only when the previous one is confirmed. Unconfirmed rows
//! are dropped with the claim and read again from the log (INV-6, INV-8). `confirmed` is a position with the sequencer state as
//! of exactly that position (INV-3).

use domain::{Claim, Micros, Position, RetryPolicy, Waits};

use super::{EncodedBatch, InsertError, SinkError, Takeover};
use crate::{Sequencer, StartAt};

/// When a batch is cut and how much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows that make a batch full.
    pub rows: usize,
    /// Bytes that make a batch full.
    pub bytes: usize,
    /// Age of the first row that makes a batch due.
    pub linger: Micros,
}

impl BatchLimits {
    fn reached(&self, batch: &EncodedBatch) -> bool {
        batch.rows >= self.rows || batch.bytes.len() >= self.bytes
    }
}

/// A fenced lane waits this long for the group to revoke its partition before it claims again.
const FENCED_WAIT: Micros = 10_000_000;
/// How often a floor is stored while writing: a takeover reads the table from the newest floor on.
const FLOOR_INTERVAL: Micros = 600_000_000;

#[derive(Debug)]
enum Phase {
    TakingOver,
    Waiting { until: Micros },
    Fenced { until: Micros },
    Writing(Box<Writing>),
}

#[derive(Debug)]
struct Writing {
    claim: Claim,
    sequencer: Sequencer,
    filling: EncodedBatch,
    /// Length of the complete rows in `filling`.
    complete_bytes: usize,
    filling_since: Micros,
    /// Position after the last message taken in.
    next_offset: i64,
    /// The position that the insert under way will confirm.
    inserting: Option<Position>,
    confirmed: Option<Position>,
    floor_saved_at: Micros,
}

/// What the handler must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    None,
    /// Begin to consume here.
    Start(StartAt),
    /// Stop consuming; the lane will request a takeover later.
    Stop,
    /// Report this position for lag; the rows before it are in the table.
    Confirmed(i64),
    /// End the process with this error.
    Fatal {
        /// Code of a closed set.
        code: &'static str,
        /// What, where, and the remedy.
        message: String,
    },
}

/// One source partition of one table.
#[derive(Debug)]
pub struct Lane {
    limits: BatchLimits,
    phase: Phase,
    waits: Waits,
}

impl Lane {
    /// A lane whose takeover the handler begins now. The seed determines the jitter of its waits.
    pub fn new(limits: BatchLimits, seed: u64) -> Lane {
        Lane {
            limits,
            phase: Phase::TakingOver,
            waits: RetryPolicy::STANDARD.seeded_waits(seed),
        }
    }

    /// Whether a takeover is due; the lane then expects its result.
    pub fn takeover_due(&mut self, now: Micros) -> bool {
        match self.phase {
            Phase::Waiting { until } | Phase::Fenced { until } if now >= until => {
                self.phase = Phase::TakingOver;
                true
            }
            _ => false,
        }
    }

    /// The takeover has ended.
    pub fn taken_over(&mut self, result: Result<Takeover, SinkError>, now: Micros) -> Step {
        match result {
            Ok(Takeover { claim, position }) => {
                let start = position
                    .as_ref()
                    .map_or(StartAt::Beginning, |floor| StartAt::Offset(floor.next_offset));
                self.waits.succeeded();
                self.phase = Phase::Writing(Box::new(Writing {
                    claim,
                    sequencer: position.iter().flat_map(|floor| &floor.sequencer).collect(),
                    filling: EncodedBatch::default(),
                    complete_bytes: 0,
                    filling_since: now,
                    next_offset: position.as_ref().map_or(0, |floor| floor.next_offset),
                    inserting: None,
                    confirmed: position,
                    floor_saved_at: now,
                }));
                Step::Start(start)
            }
            Err(SinkError::Transient(_) | SinkError::Refused(_)) => {
                self.wait(now);
                Step::None
            }
            Err(SinkError::Fatal { code, message }) => Step::Fatal { code, message },
        }
    }

    /// The sequencer and the buffer for the row of this message; `None` while the lane must not take rows.
    pub fn intake(&mut self, offset: i64) -> Option<(&mut Sequencer, &mut Vec<u8>)> {
        match &mut self.phase {
            // A message from before a restart of the partition may still be in flight: it is not the next one.
            Phase::Writing(writing) if offset >= writing.next_offset => {
                Some((&mut writing.sequencer, &mut writing.filling.bytes))
            }
            _ => None,
        }
    }

    /// The message at `offset` was taken in; `row` says whether it became a row (if not, its partial bytes are cut off).
    pub fn took(&mut self, offset: i64, row: bool, now: Micros) {
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        writing.next_offset = offset + 1;
        if row {
            if writing.filling.rows == 0 {
                writing.filling_since = now;
            }
            writing.filling.rows += 1;
            writing.complete_bytes = writing.filling.bytes.len();
        } else {
            writing.filling.bytes.truncate(writing.complete_bytes);
        }
    }

    /// Whether the batch can take no more rows: it must be cut, or waits behind the insert under way.
    pub fn is_full(&self) -> bool {
        matches!(&self.phase, Phase::Writing(writing) if self.limits.reached(&writing.filling))
    }

    /// Cuts the next batch if it is due (or `drain` is set) and no insert is under way.
    pub fn cut(&mut self, now: Micros, drain: bool) -> Option<(Claim, EncodedBatch)> {
        let Phase::Writing(writing) = &mut self.phase else {
            return None;
        };
        let batch = &writing.filling;
        let due = self.limits.reached(batch) || now - writing.filling_since >= self.limits.linger || drain;
        if batch.rows == 0 || writing.inserting.is_some() || !due {
            return None;
        }
        writing.inserting = Some(Position {
            next_offset: writing.next_offset,
            sequencer: writing.sequencer.state(),
        });
        writing.complete_bytes = 0;
        Some((writing.claim.clone(), std::mem::take(&mut writing.filling)))
    }

    /// The insert under way has ended.
    pub fn inserted(&mut self, result: &Result<(), InsertError>, now: Micros) -> Step {
        let Phase::Writing(writing) = &mut self.phase else {
            return Step::None;
        };
        match result {
            Ok(()) => {
                let Some(floor) = writing.inserting.take() else {
                    return Step::None;
                };
                let next_offset = floor.next_offset;
                writing.confirmed = Some(floor);
                Step::Confirmed(next_offset)
            }
            Err(InsertError::Fenced) => {
                self.phase = Phase::Fenced {
                    until: now + FENCED_WAIT,
                };
                Step::Stop
            }
            Err(InsertError::Refused(_) | InsertError::Unknown(_)) => {
                self.wait(now);
                Step::Stop
            }
        }
    }

    /// A position that needs no insert (only repetitions since the last one) may be reported for lag.
    pub fn idle_position(&self) -> Option<i64> {
        match &self.phase {
            Phase::Writing(w) if w.inserting.is_none() && w.filling.rows == 0 => Some(w.next_offset),
            _ => None,
        }
    }

    /// The floor to store, if one is due. It includes messages at the end of the log that became no rows, since readers of the
    /// table may wait for their offsets.
    pub fn floor_due(&mut self, now: Micros) -> Option<(Claim, Position)> {
        let Phase::Writing(writing) = &mut self.phase else {
            return None;
        };
        if now - writing.floor_saved_at < FLOOR_INTERVAL {
            return None;
        }
        writing.floor_saved_at = now;
        let confirmed = writing.confirmed.as_ref().map_or(0, |floor| floor.next_offset);
        if writing.inserting.is_none() && writing.filling.rows == 0 && writing.next_offset > confirmed {
            writing.confirmed = Some(Position {
                next_offset: writing.next_offset,
                sequencer: writing.sequencer.state(),
            });
        }
        Some((writing.claim.clone(), writing.confirmed.clone()?))
    }

    /// Whether rows wait or are under way.
    pub fn is_busy(&self) -> bool {
        matches!(&self.phase, Phase::Writing(w) if w.inserting.is_some() || w.filling.rows > 0)
    }

    /// Whether it writes (as opposed to waiting for the table).
    #[cfg(test)]
    pub fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing(_))
    }

    fn wait(&mut self, now: Micros) {
        // Some seconds at most.
        let wait = self.waits.after_failure().as_micros() as Micros;
        self.phase = Phase::Waiting { until: now + wait };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_covers_messages_without_rows_unless_rows_wait_before_them() {
        let limits = BatchLimits {
            rows: 10,
            bytes: 1_000,
            linger: 5,
        };
        let mut lane = Lane::new(limits, 0);
        let claim = Claim {
            topic: "t".into(),
            partition: 0,
            epoch: 1,
            writer: uuid::Uuid::nil(),
        };
        lane.taken_over(Ok(Takeover { claim, position: None }), 0);
        let floor_at = |lane: &mut Lane, time| {
            lane.floor_due(time * FLOOR_INTERVAL)
                .map(|(_, floor)| floor.next_offset)
        };
        assert_eq!(floor_at(&mut lane, 1), None, "nothing was ever read");
        lane.took(7, false, 0);
        assert_eq!(floor_at(&mut lane, 2), Some(8));
        lane.took(8, true, 0);
        lane.took(9, false, 0);
        assert_eq!(floor_at(&mut lane, 3), Some(8), "a row waits");
        assert!(lane.cut(5, false).is_some());
        assert_eq!(floor_at(&mut lane, 4), Some(8), "it is under way");
        lane.inserted(&Ok(()), 6);
        lane.took(10, false, 0);
        assert_eq!(floor_at(&mut lane, 5), Some(11));
    }
}
