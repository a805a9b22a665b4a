//! What a worker does when its group assigns or revokes partitions.
//!
//! A new member first gets no partition: the others give theirs up one rebalance later. Until then it is not ready, so whoever
//! replaces processes one by one does not stop the old one before the new one works.
//!
//! The client of that member joins at most once a second (librdkafka: `rkcg_join_intvl`), and the group waits for it. So
//! a member that must give partitions up tells the group at once, and works on them until shortly before that second is over
//! ([`Leaving`]). An owner that needs longer to drain is one that still lives: INV-8 and the sequencers cover that.
//! The broker answers the requests of a connection in order, so a commit after the request to join waits for the whole rebalance:
//! offsets are committed before it, and the new owner of a stateless stage reads some tenths of a second again.

use std::time::{Duration, Instant};

use super::{Handler, Io};
use crate::kafka::consumer::GroupEvent;
use crate::kafka::settings::HEARTBEAT;
use crate::metrics::{self, StageSignals};
use crate::{Partition, StreamError, WorkerState, WorkerStatus};

/// A member that has got no partition for this long is one that the group does not need now. Two rebalances take less, even if
/// the members hear of both at their last heartbeat.
const SPARE_AFTER: Duration = Duration::from_secs(5);
/// The least time between two requests to join of one member.
const JOIN_INTERVAL: Duration = Duration::from_secs(1);
/// For the drain.
const DRAIN: Duration = Duration::from_millis(100);
/// How long a member works on partitions that it must give up. The new owner has joined at most one heartbeat before this
/// member heard of it, and gets the partitions when it joins again.
const WORK_ON: Duration = JOIN_INTERVAL.saturating_sub(HEARTBEAT).saturating_sub(DRAIN);

/// What the group's requests change.
pub(super) struct Scene<'a, 'io> {
    pub(super) handler: &'a mut dyn Handler,
    pub(super) io: &'a mut Io<'io>,
    pub(super) assigned: &'a mut Vec<Partition>,
    pub(super) signals: &'a mut StageSignals,
    pub(super) status: &'a WorkerStatus,
}

/// Partitions that the group has been told are free, and that this member still works on.
struct Leaving {
    partitions: Vec<Partition>,
    until: Instant,
    /// The client has reported the rest of the same rebalance; what it reports next is of the next one.
    is_told: bool,
}

/// The membership of one session.
#[derive(Default)]
pub(super) struct Membership {
    /// When it joined, while it waits for its first partitions.
    joined: Option<Instant>,
    leaving: Option<Leaving>,
}

impl Membership {
    /// Does what the group has requested, and what is due without a request.
    pub(super) fn turn(&mut self, scene: &mut Scene<'_, '_>) -> Result<(), StreamError> {
        for event in scene.io.consumer.take_events() {
            self.serve(event, scene)?;
        }
        if self.joined.is_some_and(|joined| joined.elapsed() >= SPARE_AFTER) {
            self.joined = None;
            scene.status.set_state(WorkerState::Running);
        }
        let Some(due) = self.leaving.take_if(|leaving| Instant::now() >= leaving.until) else {
            return Ok(());
        };
        scene.io.set_leaving(false);
        scene.give_up(&due.partitions, false)
    }

    fn serve(&mut self, event: GroupEvent, scene: &mut Scene<'_, '_>) -> Result<(), StreamError> {
        // The rest of the rebalance that takes the partitions away; the new owner has them after the next one.
        let is_rest = matches!(event, GroupEvent::Assigned(_))
            && self
                .leaving
                .as_mut()
                .is_some_and(|leaving| !std::mem::replace(&mut leaving.is_told, true));
        if !is_rest && let Some(Leaving { partitions, .. }) = self.leaving.take() {
            scene.give_up(&partitions, false)?;
        }
        match event {
            GroupEvent::Assigned(partitions) => scene.take(&partitions)?,
            GroupEvent::Revoked { partitions, is_lost } => {
                if is_lost || !scene.handler.works_until_handover() {
                    scene.give_up(&partitions, true)?;
                } else {
                    scene.io.flush_commits(false)?;
                    scene.io.consumer.release()?;
                    tracing::info!(worker = scene.status.name(), partitions = %names_of(&partitions), "partitions will be given up");
                    self.leaving = Some(Leaving {
                        partitions,
                        until: Instant::now() + WORK_ON,
                        is_told: false,
                    });
                }
            }
        }
        scene.io.set_leaving(self.leaving.is_some());
        // Before the state becomes running: otherwise the worker would look ready in between.
        scene.io.show_restoring(scene.assigned, scene.handler, scene.status);
        if !self.is_first_without(scene) {
            scene.status.set_state(WorkerState::Running);
        }
        Ok(())
    }

    fn is_first_without(&mut self, scene: &Scene<'_, '_>) -> bool {
        let is_waiting = scene.assigned.is_empty() && !matches!(scene.status.state(), WorkerState::Running);
        self.joined = is_waiting.then(|| self.joined.unwrap_or_else(Instant::now));
        is_waiting
    }
}

impl Scene<'_, '_> {
    fn take(&mut self, partitions: &[Partition]) -> Result<(), StreamError> {
        self.io.consumer.acknowledge_assignment()?;
        self.assigned.extend(partitions.iter().cloned());
        tracing::info!(worker = self.status.name(), partitions = %names_of(partitions), "partitions assigned");
        // The series exists from the start, so that an alert can tell "not blocked" from "unknown".
        partitions
            .iter()
            .for_each(|partition| metrics::partition_blocked(&self.io.config.group, partition, false));
        self.io.recognise(partitions)?;
        self.io.restores();
        self.handler.assigned(self.io, partitions)?;
        self.status.set_assigned(self.assigned.clone());
        Ok(())
    }

    fn give_up(&mut self, partitions: &[Partition], waits_for_commit: bool) -> Result<(), StreamError> {
        self.io.drain_deadline = Instant::now() + self.io.config.drain_timeout;
        self.handler.revoked(self.io, partitions)?;
        // Best effort: the broker may refuse the commit of a former owner, and nothing depends on it.
        if let Err(error) = self.io.flush_commits(waits_for_commit) {
            tracing::debug!(error = %error, "commit while giving up partitions");
        }
        self.io.committed.retain(|partition, _| !partitions.contains(partition));
        self.io.forget(partitions)?;
        self.io.consumer.give_up(partitions)?;
        self.assigned.retain(|partition| !partitions.contains(partition));
        self.signals.forget(partitions);
        tracing::info!(worker = self.status.name(), partitions = %names_of(partitions), "partitions given up");
        self.status.set_assigned(self.assigned.clone());
        Ok(())
    }
}

fn names_of(partitions: &[Partition]) -> String {
    partitions
        .iter()
        .map(Partition::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}
