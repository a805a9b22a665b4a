//! Which outputs the broker has acknowledged; its reports may come in any order.
//!
//! Role: every output gets the next [`Ticket`]; [`AckWindow::acked_through`] is the largest ticket up to which every output is
//! acknowledged. The frontier (INV-2), checkpoints and dead letters depend on it.
//! Failure: a report for a ticket that is not open is ignored (a rebuilt producer starts a new window).

use std::collections::VecDeque;

/// Number of an output, counted from 1 in the order of sending. Zero stands for "before any output".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// The open outputs of one producer.
#[derive(Debug, Default)]
pub struct AckWindow {
    /// Acknowledged flags of the tickets `acked_through + 1 ..`.
    open: VecDeque<bool>,
    acked_through: u64,
}

impl AckWindow {
    /// The ticket of the next output.
    pub fn issue(&mut self) -> Ticket {
        self.open.push_back(false);
        self.last()
    }

    /// Takes back the newest ticket: the producer's queue refused its output, which was never sent.
    pub fn withdraw_last(&mut self) {
        self.open.pop_back();
    }

    /// The newest ticket.
    pub fn last(&self) -> Ticket {
        Ticket(self.acked_through + self.open.len() as u64)
    }

    /// The broker has acknowledged this output.
    pub fn acknowledge(&mut self, ticket: Ticket) {
        let Some(index) = ticket.0.checked_sub(self.acked_through + 1) else {
            return;
        };
        if let Some(acknowledged) = self.open.get_mut(index as usize) {
            *acknowledged = true;
        }
        while self.open.front() == Some(&true) {
            self.open.pop_front();
            self.acked_through += 1;
        }
    }

    /// Every output up to and including this one is acknowledged.
    pub fn acked_through(&self) -> Ticket {
        Ticket(self.acked_through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_open_lies_at_or_below_the_acknowledged_ticket(
            order in Just((1u64..60).collect::<Vec<_>>()).prop_shuffle(),
            take in 0usize..60,
        ) {
            let mut window = AckWindow::default();
            (1u64..60).for_each(|n| assert_eq!(window.issue(), Ticket(n)));
            let acknowledged: Vec<u64> = order.into_iter().take(take).collect();
            for ticket in &acknowledged {
                window.acknowledge(Ticket(*ticket));
                window.acknowledge(Ticket(*ticket));
            }
            let expected = (1u64..60).take_while(|n| acknowledged.contains(n)).count() as u64;
            prop_assert_eq!(window.acked_through(), Ticket(expected));
            prop_assert_eq!(window.last(), Ticket(59));
        }
    }
}
