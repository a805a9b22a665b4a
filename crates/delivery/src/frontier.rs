//! INV-2: an input offset is committed only when every output of every earlier input is acknowledged.
//!
//! Role: per input partition, remembers which ticket must be acknowledged before which offset may be committed.
//! Invariant: every value that [`Frontier::advance`] returned was a finished frontier, so any owner may commit these values
//! in any order. Values never decrease.

use std::collections::VecDeque;

use crate::Ticket;

/// The frontier of one input partition.
#[derive(Debug, Default)]
pub struct Frontier {
    /// (next offset, last ticket issued when that offset was reached), both increasing.
    waiting: VecDeque<(i64, Ticket)>,
}

impl Frontier {
    /// The input before `next_offset` has been handled; its outputs have tickets up to `last_ticket`.
    ///
    /// An input without outputs waits for the outputs of earlier inputs, as INV-2 requires.
    pub fn handled(&mut self, next_offset: i64, last_ticket: Ticket) {
        match self.waiting.back_mut() {
            Some((offset, ticket)) if *ticket == last_ticket => *offset = next_offset,
            _ => self.waiting.push_back((next_offset, last_ticket)),
        }
    }

    /// The offset that may be committed now, if it has moved.
    pub fn advance(&mut self, acked_through: Ticket) -> Option<i64> {
        let mut finished = None;
        while let Some((offset, ticket)) = self.waiting.front() {
            if *ticket > acked_through {
                break;
            }
            finished = Some(*offset);
            self.waiting.pop_front();
        }
        finished
    }

    /// Whether inputs wait for acknowledgements.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acks::AckWindow;
    use proptest::prelude::*;

    proptest! {
        /// Inputs with 0..3 outputs each, acknowledged in any order: the committed offset never passes an input that has
        /// an open output, and reaches the end when all are acknowledged.
        #[test]
        fn the_frontier_never_passes_an_open_output(
            outputs in proptest::collection::vec(0usize..3, 1..40),
            seed in any::<u64>(),
        ) {
            let (mut acks, mut frontier) = (AckWindow::default(), Frontier::default());
            let mut owner_of = Vec::new();
            for (offset, count) in outputs.iter().enumerate() {
                for _ in 0..*count {
                    acks.issue();
                    owner_of.push(offset as i64);
                }
                frontier.handled(offset as i64 + 1, acks.last());
            }
            let mut open: Vec<u64> = (1..=owner_of.len() as u64).collect();
            let (mut committed, mut random) = (0, fastrand::Rng::with_seed(seed));
            loop {
                if let Some(offset) = frontier.advance(acks.acked_through()) {
                    prop_assert!(offset > committed);
                    committed = offset;
                }
                for ticket in &open {
                    prop_assert!(owner_of[*ticket as usize - 1] >= committed);
                }
                if open.is_empty() {
                    break;
                }
                acks.acknowledge(Ticket(open.swap_remove(random.usize(..open.len()))));
            }
            prop_assert_eq!(committed, outputs.len() as i64);
            prop_assert!(!frontier.is_waiting());
        }
    }
}
