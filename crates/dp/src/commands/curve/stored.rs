//! `dp curve show` and `dp curve list`: curves of reference data, from the quotes that the pipeline has stored.
//!
//! Role: reads the definition (`curve_metadata`) and the newest price of each of its instruments (`enriched_ticks`), as known at a time: the
//! append time in the raw log. Of one instrument the last trade date counts, and of one trade date the price that came last.
//! Failure: an unknown curve, or one without quotes, ends with exit code 2 and what to do.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use curves::{Builder, CurveSnapshot, Definition, DeliveryCalendar, Horizon, Month, PricedContract, Selected, Shape};
use domain::instrument::IdPattern;
use domain::{Decimal, Micros};
use jiff::Timestamp;
use markets::contract::SETTLEMENT;
use ops::connection::Connection;
use ops::migrations::{Stores, stores};
use ops::present::{found, iso, moment, print_json, print_line, table};
use ops::rows::{number, text};
use serde::Serialize;
use serde_json::{Map, Value};
use stores::ReferenceStore;
use stores::clickhouse::literal;
use stores::postgres::CurveRow;

use super::report;
use crate::cells::shortened;

/// Widths of columns of the list.
const METHOD: usize = 10;
const PATTERNS: usize = 32;
/// Table `curve_metadata` keeps no history.
const TODAYS_DEFINITION: &str = "the quotes are as known at that time; instruments, contract months and method are those of today's row of curve_metadata";

/// Build a curve from its quotes in ClickHouse, as known at a time, and draw it
///
/// Which instruments are quotes of the curve, and its method, are in table curve_metadata. Of each instrument the last trade date that was
/// in the log by that time counts, with its last correction. The day of the curve is the last trade date of all. The table keeps no
/// history: with --as-of the definition is today's, and the output says so.
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
/// They are the rows of table curve_metadata. A change of a row counts for `dp curve show` at once, and for the curve_id of new ticks
/// within seconds.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Exit codes: 0 success; 2 Postgres is unavailable\n\nExamples:\n  \
    dp curve list\n  \
    dp curve list --json | jq -r '.[].curve_id'")]
pub(super) struct ListArgs {
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

/// What `dp curve show --json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub curve_name: String,
    #[serde(flatten)]
    pub snapshot: CurveSnapshot,
    pub contradictory: bool,
    /// What of it is not as known at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
    /// Instruments that fit the curve and name no contract.
    pub left_out: Vec<String>,
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
}

pub(super) async fn list(connection: &Connection, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let tenant = args.tenant.as_deref().unwrap_or(&connection.settings.tenant_id);
    let rows = rows(&stores(connection)?, tenant).await?;
    if connection.json {
        let listed: Vec<Listed<'_>> = rows.iter().map(Listed::of).collect();
        print_json(&listed)?;
    } else if rows.is_empty() {
        print_line(&format!(
            "tenant {tenant} has no curves; `dp migrate --seed` adds samples, docs/curves.md shows how to define one"
        ))?;
    } else {
        print_line(&listing(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn listing(rows: &[CurveRow]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.curve_id.clone(),
            shortened(&row.interpolation_method, METHOD),
            shortened(&row.instruments.join(" "), PATTERNS),
        ]
    });
    table(&["curve", "method", "quotes"], 3, cells)
}

impl Listed<'_> {
    fn of(row: &CurveRow) -> Listed<'_> {
        Listed {
            curve_id: &row.curve_id,
            curve_name: &row.curve_name,
            commodity: &row.commodity,
            region: &row.region,
            interpolation_method: &row.interpolation_method,
            contract_months: &row.contract_months,
            instruments: &row.instruments,
        }
    }
}

pub(super) async fn show(connection: &Connection, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    super::check_tolerance(args.tolerance)?;
    let tenant = args.tenant.as_deref().unwrap_or(&connection.settings.tenant_id);
    let stores = stores(connection)?;
    let rows = rows(&stores, tenant).await?;
    let row = rows.iter().find(|row| row.curve_id == args.curve_id);
    let row = row.with_context(|| unknown(tenant, &args.curve_id, &rows))?;
    let as_of = args
        .as_of
        .map_or_else(stream::status::wall_clock, Timestamp::as_microsecond);
    let definition = definition(row)?;
    let table = connection.names.table("enriched_ticks");
    let sql = statement(&table, tenant, &definition, as_of);
    let found_rows = stores
        .clickhouse
        .query_json(&sql)
        .await
        .context("read enriched_ticks: is ClickHouse running (`dp status`)?")?;
    let quoted = Quoted::of(&found_rows)?;
    let shown = build(row, &definition, &quoted, as_of, args)
        .with_context(|| format!("build curve {} as known at {}", args.curve_id, iso(as_of)))?;
    match connection.json {
        true => print_json(&shown)?,
        false => print_line(&report::text(&shown))?,
    }
    Ok(found(shown.contradictory))
}

async fn rows(stores: &Stores, tenant: &str) -> anyhow::Result<Vec<CurveRow>> {
    ReferenceStore::new(stores.postgres.clone())
        .curves(tenant)
        .await
        .context(
            "read curve_metadata: is Postgres running (`dp status`), and is the table of this release (`dp migrate`)?",
        )
}

fn unknown(tenant: &str, curve_id: &str, rows: &[CurveRow]) -> String {
    let known: Vec<&str> = rows.iter().map(|row| row.curve_id.as_str()).collect();
    match known.is_empty() {
        true => {
            format!("tenant {tenant} has no curve \"{curve_id}\", and no other: docs/curves.md shows how to define one")
        }
        false => format!(
            "tenant {tenant} has no curve \"{curve_id}\"; it has {}",
            known.join(", ")
        ),
    }
}

fn definition(row: &CurveRow) -> anyhow::Result<Definition> {
    if row.instruments.is_empty() {
        bail!(
            "curve {} has no instruments: list patterns of instrument ids in column instruments of curve_metadata, such as \
             GAS.HENRY_HUB.*.SETTLEMENT (docs/curves.md)",
            row.curve_id
        );
    }
    Ok(Definition {
        curve_id: row.curve_id.clone(),
        method: row
            .interpolation_method
            .parse()
            .context("column interpolation_method of curve_metadata")?,
        instruments: row.instruments.iter().map(|text| IdPattern::new(text)).collect(),
        contract_months: row.contract_months.clone(),
    })
}

/// The newest price of each instrument that fits the definition.
fn statement(table: &str, tenant: &str, definition: &Definition, as_of: Micros) -> String {
    let fits: Vec<String> = definition
        .instruments
        .iter()
        .map(|pattern| format!("instrument_id LIKE {}", literal(&pattern.like())))
        .collect();
    format!(
        "SELECT instrument_id, market, toInt64(toUnixTimestamp64Micro(timestamp)) AS event_time, reinterpretAsInt64(price) AS unscaled, \
         toString(if(isNull(volume), toInt64(-1), reinterpretAsInt64(assumeNotNull(volume)))) AS traded, tick_id AS origin FROM {table} \
         WHERE tenant_id = {tenant} AND product = {product} AND ({fits}) \
         AND appended_at <= fromUnixTimestamp64Micro(toInt64({as_of}), 'UTC') \
         ORDER BY instrument_id, timestamp DESC, appended_at DESC, feed DESC, raw_partition DESC, raw_offset DESC, raw_index DESC \
         LIMIT 1 BY instrument_id",
        tenant = literal(tenant),
        product = literal(SETTLEMENT),
        fits = fits.join(" OR "),
    )
}

/// The prices of a curve's instruments.
struct Quoted {
    /// Of all of them; none without a price.
    market: Option<String>,
    prices: Vec<PricedContract>,
}

impl Quoted {
    fn of(rows: &[Map<String, Value>]) -> anyhow::Result<Quoted> {
        let mut quoted = Quoted {
            market: None,
            prices: Vec::with_capacity(rows.len()),
        };
        for row in rows {
            let market = text(row, "market")?;
            let first = quoted.market.get_or_insert_with(|| market.to_owned());
            if *first != market {
                bail!(
                    "the instruments of the curve are of {first} and {market}, whose hours differ: correct column instruments of \
                     curve_metadata"
                );
            }
            quoted.prices.push(PricedContract {
                instrument_id: text(row, "instrument_id")?.to_owned(),
                event_time: number(row, "event_time")?,
                price: decimal(number(row, "unscaled")?)?,
                volume: Some(number(row, "traded")?)
                    .filter(|traded: &i64| *traded >= 0)
                    .map(decimal)
                    .transpose()?,
                origin: text(row, "origin")?.to_owned(),
            });
        }
        Ok(quoted)
    }
}

fn decimal(unscaled: i64) -> anyhow::Result<Decimal> {
    Decimal::from_unscaled(unscaled).context("ClickHouse returned a number out of range")
}

fn build(
    row: &CurveRow,
    definition: &Definition,
    quoted: &Quoted,
    as_of: Micros,
    args: &ShowArgs,
) -> anyhow::Result<Shown> {
    let Some(market) = quoted.market.as_deref() else {
        bail!(
            "no quote was in the log: ingest settlements (`dp ingest curve.settlements.csv`), use a later --as-of, or correct the patterns \
             {}",
            row.instruments.join(" ")
        );
    };
    let calendar = DeliveryCalendar::of(market)?;
    let Selected { day, quotes, left_out } = definition.select(&calendar, &quoted.prices)?;
    let until = args.horizon.until(day).unwrap_or_else(|| Month::of(day));
    let mut builder = Builder::new(calendar.clone(), definition.method, Shape::None, args.tolerance);
    let curve = builder.build(day, until, &quotes)?;
    let newest = quotes.iter().map(|quote| quote.known_at).max().unwrap_or_default();
    let version = u64::try_from(newest).unwrap_or_default();
    let name = (definition.curve_id.as_str(), definition.method);
    Ok(Shown {
        curve_name: row.curve_name.clone(),
        snapshot: CurveSnapshot::of(&curve, &calendar, name, (as_of, version, day), args.horizon)?,
        contradictory: curve.has_contradictions(),
        note: args.as_of.map(|_| TODAYS_DEFINITION),
        left_out,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn row() -> CurveRow {
        CurveRow {
            tenant_id: "t".to_owned(),
            curve_id: "P".to_owned(),
            curve_name: "PJM".to_owned(),
            commodity: "electricity".to_owned(),
            region: "northeast".to_owned(),
            contract_months: Vec::new(),
            interpolation_method: "flat".to_owned(),
            instruments: vec!["PJM.WESTERN%20HUB.*.SETTLEMENT".to_owned()],
        }
    }

    fn price(instrument: &str, market: &str, unscaled: i64) -> Map<String, Value> {
        // Midnight of 25 November 2026 in New York.
        let row = serde_json::json!({
            "instrument_id": instrument, "market": market, "event_time": "1795582800000000", "unscaled": unscaled.to_string(),
            "traded": "-1", "origin": format!("raw/2/{unscaled}/0"),
        });
        row.as_object().unwrap().clone()
    }

    #[test]
    fn a_statement_has_the_patterns_and_the_time_and_no_text_ends_it() {
        let definition = definition(&row()).unwrap();
        let sql = statement("db.enriched_ticks", "it's", &definition, 7);
        for expected in [r"PJM.WESTERN", "%.SETTLEMENT", "toInt64(7)", "LIMIT 1 BY instrument_id"] {
            assert!(sql.contains(expected), "{sql}");
        }
        assert!(!sql.contains("'it's'"), "{sql}");
    }

    #[test]
    fn a_curve_reprices_its_quotes_and_fits_80_columns() {
        let rows = [
            price("PJM.WESTERN%20HUB.2026-12.FLAT.SETTLEMENT", "PJM", 4_012_345_678),
            price("PJM.WESTERN%20HUB.Q1-27.PEAK.SETTLEMENT", "PJM", 7_000_000_000),
            price("PJM.WESTERN%20HUB.Q1-27.OFF_PEAK.SETTLEMENT", "PJM", 5_000_000_000),
            price("PJM.WESTERN%20HUB.Q1-27.FLAT.SETTLEMENT", "PJM", 9_000_000_000),
        ];
        let args = ShowArgs {
            curve_id: "P".to_owned(),
            as_of: None,
            horizon: Horizon::All,
            tolerance: 0.005,
            tenant: None,
        };
        let (row, quoted) = (row(), Quoted::of(&rows).unwrap());
        let built =
            |args: &ShowArgs| build(&row, &definition(&row).unwrap(), &quoted, 1_795_600_000_000_000, args).unwrap();
        let shown = built(&args);
        assert_eq!(shown.note, None);
        let earlier = built(&ShowArgs {
            as_of: Some(Timestamp::UNIX_EPOCH),
            ..args.clone()
        });
        let text = report::text(&earlier);
        assert!(text.contains("curve_metadata"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(shown.contradictory);
        assert_eq!(shown.snapshot.day.to_string(), "2026-11-25");
        let text = report::text(&shown);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for expected in ["PJM", "2026-12-01", "2027-04-01", "contradictory", "40.1235", "┤"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn instruments_of_two_markets_and_curves_without_patterns_are_refused() {
        let rows = [price("A", "PJM", 1), price("B", "GAS", 1)];
        assert!(Quoted::of(&rows).is_err());
        let without = CurveRow {
            instruments: Vec::new(),
            ..row()
        };
        assert!(
            definition(&without)
                .unwrap_err()
                .to_string()
                .contains("GAS.HENRY_HUB.*.SETTLEMENT")
        );
        let unknown_method = CurveRow {
            interpolation_method: "spline".to_owned(),
            ..row()
        };
        assert!(definition(&unknown_method).is_err());
        assert!(listing(&[row()]).lines().all(|line| line.chars().count() <= 80));
    }
}
