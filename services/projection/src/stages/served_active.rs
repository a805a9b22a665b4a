//! A partition that is assigned to the stage that serves curve snapshots and derived prices.

use delivery::Ticket;
use domain::{Micros, RetryPolicy, Waits};
use stores::Projection;

use crate::core::served_lane::ServedLane;

pub(super) enum State {
    /// Position and ranks are being read. `retry_at` is set if the last load failed.
    Loading {
        retry_at: Option<Micros>,
    },
    Serving(Box<ServedLane>),
}

pub(super) struct Active {
    pub(super) state: State,
    pub(super) projection: Projection,
    /// Distinguishes answers of this assignment from those of an earlier one.
    pub(super) assignment: u64,
    /// A position after a dead letter is stored only when the dead letter is acknowledged.
    pub(super) dead_letter: Ticket,
    /// What Postgres refuses until an operator corrects it.
    pub(super) refused: Option<String>,
    /// Whether the last work reached both stores.
    pub(super) is_well: bool,
    /// The oldest record that waited when a commit failed: it still does while the partition is loaded again.
    pub(super) behind_since: Option<Micros>,
    /// There is no last attempt, because a partition without an owner would never be served again.
    pub(super) waits: Waits,
}

impl Active {
    /// A partition that is being loaded.
    pub(super) fn new(projection: Projection, assignment: u64) -> Active {
        Active {
            state: State::Loading { retry_at: None },
            projection,
            assignment,
            dead_letter: Ticket::default(),
            refused: None,
            is_well: true,
            behind_since: None,
            waits: RetryPolicy::CONFLICT.waits(),
        }
    }

    /// Time of the oldest record that Postgres does not have yet.
    pub(super) fn oldest_pending(&self) -> Option<Micros> {
        match &self.state {
            State::Serving(lane) => lane.oldest_pending(),
            State::Loading { .. } => self.behind_since,
        }
    }

    /// Whether it is served, and both stores have what was last written.
    pub(super) fn is_well(&self) -> bool {
        self.is_well && matches!(self.state, State::Serving(_))
    }

    /// Whether it can take more before a commit.
    pub(super) fn has_room(&self) -> bool {
        match &self.state {
            State::Serving(lane) => lane.has_room(),
            State::Loading { .. } => true,
        }
    }

    /// When its next load or work is due; `None` if only a record or an answer changes that.
    pub(super) fn due(&self) -> Option<Micros> {
        match &self.state {
            State::Loading { retry_at } => *retry_at,
            State::Serving(lane) => lane.due(),
        }
    }
}
