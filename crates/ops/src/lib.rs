//! What operates a pipeline: the operator's tool, the benchmarks and the reconciliation share it.
//!
//! Role: [`place`] and [`connection`] find the servers (`DATA_PROC_*` first, then `stack.json`, then the default addresses);
//! [`definitions`] knows the services; [`stack`], [`topics`] and [`migrations`] create what they need; [`lag`], [`catch_up`] and [`positions`] look at the
//! consumers, [`inspect`] at the servers, [`net`] at the way to them, `reach` at whether Kafka can be reached at all, [`logs`] at log lines, [`log_level`] at their level, [`profile`] at what a service does (both by its [`own_route`]), [`dead_letters`] at what was rejected,
//! [`alerts`] at Alertmanager, [`health`] at services and servers, [`ping`] at one service, [`top`] at how fast all of it is, [`capacity`] at how much more it takes, [`analyze`] at what limits it, and [`doctor`] at what is wrong;
//! [`backup`] copies the stores and restores them, [`pause`] pauses stages, [`retention`] says what expires, [`reassign`] plans the brokers of partitions;
//! [`incident`] puts all of it into one file; [`scrape`] reads metrics; [`check_market`] compares prices of a market with its own reports; [`schemas`] compares schemas, [`schema_registration`] registers one; [`sql`] sends a statement to ClickHouse; [`ingest`], [`simulation`] and
//! [`simulate`] publish, and [`demo`] publishes and reads what `dp demo` shows. [`present`], [`progress`], [`consent`], [`interrupt`] and [`hints`] are the manners of a command on a
//! terminal.
//! Invariant: nothing here prints a result; that is the task of the commands. Progress and warnings go to stderr.
//! Failure: errors name the server or option and what to do next.

pub mod alerts;
pub mod analyze;
pub mod backup;
pub mod cache;
pub mod capacity;
pub mod catch_up;
pub mod check_market;
mod columns;
pub mod connection;
pub mod consent;
pub mod dead_letters;
pub mod definitions;
pub mod demo;
pub mod doctor;
pub mod health;
pub mod hints;
pub mod incident;
pub mod ingest;
pub mod inspect;
pub mod interrupt;
pub mod lag;
pub mod log_level;
pub mod logs;
pub mod migrations;
pub mod net;
pub mod own_route;
pub mod pause;
pub mod ping;
pub mod place;
pub mod positions;
pub mod present;
pub mod profile;
pub mod progress;
pub(crate) mod reach;
pub mod reassign;
pub mod retention;
pub mod rows;
pub mod schema_registration;
pub mod schemas;
pub mod scrape;
pub mod simulate;
pub mod simulation;
pub mod sockets;
pub mod sql;
pub mod stack;
pub mod targets;
pub mod threads;
pub mod top;
pub mod topic_names;
pub mod topics;
pub mod trades;
