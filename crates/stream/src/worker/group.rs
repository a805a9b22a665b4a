//! What a worker does when its group assigns or revokes partitions.
//!
//! A new member first gets no partition: the others give theirs up one rebalance later. Until then it is not ready, so whoever
//! replaces processes one by one does not stop the old one before the new one works.

use std::time::{Duration, Instant};

use super::{Handler, Io};
use crate::kafka::consumer::GroupEvent;
use crate::metrics::{self, StageSignals};
use crate::{Partition, StreamError, WorkerState, WorkerStatus};

/// A member that has got no partition for this long is one that the group does not need now. Two rebalances take less, even if
/// the members hear of both at their last heartbeat.
const SPARE_AFTER: Duration = Duration::from_secs(5);

/// When this member has joined, while it waits for its first partitions.
#[derive(Default)]
pub(super) struct Joined(Option<Instant>);

impl Joined {
    /// Makes a member ready that gets no partitions.
    pub(super) fn settle(&mut self, status: &WorkerStatus) {
        if self.0.is_some_and(|joined| joined.elapsed() >= SPARE_AFTER) {
            self.0 = None;
            status.set_state(WorkerState::Running);
        }
    }

    fn is_first_without(&mut self, assigned: &[Partition], status: &WorkerStatus) -> bool {
        let is_waiting = assigned.is_empty() && !matches!(status.state(), WorkerState::Running);
        self.0 = is_waiting.then(|| self.0.unwrap_or_else(Instant::now));
        is_waiting
    }
}

pub(super) fn serve(
    event: GroupEvent,
    joined: &mut Joined,
    handler: &mut dyn Handler,
    io: &mut Io<'_>,
    (assigned, signals): (&mut Vec<Partition>, &mut StageSignals),
    status: &WorkerStatus,
) -> Result<(), StreamError> {
    match event {
        GroupEvent::Assigned(partitions) => {
            io.consumer.acknowledge_assignment()?;
            assigned.extend(partitions.iter().cloned());
            tracing::info!(worker = status.name(), partitions = %names_of(&partitions), "partitions assigned");
            // The series exists from the start, so that an alert can tell "not blocked" from "unknown".
            partitions
                .iter()
                .for_each(|partition| metrics::partition_blocked(&io.config.group, partition, false));
            io.recognise(&partitions)?;
            io.restores();
            handler.assigned(io, &partitions)?;
        }
        GroupEvent::Revoked(partitions) => {
            io.drain_deadline = Instant::now() + io.config.drain_timeout;
            handler.revoked(io, &partitions)?;
            // Best effort: the broker may refuse the commit of a former owner, and nothing depends on it.
            if let Err(error) = io.flush_commits(true) {
                tracing::debug!(error = %error, "commit while giving up partitions");
            }
            io.committed.retain(|partition, _| !partitions.contains(partition));
            io.forget(&partitions);
            io.consumer.give_up(&partitions)?;
            assigned.retain(|partition| !partitions.contains(partition));
            signals.forget(&partitions);
            tracing::info!(worker = status.name(), partitions = %names_of(&partitions), "partitions given up");
        }
    }
    status.set_assigned(assigned.clone());
    // Before the state becomes running: otherwise the worker would look ready in between.
    io.show_restoring(assigned, handler, status);
    if !joined.is_first_without(assigned, status) {
        status.set_state(WorkerState::Running);
    }
    Ok(())
}

fn names_of(partitions: &[Partition]) -> String {
    partitions
        .iter()
        .map(Partition::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
