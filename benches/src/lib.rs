//! What happens to every tick, piece by piece, ready to be measured: by time (`cargo bench`), by allocations and by
//! instructions (`cargo test`, as gates).
//!
//! Role: one [`Path`] for each piece, over simulated messages of production's shapes; [`prepare`] builds its state, and each
//! call of [`Work::one`] is one tick. The pieces are the services' own functions; nothing is written again here.
//! Absent on purpose: Kafka and the stores, which `dp bench` measures.

mod inputs;
mod work;

pub use work::{Path, Work, prepare};
