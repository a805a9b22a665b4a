//! `dp curve`: forward curves from files of settlements, and from the quotes of the pipeline.
//!
//! Role: reads quotes, builds the curve with the crate `curves`, and prints its points, its quotes and a chart. `build` needs no server.
//! Failure: a file, header or curve that cannot be read ends with exit code 2. Rows that cannot be read, and quotes that contradict
//! others, are listed, the rest is printed, and the exit code is 1.

mod report;
mod shown;
mod stored;
mod tolerance;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use curves::{Builder, Curve, CurveSnapshot, DeliveryCalendar, Horizon, Method, Month, Quote, Shape};
use jiff::civil::Date;
use markets::{Settlement, Settlements};
use ops::connection::Connection;
use ops::present::{found, print_json, print_line};
use serde::Serialize;
use service::clients::Dependency;

use tolerance::check_tolerance;

/// Build forward curves from files of settlements, and show those of the pipeline
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// The servers without which the command cannot begin.
    pub fn needed_servers(&self) -> Vec<Dependency> {
        match self.command {
            Command::Build(_) => Vec::new(),
            Command::Show(_) => vec![Dependency::ClickHouse, Dependency::Postgres],
            Command::List(_) => vec![Dependency::Postgres],
        }
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Build(BuildArgs),
    Show(stored::ShowArgs),
    List(stored::ListArgs),
}

/// Build the monthly curve that reprices every quote of a file, and draw it
///
/// FILE is a CSV with the columns as_of, curve_id, contract, block, price and optionally volume, or the JSON of EIA's series RNGC1
/// to RNGC4. Contracts: M1, 2027-01, F27, Q1-27, SUM-27, WIN-27, CAL-27, BALMO; blocks: flat, peak, off_peak.
///
/// Each quote is the mean of its months by delivered hours. If quotes contradict each other, finer contracts are believed before
/// coarser ones and newer before older ones; the others are listed with their residual and the contracts that imply another
/// price. docs/curves.md has the methods with their assumptions.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 success; 1 quotes contradict each other, or rows were rejected; 2 the file cannot be read, or wrong \
    usage\n\nExamples:\n  \
    dp curve build curve.settlements.csv\n  \
    dp curve build curve.settlements.csv --curve PJM.WESTERN_HUB --method smooth --horizon 1y\n  \
    dp curve build curve.settlements.csv --ratios 1.3,1.2,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1\n  \
    dp curve build RNGC1.json --as-of 2024-04-05 --json | jq '.points[] | {contract, price}'"
)]
struct BuildArgs {
    /// Settlements as CSV, or futures of EIA as JSON
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only the rows of this curve [default: the only one of the file]
    #[arg(long, value_name = "ID")]
    curve: Option<String>,
    /// Market whose hours and holidays count [default: the beginning of the curve's id, up to the first dot]
    #[arg(long, value_name = "M")]
    market: Option<String>,
    /// How months inside coarser contracts are priced: flat, linear, monotone or smooth
    #[arg(long, value_name = "M", default_value = "flat")]
    method: Method,
    /// Day of the curve; later rows do not count [default: the last day of the file]
    #[arg(long, value_name = "D")]
    as_of: Option<Date>,
    /// How far to show it: 1m, 3m, 6m, 1y or all
    #[arg(long, value_name = "H", default_value = "all")]
    horizon: Horizon,
    /// Seasonal shape: twelve factors of the level, from January to December
    #[arg(long, value_name = "R,…", value_delimiter = ',', conflicts_with = "spreads")]
    ratios: Vec<f64>,
    /// Seasonal shape: twelve amounts added to the level, from January to December
    #[arg(long, value_name = "S,…", value_delimiter = ',', allow_negative_numbers = true)]
    spreads: Vec<f64>,
    /// Largest difference of a quote that others imply, in the unit of the prices
    #[arg(long, value_name = "X", default_value_t = 0.005)]
    tolerance: f64,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Built {
    #[serde(flatten)]
    snapshot: CurveSnapshot,
    contradictory: bool,
    rejected: Vec<String>,
}

/// Runs `dp curve`. `connect` is called by the commands that read the pipeline.
///
/// # Errors
/// The file, or the quotes, cannot be read, or no curve follows from them.
pub async fn run(
    args: &Args,
    connect: impl Fn() -> anyhow::Result<Connection>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Build(args) => run_build(args, json),
        Command::Show(args) => stored::show(&connect()?, args).await,
        Command::List(args) => stored::list(&connect()?, args).await,
    }
}

fn run_build(args: &BuildArgs, json: bool) -> anyhow::Result<ExitCode> {
    let built = build(args).with_context(|| format!("build a curve from {}", args.file.display()))?;
    let has_problem = built.contradictory || !built.rejected.is_empty();
    match json {
        true => print_json(&built)?,
        false => print_line(&shown::text(&built.snapshot, &built.rejected))?,
    }
    Ok(found(has_problem))
}

fn build(args: &BuildArgs) -> anyhow::Result<Built> {
    check_tolerance(args.tolerance)?;
    let text = std::fs::read(&args.file).context("read the file")?;
    let Settlements { rows, mut rejected } = Settlements::parse(&text)?;
    let id = curve_id(args, &rows, &rejected)?;
    let rows: Vec<Settlement> = rows.into_iter().filter(|row| row.curve_id == id).collect();
    let market = args
        .market
        .as_deref()
        .or_else(|| id.split('.').next())
        .unwrap_or_default();
    let calendar = DeliveryCalendar::of(market)
        .with_context(|| format!("find the market of curve \"{id}\" (--market names another one)"))?;
    let last = rows.iter().map(|row| row.as_of).max();
    let as_of = args.as_of.or(last).context("the file has no row of this curve")?;
    let mut quotes: Vec<Quote> = Vec::new();
    for row in rows.iter().filter(|row| row.as_of <= as_of) {
        match Quote::of_settlement(row, calendar.commodity()) {
            Ok(quote) => quotes.push(quote),
            Err(error) => rejected.push(format!("{}: {error}", row.place)),
        }
    }
    if quotes.is_empty() {
        bail!("no row of curve \"{id}\" is of {as_of} or before: use a later --as-of");
    }
    let until = args.horizon.until(as_of).unwrap_or_else(|| Month::of(as_of));
    let mut builder = Builder::new(calendar.clone(), args.method, shape(args)?, args.tolerance);
    let curve: Curve = builder.build(as_of, until, &quotes)?;
    let known_at = quotes.iter().map(|quote| quote.known_at).max().unwrap_or_default();
    let version = u64::try_from(known_at).unwrap_or_default();
    Ok(Built {
        snapshot: CurveSnapshot::of(
            &curve,
            &calendar,
            (&id, args.method),
            (known_at, version, as_of),
            args.horizon,
        )?,
        contradictory: curve.has_contradictions(),
        rejected,
    })
}

fn shape(args: &BuildArgs) -> anyhow::Result<Shape> {
    let twelve = |option: &str, values: &[f64]| {
        let found = <[f64; 12]>::try_from(values);
        found.with_context(|| {
            format!(
                "{option} has {} values: give twelve, from January to December",
                values.len()
            )
        })
    };
    match (args.ratios.as_slice(), args.spreads.as_slice()) {
        ([], []) => Ok(Shape::None),
        (ratios, []) => Ok(Shape::Ratio(twelve("--ratios", ratios)?)),
        (_, spreads) => Ok(Shape::Spread(twelve("--spreads", spreads)?)),
    }
}

/// The curve that is asked for, or the only one of the file.
fn curve_id(args: &BuildArgs, rows: &[Settlement], rejected: &[String]) -> anyhow::Result<String> {
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.curve_id.as_str()).collect();
    let listed = || ids.iter().copied().collect::<Vec<_>>().join(", ");
    match (&args.curve, ids.len()) {
        (_, 0) => match rejected.first() {
            Some(first) => bail!("no row can be read; the first reason is {first}"),
            None => bail!("the file has no rows"),
        },
        (Some(id), _) if ids.contains(id.as_str()) => Ok(id.clone()),
        (Some(id), _) => bail!("the file has no curve \"{id}\"; it has {}", listed()),
        (None, 1) => Ok(listed()),
        (None, _) => bail!("the file has several curves: name one with --curve: {}", listed()),
    }
}
