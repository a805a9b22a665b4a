//! `dp projection`: the standing of projections, their checkpoints, and rebuilds.

mod name;
mod rebuild;

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::Connection;
use ops::inspect::projection::{Checkpoint, LATEST_PRICE, Standing, Status, checkpoints, standings};
use ops::inspect::silent::{Silence, silent};
use ops::migrations::stores;
use ops::present::{duration, found, grouped, print_either, printable, table};

/// Look at projections, and rebuild them from the log
///
/// A projection is what readers are served, from PostgreSQL and Redis: `latest_price` is the newest price of each instrument,
/// `curve_snapshot` the newest snapshot of each curve and horizon, `derived_price` the newest price of each derived series.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 a projection lags, or an instrument is silent; 2 a server is unavailable, or wrong usage\n\n\
    Examples:\n  dp projection list\n  dp projection checkpoint latest_price\n  dp projection silent --over 1h\n  \
    dp projection rebuild latest_price --full --dry-run\n  dp projection rebuild latest_price --full --yes"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show each projection with its lag, status, last event and positions
    #[command(
        after_help = "Examples:\n  dp projection list\n  dp projection list --json | jq '.[] | {projection, status}'"
    )]
    List,
    Checkpoint(CheckpointArgs),
    Silent(SilentArgs),
    Rebuild(rebuild::Args),
}

impl Args {
    /// Whether the command changes what is served. A dry run of a rebuild does not; it writes a copy in PostgreSQL, and removes it.
    pub fn writes(&self) -> bool {
        matches!(&self.command, Command::Rebuild(args) if !args.is_dry_run())
    }

    /// Whether it is a dry run of a rebuild.
    pub fn is_dry_run(&self) -> bool {
        matches!(&self.command, Command::Rebuild(args) if args.is_dry_run())
    }

    /// Whether it prints once, and shows no progress of its own.
    pub fn prints_once(&self) -> bool {
        !matches!(self.command, Command::Rebuild(_))
    }
}

/// Show the position of each partition, and the last event before it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp projection checkpoint latest_price\n  \
    dp projection checkpoint latest_price --json | jq '.[] | {partition, next_offset, last_event_id}'")]
struct CheckpointArgs {
    /// Name of the projection
    #[arg(value_name = "NAME", default_value = LATEST_PRICE, value_parser = name::projection)]
    name: String,
}

/// Show instruments that have had no tick for a while
///
/// The last to fall silent come first, since contracts that have expired are silent forever. Metric instruments_silent counts them. Exit
/// code 1 if there is one.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp projection silent\n  dp projection silent --over 5m --tenant acme --limit 100\n  \
    dp projection silent --json | jq '.instruments[] | {instrument_id, silent_seconds}'"
)]
struct SilentArgs {
    /// Show instruments without a tick for longer than this
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    over: Duration,
    /// Only those of this tenant [default: all tenants]
    #[arg(long)]
    tenant: Option<String>,
    /// Show at most N
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

/// Runs `dp projection`; `yes` skips the question before a rebuild.
///
/// # Errors
/// A server does not answer, or the user does not confirm.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List => {
            let all = standings(&checkpoints(connection).await?);
            print_either(connection.json, &all, || list(&all))?;
            Ok(found(all.iter().any(|standing| standing.status != Status::Healthy)))
        }
        Command::Checkpoint(args) => {
            let mut checkpoints = checkpoints(connection).await?;
            checkpoints.retain(|checkpoint| checkpoint.projection == args.name);
            print_either(connection.json, &checkpoints, || shown(&checkpoints))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Silent(args) => {
            let (postgres, generation) = (stores(connection)?.postgres, connection.names.generation());
            let asked = (args.over, args.tenant.as_deref());
            let silence = silent(&postgres, generation, asked, args.limit).await?;
            print_either(connection.json, &silence, || silent_text(&silence))?;
            Ok(found(silence.total > 0))
        }
        Command::Rebuild(args) => rebuild::run(connection, args, yes).await,
    }
}

fn list(all: &[Standing]) -> String {
    let rows = all.iter().map(|standing| {
        vec![
            standing.projection.to_owned(),
            standing.status.name().to_owned(),
            standing
                .lag_seconds
                .map_or_else(|| "never processed".to_owned(), |lag| format!("{lag:.1} s")),
            grouped(standing.behind),
            grouped(standing.events_processed),
            seconds(standing.last_processed_seconds_ago),
        ]
    });
    table(
        &["projection", "status", "lag", "behind", "processed", "last stored"],
        2,
        rows,
    )
}

fn silent_text(silence: &Silence) -> String {
    let Silence { total, instruments } = silence;
    if instruments.is_empty() {
        return "no instrument has been silent that long".to_owned();
    }
    let rows = instruments.iter().map(|silent| {
        vec![
            printable(&silent.tenant_id),
            printable(&silent.instrument_id),
            printable(&silent.market),
            format!("{} s", grouped(silent.silent_seconds)),
        ]
    });
    let shown = table(&["tenant", "instrument", "market", "silent for"], 3, rows);
    format!(
        "{shown}\n{} of {total} silent instruments, the last to fall silent first",
        instruments.len()
    )
}

fn shown(checkpoints: &[Checkpoint]) -> String {
    let rows = checkpoints.iter().map(|checkpoint| {
        vec![
            checkpoint.partition.to_string(),
            checkpoint.next_offset.map_or_else(|| "none".to_owned(), grouped),
            grouped(checkpoint.end),
            grouped(checkpoint.behind),
            seconds(checkpoint.stored_seconds_ago),
            checkpoint.last_event_id.clone().unwrap_or_default(),
        ]
    });
    table(
        &["partition", "next offset", "log end", "behind", "stored", "last event"],
        0,
        rows,
    )
}

fn seconds(ago: Option<f64>) -> String {
    ago.map_or_else(|| "never".to_owned(), |ago| format!("{ago:.0} s ago"))
}
