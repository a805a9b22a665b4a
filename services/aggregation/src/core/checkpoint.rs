//! The order in which a checkpoint becomes durable.
//!
//! Bars and late ticks acknowledged → changed windows acknowledged → one sequencer record with the position
//! and the log clock acknowledged → commit → tombstones. The reason for each step: with state ahead of its bars, a crash would
//! lose the bars; with a position ahead of its state, it would lose ticks; a key removed before the position has passed its
//! window would be missing in a restore.
//! A new owner's first checkpoint copies all state under its own id. Its tombstones include the keys of its predecessors,
//! so those are removed only after the copy is acknowledged.
//! Failure: after a crash at any step the previous sequencer record is in force.

use delivery::Ticket;

use super::records::Records;

/// The content of a checkpoint, encoded at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Next offset to read.
    pub position: i64,
    /// Changed windows.
    pub state: Records,
    /// The one sequencer record.
    pub sequencer: Records,
    /// Keys that a restore from this position does not need.
    pub tombstones: Vec<Vec<u8>>,
}

/// What to do next. After each [`Step::Send`], call [`Checkpoint::sent`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Acknowledgements are missing.
    Wait,
    /// Send these to the state topic.
    Send(Records),
    /// The checkpoint is durable: commit the position (for the lag only) and remove the keys.
    Finish {
        /// Next offset to read.
        position: i64,
        /// Keys to remove.
        tombstones: Vec<Vec<u8>>,
    },
    /// The checkpoint is finished.
    Done,
}

/// A running checkpoint. Checkpoints of a partition do not overlap.
#[derive(Debug)]
pub struct Checkpoint {
    waits_for: Ticket,
    next: Next,
}

#[derive(Debug)]
enum Next {
    State(Snapshot),
    Sequencer(Snapshot),
    Finish(Snapshot),
    Nothing,
}

impl Checkpoint {
    /// Starts a checkpoint after all bars and late ticks up to the position were sent, the last one with this ticket.
    pub fn begin(snapshot: Snapshot, outputs_through: Ticket) -> Checkpoint {
        Checkpoint {
            waits_for: outputs_through,
            next: Next::State(snapshot),
        }
    }

    /// The next step, given what the broker has acknowledged.
    pub fn next(&mut self, acked_through: Ticket) -> Step {
        if acked_through < self.waits_for {
            return Step::Wait;
        }
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::State(mut snapshot) => {
                let state = std::mem::take(&mut snapshot.state);
                self.next = Next::Sequencer(snapshot);
                Step::Send(state)
            }
            Next::Sequencer(mut snapshot) => {
                let sequencer = std::mem::take(&mut snapshot.sequencer);
                self.next = Next::Finish(snapshot);
                Step::Send(sequencer)
            }
            Next::Finish(snapshot) => Step::Finish {
                position: snapshot.position,
                tombstones: snapshot.tombstones,
            },
            Next::Nothing => Step::Done,
        }
    }

    /// The records of the last step were sent, the last one with this ticket or an older one.
    pub fn sent(&mut self, through: Ticket) {
        self.waits_for = self.waits_for.max(through);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_waits_for_the_acknowledgement_of_the_one_before() {
        let snapshot = Snapshot {
            position: 7,
            state: Records::default(),
            sequencer: Records::default(),
            tombstones: vec![b"old".to_vec()],
        };
        let mut checkpoint = Checkpoint::begin(snapshot, Ticket(3));
        assert_eq!(checkpoint.next(Ticket(2)), Step::Wait);
        assert!(matches!(checkpoint.next(Ticket(3)), Step::Send(_)));
        checkpoint.sent(Ticket(5));
        assert_eq!(checkpoint.next(Ticket(4)), Step::Wait);
        assert!(matches!(checkpoint.next(Ticket(5)), Step::Send(_)));
        checkpoint.sent(Ticket(6));
        assert_eq!(checkpoint.next(Ticket(5)), Step::Wait);
        assert!(matches!(checkpoint.next(Ticket(6)), Step::Finish { position: 7, .. }));
        assert_eq!(checkpoint.next(Ticket(6)), Step::Done);
    }
}
