//! The decisions of a ClickHouse writer (docs/correctness.md): who owns a partition, which rows are confirmed, when to insert.
//!
//! Role: pure. A [`lane`] is one source partition, a [`group`] all partitions of one table; `stream::table_writer` carries
//! their decisions out and returns the answers of the table.
//! Invariants: INV-6 (exact tables) and INV-8 (one writer), checked by `model`.

pub mod group;
pub mod lane;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod model;

use domain::{Claim, Position};

/// Which claim a takeover may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    /// The group has assigned the partition: claim it from whoever has it.
    Assigned,
    /// An insert was not confirmed: claim the partition again only if nobody else has claimed it since. A frozen owner that
    /// wakes must not take its partitions back from their new owner.
    StillOurs,
}

/// The result of claim, drain and read-back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takeover {
    /// The claim.
    pub claim: Claim,
    /// Where to continue: max(table + 1, floor). `None` if nothing was ever written.
    pub position: Option<Position>,
}

/// Rows of one partition for one insert. `B` is what holds them; no decision looks inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows<B> {
    /// The rows.
    pub block: B,
    /// Their number.
    pub count: usize,
    /// Their size.
    pub bytes: usize,
}

/// Why a takeover or the storing of a floor failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The table is unavailable; try again.
    #[error("{0}")]
    Transient(String),
    /// Another writer has claimed the partition.
    #[error("another writer has claimed this partition")]
    Fenced,
    /// The server has let this writer in before, and refuses it now: retry, and report it to the operator.
    #[error("{0}")]
    Refused(String),
    /// Stored state contradicts the log; an operator must decide.
    #[error("{message}")]
    Fatal {
        /// Code of a closed set.
        code: &'static str,
        /// What, where, and the remedy.
        message: String,
    },
}

/// Why the success of an insert is not certain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// Another writer has claimed at least one of its partitions: nothing was written.
    #[error("another writer has claimed a partition of this insert")]
    Fenced,
    /// The server rejected all rows for a reason that a retry alone does not remove: a column changed manually, a user without
    /// rights. The lane keeps trying, so that it continues once the cause is corrected.
    #[error("{0}")]
    Refused(String),
    /// Any other failure: the rows may have been written or not.
    #[error("{0}")]
    Unknown(String),
}
