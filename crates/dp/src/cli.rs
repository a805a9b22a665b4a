//! What can be typed: the global options and one variant for each command.
//!
//! A command of its own file brings its `Args` and help strings along; see [`crate::commands`] for where it is called.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Parser, Subcommand};
use localstack::{Ports, Stack};

use crate::commands::{
    bench, config, demo, explain, groups, health, ingest, logs, migrate, ping, position, send, simulate, sql, stack,
    tail, topics, verify,
};

/// Operate the 254Carbon data-processing pipeline: local stack, topics, data, checks.
///
/// Commands that look at data find the servers by DATA_PROC_KAFKA_BOOTSTRAP, DATA_PROC_CLICKHOUSE_URL,
/// DATA_PROC_POSTGRES_DSN and DATA_PROC_REDIS_URL; what is not set comes from the local stack, else from the usual local
/// addresses. So dp works on a stack that somebody else started, too. Variables that contradict a stack that is named with
/// --dir or --port-offset are refused.
#[derive(Debug, Parser)]
#[command(
    name = "dp",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done; 1 it ran and found something wrong (verify, demo, status, health, ping); 2 wrong usage or something \
                  cannot be reached; 130 interrupted.\n\nStart with: dp up, then dp status"
)]
pub struct Cli {
    /// Which local stack is meant.
    #[command(flatten)]
    pub place: Place,
    /// Print data as JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// Answer yes where the command would ask: before it removes data, and before it writes where DATA_PROC_ENV is not local
    #[arg(long, short, global = true)]
    pub yes: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The local stack that a command is about.
#[derive(Debug, Clone, Default, Args)]
pub struct Place {
    /// Add N to every port of the local stack, so that it runs beside another one
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// Folder of the local stack: data, logs, stack.json [default: /var/tmp/254carbon-UID/stack, or stack-N with an offset]
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

impl Place {
    /// The folder of the stack.
    pub fn folder(&self) -> PathBuf {
        self.dir
            .clone()
            .unwrap_or_else(|| localstack::default_dir(self.port_offset))
    }

    /// The stack that another command made in the folder.
    ///
    /// # Errors
    /// There is none, or its ports are not those of the offset that was given with the folder.
    pub fn open(&self) -> anyhow::Result<Stack> {
        let stack = Stack::open(&self.folder())?;
        let ports = &stack.config().ports;
        if self.dir.is_some() && self.port_offset != 0 && Ports::with_offset(self.port_offset).as_ref() != Some(ports) {
            bail!(
                "--port-offset {} and --dir contradict each other: Kafka of the stack in {} has port {}; leave one of them out",
                self.port_offset,
                self.folder().display(),
                ports.kafka
            );
        }
        Ok(stack)
    }

    /// Whether the user named a stack, rather than taking the usual one.
    pub fn is_named(&self) -> bool {
        self.dir.is_some() || self.port_offset != 0
    }
}

/// The commands, in the order of `dp --help`; those without words here bring theirs along in their `Args`.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
#[allow(clippy::large_enum_variant)] // Made once for each run of the program.
pub enum Command {
    Up(stack::UpArgs),
    /// Stop services and servers; data stay
    Down,
    /// Show the processes of the stack: state, port, memory, CPU time
    ///
    /// Exit code 1 where one of them is down or not ready; the reasons stand below the table.
    Status,
    Health(health::Args),
    Ping(ping::Args),
    Logs(logs::Args),
    Start(stack::StartArgs),
    Stop(stack::StopArgs),
    /// Stop services, replicas or servers, then start them again
    Restart(stack::StartArgs),
    /// List running processes: name, pid, port
    Ps,
    /// Stop the stack and remove its folder with all data and logs
    ///
    /// It asks first; without a terminal it needs --yes. Files that are not the stack's stay where they are. The downloads
    /// stay, too, so the next `dp up` starts within seconds, empty.
    CleanData,
    Topics(topics::Args),
    Migrate(migrate::Args),
    Simulate(simulate::Args),
    Send(send::Args),
    Ingest(ingest::Args),
    Tail(tail::Args),
    Sql(sql::Args),
    Groups(groups::Args),
    Position(position::Args),
    Verify(verify::Args),
    Explain(explain::Args),
    Config(config::Args),
    Bench(bench::Args),
    Demo(demo::Args),
    Completions(stack::CompletionsArgs),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }

    #[test]
    fn global_options_may_stand_behind_the_command() {
        let cli = Cli::try_parse_from(["dp", "status", "--port-offset", "1000", "--json"]).unwrap();
        assert!(cli.json && cli.place.is_named());
        assert!(cli.place.folder().ends_with("stack-1000"));
        let cli = Cli::try_parse_from(["dp", "--dir", "/somewhere", "ps"]).unwrap();
        assert_eq!(cli.place.folder(), PathBuf::from("/somewhere"));
    }
}
