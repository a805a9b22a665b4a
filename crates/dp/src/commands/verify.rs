//! `dp verify`: checks that every store contains each published tick exactly once.

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::{Connection, READS_WAIT};
use ops::health::require;
use ops::place::Place;
use ops::present::{duration, print_json, print_line};
use reconcile::verify::record::record;
use reconcile::verify::text::shown;
use reconcile::verify::{self, VerifyOptions, VerifyReport};
use service::clients::Dependency;

/// Check every store against the raw log, and name the rows that are wrong.
///
/// Use it after a load, an outage or an upgrade. It reads the raw topics again with normalization's own rules and compares
/// dead letters, market_ticks, enriched_ticks, late_ticks, bars (each recomputed in SQL from all ticks of its window), derived
/// prices (each recomputed from the ticks of its legs), curve snapshots (their quotes are those of the ticks, and their points reprice
/// them), and what PostgreSQL and Redis serve: the latest prices, the newest snapshot of each curve and horizon, and the newest price of each
/// derived series. Each lost, doubled or changed row is counted; the first ones are listed with both values.
///
/// Ticks may arrive meanwhile. A run compares what the raw log had when it began, and first waits up to --wait until every stage has passed
/// that. Rows of later ticks, and bars and prices that those have changed, are not compared, and are counted in a note. If a table is being
/// filled again after `dp migrate`, it waits for that too, and compares again. It changes no data; it records its result in table verify_runs of PostgreSQL, for the alerts VerifyFailed and
/// VerifyMissing.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all that is compared agrees; 1 there are differences, or not all of it is in the stores yet; 2 a server is \
    unavailable.\n\nExamples:\n  \
    dp verify\n  \
    dp verify --wait 300                                    # after a large load\n  \
    dp verify --json | jq '.checks[] | select(.ok | not)'"
)]
pub struct Args {
    /// How long to wait until every stage has passed what the log has now, and no table is being filled again: seconds, or 10m
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = duration)]
    pub wait: Duration,
    /// Do not record the result for the alerts
    #[arg(long)]
    pub no_record: bool,
}

/// Runs `dp verify`.
///
/// # Errors
/// A server does not answer, or a topic or table is missing.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let options = VerifyOptions {
        wait: args.wait,
        ..VerifyOptions::default()
    };
    let started_at = stream::status::wall_clock();
    let outcome = compare(place, connection, &options).await;
    if !args.no_record
        && let Err(error) = record(connection, started_at, &outcome).await
    {
        // The result of the comparison stands without it.
        eprintln!("note: this run is not recorded, so no alert sees it (--no-record omits the record): {error:#}");
    }
    let report = outcome?;
    if connection.json {
        print_json(&report)?;
    } else {
        print_line(&shown(&report))?;
    }
    Ok(if report.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

/// Asks the servers here, so that a run without one of them is recorded too.
async fn compare(place: &Place, connection: &Connection, options: &VerifyOptions) -> anyhow::Result<VerifyReport> {
    connection.await_kafka(READS_WAIT).await?;
    require(place, connection, &[Dependency::ClickHouse, Dependency::Postgres]).await?;
    verify::run(connection, options).await
}
