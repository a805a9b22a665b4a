//! Partitions that the client does not fetch: because a handler or the watch over stalls holds them back, or because an operator
//! has paused the stage.
//!
//! Role: a paused stage keeps its partitions. It goes on polling, so it stays a member of its group; it finishes and commits what
//! it has taken, and takes no further input.
//! Invariant: reading continues after the last message that the handler has seen, so a pause loses and repeats nothing. A partition
//! is fetched only while nobody holds it back.
//! Partitions that still read messages back, which an earlier owner has finished, are paused when they have been restored: so a
//! stage that restarts while it is paused becomes ready.

use std::collections::BTreeSet;

use super::{Handler, Io};
use crate::{Partition, StreamError};

/// Who holds back which partition.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Whether the worker has the order to take no messages.
    is_ordered: bool,
    by_order: BTreeSet<Partition>,
    by_worker: BTreeSet<Partition>,
}

impl Pauses {
    /// The handler, or the watch over stalls, holds a partition back.
    fn hold_back(&mut self, partition: &Partition) {
        self.by_worker.insert(partition.clone());
    }

    /// It does not any more. Returns whether the client fetches the partition again.
    fn let_go(&mut self, partition: &Partition) -> bool {
        self.by_worker.remove(partition);
        !self.by_order.contains(partition)
    }

    /// The order ends. Returns what the client fetches again.
    fn end_order(&mut self) -> Vec<Partition> {
        self.is_ordered = false;
        let held = std::mem::take(&mut self.by_order);
        held.into_iter()
            .filter(|partition| !self.by_worker.contains(partition))
            .collect()
    }

    /// The partition is no longer read. Returns whether the client must forget that it was paused.
    fn forget(&mut self, partition: &Partition) -> bool {
        let by_order = self.by_order.remove(partition);
        self.by_worker.remove(partition) || by_order
    }
}

impl Io<'_> {
    /// Holds fetching back while a dependency is slow.
    pub fn pause(&mut self, partition: &Partition) -> Result<(), StreamError> {
        self.apply_starts()?;
        self.pauses.hold_back(partition);
        self.consumer.pause(partition)
    }

    /// Lets fetching continue, unless an operator has paused the stage.
    pub fn resume(&mut self, partition: &Partition) -> Result<(), StreamError> {
        self.apply_starts()?;
        match self.pauses.let_go(partition) {
            true => self.consumer.resume(partition),
            false => Ok(()),
        }
    }

    /// Follows the order to take no messages, or its end. Called before messages are polled.
    pub(super) fn obey(&mut self, is_ordered: bool, handler: &dyn Handler) -> Result<(), StreamError> {
        if is_ordered {
            self.pauses.is_ordered = true;
            return self.hold_restored(handler);
        }
        if self.pauses.is_ordered {
            for partition in self.pauses.end_order() {
                self.consumer.resume(&partition)?;
            }
        }
        Ok(())
    }

    /// Pauses the partitions that have been restored, while the worker has the order to take no messages.
    pub(super) fn hold_restored(&mut self, handler: &dyn Handler) -> Result<(), StreamError> {
        if !self.pauses.is_ordered || self.pauses.by_order.len() == self.started.len() {
            return Ok(());
        }
        self.apply_starts()?;
        let takes_input = |partition: &&Partition| {
            !self.pauses.by_order.contains(*partition) && handler.restoring(partition).is_none()
        };
        let partitions: Vec<Partition> = self.started.iter().filter(takes_input).cloned().collect();
        for partition in partitions {
            self.consumer.pause(&partition)?;
            self.pauses.by_order.insert(partition);
        }
        Ok(())
    }

    /// Whether the worker has the order to take no messages.
    pub(super) fn is_paused(&self) -> bool {
        self.pauses.is_ordered
    }

    /// Whether no partition takes input.
    pub(super) fn takes_nothing(&self) -> bool {
        self.pauses.is_ordered && self.pauses.by_order.len() == self.started.len()
    }

    /// The client keeps the pause of a partition that it no longer reads: a later start would fetch nothing.
    pub(super) fn forget_pause(&mut self, partition: &Partition) -> Result<(), StreamError> {
        match self.pauses.forget(partition) {
            true => self.consumer.resume(partition),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> Partition {
        Partition {
            topic: "t".into(),
            number,
        }
    }

    #[test]
    fn a_partition_is_fetched_only_while_nobody_holds_it_back() {
        let mut pauses = Pauses {
            is_ordered: true,
            ..Pauses::default()
        };
        pauses.by_order.extend([partition(0), partition(1)]);
        pauses.hold_back(&partition(1));
        assert!(!pauses.let_go(&partition(0)), "the order is still in force");
        assert_eq!(pauses.end_order(), [partition(0)]);
        assert!(!pauses.is_ordered);
        assert!(pauses.let_go(&partition(1)));
    }

    #[test]
    fn a_partition_that_is_given_up_leaves_no_pause_behind() {
        let mut pauses = Pauses::default();
        pauses.by_order.insert(partition(0));
        pauses.hold_back(&partition(0));
        assert!(pauses.forget(&partition(0)));
        assert!(!pauses.forget(&partition(0)) && !pauses.forget(&partition(1)));
        assert_eq!(pauses.end_order(), []);
    }
}
