//! `dp net`: the network between here and the servers. Reads only.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::net::{Path, check};
use ops::present::{found, print_either, printable, table, wrapped};
use ops::progress::waiting;

const COLUMNS: usize = 80;

/// Look at the network: is each server reached, and how long does each step take?
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every server is reached; 1 one is not; 2 wrong usage\n\nExamples:\n  dp net check"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Try every address of Kafka, ClickHouse, PostgreSQL and Redis: name, connection, TLS, first exchange
    ///
    /// The last step, hello, is the check that services use, with login; a server with several addresses is asked once. PostgreSQL
    /// begins TLS in its own protocol, so its TLS is part of hello.
    #[command(
        after_help = "Examples:\n  dp net check\n  dp net check --json | jq '.[] | select(.problem) | {server, problem}'"
    )]
    Check,
}

/// Runs `dp net`.
///
/// # Errors
/// A client cannot be created with these settings.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Check = &args.command;
    let paths = waiting("trying every server", check(connection)).await?;
    print_either(connection.json, &paths, || text(&paths))?;
    Ok(found(paths.iter().any(|path| path.problem.is_some())))
}

fn text(paths: &[Path]) -> String {
    let millis = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1} ms"));
    let rows = paths.iter().map(|path| {
        vec![
            path.server.to_owned(),
            printable(&path.address),
            millis(path.resolve_ms),
            millis(path.connect_ms),
            millis(path.tls_ms),
            millis(path.hello_ms),
        ]
    });
    let mut text = table(&["server", "address", "name", "connect", "TLS", "hello"], 2, rows);
    for path in paths {
        if let Some(problem) = &path.problem {
            let line = format!("{} at {}: {}", path.server, path.address, printable(problem));
            text.push_str(&format!("\n{}", wrapped(&line, COLUMNS - 2).join("\n  ")));
        }
    }
    text
}
