//! The ClickHouse writer: every row exactly once, without deduplication tokens and without trusting the consumer group.
//!
//! Role: the protocol of the ClickHouse writer (docs/correctness.md) over two interfaces: [`TableSink`] (the table and its
//! fence) and [`RowEncoder`] (message → row). `delivery::table_writer` decides, [`handler`] carries out.
//! Invariants: INV-6 (exact tables) and INV-8 (one writer). A lane consumes only after claim, drain and read-back. Rows of
//! all partitions of a table are one atomic insert, which checks the fence of each in the same statement. After an unknown
//! outcome every lane in it claims again.
//! Failure: while the table is unavailable, the lane waits with back-off and its partition is not consumed, so memory stays
//! bounded. A row that cannot be decoded goes to the dead letter topic.

pub mod handler;
mod pace;
mod refusal;
mod report;
mod work;

use delivery::table_writer::{Claiming, InsertError, Rows, SinkError, Takeover};
use domain::{Claim, Micros, Origin, Position};
use futures_util::future::BoxFuture;

use crate::{Message, StreamError};

/// A table with its fence; `B` holds rows. Calls run on an async runtime, never on the worker's thread.
pub trait TableSink<B>: Send + Sync + 'static {
    /// Table name, for logs and metric labels.
    fn table(&self) -> &str;
    /// Stores the ids of the topics, or fails if a stored id differs.
    fn check_topics(&self, ids: Vec<(String, String)>) -> BoxFuture<'static, Result<(), SinkError>>;
    /// Claim, drain, read back, in this order (INV-8), and store the floor that was read back. `owner` is unique for the
    /// assignment of the partition: [`Claiming::StillOurs`] refers to it.
    fn take_over(
        &self,
        topic: String,
        partition: i32,
        owner: u64,
        claiming: Claiming,
    ) -> BoxFuture<'static, Result<Takeover, SinkError>>;
    /// One atomic insert of the rows of several partitions of one topic, each under its claim.
    fn insert(&self, parts: Vec<(Claim, Rows<B>)>) -> BoxFuture<'static, Result<(), InsertError>>;
    /// Stores a floor under the claim, so that the position survives when rows expire.
    fn save_floor(&self, claim: Claim, floor: Position) -> BoxFuture<'static, Result<(), SinkError>>;
}

/// The result of encoding a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOutcome {
    /// A row was appended.
    Written {
        /// Append time of the raw message, for latency.
        appended_at: Micros,
        /// Size of the row.
        bytes: usize,
    },
    /// `accept` rejected it: a repetition.
    Repeated,
}

/// Why a message did not become a row.
#[derive(Debug, Clone)]
pub enum RowError {
    /// It never will: a dead letter.
    Bad(BadRow),
    /// It cannot be decoded now (its schema is still being looked up): the worker starts again and reads it again.
    Later(StreamError),
}

/// A message that contains no valid row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Code of a closed set.
    pub code: &'static str,
    /// What is wrong and where.
    pub message: String,
}

/// Returns whether a tick of this origin is new; an origin that cannot exist is a bad row.
pub type Accept<'a> = dyn FnMut(&Origin<'_>) -> Result<bool, RowError> + 'a;

/// Turns messages of one topic into rows of one table.
pub trait RowEncoder<B> {
    /// A block without rows.
    fn empty(&self) -> B;
    /// Appends the message's row to `rows` if `accept` accepts its origin (tables without origins do not call it). An error
    /// appends nothing.
    fn encode(&mut self, message: &Message<'_>, accept: &mut Accept<'_>, rows: &mut B) -> Result<RowOutcome, RowError>;
}
