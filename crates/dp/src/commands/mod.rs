//! One file for each group of commands. A new command is a variant in [`crate::cli::Command`] and a line in [`run`].

pub mod bench;
pub mod demo;
pub mod explain;
pub mod groups;
pub mod ingest;
pub mod logs;
pub mod migrate;
pub mod position;
pub mod present;
pub mod progress;
pub mod send;
pub mod simulate;
pub mod sql;
pub mod stack;
pub mod tail;
pub mod topics;
pub mod verify;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::connection::Connection;

/// Does what the command line asks for, and answers the exit code.
pub async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let (place, json) = (&cli.place, cli.json);
    let connect = || Connection::resolve(place, json);
    match &cli.command {
        Command::Up(args) => stack::up(place, args, json).await,
        Command::Down => stack::down(place, json).await,
        Command::Status => stack::status(place, json),
        Command::Logs(args) => logs::run(place, args, json).await,
        Command::Start(args) => stack::start(place, args, json).await,
        Command::Stop(args) => stack::stop(place, args, json).await,
        Command::Restart(args) => stack::restart(place, args, json).await,
        Command::Ps => stack::ps(place, json),
        Command::CleanData => stack::clean_data(place, json).await,
        Command::Topics(args) => topics::run(&connect()?, args).await,
        Command::Migrate(args) => migrate::run(&connect()?, args).await,
        Command::Simulate(args) => simulate::run(&connect()?, args).await,
        Command::Send(args) => send::run(&connect()?, args).await,
        Command::Ingest(args) => ingest::run(&connect()?, args).await,
        Command::Tail(args) => tail::run(&connect()?, args).await,
        Command::Sql(args) => sql::run(&connect()?, args).await,
        Command::Groups(args) => groups::run(&connect()?, args).await,
        Command::Position(args) => return position::run(&connect()?, args).await,
        Command::Verify(args) => return verify::run(&connect()?, args).await,
        Command::Explain(args) => return explain::run(place, &connect()?, args).await,
        Command::Bench(args) => return bench::run(place, args, json).await,
        Command::Demo(args) => return demo::run(place, args, json).await,
        Command::Completions(args) => stack::completions(args),
    }?;
    Ok(ExitCode::SUCCESS)
}
