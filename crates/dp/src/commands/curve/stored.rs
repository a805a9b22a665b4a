//! `dp curve show` and `dp curve list`: curves of reference data, from the quotes that the pipeline has stored.
//!
//! Role: arguments and printing; [`stored_curve`] reads and builds.
//! Failure: an unknown curve, or one without quotes, ends with exit code 2 and what to do.

use std::process::ExitCode;

use curves::Horizon;
use domain::instrument::IdPattern;
use jiff::Timestamp;
use ops::connection::Connection;
use ops::migrations::stores;
use ops::present::{found, moment, print_json, print_line, table};
use reconcile::stored_curve::{self, Question};
use serde::Serialize;
use stores::postgres::{CurveRow, ReferenceInstrument};

use super::report;
use super::tolerance::check_tolerance;
use crate::cells::shortened;

/// Widths of columns of the list.
const METHOD: usize = 10;
const PATTERNS: usize = 32;

/// Build a curve from its quotes in ClickHouse, as known at a time, and draw it
///
/// Which instruments are quotes of the curve, its method and its seasonal shape are in table curve_metadata. Prices of instruments that
/// taxonomy_instruments gives the curve and a tenor (M1) are quotes of the contract that it means on their trade date. Of each instrument
/// the last trade date that was in the log by that time counts, with its last correction. The day of the curve is the last trade date of
/// all. The table keeps no history: with --as-of the definition is today's, and the output says so.
///
/// Each quote is the mean of its months by delivered hours. Quotes that contradict others are listed with their residual (quoted price
/// less that of the curve); --json has the origin of each quote, which `dp explain` follows to its raw message.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 success; 1 quotes contradict each other; 2 no such curve, no quotes, or a store is unavailable\n\nExamples:\n  \
    dp curve show NG_HENRY_HUB\n  \
    dp curve show NG_HENRY_HUB --horizon 1y --as-of 2026-11-25T18:00:00Z\n  \
    dp curve show NG_HENRY_HUB --json | jq '.points[] | {contract, price, sources}'"
)]
pub(super) struct ShowArgs {
    /// The curve, as `dp curve list` names it
    #[arg(value_name = "CURVE_ID")]
    curve_id: String,
    /// Only quotes that were in the log by this time, or that long ago [default: now]
    #[arg(long, value_name = "T", value_parser = moment)]
    as_of: Option<Timestamp>,
    /// How far to show it: 1m, 3m, 6m, 1y or all
    #[arg(long, value_name = "H", default_value = "all")]
    horizon: Horizon,
    /// Largest difference of a quote that others imply, in the unit of the prices
    #[arg(long, value_name = "X", default_value_t = 0.005)]
    tolerance: f64,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

/// List the curves of a tenant, and which instruments are their quotes
///
/// They are the rows of table curve_metadata, and the instruments of taxonomy_instruments with a tenor. A change of a row of
/// curve_metadata counts for `dp curve show` at once, one of taxonomy_instruments from the next ticks on; for the curve_id of new ticks
/// both count within seconds.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Exit codes: 0 success; 2 Postgres is unavailable\n\nExamples:\n  \
    dp curve list\n  \
    dp curve list --json | jq -r '.[].curve_id'")]
pub(super) struct ListArgs {
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

/// What `dp curve list --json` prints.
#[derive(Debug, Serialize)]
struct Listed<'r> {
    curve_id: &'r str,
    curve_name: &'r str,
    commodity: &'r str,
    region: &'r str,
    interpolation_method: &'r str,
    contract_months: &'r [i32],
    instruments: &'r [String],
    /// Twelve from January to December, or none.
    seasonal_ratios: &'r [f64],
    seasonal_spreads: &'r [f64],
    /// Curves before it by id that get the quotes that fit both.
    overlaps: Vec<&'r str>,
    /// Instruments whose prices are quotes by the tenor of their row.
    tenor_instruments: Vec<TenorInstrument<'r>>,
}

/// An instrument with a tenor.
#[derive(Debug, Serialize)]
struct TenorInstrument<'r> {
    instrument_id: &'r str,
    product_tier: &'r str,
}

pub(super) async fn list(connection: &Connection, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let tenant = args.tenant.as_deref().unwrap_or(&connection.settings.tenant_id);
    let stores = stores(connection)?;
    let rows = stored_curve::rows(&stores, tenant).await?;
    let instruments = stored_curve::tenor_instruments(&stores, tenant).await?;
    if connection.json {
        let listed: Vec<Listed<'_>> = rows.iter().map(|row| Listed::of(row, &rows, &instruments)).collect();
        print_json(&listed)?;
    } else if rows.is_empty() {
        print_line(&format!(
            "tenant {tenant} has no curves; `dp migrate --seed` adds samples, docs/curves.md shows how to define one"
        ))?;
    } else {
        print_line(&listing(&rows, &instruments))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listing(rows: &[CurveRow], instruments: &[ReferenceInstrument]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.curve_id.clone(),
            shortened(&row.interpolation_method, METHOD),
            shortened(&row.instruments.join(" "), PATTERNS),
        ]
    });
    let mut text = table(&["curve", "method", "quotes"], 3, cells);
    for row in rows {
        for first in overlaps(row, rows) {
            text.push_str(&format!(
                "\n{} and {first} overlap:\n  a quote that fits both makes snapshots of {first} only",
                row.curve_id
            ));
        }
        for instrument in of_curve(row, instruments) {
            text.push_str(&format!(
                "\n{}: prices of {} are quotes too\n  its product_tier is {}",
                row.curve_id, instrument.instrument_id, instrument.product_tier
            ));
        }
    }
    text
}

/// The instruments of a curve.
fn of_curve<'r>(
    row: &CurveRow,
    instruments: &'r [ReferenceInstrument],
) -> impl Iterator<Item = &'r ReferenceInstrument> {
    let of_curve = |instrument: &&ReferenceInstrument| instrument.curve_id.as_deref() == Some(&*row.curve_id);
    instruments.iter().filter(of_curve)
}

/// The curves before this one by id that share instruments with it.
fn overlaps<'r>(row: &CurveRow, rows: &'r [CurveRow]) -> Vec<&'r str> {
    let fits = |pattern: &String, other: &CurveRow| {
        let pattern = IdPattern::new(pattern);
        let mut others = other.instruments.iter();
        others.any(|beside| pattern.overlaps(&IdPattern::new(beside)))
    };
    let before = rows.iter().filter(|other| other.curve_id < row.curve_id);
    before
        .filter(|other| row.instruments.iter().any(|pattern| fits(pattern, other)))
        .map(|other| other.curve_id.as_str())
        .collect()
}

impl<'r> Listed<'r> {
    fn of(row: &'r CurveRow, rows: &'r [CurveRow], instruments: &'r [ReferenceInstrument]) -> Listed<'r> {
        let tenor_instruments = of_curve(row, instruments).map(|instrument| TenorInstrument {
            instrument_id: &instrument.instrument_id,
            product_tier: &instrument.product_tier,
        });
        Listed {
            curve_id: &row.curve_id,
            curve_name: &row.curve_name,
            commodity: &row.commodity,
            region: &row.region,
            interpolation_method: &row.interpolation_method,
            contract_months: &row.contract_months,
            instruments: &row.instruments,
            seasonal_ratios: &row.seasonal_ratios,
            seasonal_spreads: &row.seasonal_spreads,
            overlaps: overlaps(row, rows),
            tenor_instruments: tenor_instruments.collect(),
        }
    }
}

pub(super) async fn show(connection: &Connection, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    check_tolerance(args.tolerance)?;
    let question = Question {
        tenant: args.tenant.as_deref().unwrap_or(&connection.settings.tenant_id),
        curve_id: &args.curve_id,
        as_of: args.as_of.map(Timestamp::as_microsecond),
        horizon: args.horizon,
        tolerance: args.tolerance,
    };
    let shown = stored_curve::read(connection, &stores(connection)?, question).await?;
    match connection.json {
        true => print_json(&shown)?,
        false => print_line(&report::text(&shown))?,
    }
    Ok(found(shown.contradictory))
}

#[cfg(test)]
mod tests {
    use reconcile::stored_curve::fixtures::{example, row};

    use super::*;

    #[test]
    fn a_curve_and_the_list_fit_80_columns() {
        for (as_of, part) in [(None, "contradictory"), (Some(0), "curve_metadata")] {
            let text = report::text(&example(as_of));
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
            for expected in ["PJM", "2026-12-01", "2027-04-01", "40.1235", "┤", part] {
                assert!(text.contains(expected), "{expected}: {text}");
            }
        }
        assert!(listing(&[row()], &[]).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn curves_that_share_quotes_are_named() {
        let peak = CurveRow {
            curve_id: "Q".to_owned(),
            instruments: vec!["PJM.WESTERN%20HUB.*.PEAK.SETTLEMENT".to_owned()],
            ..row()
        };
        let apart = CurveRow {
            curve_id: "R".to_owned(),
            instruments: vec!["GAS.*.SETTLEMENT".to_owned()],
            ..row()
        };
        let rows = [row(), peak, apart];
        let named: Vec<Vec<&str>> = rows.iter().map(|row| Listed::of(row, &rows, &[]).overlaps).collect();
        assert_eq!(named, [vec![], vec!["P"], vec![]]);
        let text = listing(&rows, &[]);
        assert!(text.contains("Q and P overlap") && !text.contains("R and"), "{text}");
    }

    #[test]
    fn instruments_with_a_tenor_are_listed_with_their_curve() {
        let instrument = ReferenceInstrument {
            tenant_id: "t".to_owned(),
            instrument_id: "POWER_M1".to_owned(),
            commodity: "electricity".to_owned(),
            region: "northeast".to_owned(),
            product_tier: "M1".to_owned(),
            unit: None,
            contract_size: None,
            tick_size: None,
            curve_id: Some("P".to_owned()),
        };
        let other = ReferenceInstrument {
            instrument_id: "OTHER_M1".to_owned(),
            curve_id: Some("Q".to_owned()),
            ..instrument.clone()
        };
        let (rows, instruments) = ([row()], [instrument, other]);
        let [first] = &rows;
        let listed = Listed::of(first, &rows, &instruments).tenor_instruments;
        let named: Vec<&str> = listed.iter().map(|instrument| instrument.instrument_id).collect();
        assert_eq!(named, ["POWER_M1"]);
        let text = listing(&rows, &instruments);
        assert!(
            text.contains("P: prices of POWER_M1") && !text.contains("OTHER_M1"),
            "{text}"
        );
    }
}
