//! The two stages of aggregation: bars in the stream ([`aggregate`]), and bars of late ticks from the table ([`restate`]).

pub mod aggregate;
pub mod lane;
pub mod outbox;
pub mod restate;
mod restate_letters;
pub mod restate_rows;
pub mod restore_state;
