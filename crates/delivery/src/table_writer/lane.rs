//! The decisions of the writer for one source partition: a state machine without I/O or clock.
//!
//! ```text
//!  TakingOver ──ok──▶ Writing ──not confirmed──▶ Waiting ──▶ TakingOver
//!      │  ▲ └─error─▶ Waiting ─┐
//!      │  └────────────────────┘
//!      └──another writer has claimed it──▶ Fenced ──still assigned after a while──▶ TakingOver
//! ```
//! Invariants: rows are taken in only in `Writing`. Rows are cut only when the previous ones are confirmed. Unconfirmed rows
//! are dropped with the claim and read again from the log (INV-6, INV-8). `confirmed` is a position with the sequencer state as
//! of exactly that position (INV-3). After an insert that was not confirmed, a partition is claimed again only while nobody
//! else has claimed it.

use domain::{Claim, Micros, Position, RetryPolicy, Waits};

use super::group::Waiting;
use super::{Claiming, InsertError, Rows, SinkError, Takeover};
use crate::{Sequencer, StartAt};

/// A fenced lane waits this long for the group to revoke its partition before it claims again.
const FENCED_WAIT: Micros = 10_000_000;
/// How often a floor is stored while writing: a takeover reads the table from the newest floor on.
const FLOOR_INTERVAL: Micros = 600_000_000;

#[derive(Debug)]
enum Phase<B> {
    TakingOver,
    Waiting { until: Micros },
    Fenced { until: Micros },
    Writing(Box<Writing<B>>),
}

#[derive(Debug)]
struct Writing<B> {
    claim: Claim,
    sequencer: Sequencer,
    filling: Rows<B>,
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

/// One source partition of one table. `B` holds its rows.
#[derive(Debug)]
pub struct Lane<B> {
    phase: Phase<B>,
    /// What rows are taken into after a takeover or a cut.
    empty: B,
    /// How the next takeover may claim.
    claiming: Claiming,
    waits: Waits,
}

impl<B: Clone> Lane<B> {
    /// A lane whose first takeover the handler begins now. The seed determines the jitter of its waits; rows are taken into
    /// copies of `empty`.
    pub fn new(seed: u64, empty: B) -> Lane<B> {
        Lane {
            phase: Phase::TakingOver,
            empty,
            claiming: Claiming::Assigned,
            waits: RetryPolicy::STANDARD.seeded_waits(seed),
        }
    }

    /// The takeover that is due, if one is; the lane then expects its result.
    pub fn takeover_due(&mut self, now: Micros) -> Option<Claiming> {
        match self.phase {
            Phase::Waiting { until } | Phase::Fenced { until } if now >= until => {
                self.phase = Phase::TakingOver;
                Some(self.claiming)
            }
            _ => None,
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
                self.claiming = Claiming::StillOurs;
                self.phase = Phase::Writing(Box::new(Writing {
                    claim,
                    sequencer: position.iter().flat_map(|floor| &floor.sequencer).collect(),
                    filling: Rows::none(&self.empty),
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
            Err(SinkError::Fenced) => {
                self.claiming = Claiming::Assigned;
                self.phase = Phase::Fenced {
                    until: now + FENCED_WAIT,
                };
                Step::None
            }
            Err(SinkError::Fatal { code, message }) => Step::Fatal { code, message },
        }
    }

    /// The sequencer and the block for the row of this message; `None` while the lane must not take rows.
    pub fn intake(&mut self, offset: i64) -> Option<(&mut Sequencer, &mut B)> {
        match &mut self.phase {
            // A message from before a restart of the partition may still be in flight: it is not the next one.
            Phase::Writing(writing) if offset >= writing.next_offset => {
                Some((&mut writing.sequencer, &mut writing.filling.block))
            }
            _ => None,
        }
    }

    /// The message at `offset` was taken in, and became a row of this size, or none.
    pub fn took(&mut self, offset: i64, row: Option<usize>, now: Micros) {
        let Phase::Writing(writing) = &mut self.phase else {
            return;
        };
        writing.next_offset = offset + 1;
        let Some(bytes) = row else {
            return;
        };
        if writing.filling.count == 0 {
            writing.filling_since = now;
        }
        writing.filling.count += 1;
        writing.filling.bytes += bytes;
    }

    /// The rows that wait for an insert.
    pub fn waiting(&self) -> Waiting {
        match &self.phase {
            Phase::Writing(writing) => Waiting {
                rows: writing.filling.count,
                bytes: writing.filling.bytes,
                since: (writing.filling.count > 0).then_some(writing.filling_since),
            },
            _ => Waiting::default(),
        }
    }

    /// Cuts the rows that wait, for an insert under this claim; `None` if there are none or an insert is under way.
    pub fn cut(&mut self) -> Option<(Claim, Rows<B>)> {
        let Phase::Writing(writing) = &mut self.phase else {
            return None;
        };
        if writing.filling.count == 0 || writing.inserting.is_some() {
            return None;
        }
        writing.inserting = Some(Position {
            next_offset: writing.next_offset,
            sequencer: writing.sequencer.state(),
        });
        let rows = std::mem::replace(&mut writing.filling, Rows::none(&self.empty));
        Some((writing.claim.clone(), rows))
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
            // Nothing was written, perhaps for the sake of another partition: the next takeover finds out.
            Err(InsertError::Fenced) => {
                self.phase = Phase::Waiting { until: now };
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
            Phase::Writing(w) if w.inserting.is_none() && w.filling.count == 0 => Some(w.next_offset),
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
        if writing.inserting.is_none() && writing.filling.count == 0 && writing.next_offset > confirmed {
            writing.confirmed = Some(Position {
                next_offset: writing.next_offset,
                sequencer: writing.sequencer.state(),
            });
        }
        Some((writing.claim.clone(), writing.confirmed.clone()?))
    }

    /// Whether rows wait or are under way.
    pub fn is_busy(&self) -> bool {
        matches!(&self.phase, Phase::Writing(w) if w.inserting.is_some() || w.filling.count > 0)
    }

    /// Whether it writes (as opposed to waiting for the table).
    pub fn is_writing(&self) -> bool {
        matches!(self.phase, Phase::Writing(_))
    }

    /// The next offset to take in.
    #[cfg(test)]
    pub fn next_offset(&self) -> Option<i64> {
        match &self.phase {
            Phase::Writing(writing) => Some(writing.next_offset),
            _ => None,
        }
    }

    fn wait(&mut self, now: Micros) {
        // Some seconds at most.
        let wait = self.waits.after_failure().as_micros() as Micros;
        self.phase = Phase::Waiting { until: now + wait };
    }
}

impl<B: Clone> Rows<B> {
    fn none(empty: &B) -> Rows<B> {
        Rows {
            block: empty.clone(),
            count: 0,
            bytes: 0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    fn takeover(partition: i32) -> Takeover {
        let claim = Claim {
            topic: "t".into(),
            partition,
            epoch: 1,
            writer: uuid::Uuid::nil(),
        };
        Takeover { claim, position: None }
    }

    /// A lane that writes.
    pub(in super::super) fn writing(partition: i32) -> Lane<()> {
        let mut lane = Lane::new(0, ());
        lane.taken_over(Ok(takeover(partition)), 0);
        lane
    }

    #[test]
    fn a_floor_covers_messages_without_rows_unless_rows_wait_before_them() {
        let mut lane = writing(0);
        let floor_at = |lane: &mut Lane<()>, time| {
            lane.floor_due(time * FLOOR_INTERVAL)
                .map(|(_, floor)| floor.next_offset)
        };
        assert_eq!(floor_at(&mut lane, 1), None, "nothing was ever read");
        lane.took(7, None, 0);
        assert_eq!(floor_at(&mut lane, 2), Some(8));
        lane.took(8, Some(10), 0);
        lane.took(9, None, 0);
        assert_eq!(floor_at(&mut lane, 3), Some(8), "a row waits");
        assert!(lane.cut().is_some());
        assert_eq!(floor_at(&mut lane, 4), Some(8), "it is under way");
        lane.inserted(&Ok(()), 6);
        lane.took(10, None, 0);
        assert_eq!(floor_at(&mut lane, 5), Some(11));
    }

    #[test]
    fn after_an_insert_that_was_not_confirmed_only_an_own_partition_is_claimed_again() {
        for outcome in [InsertError::Fenced, InsertError::Unknown("away".into())] {
            let mut lane = writing(0);
            lane.took(0, Some(10), 0);
            lane.cut().unwrap();
            assert_eq!(lane.inserted(&Err(outcome), 0), Step::Stop);
            let later = FENCED_WAIT;
            assert_eq!(lane.takeover_due(later), Some(Claiming::StillOurs));
            lane.taken_over(Err(SinkError::Transient("away".into())), later);
            assert_eq!(lane.takeover_due(2 * later), Some(Claiming::StillOurs));
            lane.taken_over(Err(SinkError::Fenced), 2 * later);
            assert_eq!(lane.takeover_due(2 * later + 1), None, "the group may revoke it first");
            assert_eq!(lane.takeover_due(3 * later), Some(Claiming::Assigned));
        }
    }
}
