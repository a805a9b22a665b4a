//! Real servers and real programs: no kill, join or leave loses or doubles data, and every manual change of stored data is
//! found and named. The tests share one stack, one at a time, and restore it at the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disorder;
mod documents;
mod events;
mod evictions;
mod explain;
mod faults;
mod health;
mod history;
mod incident;
mod live;
mod operator;
mod rebuilds;
mod replays;
mod signals;
mod stopping;
mod tampering;
mod tenants;
mod top;
