//! The local stack: `dp up`, `down`, `status`, `start`, `stop`, `restart`, `ps` and `clean-data`.
//!
//! Role: the command line of crate `localstack`. Its calls block, so they run on separate threads.
//! Failure: if starting the servers (or the services) fails or is interrupted, those that this run started are stopped again.

mod clean;
mod down;
mod ps;
mod services;
mod status;
mod up;

use std::path::Path;

use localstack::Name;
use ops::present::{print_json, print_line};
use serde_json::json;

pub use clean::clean_data;
pub use down::down;
pub use ps::ps;
pub use services::{RestartArgs, StartArgs, StopArgs, restart, start, stop};
pub use status::status;
pub use up::{UpArgs, up};

fn is_stack(folder: &Path) -> bool {
    folder.join("stack.json").exists()
}

/// Prints what was done (`what`) to which processes.
fn report(what: &str, names: &[Name], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&json!({ what: names }));
    }
    print_line(&if names.is_empty() {
        format!("nothing {what}")
    } else {
        format!("{what}: {}", listed(names))
    })
}

fn listed(names: &[Name]) -> String {
    let names: Vec<String> = names.iter().map(Name::to_string).collect();
    names.join(", ")
}
