//! `--help` and `--version` of a service. It has no other arguments: all settings are in the environment and the configuration file.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Command;

use crate::run::Definition;
use crate::settings::{self, Env, Variable};

/// Routes that every service has.
pub const SHARED_ROUTES: [&str; 12] = [
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /health/cluster",
    "GET /metrics",
    "GET /info",
    "GET /stats",
    "GET /openapi.json",
    "GET /log-level",
    "PUT /log-level",
    "POST /profile/cpu",
    "POST /profile/heap",
];

/// Exit codes and signals.
const ENDING: &str = "Exit codes: 0 stopped on request, drained; 1 failed, see the last FATAL line; 2 invalid settings or \
                      arguments; 130 stopped at once by a second signal.\n\
                      Signals: SIGTERM and SIGINT drain and stop; SIGUSR1 writes the state to a file and logs its path.";

/// Handles the arguments: the exit code, or `None` if there were none and the service should run.
pub(crate) fn answer<S>(definition: &Definition<S>, arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let refused = command(definition).try_get_matches_from(arguments).err()?;
    // The reader of stdout may be gone.
    _ = refused.print();
    Some(ExitCode::from(if refused.use_stderr() { 2 } else { 0 }))
}

fn command<S>(definition: &Definition<S>) -> Command {
    let variables = settings::declare(&Env::new(), definition.default_port, definition.settings).variables;
    let width = variables.iter().map(|variable| variable.name.len()).max().unwrap_or(0);
    let lines: Vec<String> = variables.iter().map(|variable| described(variable, width)).collect();
    let routes: Vec<&str> = SHARED_ROUTES.iter().chain(definition.routes).copied().collect();
    Command::new(definition.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(definition.about)
        .max_term_width(120)
        .after_help(format!(
            "Environment (every secret is masked wherever it is shown; `dp config env` shows the values in effect):\n{}\n\n\
             Routes on DATA_PROC_HEALTH_PORT (default {}):\n  {}\n\n{ENDING}",
            lines.join("\n"),
            definition.default_port,
            routes.join("\n  "),
        ))
}

fn described(variable: &Variable, width: usize) -> String {
    let Variable {
        name, meaning, default, ..
    } = variable;
    if default.is_empty() {
        format!("  {name:<width$}  {meaning}")
    } else {
        format!("  {name:<width$}  {meaning} [default: {default}]")
    }
}
