//! `dp backup restore`: arguments, the plan and the report.

use std::process::ExitCode;

use ops::backup::place;
use ops::backup::restore::{Plan, Restored, carry_out};
use ops::connection::Connection;
use ops::place::Place;
use ops::positions::members::how_to_stop;
use ops::present::{found, print_either, table};
use stream::positions::Reader;

use super::args::{Folder, StoreArgs, findings_text};
use crate::cells::count;

/// Put a backup in place of the stores; without --yes only show what would be done
///
/// The services that use the stores must be stopped. Each store is replaced as a whole, also if it is empty or damaged; the others
/// are left alone. Afterwards every consumer continues in the log where its store ends, so start the services and run `dp verify`.
/// If interrupted, run it again before you start services. A backup with a damaged file is never restored.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 restored, or the dry run found nothing against it; 1 it cannot be restored; 2 services still run, or \
    a server or the disk, or wrong usage\n\n\
    Examples:\n  dp backup restore 20261127T120000Z\n  dp stop && dp backup restore 20261127T120000Z --yes && dp start\n  \
    dp backup restore before-upgrade --folder /mnt/backups --store postgres --store redis --yes"
)]
pub struct Args {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    stores: StoreArgs,
    /// Restore although the log no longer has what follows the backup: these messages are lost for the restored stores
    #[arg(long)]
    accept_loss: bool,
}

/// Runs `dp backup restore`; without `yes` it is a dry run.
///
/// # Errors
/// The backup does not exist, services still run, a server or the disk.
pub async fn run(at: &Place, connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let backup = place(&args.folder.path(at)?, &args.name)?;
    let plan = Plan::make(connection, &backup, &args.stores.stores()).await?;
    let is_possible = plan.is_possible(args.accept_loss);
    if !yes || !is_possible {
        let shown = serde_json::json!({ "dry_run": true, "possible": is_possible, "plan": plan });
        print_either(connection.json, &shown, || plan_text(&plan, args, is_possible))?;
        return Ok(found(!is_possible));
    }
    let restored = carry_out(connection, &plan, args.accept_loss).await?;
    let shown = serde_json::json!({ "dry_run": false, "plan": plan, "restored": restored });
    print_either(connection.json, &shown, || restored_text(connection, &plan, &restored))?;
    Ok(ExitCode::SUCCESS)
}

fn plan_text(plan: &Plan, args: &Args, is_possible: bool) -> String {
    let tables = plan
        .manifest
        .tables
        .iter()
        .filter(|table| plan.stores.contains(&table.store));
    let rows = tables.map(|table| {
        let read = plan.read_again.iter().find(|read| read.table == table.name);
        vec![
            table.store.name().to_owned(),
            table.name.clone(),
            count(table.rows),
            read.map_or_else(String::new, |read| count(read.messages.unsigned_abs())),
        ]
    });
    let headers = ["store", "table", "rows", "then from the log"];
    let mut text = vec![
        format!("backup {} of {}", plan.manifest.name, plan.manifest.created_at),
        table(&headers, 2, rows),
    ];
    if !plan.findings.is_empty() {
        text.push(findings_text(&plan.findings));
    }
    text.push(match (is_possible, plan.findings.is_empty()) {
        (false, _) if plan.is_possible(true) => {
            "refused: messages that follow the backup are gone. A newer backup loses less; --accept-loss restores this one".to_owned()
        }
        (false, _) => "refused: nothing was changed".to_owned(),
        (true, is_clean) => {
            let loss = if is_clean { "" } else { " and accept the loss" };
            let stop = match plan.running.first() {
                Some(active) => format!("services still run ({active}): first {}\n", how_to_stop(&plan.services())),
                None => String::new(),
            };
            let accepted = if args.accept_loss { " --accept-loss" } else { "" };
            format!("{stop}nothing was changed; the same command with --yes{accepted} would replace these stores{loss}")
        }
    });
    text.join("\n")
}

fn restored_text(connection: &Connection, plan: &Plan, restored: &Restored) -> String {
    let rows = restored
        .tables
        .iter()
        .map(|(name, rows)| vec![name.clone(), count(*rows)]);
    let mut text = vec![table(&["table", "rows restored"], 1, rows)];
    text.extend(restored.redis.map(|redis| {
        format!(
            "Redis: {} keys removed, {} prices filled from PostgreSQL, all equal",
            count(redis.removed),
            count(redis.prices)
        )
    }));
    text.extend(restored.accepted.iter().map(|gap| {
        format!(
            "lost: {}[{}] offsets {} to {} for {}",
            gap.topic,
            gap.partition,
            gap.from_offset,
            gap.to_offset - 1,
            gap.consumer_group
        )
    }));
    let is_replaced = plan
        .findings
        .iter()
        .any(|finding| finding.kind == ops::backup::examine::Kind::Replaced);
    let next = match is_replaced {
        true => {
            let reader = Reader {
                service: String::new(),
                generation: connection.names.generation().to_owned(),
            };
            format!(
                "readers have the rows; the services cannot continue on another log: build the next generation with `{}`",
                reader.generation_command()
            )
        }
        false => format!(
            "now start the services (`dp start {}`), then compare: `dp verify --wait 300`",
            plan.services().join(" ")
        ),
    };
    text.push(next);
    text.join("\n")
}
