//! The pieces of the hot path, for measurements of time (`cargo bench`), allocations and instructions (gates in `cargo test`).
//!
//! Role: one [`Path`] for each piece, with simulated messages in the shapes of production. [`prepare`] builds its state, and
//! each call of [`Work::one`] processes one tick. The pieces call the services' own functions.
//! Absent on purpose: Kafka and the stores, which `dp bench` measures.

pub mod documents;
mod inputs;
mod work;

pub use work::{Path, Work, prepare};
