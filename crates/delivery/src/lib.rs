//! Exactly once, without I/O: which inputs are finished, which are repetitions, and who may write where.
//!
//! Role: the decisions about positions and ownership, as plain state machines without a clock, a client library or a runtime.
//! `stream` carries them out against Kafka, services keep their state beside their outputs.
//! Invariants: INV-2 ([`frontier`], [`acks`]), INV-3 ([`sequencer`]), INV-6 and INV-8 ([`table_writer`]), and the part of INV-1
//! that depends on earlier messages ([`event_window`]).
//! Failure: none of its own; an error of a server is an input of a state machine. The models (`hop_model`,
//! `table_writer::model`) run these machines under random crashes, and check that each rule is needed.

pub mod acks;
pub mod event_window;
pub mod frontier;
#[cfg(test)]
mod hop_model;
pub mod log_mark;
pub mod sequencer;
pub mod table_writer;

pub use acks::{AckWindow, Ticket};
pub use frontier::Frontier;
pub use sequencer::Sequencer;

/// Where consumption of a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest message still in the log. Only right while no position exists.
    Beginning,
    /// This offset. An offset outside of the log is fatal: data would be skipped or repeated silently.
    Offset(i64),
}
