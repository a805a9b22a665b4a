//! `dp`: brings the local stack up and down, and looks into a pipeline that runs here or elsewhere.
//!
//! Role: [`cli`] says what can be typed, one file of [`commands`] does each group of commands, [`connection`] finds the
//! servers (`DATA_PROC_*` first, then `stack.json`, then the default addresses). Data go to stdout, as tables or with
//! `--json` as JSON; progress and errors go to stderr.
//! Failure: one line that says what happened and what to do. Exit codes: 0 done; 1 it ran and found something wrong
//! (`verify`, `demo`, `status`, `health`, `ping`); 2 wrong usage, or something that is needed cannot be reached; 130 interrupted.

pub mod bench;
pub mod cli;
pub mod commands;
pub mod connection;
pub mod consent;
pub mod env_file;
pub mod explain;
pub mod positions;
pub mod products;
pub mod simulation;
pub mod verify;

use std::process::ExitCode;

use clap::Parser;
use localstack::StackError;

use cli::Cli;
use commands::present::printable;

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    security::install_provider();
    // Wrong usage ends here with clap's own message and exit code 2.
    let cli = Cli::parse();
    let result = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(&cli));
            // A thread that still waits for a server must not hold up the end.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::anyhow!("cannot start threads: {error}")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", printable(&one_line(&error)));
        let interrupted = error.is::<commands::Interrupted>()
            || matches!(error.downcast_ref::<StackError>(), Some(StackError::Interrupted));
        ExitCode::from(if interrupted { 130 } else { 2 })
    })
}

/// The error and its causes. A cause that its parent repeats already is left out.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            line = if line.is_empty() {
                cause
            } else {
                format!("{line}: {cause}")
            };
        }
    }
    line.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let error = anyhow!("port\ntaken")
            .context("cannot start: port\ntaken")
            .context("dp up");
        assert_eq!(one_line(&error), "dp up: cannot start: port taken");
    }
}
