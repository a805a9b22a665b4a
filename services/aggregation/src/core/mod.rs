//! The decisions of aggregation, without clock, I/O or metrics.
//!
//! Role: [`partition_state`] computes bars from the ticks of one enriched partition; [`checkpoint`] orders how bars, state
//! and position become durable; [`restore`] reads checkpoints back; [`restate`] schedules the bars of late ticks.
//! Invariants: INV-1 (late, revision and version are functions of the log, never of a clock or a restart), INV-3 (the
//! sequencer's state is saved and restored with exactly its position).
//! Failure: every rejection is an outcome that the caller counts; nothing panics.

mod arrival;
pub mod checkpoint;
pub mod checkpoint_schedule;
pub mod clock_marks;
mod contribution;
pub mod instrument;
mod instrument_slab;
pub mod interner;
mod lateness;
pub mod legs;
pub mod log_clock;
pub mod partition_state;
pub mod records;
pub mod restate;
pub mod restate_outcome;
pub mod restore;
mod saving;
pub mod window_state;

#[cfg(test)]
mod model;
