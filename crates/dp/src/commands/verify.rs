//! `dp verify`: checks that every store contains each published tick exactly once.

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::{Connection, READS_WAIT};
use ops::present::{print_json, print_line};
use reconcile::verify::record::record;
use reconcile::verify::text::shown;
use reconcile::verify::{self, VerifyOptions, VerifyReport};

/// Check every store against the raw log, and list each row that is wrong.
///
/// Use it after a load, an outage or an upgrade. It reads the raw topics again with normalization's own rules and compares
/// dead letters, market_ticks, enriched_ticks, late_ticks, bars (each recomputed in SQL from all ticks of its window), derived
/// prices (each recomputed from the ticks of its legs), curve snapshots (their quotes are those of the ticks, and their points reprice
/// them), and the latest prices in PostgreSQL and Redis. Each lost, doubled or changed row is listed with both values. It first waits
/// up to --wait seconds until no tick is in flight. If a table is being filled again after `dp migrate`, it waits for that too, and
/// compares again. It changes no data; it records its result in table verify_runs of PostgreSQL, for the alerts VerifyFailed and
/// VerifyMissing.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all stores agree; 1 there are differences, or ticks are still in flight; 2 a server is \
    unavailable.\n\nExamples:\n  \
    dp verify\n  \
    dp verify --wait 300                                    # after a large load\n  \
    dp verify --json | jq '.checks[] | select(.ok | not)'"
)]
pub struct Args {
    /// Seconds to wait until no tick is in flight and no table is being filled again
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub wait: u64,
    /// Do not record the result for the alerts
    #[arg(long)]
    pub no_record: bool,
}

/// Runs `dp verify`.
///
/// # Errors
/// A server does not answer, or a topic or table is missing.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let options = VerifyOptions {
        wait: Duration::from_secs(args.wait),
        ..VerifyOptions::default()
    };
    let started_at = stream::status::wall_clock();
    let outcome = compare(connection, &options).await;
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

/// Waits for Kafka here, so that a run without it is recorded too.
async fn compare(connection: &Connection, options: &VerifyOptions) -> anyhow::Result<VerifyReport> {
    connection.await_kafka(READS_WAIT).await?;
    verify::run(connection, options).await
}
