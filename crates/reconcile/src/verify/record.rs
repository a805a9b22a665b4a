//! Records a finished run in Postgres, where projection reads it for its metrics and alerts.

use domain::Micros;
use stores::postgres::{VerifyResult, VerifyRun, VerifyRuns};
use stream::status::wall_clock;

use super::{VerifyReport, clients};
use ops::connection::Connection;

/// Records a run that has just ended.
///
/// # Errors
/// Postgres does not answer, or its user may not write to `verify_runs`.
pub async fn record(
    connection: &Connection,
    started_at: Micros,
    outcome: &anyhow::Result<VerifyReport>,
) -> anyhow::Result<()> {
    let postgres = clients(connection)?
        .postgres()
        .map_err(|error| anyhow::anyhow!(error))?;
    let runs = VerifyRuns::new(postgres, connection.names.generation());
    Ok(runs.record(&finished(started_at, wall_clock(), outcome)).await?)
}

fn finished(started_at: Micros, finished_at: Micros, outcome: &anyhow::Result<VerifyReport>) -> VerifyRun {
    let checks = outcome.iter().flat_map(|report| &report.checks);
    let failed: Vec<_> = checks.filter(|check| !check.ok).collect();
    VerifyRun {
        started_at,
        finished_at,
        result: match outcome {
            Err(_) => VerifyResult::CouldNotRun,
            Ok(report) if !report.settled => VerifyResult::Undecided,
            Ok(report) if report.is_ok() => VerifyResult::Ok,
            Ok(_) => VerifyResult::Differs,
        },
        // Two numbers that disagree are a difference too, even if no row is named.
        differences: failed.iter().map(|check| check.differences.total.max(1)).sum(),
        failed_checks: failed.iter().map(|check| check.name.clone()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Check, Differences};

    #[test]
    fn differences_count_only_with_a_verdict_and_an_error_is_no_difference() {
        let named = ["row 1", "row 2", "row 3"].map(str::to_owned).into_iter().collect();
        let report = |settled, checks| {
            Ok(VerifyReport {
                settled,
                checks,
                ..VerifyReport::default()
            })
        };
        let right = || Check::new("bars", 1, 1, Differences::default());
        let wrong = vec![
            right(),
            Check::new("market_ticks", 4, 4, named),
            Check::new("equation", 1, 2, Differences::default()),
        ];
        for (outcome, result, differences, failed) in [
            (report(true, vec![right()]), VerifyResult::Ok, 0, vec![]),
            (
                report(true, wrong.clone()),
                VerifyResult::Differs,
                4,
                vec!["market_ticks", "equation"],
            ),
            (
                report(false, wrong),
                VerifyResult::Undecided,
                4,
                vec!["market_ticks", "equation"],
            ),
            (
                Err(anyhow::anyhow!("Kafka does not answer")),
                VerifyResult::CouldNotRun,
                0,
                vec![],
            ),
        ] {
            let run = finished(1, 2, &outcome);
            assert_eq!((run.result, run.differences), (result, differences));
            assert_eq!(run.failed_checks, failed);
        }
    }
}
