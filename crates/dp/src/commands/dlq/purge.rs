//! `dp dlq purge`: arguments, confirmation and the report.

use std::process::ExitCode;

use anyhow::Context as _;
use ops::connection::Connection;
use ops::consent;
use ops::dead_letters::purge::{Limits, Purge, carry_out, plan};
use ops::present::{found, moment, print_either};

use super::read;
use crate::cells::count;

/// Remove the oldest dead letters before their retention (30 days) does
///
/// Kafka can cut a topic only at its beginning, so the purge ends before the first letter that must stay: one that is open, or
/// whose replay is still in its raw topic. Removed letters cannot be brought back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is left that the limits allow to remove; 1 a letter stays, with the reason; 2 Kafka is \
    unavailable, or wrong usage\n\n\
    Examples:\n  dp dlq purge --dry-run\n  dp dlq purge --until 7d --yes\n  dp dlq purge --until 1h --open --yes"
)]
pub struct Args {
    /// Only failures before this time, or longer ago than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<jiff::Timestamp>,
    /// Also remove open letters: their messages are given up
    #[arg(long)]
    open: bool,
    /// Only show what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs `dp dlq purge`; `yes` skips the question.
///
/// # Errors
/// Kafka does not answer or refuses, or the user does not confirm.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let limits = Limits {
        until: args.until.map(jiff::Timestamp::as_microsecond),
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
    lines.collect::<Vec<_>>().join("\n")
}
