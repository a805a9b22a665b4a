//! `dp gaps`: which intervals of a market day have no price. `aggregation::completeness` finds them.
//!
//! Failure: ClickHouse does not answer, or the view does not exist yet (`dp migrate`).

use std::process::ExitCode;

use aggregation::completeness::days::{DayReport, Range};
use aggregation::completeness::{Question, last_days, report};
use anyhow::{Context as _, bail};
use jiff::civil::Date;
use ops::connection::Connection;
use ops::migrations::stores;
use ops::present::{found, print_json, print_line, table};

use crate::cells::count;

/// Days that are looked at if none is named.
const DAYS: i64 = 7;
/// Gaps of a day that are written out.
const SHOWN: usize = 4;

/// Show the intervals of market days that have no price
///
/// For each market, product and market day (23, 24 or 25 hours by the market's clock) it compares the intervals that are due
/// with those that have a price in market_ticks. Real-time prices are due 15 minutes after their interval, day-ahead prices of a
/// whole day together. A market and product that had a price in the week before is expected on each day.
///
/// Counted apart: intervals that only a part of a document has, such as one page of many (partial), and prices that are
/// missing although the interval and the instrument have others on that day (holes).
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 no gaps; 1 gaps found; 2 ClickHouse is unavailable, or wrong usage\n\nExamples:\n  \
    dp gaps\n  \
    dp gaps --market PJM --day 2026-11-01\n  \
    dp gaps --product da --json | jq '.[] | select(.has_gaps) | {market, day, missing}'"
)]
pub struct Args {
    /// Only this market
    #[arg(long, value_name = "M", value_parser = market)]
    market: Option<String>,
    /// Only this product: da, rth, rt5, rt15 or exante
    #[arg(long, value_name = "P", value_parser = product)]
    product: Option<String>,
    /// Only this market day, as YYYY-MM-DD [default: the last seven]
    #[arg(long, value_name = "D")]
    day: Option<Date>,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Show days without gaps, too
    #[arg(long)]
    all: bool,
}

fn market(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    let known: Vec<String> = markets::iso_venues().into_iter().map(|venue| venue.name).collect();
    let counted: Vec<String> = known
        .into_iter()
        .filter(|name| !markets::products_of(name).is_empty())
        .collect();
    match counted.contains(&name) {
        true => Ok(name),
        false => Err(format!("unknown market; use one of {}", counted.join(", "))),
    }
}

fn product(text: &str) -> Result<String, String> {
    let name = text.to_ascii_lowercase();
    match markets::interval_of(&name) {
        Some(_) => Ok(name),
        None => Err("not a product with intervals; use da, rth, rt5, rt15 or exante".to_owned()),
    }
}

/// Runs `dp gaps`.
///
/// # Errors
/// ClickHouse does not answer, or the view is missing.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    if let (Some(market), Some(product)) = (&args.market, &args.product)
        && !markets::products_of(market).contains(&product.as_str())
    {
        let known = markets::products_of(market).join(", ");
        bail!("no document of {market} has product {product}; it has {known}");
    }
    let clickhouse = stores(connection)?.clickhouse;
    let question = Question {
        tenant: args.tenant.as_ref().unwrap_or(&connection.settings.tenant_id).clone(),
        market: args.market.clone(),
        product: args.product.clone(),
        days: match args.day {
            Some(day) => (day, day),
            None => last_days(DAYS, stream::status::wall_clock()).context("the clock is out of range")?,
        },
    };
    let reports = report(&clickhouse, &connection.names.table("market_intervals"), &question)
        .await
        .context(
            "read view market_intervals: is ClickHouse running (`dp status`), and does the view exist (`dp migrate`)?",
        )?;
    let has_gaps = reports.iter().any(|report| report.has_gaps);
    if connection.json {
        print_json(&reports)?;
    } else {
        print_line(&shown(&reports, args.all))?;
    }
    Ok(found(has_gaps))
}

fn shown(reports: &[DayReport], all: bool) -> String {
    let with_gaps = reports.iter().filter(|report| report.has_gaps).count();
    if reports.is_empty() {
        return "no price of an interval in these days or the week before; --market M --product P names one that is expected"
            .to_owned();
    }
    let summary = format!("{with_gaps} of {} market days have gaps", reports.len());
    let listed: Vec<&DayReport> = reports.iter().filter(|report| all || report.has_gaps).collect();
    if listed.is_empty() {
        return summary;
    }
    let rows = listed.iter().map(|report| {
        vec![
            report.market.clone(),
            report.product.clone(),
            report.day.clone(),
            count(report.due as u64),
            count(report.missing_count as u64),
            count(report.part_only as u64),
            count(report.instruments),
            count(report.missing_prices),
        ]
    });
    let headers = ["market", "product", "day", "due", "empty", "partial", "nodes", "holes"];
    let mut text = table(&headers, 3, rows);
    for report in listed.iter().filter(|report| !report.missing.is_empty()) {
        let ranges: Vec<String> = report.missing.iter().take(SHOWN).map(Range::text).collect();
        let more = report.missing.len().saturating_sub(SHOWN);
        let more = if more > 0 {
            format!("\n  and {more} more (--json)")
        } else {
            String::new()
        };
        text.push_str(&format!(
            "\n{} {} {}: no price (UTC)\n  {}{more}",
            report.market,
            report.product,
            report.day,
            ranges.join("\n  ")
        ));
    }
    format!("{text}\n{summary}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_table_fits_80_columns() {
        let report = DayReport {
            market: "CAISO".into(),
            product: "exante".into(),
            day: "2025-11-02".into(),
            expected: 300,
            due: 300,
            present: 0,
            part_only: 300,
            instruments: 99_999,
            prices: 0,
            missing_prices: 29_999_700,
            missing_count: 300,
            missing: vec![
                Range {
                    from: 1_762_066_800_000_000,
                    to: 1_762_156_800_000_000
                };
                9
            ],
            has_gaps: true,
        };
        let text = shown(&[report], false);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= 80, "{text}");
        assert!(text.contains("2025-11-02T07:00:00Z to 2025-11-03T08:00:00Z"), "{text}");
    }

    #[test]
    fn markets_and_products_are_read_in_any_case_and_unknown_ones_are_named() {
        assert_eq!(market("pjm").as_deref(), Ok("PJM"));
        assert!(market("GAS").unwrap_err().contains("MISO, CAISO"));
        assert_eq!(product("RT5").as_deref(), Ok("rt5"));
        assert!(product("trade").is_err());
    }
}
