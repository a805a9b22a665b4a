//! Everything that decides what a bar is, without a clock, a client library or a metric.
//!
//! Role: [`partition_state`] turns the ticks of one enriched partition into bars; [`checkpoint`] says in which order
//! bars, state and position become durable; [`restore`] reads back what a checkpoint left.
//! Invariants: INV-1 (late, revision and version are functions of the log, never of a clock or of a restart), INV-3
//! (the sequencer's state is saved with, and restored as of, exactly the position saved with it).
//! Failure: every refusal is an outcome that the caller counts; nothing panics.

pub mod checkpoint;
mod coming;
mod contribution;
pub mod found;
pub mod instrument;
pub mod log_clock;
pub mod partition_state;
mod places;
mod reach;
pub mod records;
pub mod restate;
pub mod restore;
mod saving;
pub mod texts;
pub mod window_state;

#[cfg(test)]
mod model;
