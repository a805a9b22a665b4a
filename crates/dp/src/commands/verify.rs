//! `dp verify`: checks that every store contains each published tick exactly once.

use std::process::ExitCode;
use std::time::Duration;

use stream::status::wall_clock;

use super::READS_WAIT;
use super::present::{grouped, print_json, print_line, table};
use crate::connection::Connection;
use crate::hints::localized;
use crate::verify::quiet;
use crate::verify::record::record;
use crate::verify::report::{Check, VerifyReport};
use crate::verify::{self, VerifyOptions};

/// Check every store against the raw log, and list each row that is wrong.
///
/// Use it after a load, an outage or an upgrade. It reads the raw topics again with normalization's own rules and compares
/// dead letters, market_ticks, enriched_ticks, late_ticks, bars (each recomputed in SQL from all ticks of its window), and
/// the latest prices in PostgreSQL and Redis. Each lost, doubled or changed row is listed with both values. It first waits
/// up to --wait seconds until no tick is in flight. It changes no data; it records its result in table verify_runs of
/// PostgreSQL, for the alerts VerifyFailed and VerifyMissing.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all stores agree; 1 there are differences, or ticks are still in flight; 2 a server is \
    unavailable.\n\nExamples:\n  \
    dp verify\n  \
    dp verify --wait 300                                    # after a large load\n  \
    dp verify --json | jq '.checks[] | select(.ok | not)'"
)]
pub struct Args {
    /// Seconds to wait until no tick is in flight
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
    };
    let started_at = wall_clock();
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

/// The report as text: one table, the differences, the notes.
pub fn shown(report: &VerifyReport) -> String {
    let rows = report.checks.iter().map(|check| {
        let ok = if check.ok { "ok" } else { "DIFFERS" };
        vec![
            check.name.clone(),
            grouped(check.expected),
            grouped(check.found),
            ok.to_owned(),
        ]
    });
    let mut text = table(&["check", "expected", "found", ""], 1, rows);
    for check in report.checks.iter().filter(|check| !check.ok) {
        text.push_str(&named(check));
    }
    text.push_str(&format!(
        "\nin flight: {}",
        match quiet::in_words(&report.on_the_way) {
            none if none.is_empty() => "nothing".to_owned(),
            some => some,
        }
    ));
    for note in &report.notes {
        text.push_str(&format!("\nnote: {}", localized(note)));
    }
    text.push_str(match report.is_ok() {
        true => "\nAll stores agree with the raw log: no tick is lost or doubled.",
        false if report.quiet => "\nThere are differences.",
        false => "\nTicks were still in flight: run it again, with a larger --wait if needed.",
    });
    text
}

fn named(check: &Check) -> String {
    let differences = &check.differences;
    let mut text = match differences.total {
        0 => format!(
            "\n{}: expected {}, found {}",
            check.name,
            grouped(check.expected),
            grouped(check.found)
        ),
        total => {
            let total = grouped(i64::try_from(total).unwrap_or(i64::MAX));
            format!("\n{}: {total} difference(s)", check.name)
        }
    };
    for difference in &differences.named {
        text.push_str(&format!("\n  {difference}"));
    }
    let unnamed = differences.total - (differences.named.len() as u64).min(differences.total);
    if unnamed > 0 {
        text.push_str(&format!("\n  … and {unnamed} more"));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::quiet::{Behind, OnTheWay};

    #[test]
    fn a_difference_is_shown_with_its_check_and_a_count() {
        let differences = (0..25).map(|number| format!("row {number}")).collect();
        let report = VerifyReport {
            quiet: true,
            on_the_way: vec![OnTheWay {
                group: "restate".to_owned(),
                messages: 12,
                restates: true,
                partitions: vec![Behind {
                    topic: "late".to_owned(),
                    partition: 0,
                    committed: None,
                    end: 12,
                }],
            }],
            checks: vec![Check::new("market_ticks", 1_000_000, 999_975, differences)],
            notes: vec!["something".to_owned()],
        };
        let counts = named(&Check::new("bars", 3, 4, [].into_iter().collect()));
        assert!(
            counts.contains("bars: expected 3, found 4") && !counts.contains("difference"),
            "{counts}"
        );
        let text = shown(&report);
        for part in [
            "1,000,000",
            "DIFFERS",
            "25 difference(s)",
            "  row 19\n  … and 5 more",
            "in flight: restate is 12 late tick(s) behind (late[0] nothing committed, log end 12)",
            "note: something",
            "There are differences.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
