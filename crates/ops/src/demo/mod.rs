//! What the demo adds to the stack, and what it reads of it: series and the prices of their legs, market days, snapshots
//! of curves, example queries.
//!
//! Failure: a server that does not answer is an error.

pub mod derived;
pub mod market_days;
pub mod queries;
pub mod snapshots;
