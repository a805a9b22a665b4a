//! `dp net`: the network between here and the servers. Reads only.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::net::{Path, check, connected};
use ops::present::{found, print_either, printable, table, wrapped};
use ops::progress::waiting;
use ops::sockets::{Owner, Sockets};

const COLUMNS: usize = 80;

/// Look at the network: is each server reached, how long does each step take, and who is connected?
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every server is reached; 1 one is not; 2 wrong usage\n\nExamples:\n  dp net check\n  dp net sockets"
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
    /// List the listeners of this machine, and the processes that are connected to Kafka, ClickHouse, PostgreSQL and Redis
    ///
    /// What `ss -tlnp` and `ss -tnp` show, by server. A process of another user is shown without its name, unless you are root. Run it on
    /// the machine, or in the container, whose connections are in question.
    #[command(
        after_help = "Examples:\n  dp net sockets\n  dp net sockets --json | jq '.peers[] | select(.server == \"kafka\") | {process, connections}'"
    )]
    Sockets,
}

/// Runs `dp net`.
///
/// # Errors
/// A client cannot be created with these settings.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Check => {
            let paths = waiting("trying every server", check(connection)).await?;
            print_either(connection.json, &paths, || text(&paths))?;
            Ok(found(paths.iter().any(|path| path.problem.is_some())))
        }
        Command::Sockets => {
            let sockets = waiting("reading the sockets", connected(connection)).await?;
            print_either(connection.json, &sockets, || sockets_text(&sockets))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn sockets_text(sockets: &Sockets) -> String {
    let process = |owner: &Option<Owner>| owner.as_ref().map_or("?".to_owned(), |owner| printable(&owner.process));
    let pid = |owner: &Option<Owner>| owner.as_ref().map_or("?".to_owned(), |owner| owner.pid.to_string());
    let listeners = sockets.listeners.iter().map(|listener| {
        let address = listener.address.to_string();
        vec![
            process(&listener.owner),
            address,
            listener.port.to_string(),
            pid(&listener.owner),
        ]
    });
    let peers = sockets.peers.iter().map(|peer| {
        let connections = peer.connections.to_string();
        vec![
            peer.server.to_owned(),
            peer.address.to_string(),
            process(&peer.owner),
            connections,
            pid(&peer.owner),
        ]
    });
    format!(
        "{}\n{}",
        table(&["listener", "address", "port", "pid"], 2, listeners),
        table(
            &["server", "address", "connected process", "connections", "pid"],
            3,
            peers
        )
    )
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
