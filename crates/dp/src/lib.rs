//! The operator's tool: runs the local stack, and inspects and repairs a pipeline that runs here or elsewhere.
//!
//! Role: [`cli`] defines the command line, each file of [`commands`] runs one command or group of commands, [`connection`]
//! finds the servers (`DATA_PROC_*` first, then `stack.json`, then the default addresses). Data goes to stdout, as tables or
//! with `--json` as JSON; progress and errors go to stderr.
//! Failure: one line that says what happened and what to do. Exit codes: 0 success; 1 the command ran and found a problem;
//! 2 wrong usage, or a server is unavailable; 130 interrupted.

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

/// Runs the command of the command line.
pub fn run() -> ExitCode {
    security::install_provider();
    // On wrong usage clap prints its own message and exits with code 2.
    let cli = Cli::parse();
    let result = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(&cli));
            // A thread that still waits for a server must not delay the exit.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::anyhow!("cannot start threads: {error}")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", printable(&one_line(&error)));
        let interrupted = error.is::<commands::interrupt::Interrupted>()
            || matches!(error.downcast_ref::<StackError>(), Some(StackError::Interrupted));
        ExitCode::from(if interrupted { 130 } else { 2 })
    })
}

/// The error and its causes on one line, without causes that the text before them already contains.
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
    fn an_error_is_one_line_without_repetition() {
        let error = anyhow!("port\ntaken")
            .context("cannot start: port\ntaken")
            .context("dp up");
        assert_eq!(one_line(&error), "dp up: cannot start: port taken");
    }
}
