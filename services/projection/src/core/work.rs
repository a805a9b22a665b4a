//! What a lane asks to be done, and what it is told about the outcome.

use std::sync::Arc;

use domain::{Micros, Position};
use stores::LatestPrice;

/// How often things are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Between writes to Redis.
    pub redis: Micros,
    /// Between commits to Postgres.
    pub postgres: Micros,
    /// Prices that one piece of work takes to a store at most.
    pub part: usize,
}

/// A commit to Postgres.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The stored position that is replaced.
    pub expected: Option<i64>,
    /// The new one, with the last prices of a round; the others leave it as it is.
    pub position: Option<Position>,
    /// Changed prices.
    pub prices: Arc<Vec<LatestPrice>>,
}

/// Which part of a refill is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefillPart {
    /// The first: leave this lane's mark before it. A Redis that is emptied after that has lost the mark, too.
    pub begins: bool,
    /// The last.
    pub ends: bool,
}

/// What to do next; at most one at a time for each lane.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// Prices for Redis, before Postgres.
    pub redis: Arc<Vec<LatestPrice>>,
    /// They are a part of everything there is.
    pub refill: Option<RefillPart>,
    /// The refill that ends is due to keys that Redis has evicted.
    pub after_eviction: bool,
    /// Before anything else, ask Redis which run it is, and whether this lane's mark is there.
    pub check_copy: bool,
    /// Commit to Postgres, after Redis.
    pub commit: Option<Commit>,
    /// Read the position instead, since the last commit was not answered.
    pub read_position: bool,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// Stored.
    Yes,
    /// Another owner has moved the position: nothing was written.
    Conflict,
    /// No answer, or an error.
    Unknown,
}

/// What Redis says about the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySeen {
    /// Run id of the server.
    pub run: String,
    /// Whether this lane's mark is there.
    pub is_marked: bool,
    /// Keys that the server has evicted since it started, served prices or others.
    pub evicted: u64,
}

/// How the work ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// Whether Redis took all of its part (also where there was none).
    pub redis_ok: bool,
    /// What Redis says about the copy, where asked and answered.
    pub copy: Option<CopySeen>,
    /// Of the commit, where there was one.
    pub committed: Option<Committed>,
    /// What an operator has to correct, if Postgres refuses the commit or the question.
    pub refused: Option<String>,
    /// The stored position, where it was asked for and read.
    pub stored: Option<Option<i64>>,
}

/// What the worker does about the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on.
    Continue,
    /// This position is stored: report it for lag.
    Stored(i64),
    /// Stop reading, load position and prices again.
    Reload,
}
