//! `dp dlq replay`: arguments, progress and the report.

use std::process::ExitCode;

use anyhow::Context as _;
use ops::connection::Connection;
use ops::dead_letters::replay::{Kept, Orders, Replayed, Report, TRANSACTIONAL_ID, run as replay};
use ops::interrupt::interrupt_flag;
use ops::pause::held_tenants;
use ops::present::{found, print_either, table};
use ops::progress::Progress;

use super::filter::Filter;
use super::text::passed_text;
use crate::cells::{count, shortened};

const SHOWN_CHARACTERS: usize = 80;
/// Rows of a table on the terminal.
const SHOWN_LETTERS: usize = 20;

/// Send rejected messages to their raw topics again, the oldest first
///
/// Only the rejected rows of a document are emitted, and a letter is replayed once: however often this runs, and whenever it is
/// killed. Correct the cause first (a price bound, a rule, a new release); a letter that fails again comes back with one attempt
/// more. One run works at a time: a second one ends the first.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every chosen letter was replayed, or would be; 1 some cannot be, or were not reached (--limit, Ctrl-C); 2 Kafka is \
    unavailable, or wrong usage\n\n\
    Examples:\n  dp dlq replay --code unknown_market --dry-run\n  dp dlq replay --market miso --since 2h --limit 100\n  \
    dp dlq replay 17 18 --json"
)]
pub struct Args {
    /// Offsets of letters in dlq; without them, all that the filters select
    #[arg(value_name = "OFFSET")]
    offsets: Vec<i64>,
    #[command(flatten)]
    filter: Filter,
    /// Replay at most this many letters
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Do not replay letters that were tried this often
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    max_attempts: u32,
    /// The order, which is always this one
    #[arg(long)]
    oldest_first: bool,
    /// Only show what would be replayed
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs `dp dlq replay`.
///
/// # Errors
/// Kafka does not answer, or a later run has ended this one.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let orders = Orders {
        wanted: args.filter.wanted()?,
        offsets: args.offsets.clone(),
        limit: args.limit as usize,
        max_attempts: args.max_attempts,
        // Who may not read the orders replays all the same: what is still held comes back as a letter.
        paused_tenants: held_tenants(connection).await.unwrap_or_default(),
        dry_run: args.dry_run,
    };
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    let interrupted = interrupt_flag();
    let run = tokio::task::spawn_blocking(move || {
        let mut progress = Progress::new("replaying", 0, "letters");
        let report = replay(
            &bootstrap,
            &names.dlq,
            &names.raw,
            &orders,
            &interrupted,
            |done, total| {
                progress.set_total(total as u64);
                progress.set(done as u64, "");
            },
        );
        progress.finish();
        report
    });
    let report = run.await.context("replay the dead letters")?.with_context(|| {
        format!(
            "replay the dead letters: is Kafka running (`dp status`), and may the user write to the raw topics and to {}, and use \
             the transactional id {TRANSACTIONAL_ID}?",
            connection.names.dlq
        )
    })?;
    print_either(connection.json, &report, || text(&report, args))?;
    let is_short = !report.kept.is_empty() || !report.absent.is_empty() || report.left > 0;
    Ok(found(is_short || report.interrupted))
}

fn text(report: &Report, args: &Args) -> String {
    let (replayed, verb) = (&report.replayed, if args.dry_run { "would be" } else { "were" });
    let mut text = Vec::new();
    if !replayed.is_empty() {
        text.push(replayed_table(replayed));
    }
    let counted = format!("{} letter(s) {verb} replayed", count(replayed.len() as u64));
    text.push(match &report.unknown {
        Some(unknown) => format!("{counted}: {unknown}"),
        None => counted,
    });
    if !report.kept.is_empty() {
        text.push(format!("{} cannot be replayed:", count(report.kept.len() as u64)));
        text.extend(report.kept.iter().take(SHOWN_LETTERS).map(kept_line));
        text.extend(unshown(report.kept.len()));
    }
    if !report.absent.is_empty() {
        let offsets: Vec<String> = report.absent.iter().map(i64::to_string).collect();
        text.push(format!(
            "no open letter that the filters select is at offset {}: `dp dlq list --replayed` shows those that were replayed or given up",
            offsets.join(", ")
        ));
    }
    if report.interrupted {
        text.push(format!(
            "interrupted; {} are left: run the command again",
            count(report.left)
        ));
    } else if report.left > 0 {
        text.push(format!(
            "{} more match: run the command again, or use a larger --limit",
            count(report.left)
        ));
    }
    if !args.dry_run && !replayed.is_empty() {
        text.push("A letter that fails again appears in `dp dlq list --since 1m`.".to_owned());
    }
    text.join("\n") + &passed_text(report.passed)
}

fn replayed_table(replayed: &[Replayed]) -> String {
    let rows = replayed.iter().take(SHOWN_LETTERS).map(|Replayed { letter, replay }| {
        vec![
            letter.place.offset.to_string(),
            letter.code.clone(),
            if letter.rows.is_empty() {
                "all".to_owned()
            } else {
                shortened(&letter.rows, 20)
            },
            letter.origin.to_string(),
            replay
                .as_ref()
                .map_or_else(|| "-".to_owned(), |place| place.offset.to_string()),
            letter.attempts.saturating_add(1).to_string(),
        ]
    });
    let headers = ["letter", "code", "rows", "origin", "sent to offset", "attempt"];
    let mut text = table(&headers, 4, rows);
    text.extend(unshown(replayed.len()).map(|line| format!("\n{line}")));
    text
}

fn kept_line(kept: &Kept) -> String {
    let Kept { letter, why } = kept;
    let why = shortened(why, 3 * SHOWN_CHARACTERS);
    format!("  {} ({}): {why}", letter.place.offset, letter.code)
}

fn unshown(letters: usize) -> Option<String> {
    let more = letters.checked_sub(SHOWN_LETTERS).filter(|more| *more > 0)?;
    Some(format!("… and {} more; --json names all", count(more as u64)))
}
