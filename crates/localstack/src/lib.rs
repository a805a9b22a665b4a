//! The local stack: real Kafka, ClickHouse, PostgreSQL and Redis, and our own services, as processes on one machine.
//!
//! Role: downloads the servers that Debian does not have, and starts, watches, kills and stops all processes. One
//! implementation for `dp up` (fixed ports, [`Stack::new`] and [`Stack::open`]) and for tests (separate ports and folder,
//! [`Temporary`]).
//! Invariants: the stack listens on 127.0.0.1 only. No server runs as root, and no client can make a server access files
//! outside its folder. Data and logs are closed to other users. A process is identified by pid *and* start time, so that a
//! reused pid is never signalled. A folder contains at most one stack. Processes that others started are never touched.
//! Failure: every error is one line that names the tool, port, file or process, and what to do. A failed start stops the
//! processes that it has started. Absent on purpose: containers, async, any knowledge of topics, tables or messages.

mod account;
mod cache;
mod config;
mod cores;
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
pub use cores::keep_quiet;
pub use error::StackError;
pub use name::{Name, Server, Service, UnknownName};
pub use ports::{Ports, holder};
pub use process::{Usage, usage};
pub use rotate::append_rotating;
pub use service::INSTANCE_ID;
pub use stack::Stack;
pub use state::{Condition, FROZEN, ProcessStatus};
pub use temporary::Temporary;
