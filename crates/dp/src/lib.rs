//! The operator's tool: runs the local stack, and inspects and repairs a pipeline that runs here or elsewhere.
//!
//! Role: arguments and printing. [`cli`] defines the command line, and each file of [`commands`] runs one command or group of
//! commands; the work is in `ops`, `reconcile` and `bench`. No command uses another one. Data goes to stdout, as tables or with
//! `--json` as JSON; progress and errors go to stderr.
//! Failure: one line that says what happened and what to do. Exit codes: 0 success; 1 the command ran and found a problem;
//! 2 wrong usage, or a server is unavailable; 130 interrupted.

mod cells;
pub mod cli;
pub mod commands;
mod curve_text;
mod env_file;
pub mod examples;
mod lag_table;
mod letter;
mod message;
mod retention_text;
mod tail;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Arg, CommandFactory as _, FromArgMatches as _};
use localstack::StackError;
use ops::hints;
use ops::interrupt::Interrupted;
use ops::present::printable;
use ops::progress;

use cli::Cli;

/// Runs the command of the command line.
pub fn run() -> ExitCode {
    security::install_provider();
    // On wrong usage clap prints its own message and exits with code 2.
    let cli = parse(std::env::args_os()).unwrap_or_else(|error| refuse_usage(&error));
    let place = cli.place.place();
    hints::remember(&place);
    let result = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let result = runtime.block_on(commands::run(&cli, &place));
            // A thread that still waits for a server must not delay the exit.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(anyhow::anyhow!("cannot start threads: {error}")),
    };
    result.unwrap_or_else(|error| {
        progress::clear();
        eprintln!("error: {}", printable(&hints::localized(&one_line(&error))));
        let interrupted =
            error.is::<Interrupted>() || matches!(error.downcast_ref::<StackError>(), Some(StackError::Interrupted));
        ExitCode::from(if interrupted { 130 } else { 2 })
    })
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = accepting_negatives(Cli::command());
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The names of values that are times or lengths of time.
const TIMES: [&str; 2] = ["TIME", "T"];

/// A negative number or length of time after an option is its value: the option's own parser says what is wrong with it.
fn accepting_negatives(command: clap::Command) -> clap::Command {
    let option = |argument: Arg| match argument.get_action().takes_values() && !argument.is_positional() {
        // Clap takes -5, but not -5m, for a number.
        true if is_time(&argument) => argument.allow_hyphen_values(true),
        true => argument.allow_negative_numbers(true),
        false => argument,
    };
    command.mut_args(option).mut_subcommands(accepting_negatives)
}

fn is_time(argument: &Arg) -> bool {
    let names = argument.get_value_names().unwrap_or_default();
    names.iter().any(|name| TIMES.contains(&name.as_str()))
}

/// Prints clap's message and ends the program. A number that cannot be parsed is explained: clap shows the parser's own words.
fn refuse_usage(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    let explained = with_accepted_numbers(&text);
    if error.kind() != ErrorKind::ValueValidation || explained == text {
        error.exit();
    }
    eprint!("{explained}");
    std::process::exit(error.exit_code());
}

fn with_accepted_numbers(text: &str) -> String {
    let whole = "expected a whole number such as 20, without a sign or a unit";
    text.replace("invalid digit found in string", whole)
        .replace("cannot parse integer from empty string", whole)
        .replace("invalid float literal", "expected a number such as 0.5")
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
    fn a_wrong_number_names_its_argument_and_what_is_accepted() {
        for arguments in [["dp", "tail", "raw", "--limit=x"], ["dp", "tail", "raw", "--limit=-5"]] {
            let error = parse(arguments.map(OsString::from))
                .err()
                .map(|error| error.render().to_string());
            let text = with_accepted_numbers(&error.unwrap_or_default());
            assert!(
                text.contains("--limit <N>") && text.contains("whole number such as 20"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_negative_value_is_refused_by_its_option_and_not_as_an_unknown_one() {
        for (arguments, says) in [
            (["dp", "verify", "--wait", "-5"], "valid length of time"),
            (["dp", "tail", "--limit", "-5"], "--limit"),
        ] {
            let error = parse(arguments.map(OsString::from)).err();
            let text = error.map(|error| error.render().to_string()).unwrap_or_default();
            assert!(text.contains("'-5' for '--") && text.contains(says), "{text}");
        }
        for arguments in [
            &["dp", "verify", "--wait", "-5m"][..],
            &["dp", "logs", "--since", "-5m"],
            &["dp", "dlq", "list", "--since", "-1h30m"],
            &["dp", "incident", "listen", "--pause", "-1d"],
            &["dp", "check-market", "--since", "-48h"],
        ] {
            let error = parse(arguments.iter().map(OsString::from)).err();
            let text = error.map(|error| error.render().to_string()).unwrap_or_default();
            let refused = format!("'{}' for '--", arguments.last().copied().unwrap_or_default());
            assert!(text.contains(&refused) && text.contains("5m, 2h, 7d"), "{text}");
        }
        // An option after one that lacks its length of time is not taken for it in silence.
        let lacks = parse(["dp", "logs", "--since", "--json"].map(OsString::from)).err();
        assert_eq!(lacks.map(|error| error.kind()), Some(ErrorKind::ValueValidation));
        let unknown = parse(["dp", "verify", "--nothing"].map(OsString::from)).err();
        assert_eq!(unknown.map(|error| error.kind()), Some(ErrorKind::UnknownArgument));
    }

    #[test]
    fn an_error_is_one_line_without_repetition() {
        let error = anyhow!("port\ntaken")
            .context("cannot start: port\ntaken")
            .context("dp up");
        assert_eq!(one_line(&error), "dp up: cannot start: port taken");
    }
}
