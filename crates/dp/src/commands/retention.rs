//! `dp retention`: how long data is kept, and the removal of what has expired.

use std::process::ExitCode;

use anyhow::Context as _;
use ops::connection::Connection;
use ops::migrations::stores;
use ops::present::{bytes, found, print_either, table};
use ops::retention::{Table, run as remove, survey, tables};

use crate::cells::count;
use crate::retention_text::{by_partition, by_topic};

/// Show how long topics and tables keep their data, and remove what has expired
///
/// Kafka removes messages by itself, and ClickHouse removes rows in its merges, some hours after they expire. `run` lets ClickHouse do
/// it now, for example when its disk fills. The rules themselves are in the settings of the topics and in the definitions of the tables.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing that has expired is left; 1 there is some; 2 a server is unavailable, or wrong usage\n\n\
    Examples:\n  dp retention show\n  dp retention run --dry-run\n  dp retention run --yes"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the retention of every topic and table, with rows and bytes by partition of each table
    #[command(after_help = "Examples:\n  dp retention show\n  \
        dp retention show --json | jq '.tables[] | {name, ttl}'")]
    Show,
    Run(RunArgs),
}

/// Remove the rows that have expired now; without --yes only show them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp retention run --dry-run\n  dp retention run --yes\n  dp retention run --table bars --yes"
)]
struct RunArgs {
    /// Only this table
    #[arg(long)]
    table: Option<String>,
    /// Only show what would be removed, which is also the default
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// Whether rows are removed.
    pub fn writes(&self, yes: bool) -> bool {
        matches!(&self.command, Command::Run(args) if yes && !args.dry_run)
    }
}

/// Runs `dp retention`; without `yes` nothing is removed.
///
/// # Errors
/// A server does not answer.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let clickhouse = stores(connection)?.clickhouse;
    let Command::Run(chosen) = &args.command else {
        let retention = survey(connection, &clickhouse).await?;
        print_either(connection.json, &retention, || {
            format!("{}\n{}", by_topic(&retention.topics), by_partition(&retention.tables))
        })?;
        return Ok(found(retention.tables.iter().any(|table| table.expired_rows() > 0)));
    };
    let mut before = tables(connection, &clickhouse).await?;
    if let Some(name) = &chosen.table {
        let known: Vec<String> = before.iter().map(|table| table.name.clone()).collect();
        before.retain(|table| table.name == *name);
        anyhow::ensure!(
            !before.is_empty(),
            "there is no table {name}; the tables are {}",
            known.join(", ")
        );
    }
    let executes = args.writes(yes);
    if executes {
        remove(&clickhouse, &before).await?;
    }
    let left = match executes {
        true => tables(connection, &clickhouse).await.context("count again")?,
        false => before.clone(),
    };
    let is_left = left
        .iter()
        .any(|table| before.iter().any(|one| one.name == table.name) && table.expired_rows() > 0);
    let json = serde_json::json!({ "executed": executes, "tables": before });
    print_either(connection.json, &json, || run_text(&before, executes))?;
    Ok(found(is_left))
}

fn run_text(tables: &[Table], executed: bool) -> String {
    let rows = tables.iter().flat_map(|one| {
        one.expired().map(|partition| {
            vec![
                one.name.clone(),
                partition.id.clone(),
                count(partition.expired_rows),
                bytes(partition.expired_bytes),
                count(partition.rows - partition.expired_rows),
            ]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return "nothing has expired".to_owned();
    }
    let verb = if executed { "removed" } else { "would be removed" };
    let note = if executed {
        ""
    } else {
        "\nnothing was changed; `dp retention run --yes` removes these rows"
    };
    format!(
        "{}{note}",
        table(&["table", "partition", verb, "size, about", "rows left"], 2, rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_expired_is_said_so() {
        assert_eq!(run_text(&[], false), "nothing has expired");
    }
}
