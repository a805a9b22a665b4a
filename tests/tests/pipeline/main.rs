//! Real servers and real programs: no kill, join or leave loses or doubles data, and every manual change of stored data is
//! found and named. The tests share two stacks, one at a time each, and restore them at the end. They run in the order of their
//! names. Each comparison reads the whole log, so modules that publish much have names at the end of the alphabet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backfill;
mod cache;
mod corruption;
mod curve;
mod curve_quotes;
mod custom;
mod demo;
mod derived;
mod disorder;
mod documents;
mod events;
mod evictions;
mod explain;
mod health;
mod history;
mod incident;
mod levels;
mod live;
mod marker;
mod operator;
mod pause;
mod profile;
mod rebuilds;
mod repair;
mod replays;
mod served;
mod served_by_name;
mod signals;
mod statistics;
mod stopping;
mod tenants;
mod top;
mod traces;
mod trades;
mod under_faults;
mod under_load;
