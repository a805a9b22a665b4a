//! `dp backfill`: documents of a folder, or a time range of the raw log, processed again.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use ops::connection::Connection;
use ops::consent;
use ops::interrupt::unless_interrupted;
use ops::present::{duration, found, moment, period, print_either};
use reconcile::backfill::range::{Orders as RangeOrders, Stage, run as process_range};
use reconcile::backfill::{Orders, documents, text};
use reconcile::repair::Orders as RepairOrders;
use reconcile::repair::plan::Stores;

/// Process documents of a folder, or a time range of the raw log, again
///
/// --documents publishes each document of a folder as `dp ingest` does, the oldest delivery day first. A document that the pipeline
/// has taken before is skipped: its bytes are in a raw topic, or market_ticks has its event. So the command can be run again after an
/// interruption, and for a folder that grows. The report says for each document how many ticks it adds, how many rows are rejected
/// (they become dead letters), and how many were taken before.
///
/// --from and --to process a time range of the raw log again, without publishing a message twice: dead letters of normalization are
/// replayed, each once (as `dp dlq replay`, after their cause was corrected), and rows that a store has lost are written again (as
/// `dp reconcile --repair`).
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Exit codes: 0 everything was taken, or all stores agree; 1 a document was skipped or rows are rejected, or something is \
    left; 2 a server is unavailable, or wrong usage\n\nExamples:\n  \
    dp backfill --documents examples/documents --dry-run\n  \
    dp backfill --documents examples/documents --market PJM\n  \
    dp backfill --from 6h --to 2h --dry-run\n  \
    dp backfill --from 2026-10-01T00:00Z --to 2026-10-02T00:00Z --stage store --yes"
)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub struct Args {
    /// Publish the documents of this folder and its folders
    #[arg(long, value_name = "FOLDER", group = "what")]
    documents: Option<PathBuf>,
    /// Only documents of this market
    #[arg(long, value_name = "M", value_parser = market, conflicts_with = "from")]
    market: Option<String>,
    /// Tenant of the documents (header dp.tenant_id) [default: DATA_PROC_TENANT_ID of normalization]
    #[arg(long, value_name = "ID", conflicts_with = "from")]
    tenant: Option<String>,
    /// Raw topic of the documents [default: the first of DATA_PROC_RAW_TOPICS]
    #[arg(long, value_name = "TOPIC", conflicts_with = "from")]
    topic: Option<String>,
    /// Process messages again that were appended at or after this time, or this long ago
    #[arg(long, value_name = "TIME", value_parser = moment, group = "what")]
    from: Option<Timestamp>,
    /// Only messages that were appended before this time, or this long ago [default: all up to now]
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "from", conflicts_with = "documents")]
    to: Option<Timestamp>,
    /// normalize: only replay dead letters; store: only repair the stores; all: both
    #[arg(long, value_name = "STAGE", value_parser = stage, conflicts_with = "documents")]
    stage: Option<Stage>,
    /// How long a comparison waits until every stage has passed what the log has now: seconds, or 10m
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = duration)]
    wait: Duration,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// Whether the command writes.
    pub fn writes(&self) -> bool {
        !self.dry_run
    }
}

fn market(text: &str) -> Result<String, String> {
    let mut known: Vec<&str> = markets::FORMATS.iter().filter_map(|format| format.market).collect();
    known.sort_unstable();
    known.dedup();
    let name = text.to_ascii_uppercase();
    match known.iter().any(|market| market.eq_ignore_ascii_case(&name)) {
        true => Ok(name),
        false => Err(format!(
            "no document is of this market; use one of {}",
            known.join(", ")
        )),
    }
}

fn stage(text: &str) -> Result<Stage, String> {
    match text {
        "normalize" => Ok(Stage::Normalize),
        "store" => Ok(Stage::Store),
        "all" => Ok(Stage::All),
        _ => Err("use normalize, store or all".to_owned()),
    }
}

/// Runs `dp backfill`; `yes` skips the question before a range is processed.
///
/// # Errors
/// The folder has no document, the user does not confirm, or a server does not answer.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.documents {
        Some(folder) => of_folder(connection, args, folder.clone()).await,
        None => of_range(connection, args, yes).await,
    }
}

async fn of_folder(connection: &Connection, args: &Args, folder: PathBuf) -> anyhow::Result<ExitCode> {
    if !folder.is_dir() {
        bail!(
            "{} is not a folder; `dp ingest` publishes single files",
            folder.display()
        );
    }
    let orders = Orders {
        folder,
        market: args.market.clone(),
        tenant: args.tenant.clone(),
        topic: args.topic.clone(),
        dry_run: args.dry_run,
    };
    let sent = Arc::new(AtomicUsize::new(0));
    let report = unless_interrupted(documents(connection, &orders, sent.clone()), || {
        format!(
            "{} document(s) were published; run the command again for the rest, which skips them",
            sent.load(Ordering::Relaxed)
        )
    })
    .await?;
    print_either(connection.json, &report, || text::documents(&report))?;
    Ok(found(!report.is_ok()))
}

async fn of_range(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let (from, to) = period(args.from, args.to)?;
    if args.writes() {
        consent::ask(
            "replay dead letters and write lost rows into the stores again",
            "backfill",
            yes,
        )
        .await?;
    }
    let orders = RangeOrders {
        from: from.context("name --documents, or a time with --from")?,
        to,
        stage: args.stage.unwrap_or(Stage::All),
        dry_run: args.dry_run,
        repair: RepairOrders {
            stores: Stores::ALL,
            from,
            to,
            repair: args.writes(),
            wait: args.wait,
        },
    };
    let report = process_range(connection, &orders).await?;
    print_either(connection.json, &report, || text::range(&report))?;
    Ok(found(!report.is_ok()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Cli::try_parse_from([&["backfill"], arguments].concat()).map(|cli| cli.args)
    }

    #[test]
    fn either_documents_or_a_range_is_named_with_its_own_options() {
        assert!(parse(&["--documents", "data"]).unwrap().writes());
        assert!(
            !parse(&["--documents", "data", "--market", "pjm", "--dry-run"])
                .unwrap()
                .writes()
        );
        let range = parse(&["--from", "2h", "--to", "1h", "--stage", "store"]).unwrap();
        assert_eq!(range.stage, Some(Stage::Store));
        for wrong in [
            &[][..],
            &["--documents", "data", "--from", "2h"],
            &["--documents", "data", "--stage", "store"],
            &["--from", "2h", "--market", "PJM"],
            &["--to", "2h"],
            &["--from", "2h", "--stage", "bars"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_market_without_documents_is_refused_with_the_known_ones() {
        assert_eq!(market("pjm"), Ok("PJM".to_owned()));
        assert!(market("NASDAQ").unwrap_err().contains("MISO"));
    }
}
