//! The frame of every service: settings, names, logs, metrics, health, HTTP, life cycle, and the ClickHouse writer.
//!
//! Role: a service's `main` describes the service with a [`Definition`]; [`run()`] does what all services do, in this order:
//! config → telemetry → clients → pipeline → HTTP → run until shutdown → drain → exit code.
//! Only this crate (and the services' `http.rs`) uses actix-web. It contains no code about markets or bars.
//! Failure: invalid settings list every problem and exit with 2; a failed worker logs a FATAL line and exits with 1.

pub mod breaker;
pub mod check;
pub mod clients;
mod cluster;
pub mod context;
pub mod control;
pub mod declared;
mod dump;
mod fingerprint;
pub mod health;
mod help;
pub mod http;
mod lag;
pub mod life;
pub mod machine;
pub mod metrics;
pub mod names;
pub mod run;
pub mod settings;
mod stats;
pub mod telemetry;
pub mod traces;
pub mod writer;

pub use breaker::{Breaker, BreakerState};
pub use check::{Checked, check};
pub use context::Context;
pub use help::SHARED_ROUTES;
pub use lag::{LARGE_LAG, is_switched_off};
pub use life::StartError;
pub use names::Names;
pub use profile::Allocator;
pub use run::{Definition, run};
pub use settings::{Env, Reader, Settings};
