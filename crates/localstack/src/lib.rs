//! The local stack: real Kafka, ClickHouse, PostgreSQL and Redis, and our own services, as processes on one machine.
//!
//! Role: fetches what cannot be had from Debian, starts, watches, kills and stops everything; one implementation for
//! `dp up` (fixed ports, [`Stack::new`] and [`Stack::open`]) and for tests (own ports and folder, [`Temporary`]).
//! Invariants: what the stack starts listens on 127.0.0.1 only; no server runs as root, or reaches anything but its own
//! folder at the request of a client; data and logs are closed to other users; a process is known by pid *and* start time, so that a
//! reused pid is never signalled; a folder holds at most one stack; what others started is never touched.
//! Failure: every error is one line that names the tool, port, file or process, and what to do. A start that fails ends
//! what it had started. Absent on purpose: containers, async, any knowledge of topics, tables or messages.

mod account;
mod cache;
mod config;
mod error;
mod fetch;
mod name;
mod ports;
mod probe;
mod process;
mod progress;
mod rotate;
mod servers;
mod service;
mod stack;
mod state;
mod temporary;
mod tools;

pub use config::{StackConfig, default_dir};
pub use error::StackError;
pub use name::{Name, Server, Service, UnknownName};
pub use ports::{Ports, holder};
pub use process::{Usage, usage};
pub use rotate::append_rotating;
pub use stack::Stack;
pub use state::{Condition, ProcessStatus};
pub use temporary::Temporary;
