//! The command line: global options and one variant for each command.
//!
//! The arguments and help texts of a command are in its own file; [`crate::commands`] calls it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ops::place::Place;

use crate::commands::{
    alerts, analyze, backfill, backup, bench, cache, capacity, check_market, clickhouse, completions, config, curve,
    demo, dlq, doctor, explain, gaps, groups, health, incident, ingest, kafka, logs, migrate, net, pause, ping,
    position, postgres, profile, projection, reconcile, redis, replay, retention, schema, send, simulate, sql, stack,
    tail, top, topics, trace, verify,
};

/// Heading of the global options in every `--help`, so that they do not mix with those of the command.
const GLOBAL: &str = "Global options";

/// Operate the 254Carbon data-processing pipeline: local stack, topics, data, checks.
///
/// Commands that read or write data take the addresses of the servers from DATA_PROC_KAFKA_BOOTSTRAP,
/// DATA_PROC_CLICKHOUSE_URL, DATA_PROC_POSTGRES_DSN and DATA_PROC_REDIS_URL. If a variable is not set, they use the local
/// stack, or without one the default local ports. Likewise DATA_PROC_GENERATION: if it is not set, they use the generation of
/// the services that were last started in the stack. With --dir or --port-offset they use that stack, and fail if one of these
/// variables names another server.
#[derive(Debug, Parser)]
#[command(
    name = "dp",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 success; 1 the command ran and found a problem (for example verify, status); 2 wrong usage, \
                  or a server is unavailable; 130 interrupted.\n\nStart with: dp up, then dp status"
)]
pub struct Cli {
    /// The local stack to use.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print JSON instead of tables
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
    /// Do not ask for confirmation before removing data, or before writing when DATA_PROC_ENV is not local
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    pub yes: bool,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The options that select a local stack.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
    /// Add N to every port of the local stack, to run it in parallel with another one
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    port_offset: u16,
    /// Folder of the local stack: data, logs, stack.json [default: /var/tmp/254carbon-UID/stack, or stack-N with
    /// --port-offset N]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl PlaceArgs {
    /// The stack that these options select.
    pub fn place(&self) -> Place {
        Place {
            port_offset: self.port_offset,
            dir: self.dir.clone(),
        }
    }
}

/// The commands, in the order of `dp --help`. A variant without a help text here has it on its arguments.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
#[allow(clippy::large_enum_variant)] // Created once for each run of the program.
pub enum Command {
    Up(stack::UpArgs),
    /// Stop all services and servers of the local stack; data and logs are kept
    ///
    /// `dp up` continues with the same data. To remove the data as well, use `dp clean-data`.
    #[command(after_help = "Examples:\n  dp down\n  dp down --port-offset 1000")]
    Down,
    /// Show the state, port, memory and CPU time of each process of the local stack
    ///
    /// Exit code 1 if a process is down or not ready; the reasons follow the table.
    #[command(
        after_help = "Examples:\n  dp status\n  dp status --json | jq '.processes[] | select(.ready | not) | {name, why}'"
    )]
    Status,
    Doctor(doctor::Args),
    Health(health::Args),
    Top(top::Args),
    Analyze(analyze::Args),
    Capacity(capacity::Args),
    Profile(profile::Args),
    Alerts(alerts::Args),
    Incident(incident::Args),
    Ping(ping::Args),
    Logs(logs::Args),
    Start(stack::StartArgs),
    Stop(stack::StopArgs),
    Restart(stack::RestartArgs),
    /// List the running processes of the local stack with pid and port
    ///
    /// For scripts; `dp status` also shows whether they are ready.
    #[command(after_help = "Examples:\n  dp ps\n  dp ps --json | jq '.[].pid'")]
    Ps,
    CleanData(stack::CleanArgs),
    Topics(topics::Args),
    Migrate(migrate::Args),
    Simulate(simulate::Args),
    Send(send::Args),
    Ingest(ingest::Args),
    Backfill(backfill::Args),
    Tail(tail::Args),
    Sql(sql::Args),
    Groups(groups::Args),
    Position(position::Args),
    Projection(projection::Args),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Kafka(kafka::Args),
    Dlq(dlq::Args),
    Backup(backup::Args),
    Retention(retention::Args),
    Clickhouse(clickhouse::Args),
    Postgres(postgres::Args),
    Redis(redis::Args),
    Cache(cache::Args),
    Net(net::Args),
    Schema(schema::Args),
    Verify(verify::Args),
    Reconcile(reconcile::Args),
    Explain(explain::Args),
    Trace(trace::Args),
    Replay(replay::Args),
    Gaps(gaps::Args),
    Curve(curve::Args),
    CheckMarket(check_market::Args),
    Config(config::Args),
    Bench(bench::Args),
    Demo(demo::Args),
    Completions(completions::Args),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_help_text() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn global_options_are_accepted_after_the_command() {
        let cli = Cli::try_parse_from(["dp", "status", "--port-offset", "1000", "--json"]).unwrap();
        assert!(cli.json && cli.place.place().is_named());
        assert!(cli.place.place().folder().ends_with("stack-1000"));
        let cli = Cli::try_parse_from(["dp", "--dir", "/somewhere", "ps"]).unwrap();
        assert_eq!(cli.place.place().folder(), PathBuf::from("/somewhere"));
    }
}
