//! From enriched messages to bars: the handler, its partitions, and the reading of saved state.

pub mod aggregate;
pub mod lane;
pub mod outbox;
pub mod restate;
pub mod restore_state;
