//! From enriched messages to bars: the handler, its partitions, and the reading of saved state; and from late ticks to bars.

pub mod aggregate;
pub mod lane;
pub mod outbox;
pub mod restate;
mod restate_letters;
pub mod restate_rows;
pub mod restore_state;
