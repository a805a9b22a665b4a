//! The four stages of aggregation: bars and legs in the stream ([`aggregate`]), bars of late ticks from the table ([`restate`]),
//! derived prices from legs ([`mod@derived`]), and snapshots of curves from quotes ([`mod@curves`]).

pub mod aggregate;
pub mod curves;
pub mod derived;
pub mod lane;
pub mod outbox;
pub mod restate;
mod restate_letters;
pub mod restate_rows;
pub mod restore_state;
