//! `dp reconcile`: arguments, confirmation and the report.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use ops::connection::Connection;
use ops::consent;
use ops::present::{duration, found, moment, period, print_either};
use reconcile::repair::plan::Stores;
use reconcile::repair::{Orders, run as reconcile, text};

/// Compare the stores with the log, and write again the rows that a store has lost
///
/// It compares as `dp verify` does, up to what the raw log had when it began, and reports for each table and store what is missing, surplus or
/// different. Without --repair it changes nothing.
///
/// With --repair, rows that were deleted by hand are written again from the log's own records: market_ticks, enriched_ticks, late_ticks,
/// bars, derived_prices and curve_snapshots from their topics, with every column as the writer fills it (ingested_at is the time of the
/// repair); latest prices by a rebuild of their projection (as `dp projection rebuild`), copies in Redis by requests to projection (as
/// `dp cache`). Nothing is invented: a row whose record the log no longer holds is named, and left. Rows that were changed or added by
/// hand are named with what to do; only latest prices and their copies are replaced. Served curves and derived prices are named with the
/// command that writes them again.
///
/// The pipeline may run. A repair that was killed, or runs twice, doubles nothing. A running ClickHouse writer gives a repaired partition
/// up for up to 30 seconds; its rows wait, and none is lost.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all stores agree; 1 something is missing, surplus or different (with --repair: still), or not all of it \
    is in the stores yet; 2 a server is unavailable, or wrong usage\n\nExamples:\n  \
    dp reconcile\n  \
    dp reconcile --store postgres --json | jq '.found'\n  \
    dp reconcile --from 2h --repair --yes"
)]
pub struct Args {
    /// Report and repair only this store: clickhouse, postgres, redis or all. All are compared, since prices follow from ticks
    #[arg(long, value_name = "STORE", default_value = "all", value_parser = store)]
    store: Stores,
    /// Only rows of raw messages that were appended at or after this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,
    /// Only rows of raw messages that were appended before this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<Timestamp>,
    /// Write lost rows again; asks for confirmation
    #[arg(long)]
    repair: bool,
    /// Only show what would be written, which is also the default
    #[arg(long, conflicts_with = "repair")]
    dry_run: bool,
    /// How long a comparison waits until every stage has passed what the log has now: seconds, or 10m
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = duration)]
    wait: Duration,
}

impl Args {
    /// Whether the command writes.
    pub fn writes(&self) -> bool {
        self.repair
    }
}

fn store(text: &str) -> Result<Stores, String> {
    let only = |clickhouse, postgres, redis| Stores {
        clickhouse,
        postgres,
        redis,
    };
    match text {
        "all" => Ok(Stores::ALL),
        "clickhouse" => Ok(only(true, false, false)),
        "postgres" => Ok(only(false, true, false)),
        "redis" => Ok(only(false, false, true)),
        _ => Err("use clickhouse, postgres, redis or all".to_owned()),
    }
}

/// Runs `dp reconcile`; `yes` skips the question before a repair.
///
/// # Errors
/// The user does not confirm, a server does not answer, or a store refuses a row.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let (from, to) = period(args.from, args.to)?;
    if args.repair {
        consent::ask("write lost rows into the stores again", "repair", yes).await?;
    }
    let orders = Orders {
        stores: args.store,
        from,
        to,
        repair: args.repair,
        wait: args.wait,
    };
    let report = reconcile(connection, &orders).await?;
    print_either(connection.json, &report, || text::shown(&report))?;
    Ok(found(!report.is_ok()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn nothing_is_written_unless_it_is_asked_for() {
        let parse = |arguments: &[&str]| Cli::try_parse_from([&["reconcile"], arguments].concat());
        assert!(!parse(&[]).unwrap().args.writes());
        assert!(!parse(&["--dry-run"]).unwrap().args.writes());
        assert!(parse(&["--repair"]).unwrap().args.writes());
        assert!(parse(&["--repair", "--dry-run"]).is_err());
    }

    #[test]
    fn a_store_is_one_of_three_or_all() {
        assert_eq!(store("all"), Ok(Stores::ALL));
        assert!(store("redis").is_ok_and(|stores| stores.redis && !stores.clickhouse && !stores.postgres));
        assert!(store("kafka").unwrap_err().contains("clickhouse"));
    }
}
