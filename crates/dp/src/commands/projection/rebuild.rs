//! `dp projection rebuild`: arguments, confirmation, progress and the report.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use ops::connection::Connection;
use ops::consent;
use ops::inspect::projection::served_topic;
use ops::migrations::{Stores, stores};
use ops::present::{moment, print_either};
use ops::progress::Progress;
use projection::rebuild::{Report, ServedRebuild, Step, Strategy};
use reconcile::repair::prices::rebuild;
use serde::Deserialize;
use stores::Projection;
use stores::clickhouse::literal;

use crate::cells::count;

/// Write a projection again from the log, while the old one is served
///
/// Reads the enriched topic into a copy beside the served prices, with a checkpoint every 1,000 events. Each partition is exchanged
/// in one transaction, when its copy has reached the served position. The service then loads the new prices and fills Redis.
/// Readers see the old prices or the new ones. If the command is interrupted, run it again: it continues at its last checkpoint.
///
/// --full replaces every price. If the log no longer begins with its first event, prices of instruments that it does not contain
/// are kept. --since and --from-event read less: they correct the prices of the events that they read, and keep all others.
///
/// curve_snapshot and derived_price are small: --full is their only strategy, and it has no checkpoints. If their topic no longer begins with
/// its first record, rows that it does not have, or that are newer, are kept.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 rebuilt; 1 rebuilt, but the service has not loaded it (it does when it starts); 2 not rebuilt\n\n\
    Examples:\n  dp projection rebuild latest_price --full --yes\n  dp projection rebuild latest_price --since 2h --yes\n  \
    dp projection rebuild latest_price --from-event 6b1f --yes --json\n  dp projection rebuild curve_snapshot --full --yes"
)]
#[command(group(clap::ArgGroup::new("strategy").required(true)))]
pub struct Args {
    /// Name of the projection
    #[arg(value_name = "NAME", value_parser = super::projection)]
    name: String,
    /// Read the whole log
    #[arg(long, group = "strategy")]
    full: bool,
    /// Read events that were appended at or after this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = moment, group = "strategy")]
    since: Option<Timestamp>,
    /// Read from the event with this id
    #[arg(long, value_name = "ID", group = "strategy")]
    from_event: Option<String>,
    /// Discard the copy of an interrupted rebuild
    #[arg(long)]
    restart: bool,
    /// Keep the replaced rows in generation `~backup` until the next rebuild
    #[arg(long)]
    keep_backup: bool,
}

#[derive(Deserialize)]
struct Appended {
    micros: i64,
}

/// Runs `dp projection rebuild`.
///
/// # Errors
/// The user does not confirm, a server does not answer, or another rebuild is under way.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let stores = stores(connection)?;
    if let Some(projection) = Projection::ALL.into_iter().find(|known| known.name() == args.name) {
        return run_served(connection, &stores, projection, (args, yes)).await;
    }
    let strategy = strategy(connection, &stores, args).await?;
    let what = format!("replace the served prices of {} ({})", args.name, strategy.text());
    consent::ask(&what, "rebuild", yes).await?;
    let rebuild = rebuild(connection, &stores, &connection.names.enriched).await?;
    let report = rebuild
        .run(strategy, args.restart, args.keep_backup, progress())
        .await
        .context("rebuild latest_price; what is served is complete: run the command again to continue")?;
    print_either(connection.json, &report, || text(&report, "prices"))?;
    Ok(code(&report))
}

async fn run_served(
    connection: &Connection,
    stores: &Stores,
    projection: Projection,
    (args, yes): (&Args, bool),
) -> anyhow::Result<ExitCode> {
    if !args.full || args.restart || args.keep_backup {
        bail!(
            "{} supports only --full. --restart and --keep-backup do not apply: there is no checkpoint and no backup copy",
            args.name
        );
    }
    let what = format!("replace the served rows of {} ({})", args.name, Strategy::Full.text());
    consent::ask(&what, "rebuild", yes).await?;
    let topic = served_topic(&connection.names, projection);
    let of = rebuild(connection, stores, topic).await?;
    let rebuild = ServedRebuild { projection, of };
    let report = rebuild.run(progress()).await.with_context(|| {
        format!(
            "rebuild of {} is incomplete; each partition holds either its old or its rebuilt rows. Run the command again",
            args.name
        )
    })?;
    print_either(connection.json, &report, || text(&report, "rows"))?;
    Ok(code(&report))
}

fn progress() -> impl FnMut(&Step) + Send + 'static {
    let mut progress = Progress::new("reading", 0, "events");
    move |step: &Step| {
        progress.set_total(step.total);
        progress.set(step.events, &format!("partition {}", step.partition));
    }
}

fn code(report: &Report) -> ExitCode {
    match report.is_reloaded {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    }
}

async fn strategy(connection: &Connection, stores: &Stores, args: &Args) -> anyhow::Result<Strategy> {
    if args.full {
        return Ok(Strategy::Full);
    }
    if let Some(since) = args.since {
        return Ok(Strategy::Since(since.as_microsecond()));
    }
    let Some(event) = &args.from_event else {
        bail!("name one of --full, --since and --from-event");
    };
    let sql = format!(
        "SELECT toInt64(toUnixTimestamp64Micro(appended_at)) AS micros FROM {} WHERE source_event_id = {} ORDER BY micros LIMIT 1 \
         SETTINGS output_format_json_quote_64bit_integers = 0",
        connection.names.table("market_ticks"),
        literal(event)
    );
    let rows: Vec<Appended> = stores.clickhouse.query_rows(&sql).await.context("find the event")?;
    let Some(found) = rows.first() else {
        bail!("market_ticks has no event with id {event}; its column source_event_id has the ids (`dp sql`)");
    };
    Ok(Strategy::Since(found.micros))
}

fn text(report: &Report, rows: &str) -> String {
    let mut lines = vec![
        format!(
            "rebuilt ({}): {} events read in {:.1} s, {} partition(s) exchanged{}",
            report.strategy,
            count(report.events),
            report.seconds,
            report.partitions,
            if report.is_resumed {
                ", continued after an interruption"
            } else {
                ""
            }
        ),
        format!(
            "{rows}: {} changed, {} added, {} removed",
            count(report.changed),
            count(report.added),
            count(report.removed)
        ),
    ];
    if report.unreadable > 0 {
        lines.push(format!(
            "{} record(s) cannot be read; the service has sent them to the dead letters (`dp dlq list`)",
            count(report.unreadable)
        ));
    }
    if let Some(backup) = &report.backup {
        lines.push(format!(
            "the replaced rows are kept in PostgreSQL: SELECT * FROM served_latest_prices WHERE generation = '{backup}'"
        ));
    }
    lines.push(match report.is_reloaded {
        true => format!("the service serves the new {rows}"),
        false => format!("projection has not loaded the new {rows} within 30 s: is it running (`dp status`)? It loads them when it starts"),
    });
    lines.join("\n")
}
