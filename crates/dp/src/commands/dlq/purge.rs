//! `dp dlq purge`: arguments, confirmation and the report.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use ops::connection::Connection;
use ops::consent;
use ops::dead_letters::purge::{Limits, Purge, carry_out, plan};
use ops::dead_letters::replay::TRANSACTIONAL_ID;
use ops::dead_letters::{Letter, Wanted, give_up};
use ops::present::{found, print_either};
use ops::progress::Progress;

use super::filter::{Filter, unknown};
use super::reading::read;
use crate::cells::count;

/// Give dead letters up: remove the oldest, or close those that the filters select
///
/// Without filters, letters are removed before their retention (30 days) is over. Kafka can cut a topic only at its beginning, so the
/// purge ends before the first letter that must stay: one that is open (unless --open), or whose replay is still in its raw topic.
/// Removed letters cannot be brought back.
///
/// With --code, --stage, --market, --tenant or --since, and --open, the open letters that match are closed, wherever they are in the topic: they
/// are counted no longer, and `dp dlq replay` passes them over. Their bytes stay until their retention is over.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is left that the limits allow to remove, or every chosen letter is given up, or would be; 1 a \
    letter stays, with the reason; 2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp dlq purge --dry-run\n  dp dlq purge --until 7d --yes\n  dp dlq purge --until 1h --open --yes\n  \
    dp dlq purge --code schema_violation --market miso --open --yes"
)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Also open letters: their messages are given up
    #[arg(long)]
    open: bool,
    /// Only show what would be removed or given up
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs `dp dlq purge`; `yes` skips the question.
///
/// # Errors
/// Kafka does not answer or refuses, or the user does not confirm.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match (args.filter.chooses(), args.open) {
        (true, true) => chosen(connection, args, yes).await,
        (true, false) => bail!(
            "--code, --stage, --market, --tenant and --since choose open letters, and their messages are given up: add --open if this is meant"
        ),
        (false, _) => oldest(connection, args, yes).await,
    }
}

/// Removes the oldest letters.
async fn oldest(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let limits = Limits {
        until: args.filter.wanted()?.until,
        open: args.open,
    };
    let plans = read(connection, move |bootstrap, topic| plan(bootstrap, topic, limits)).await?;
    let letters: u64 = plans.iter().map(|plan| plan.letters).sum();
    if !args.dry_run && letters > 0 {
        let open: u64 = plans.iter().map(|plan| plan.open).sum();
        let what = format!("remove {} dead letter(s), {} of them open", count(letters), count(open));
        consent::ask(&what, "purge", yes).await?;
        carry_out(&connection.settings.kafka_bootstrap, &plans)
            .await
            .context("remove the dead letters; run the command again with --dry-run to see what is left")?;
    }
    print_either(connection.json, &plans, || text(&plans, args.dry_run))?;
    Ok(found(plans.iter().any(|plan| plan.stays.is_some())))
}

/// Gives up the open letters that the filters select.
async fn chosen(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let wanted = args.filter.wanted()?;
    let asked = wanted.clone();
    let (mut letters, unknown) = read(connection, move |bootstrap, topic| {
        let letters = give_up::choose(bootstrap, topic, &asked)?;
        let unknown = unknown(bootstrap, topic, &asked, letters.len() as u64)?;
        Ok((letters, unknown))
    })
    .await?;
    if !args.dry_run && !letters.is_empty() {
        let what = format!("give up {} open dead letter(s)", count(letters.len() as u64));
        consent::ask(&what, "purge", yes).await?;
        letters = give_up_all(connection, wanted, letters).await?;
    }
    let shown = serde_json::json!({ "given_up": letters, "dry_run": args.dry_run });
    print_either(connection.json, &shown, || {
        let verb = if args.dry_run { "would be" } else { "were" };
        let given_up = format!("{} open letter(s) {verb} given up", count(letters.len() as u64));
        match unknown {
            Some(unknown) => format!("{given_up}: {unknown}"),
            None => given_up,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn give_up_all(connection: &Connection, wanted: Wanted, letters: Vec<Letter>) -> anyhow::Result<Vec<Letter>> {
    let (bootstrap, topic) = (
        connection.settings.kafka_bootstrap.clone(),
        connection.names.dlq.clone(),
    );
    let run = tokio::task::spawn_blocking(move || {
        let mut progress = Progress::new("giving up", letters.len() as u64, "letters");
        let given_up = give_up::carry_out(&bootstrap, &topic, &wanted, &letters, |done, total| {
            progress.set_total(total as u64);
            progress.set(done as u64, "");
        });
        progress.finish();
        given_up
    });
    run.await.context("give up the dead letters")?.with_context(|| {
        format!(
            "give up the dead letters: is Kafka running (`dp status`), and may the user write to {}, and use the transactional id \
             {TRANSACTIONAL_ID}?",
            connection.names.dlq
        )
    })
}

fn text(plans: &[Purge], dry_run: bool) -> String {
    let verb = if dry_run { "would be" } else { "were" };
    let lines = plans.iter().map(|plan| {
        let removed = format!(
            "{}/{}: {} letter(s) {verb} removed, {} of them open",
            plan.topic,
            plan.partition,
            count(plan.letters),
            count(plan.open)
        );
        match &plan.stays {
            Some((place, why)) => format!("{removed}\n  the next one stays, {place}: {why}"),
            None => removed,
        }
    });
    let stays = plans.iter().any(|plan| plan.stays.is_some());
    let next = stays.then(|| {
        "Open letters behind one that stays: `dp dlq purge --since 7d --open` gives up each by itself, without removing it.".to_owned()
    });
    lines.chain(next).collect::<Vec<_>>().join("\n")
}
