//! The work that a lane requests, and the answers it gets.

use std::sync::Arc;

use domain::{Micros, Position};
use stores::LatestPrice;
use stores::postgres::Held;

use super::rules::Notice;

/// How often, and in which batches, prices are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Time between writes to Redis.
    pub redis: Micros,
    /// Time between commits to Postgres.
    pub postgres: Micros,
    /// Most prices per write to a store.
    pub part: usize,
}

/// A commit to Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The stored position that it replaces.
    pub expected: Option<Held>,
    /// The new position, with the last part of a round; the other parts leave it unchanged.
    pub position: Option<Position>,
    /// Changed prices.
    pub prices: Arc<Vec<LatestPrice>>,
}

/// Which part of a refill is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefillPart {
    /// The first part: this lane's mark is written before it. A Redis that is emptied later loses the mark as well.
    pub begins: bool,
    /// The last part.
    pub ends: bool,
}

/// What to do next; at most one per lane at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// Prices for Redis, written before the commit.
    pub redis: Arc<Vec<LatestPrice>>,
    /// For the channel `cache:invalidation`, after these prices are written; also of prices that have become too old.
    pub notices: Arc<Vec<Notice>>,
    /// Set if these prices are part of a complete refill.
    pub refill: Option<RefillPart>,
    /// This part ends a refill that was caused by evictions.
    pub after_eviction: bool,
    /// First read the run id of Redis and this lane's mark.
    pub check_copy: bool,
    /// Commit to Postgres, after Redis.
    pub commit: Option<Commit>,
    /// Read the position instead of a commit, since the last commit was not answered.
    pub read_position: bool,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Stored.
    Yes,
    /// Another owner has moved the position; nothing was written.
    Conflict,
    /// No answer, or an error: the outcome is not known.
    Unknown,
}

/// The state of the copy in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySeen {
    /// Run id of the server.
    pub run: String,
    /// Whether this lane's mark exists.
    pub is_marked: bool,
    /// Keys of any kind that the server has evicted since it started.
    pub evicted: u64,
}

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// Whether all work in Redis succeeded (true if there was none).
    pub redis_ok: bool,
    /// A rebuild has replaced the prices in Postgres since they were loaded: nothing more was written, and they must be loaded again.
    pub is_replaced: bool,
    /// The state of the copy, if it was read.
    pub copy: Option<CopySeen>,
    /// The outcome of the commit, if there was one.
    pub committed: Option<Committed>,
    /// What an operator must correct, if Postgres refuses the commit or the query.
    pub refused: Option<String>,
    /// The stored position, if it was read.
    pub stored: Option<Option<Held>>,
}

/// What the worker does about the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Continue.
    Continue,
    /// This position is stored: commit it to the group, for the lag.
    Stored(i64),
    /// Stop reading; load position and prices again.
    Reload,
}
