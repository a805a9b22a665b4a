//! One stack, real servers, real programs: whatever dies or joins, nothing is lost and nothing doubled; and whatever is
//! changed by hand is found and named. The tests share the stack, one at a time, and leave it in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disorder;
mod documents;
mod events;
mod evictions;
mod explain;
mod faults;
mod health;
mod history;
mod operator;
mod signals;
mod stopping;
mod tampering;
mod tenants;
