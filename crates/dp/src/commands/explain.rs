//! `dp explain`: traces a bar, a price, a derived price, a curve or a row back to its raw messages.

use std::process::ExitCode;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use curves::Horizon;
use domain::Interval;
use localstack::Stack;
use serde::Serialize;
use service::writer::TABLES;
use stores::clickhouse::Merged;

use ops::connection::Connection;
use ops::place::Place as StackPlace;
use ops::present::{print_json, print_line};
use ops::progress::waiting;
use ops::topic_names::resolve;
use reconcile::explain::content::SHOWN;
use reconcile::explain::curve::Snapshot;
use reconcile::explain::session::{Session, own_settings};
use reconcile::explain::tables::Instrument;
use reconcile::explain::{Place, curve_text, derived_text, merged_text, served, text};

/// Trace a bar, a price, a derived price, a curve or a row back to its raw messages.
///
/// Use it when a number looks wrong. It shows how a bar follows from its ticks (recomputed digit for digit), which tick a
/// served price comes from, or what became of a raw message: ticks, rows, bars, dead letters and repetitions, with topic,
/// partition, offset and the original bytes. It changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the stored values follow from their ticks; 1 they do not, or stores disagree, \
    or a price was not read from every store; 2 not found, or a server is unavailable.\n\nExamples:\n  \
    dp explain bar --instrument MISO.INDIANA.HUB.RT5 --interval 1h --start 2026-10-01T00:00:00Z\n  \
    dp explain price --instrument MISO.INDIANA.HUB.RT5\n  \
    dp explain derived spark --at 2026-10-01T00:05:00Z\n  \
    dp explain curve NG_HENRY_HUB --horizon 1y\n  \
    dp explain row --table bars --origin ingestion.market.raw.v1/2/17/0\n  \
    dp explain row --topic ingestion.market.raw.v1 --partition 2 --offset 17\n  \
    dp explain price --instrument MISO.INDIANA.HUB.RT5 --json | jq '.quotes'"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
    /// Show raw messages in full
    #[arg(long, global = true)]
    bytes: bool,
    /// Show raw messages and bars of at most N ticks
    #[arg(long, global = true, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Bar(BarArgs),
    Price(PriceArgs),
    Derived(DerivedArgs),
    Curve(CurveArgs),
    Row(RowArgs),
}

/// Explain a bar: its versions, how it was computed, the ticks that it includes or excludes, and their raw messages
///
/// The values are recomputed from the ticks and compared digit for digit. The stream computes a bar, unless a tick arrives
/// after the window was forgotten or the price of an interval is published again. Then the bar is computed from the rows of
/// enriched_ticks, and these ticks are listed with their origins. A tick that arrives after the bar has closed creates a new
/// revision. A repeated event has no row; it is listed with the message that it repeats.
///
/// Bars of four hours, of a market day and of a block are merged from bars of an hour: these are listed, each with the command
/// that explains it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp explain bar --instrument MISO.INDIANA.HUB.RT5 --interval 1h --start 2026-10-01T00:00:00Z\n  \
    dp explain bar --instrument MISO.INDIANA.HUB.RT5 --interval 1d --start 2026-10-01T00:00Z --limit 500 --bytes\n  \
    dp explain bar --instrument MISO.INDIANA.HUB.RT5 --interval blocks --start 2026-10-01T15:00Z   # hours of the block\n\n\
    To list the bars of an instrument: dp sql \"SELECT interval, window_start FROM bars_latest WHERE instrument_id = '…'\"")]
struct BarArgs {
    /// Instrument id
    #[arg(long)]
    instrument: String,
    /// 1m, 5m, 15m, 1h, 4h, 1d, 1d-local or blocks (the block that counts the hour of --start)
    #[arg(long)]
    interval: String,
    /// Start of the bar, or any time inside it
    #[arg(long, value_name = "TIME", value_parser = ops::present::time)]
    start: jiff::Timestamp,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long)]
    tenant: Option<String>,
}

/// Explain the latest price of an instrument: its value in each store, its tick and its raw message
///
/// Reads ClickHouse, PostgreSQL, Redis and projection's HTTP API, and reports where they disagree, and which of
/// them could not be read (exit code 1 for both).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp explain price --instrument MISO.INDIANA.HUB.RT5\n  \
    dp explain price --instrument MISO.INDIANA.HUB.RT5 --api http://projection:8083 --json | jq '.disagreements'")]
struct PriceArgs {
    /// Instrument id
    #[arg(long)]
    instrument: String,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long)]
    tenant: Option<String>,
    /// Address of projection [default: that of the local stack, or without one NORMALIZATION_PROJECTION_URL]
    #[arg(long, value_name = "URL")]
    api: Option<String>,
}

/// Explain a derived price: its versions, its legs with their prices and ages, and their raw messages
///
/// The value is recomputed from the prices of its legs, with the definition in AGGREGATION_DERIVED_SERIES, and each leg is compared with
/// its tick. Without --at it is the newest value of the series.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp explain derived spark\n  \
    dp explain derived spark --at 2026-10-01T00:05:00Z --json | jq '.legs'\n\n\
    To list the values of a series: dp sql \"SELECT timestamp, value FROM derived_prices_latest WHERE series = '…'\"")]
struct DerivedArgs {
    /// Name of the series
    series: String,
    /// The newest value at or before this time
    #[arg(long, value_name = "TIME", value_parser = ops::present::time)]
    at: Option<jiff::Timestamp>,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long)]
    tenant: Option<String>,
}

/// Explain a curve snapshot: its versions, its points, and its quotes with their residuals and raw messages
///
/// The price of each quote is computed again from the points, weighted by delivered hours, and each quote is compared with its tick.
/// Without --at it is the newest snapshot of the curve.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp explain curve NG_HENRY_HUB\n  \
    dp explain curve NG_HENRY_HUB --horizon 1y --at 2026-11-25T18:00:00Z\n  \
    dp explain curve NG_HENRY_HUB --json | jq '.inputs[] | {contract, price, residual, origin}'\n\n\
    To list the snapshots of a curve: dp sql \"SELECT as_of, horizon FROM curve_snapshots_latest WHERE curve_id = '…'\"")]
struct CurveArgs {
    /// The curve, as `dp curve list` names it
    #[arg(value_name = "CURVE_ID")]
    curve_id: String,
    /// How far the snapshot reaches: 1m, 3m, 6m, 1y or all
    #[arg(long, value_name = "H", default_value = "all")]
    horizon: Horizon,
    /// The newest snapshot as it was known at this time
    #[arg(long, value_name = "TIME", value_parser = ops::present::time)]
    at: Option<jiff::Timestamp>,
    /// With --at: also the revisions of the snapshot that came later
    #[arg(long, requires = "at")]
    revised: bool,
    /// Tenant [default: DATA_PROC_TENANT_ID]
    #[arg(long)]
    tenant: Option<String>,
}

/// Explain a raw message: its ticks, rows, bars, repetitions and dead letters
///
/// Follows the message forward to its ticks, their rows and bars, and its dead letters. If the message repeats an event, it
/// names the message that was emitted for that event.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    dp explain row --partition 2 --offset 17\n  \
    dp explain row --table late_ticks --origin ingestion.market.raw.v1/2/17/0\n  \
    dp explain row --table derived_prices --origin ingestion.market.raw.v1/2/17/0   # values that use the tick\n  \
    dp explain row --table curve_snapshots --origin ingestion.market.raw.v1/2/17/0  # snapshots with the quote\n  \
    dp explain row --origin ingestion.market.raw.v1/2/17 --limit 5000      # all ticks of a document\n\n\
    To find origins: dp sql 'SELECT tick_id FROM market_ticks LIMIT 5'")]
struct RowArgs {
    /// Also show the row of this table with every column; of derived_prices and curve_snapshots those that use the tick
    #[arg(long, value_parser = PossibleValuesParser::new(TABLES.map(|table| table.name)))]
    table: Option<String>,
    /// Origin (the tick_id of a row): feed/partition/offset/index. Without the index: all ticks of the message
    #[arg(long, value_name = "FEED/PARTITION/OFFSET/INDEX", conflicts_with_all = ["topic", "partition", "offset"], required_unless_present = "offset")]
    origin: Option<String>,
    /// Raw topic, or `raw` for the first of DATA_PROC_RAW_TOPICS [default: raw]
    #[arg(long)]
    topic: Option<String>,
    /// Partition of the raw message
    #[arg(long, requires = "offset")]
    partition: Option<i32>,
    /// Offset of the raw message
    #[arg(long, requires = "partition")]
    offset: Option<i64>,
}

/// Runs `dp explain`.
///
/// # Errors
/// A server does not answer, or the bar, price, derived price, curve or row does not exist.
pub async fn run(place: &StackPlace, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let shown = if args.bytes { usize::MAX } else { SHOWN };
    let session = Session::open(connection, shown, args.limit).await?;
    let settings = &connection.settings;
    let waits = format!(
        "waiting for ClickHouse at {} and Kafka at {}",
        settings.clickhouse.url, settings.kafka_bootstrap
    );
    waiting(&waits, trace(place, connection, args, &session)).await
}

async fn trace(
    place: &StackPlace,
    connection: &Connection,
    args: &Args,
    session: &Session<'_>,
) -> anyhow::Result<ExitCode> {
    let is_right = match &args.what {
        What::Bar(bar) => explain_bar(connection, bar, session).await?,
        What::Price(price) => {
            let instrument = instrument(connection, &price.instrument, &price.tenant);
            let trace = session
                .price(instrument, &api_address(place, connection, price)?)
                .await?;
            print(connection, &trace, || text::price(&trace))?;
            trace.agrees()
        }
        What::Derived(derived) => {
            let tenant = derived.tenant.as_deref().unwrap_or(&connection.settings.tenant_id);
            let at = derived.at.map(jiff::Timestamp::as_microsecond);
            let trace = session.derived(tenant, &derived.series, at).await?;
            print(connection, &trace, || derived_text::derived(&trace))?;
            trace.agrees
        }
        What::Curve(curve) => {
            let asked = Snapshot {
                tenant_id: curve.tenant.as_deref().unwrap_or(&connection.settings.tenant_id),
                curve_id: &curve.curve_id,
                horizon: curve.horizon.name(),
                at: curve.at.map(jiff::Timestamp::as_microsecond),
                is_revised: curve.revised,
            };
            let trace = session.curve(asked).await?;
            print(connection, &trace, || curve_text::curve(&trace))?;
            trace.agrees
        }
        What::Row(row) => {
            let (message, index) = asked(connection, row)?;
            let trace = session.row(&message, index, row.table.as_deref()).await?;
            print(connection, &trace, || text::row(&trace))?;
            trace.agrees
        }
    };
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Whether the numbers of the bar follow from its ticks, or from its hours.
async fn explain_bar(connection: &Connection, bar: &BarArgs, session: &Session<'_>) -> anyhow::Result<bool> {
    let instrument = instrument(connection, &bar.instrument, &bar.tenant);
    let time = bar.start.as_microsecond();
    if let Some(kind) = Merged::from_name(&bar.interval) {
        let trace = session.merged(instrument, kind, time).await?;
        print(connection, &trace, || merged_text::merged(&trace))?;
        return Ok(trace.agrees);
    }
    let Some(interval) = Interval::from_name(&bar.interval) else {
        bail!(
            "unknown interval {}: use one of 1m, 5m, 15m, 1h, 4h, 1d, 1d-local, blocks",
            bar.interval
        );
    };
    let trace = session.bar(instrument, interval, time).await?;
    print(connection, &trace, || text::bar(&trace))?;
    Ok(trace.agrees)
}

fn instrument<'a>(connection: &'a Connection, id: &'a str, tenant: &'a Option<String>) -> Instrument<'a> {
    Instrument {
        tenant_id: tenant.as_deref().unwrap_or(&connection.settings.tenant_id),
        id,
    }
}

fn print(connection: &Connection, trace: &impl Serialize, words: impl FnOnce() -> String) -> anyhow::Result<()> {
    match connection.json {
        true => print_json(trace),
        false => print_line(&words()),
    }
}

fn api_address(place: &StackPlace, connection: &Connection, args: &PriceArgs) -> anyhow::Result<String> {
    if let Some(address) = &args.api {
        return Ok(address.clone());
    }
    let folder = place.folder();
    if folder.join("stack.json").exists() {
        return Ok(format!(
            "http://127.0.0.1:{}",
            Stack::open(&folder)?.config().ports.projection
        ));
    }
    Ok(own_settings(connection)?.0.projection_url.expose().to_owned())
}

fn asked(connection: &Connection, args: &RowArgs) -> anyhow::Result<(Place, Option<i32>)> {
    if let (Some(partition), Some(offset)) = (args.partition, args.offset) {
        let topic = resolve(&connection.names, args.topic.as_deref().unwrap_or("raw"))?;
        let place = Place {
            topic,
            partition,
            offset,
        };
        return Ok((place, None));
    }
    let origin = args.origin.as_deref().unwrap_or_default();
    let is_raw = |place: &Place| connection.names.raw.contains(&place.topic);
    let with_index = served::place_of(origin).filter(|(place, _)| is_raw(place));
    let whole = || served::place_of(&format!("{origin}/0")).filter(|(place, _)| is_raw(place));
    match (with_index, whole()) {
        (Some((place, index)), _) => Ok((place, Some(index))),
        (None, Some((place, _))) => Ok((place, None)),
        (None, None) => bail!(
            "{origin} is not an origin of a raw message: use the tick_id of a row, such as {}/2/17/0",
            connection.names.raw.first().map_or("feed", String::as_str)
        ),
    }
}
