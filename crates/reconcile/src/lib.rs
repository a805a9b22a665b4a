//! Reconciles a live system with its raw log, and traces single numbers through it.
//!
//! Role: [`verify`] reads the raw log again and compares every output with it; [`explain`] traces a number back to its raw
//! messages, and a message forward to its outputs; [`messages`] says what is wrong with messages; [`rehearsal`] takes one
//! message through all stages without a server; [`repair`] writes rows again that were lost in a store, from the records of
//! the log; [`backfill`] processes documents and ranges of the raw log again; [`stored_curve`] builds a curve from the quotes in
//! ClickHouse. The first two follow the log with normalization's own parser and event-id window ([`raw`]) and with the window
//! rules of aggregation ([`products`]).
//! Invariant: INV-1, INV-5 and INV-6 are stated here once, for both.
//! Failure: a server that does not answer is an error; a difference never is.
//! Absent on purpose: a second comparison. A repair begins and ends with that of [`verify`].

pub mod backfill;
pub mod explain;
pub mod messages;
pub mod products;
pub mod raw;
pub mod rehearsal;
pub mod repair;
mod sql;
pub mod stored_curve;
pub mod tick_id;
pub mod verify;
