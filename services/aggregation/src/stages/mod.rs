//! The four stages of aggregation: bars and legs in the stream ([`aggregate`]), bars of late ticks from the table ([`restate`]),
//! derived prices from legs ([`mod@derived`]), and snapshots of curves from quotes ([`mod@curves`]). Both read legs by [`mod@legs`].

pub mod aggregate;
pub mod curves;
pub mod derived;
pub mod lane;
pub mod legs;
pub mod outbox;
pub mod restate;
mod restate_letters;
pub mod restate_rows;
pub mod restore_state;
