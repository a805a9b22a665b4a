//! The local stack: `dp up`, `down`, `status`, `start`, `stop`, `restart`, `ps` and `clean-data`.
//!
//! Role: the command line of crate `localstack`. Its calls block, so they run on separate threads.
//! Failure: if starting the servers (or the services) fails or is interrupted, those that this run started are stopped again.

mod clean;
mod down;
mod ps;
mod report;
mod services;
mod status;
mod up;

pub use clean::{CleanArgs, clean_data};
pub use down::down;
pub use ps::ps;
pub use services::{RestartArgs, StartArgs, StopArgs, restart, start, stop};
pub use status::status;
pub use up::{UpArgs, up};
