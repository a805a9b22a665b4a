//! `dp check-market`: whether the fine prices of a market have the mean that its own hourly report says.
//!
//! Role: arguments and printing; [`ops::check_market`] compares.
//! Failure: ClickHouse does not answer. Hours that cannot be compared are counted, not guessed.

use std::process::ExitCode;

use anyhow::bail;
use domain::{Decimal, Micros};
use markets::hourly::{Compared, pairs};
use ops::check_market::{Asked, Report, compare};
use ops::connection::Connection;
use ops::present::{found, iso, moment, print_json, print_line, table};

use crate::cells::{count, shortened, to_second};

const DAY: Micros = 24 * 3_600_000_000;
/// Days that are compared if no time is given.
const DAYS: i64 = 7;

/// Compare the fine prices of markets with their own hourly reports
///
/// For each node and hour that has both an hourly price and prices of five or fifteen minutes, the hourly price must be the mean of the
/// others, by the length of their intervals. Of each interval the best vintage counts. Many differences of one market say that its
/// stamps or signs are read wrongly; few that one of the reports was corrected and the other not yet. Hours that the fine prices do
/// not cover are counted as partial.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 no difference; 1 differences beyond the tolerance; 2 ClickHouse is unavailable, or wrong usage\n\nExamples:\n  \
    dp check-market\n  \
    dp check-market --market MISO --since 48h\n  \
    dp check-market --since 2026-09-26T04:00Z --json | jq '.[] | {market, compared, differing}'"
)]
pub struct Args {
    /// Only this market
    #[arg(long, value_name = "M", value_parser = market)]
    market: Option<String>,
    /// Only hours since this time, or within this length of time [default: seven days]
    #[arg(long, value_name = "T", value_parser = moment)]
    since: Option<jiff::Timestamp>,
    /// Largest difference in USD that rounding explains
    #[arg(long, value_name = "USD", default_value = "0.02", value_parser = tolerance)]
    tolerance: Decimal,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

fn market(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    let known: Vec<&str> = pairs().map(|(market, _)| market).collect();
    match known.contains(&name.as_str()) {
        true => Ok(name),
        false => Err(format!(
            "no market that publishes fine and hourly real-time prices; use one of {}",
            known.join(", ")
        )),
    }
}

fn tolerance(text: &str) -> Result<Decimal, String> {
    match Decimal::parse(text.as_bytes()) {
        Ok(tolerance) if tolerance >= Decimal::ZERO => Ok(tolerance),
        _ => Err("not a number of at least 0, such as 0.02".to_owned()),
    }
}

/// Runs `dp check-market`.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let now = stream::status::wall_clock();
    let since = args.since.map_or(now - DAYS * DAY, jiff::Timestamp::as_microsecond);
    if since >= now {
        bail!("--since is in the future, so there is nothing to compare");
    }
    let asked = Asked {
        tenant: args.tenant.as_deref().unwrap_or(&connection.settings.tenant_id),
        market: args.market.as_deref(),
        since,
        now,
        tolerance: args.tolerance,
    };
    let reports = compare(connection, &asked).await?;
    let differs = reports.iter().any(|report| report.compared.differing > 0);
    if connection.json {
        print_json(&reports)?;
    } else {
        print_line(&shown(&reports, args.tolerance))?;
    }
    Ok(found(differs))
}

fn shown(reports: &[Report], tolerance: Decimal) -> String {
    let rows = reports.iter().map(|report| {
        let Compared {
            compared,
            differing,
            partial,
            worst,
        } = &report.compared;
        vec![
            report.market.to_owned(),
            report.fine.to_owned(),
            count(*compared),
            count(*differing),
            count(*partial),
            worst.first().map_or(String::new(), |worst| worst.difference.clone()),
        ]
    });
    let headers = ["market", "fine", "hours", "differ", "partial", "largest"];
    let mut text = table(&headers, 2, rows);
    let worst = reports.iter().flat_map(|report| &report.compared.worst);
    let rows: Vec<Vec<String>> = worst
        .map(|worst| {
            vec![
                shortened(&worst.node, 24),
                to_second(&iso(worst.start)),
                worst.hourly.clone(),
                shortened(&worst.mean, 9),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&format!(
            "\nThe largest differences of each market, above {tolerance} USD:\n"
        ));
        text.push_str(&table(&["node", "hour (UTC)", "hourly", "mean"], 2, rows));
    }
    if reports.iter().all(|report| report.compared.compared == 0) {
        text.push_str("\nnothing to compare: no node has an hourly price and the fine prices of that whole hour");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use markets::hourly::{Difference, HOURLY, TOLERANCE};

    use super::*;

    #[test]
    fn the_largest_table_fits_80_columns() {
        let worst = Difference {
            node: "NYISO.A_LONG_NAME_OF_A_GENERATOR_AT_SOME_BUS_1".to_owned(),
            start: 1_790_942_400_000_000,
            hourly: "-1234.123456".to_owned(),
            mean: "1234.12345678".to_owned(),
            difference: "-2468.24691278".to_owned(),
        };
        let report = |differing, worst| Report {
            market: "NYISO",
            fine: "rt15",
            hourly: HOURLY,
            compared: Compared {
                compared: 1_234_567,
                differing,
                partial: 1_234_567,
                worst,
            },
        };
        let text = shown(
            &[report(1_234_567, vec![worst]), report(0, Vec::new())],
            tolerance("0.02").unwrap(),
        );
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= 80, "{text}");
        assert!(
            text.contains("2026-10-02 12:00:00") && text.contains("above 0.02 USD"),
            "{text}"
        );
        let nothing = Report {
            compared: Compared::default(),
            ..report(0, Vec::new())
        };
        assert!(shown(&[nothing], Decimal::ZERO).contains("nothing to compare"));
    }

    #[test]
    fn a_market_without_both_reports_is_refused_with_the_known_ones() {
        // The metric counts what the command counts.
        assert_eq!(tolerance("0.02").unwrap().unscaled(), TOLERANCE);
        assert_eq!(market("nyiso").as_deref(), Ok("NYISO"));
        assert!(market("ERCOT").unwrap_err().contains("MISO, PJM, NYISO"));
        assert!(tolerance("-0.1").is_err() && tolerance("x").is_err());
    }
}
