//! A partition of the first stage: what is known of it while it is assigned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use delivery::Ticket;
use domain::{Micros, Waits};
use stream::Partition;
use stream::spans::HeldSpans;

use crate::core::lane::Lane;

/// Whether ticks can be taken.
pub(super) enum State {
    /// Position and prices are being read; `read` counts the prices. `retry_at` is set if the last load failed.
    Loading {
        retry_at: Option<Micros>,
        read: Arc<AtomicU64>,
    },
    Serving(Box<Lane>),
}

impl State {
    /// Retries the load at this time.
    pub(super) fn retry(at: Micros) -> State {
        State::Loading {
            retry_at: Some(at),
            read: Arc::default(),
        }
    }
}

/// An assigned partition.
pub(super) struct Active {
    pub(super) state: State,
    /// Distinguishes answers of this assignment from those of an earlier one.
    pub(super) assignment: u64,
    /// A position after a dead letter is stored only when the dead letter is acknowledged.
    pub(super) dead_letter: Ticket,
    /// What Postgres refuses until an operator corrects it.
    pub(super) refused: Option<String>,
    /// There is no last attempt, because a partition without an owner would never be served again: `ProjectionConflicts` fires.
    pub(super) conflict_waits: Waits,
    /// Those of ticks whose position Postgres does not have yet.
    pub(super) spans: HeldSpans,
}

/// The partition, if it is still assigned as it was.
pub(super) fn still<'l>(
    lanes: &'l mut BTreeMap<Partition, Active>,
    partition: &Partition,
    assignment: u64,
) -> Option<&'l mut Active> {
    lanes
        .get_mut(partition)
        .filter(|active| active.assignment == assignment)
}
