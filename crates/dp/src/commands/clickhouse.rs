//! `dp clickhouse`: slow and running queries, parts, disks, and what expires. Reads only.

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::Connection;
use ops::inspect::clickhouse::{
    Disk, LoggedQuery, RunningQuery, TableParts, disks, has_query_log, parts, processes, slow,
};
use ops::migrations::stores;
use ops::present::{bytes, duration, found, milliseconds, print_either, printable, table};
use ops::retention;

use crate::cells::{count, shortened};
use crate::retention_text::by_partition;

/// Characters of a statement in a table; `--json` shows more.
const SHOWN_CHARACTERS: usize = 90;

/// Look into ClickHouse: slow and running queries, parts of tables, disks, retention
///
/// All commands read; none changes data or settings.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 something was found; 2 ClickHouse is unavailable, or wrong usage\n\n\
    Examples:\n  dp clickhouse slow --over 1s\n  dp clickhouse parts\n  dp clickhouse processes\n  dp clickhouse disk\n  \
    dp clickhouse retention"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Slow(SlowArgs),
    Parts(PartsArgs),
    Processes(ProcessesArgs),
    Disk(DiskArgs),
    /// Show how long each table keeps its rows, with rows and bytes by partition, and what has expired
    ///
    /// The tables of `dp retention show`, without Kafka. Exit code 1 if rows have expired and are still there: ClickHouse removes them
    /// in its merges, some hours later, and `dp retention run --yes` lets it do that now. The rule itself is the TTL of the table.
    #[command(after_help = "Examples:\n  dp clickhouse retention\n  \
        dp clickhouse retention --json | jq '.[] | {name, ttl}'\n  dp clickhouse retention || dp retention run")]
    Retention,
}

/// Show the slowest queries of the query log
///
/// Exit code 1 if a query took at least --over.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp clickhouse slow\n  dp clickhouse slow --over 200ms --since 10m --limit 5\n  \
    dp clickhouse slow --json | jq -r '.[0].query'"
)]
struct SlowArgs {
    /// Show queries that took at least this long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    over: Duration,
    /// Show queries that ended within this time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    since: Duration,
    /// Number of queries to show
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
}

/// Show the parts of each table
///
/// Exit code 1 if a partition of a table has more parts than --over. Many parts mean that merges do not keep up with the inserts:
/// ClickHouse slows inserts down at 1,000 parts, and refuses them at 3,000.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp clickhouse parts\n  dp clickhouse parts --over 100\n  \
    dp clickhouse parts --json | jq '.[] | {table, rows}'"
)]
struct PartsArgs {
    /// Report a partition that has more parts
    #[arg(long, value_name = "PARTS", default_value_t = 300)]
    over: u64,
}

/// Show the queries that run now, the longest first
///
/// Exit code 1 if one has run for at least --over. To end one: KILL QUERY in ClickHouse's own client.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp clickhouse processes\n  dp clickhouse processes --over 10s --json")]
struct ProcessesArgs {
    /// Report a query that has run this long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    over: Duration,
}

/// Show the space of the disks that ClickHouse uses
///
/// Exit code 1 if a disk has less free space than --free-under.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp clickhouse disk\n  dp clickhouse disk --free-under 20")]
struct DiskArgs {
    /// Report a disk with less free space
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0)]
    free_under: f64,
}

/// Runs `dp clickhouse`.
///
/// # Errors
/// ClickHouse does not answer, or does not keep what is asked for.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let clickhouse = stores(connection)?.clickhouse;
    let json = connection.json;
    let something = match &args.command {
        Command::Slow(args) => {
            let queries = slow(&clickhouse, args.over, args.since, args.limit).await?;
            let is_logged = !queries.is_empty() || has_query_log(&clickhouse).await?;
            print_either(json, &queries, || slow_table(&queries, is_logged))?;
            !queries.is_empty()
        }
        Command::Parts(args) => {
            let tables = parts(&clickhouse).await?;
            print_either(json, &tables, || parts_table(&tables))?;
            tables.iter().any(|table| table.most_in_a_partition > args.over)
        }
        Command::Processes(args) => {
            let running = processes(&clickhouse).await?;
            print_either(json, &running, || processes_table(&running))?;
            let limit = args.over.as_secs_f64();
            running.iter().any(|query| query.seconds >= limit)
        }
        Command::Disk(args) => {
            let disks = disks(&clickhouse).await?;
            print_either(json, &disks, || disk_table(&disks))?;
            disks.iter().any(|disk| disk.free_percent() < args.free_under)
        }
        Command::Retention => {
            let tables = retention::tables(connection, &clickhouse).await?;
            print_either(json, &tables, || retention_text(&tables))?;
            tables.iter().any(|table| table.expired_rows() > 0)
        }
    };
    Ok(found(something))
}

fn slow_table(queries: &[LoggedQuery], is_logged: bool) -> String {
    if !is_logged {
        return "no query took that long: no statement is logged yet; ClickHouse creates system.query_log within 8 s after the first one, if its \
                configuration has a <query_log> section"
            .to_owned();
    }
    if queries.is_empty() {
        return "no query took that long".to_owned();
    }
    let rows = queries.iter().map(|query| {
        vec![
            query.started_at.clone(),
            printable(&query.user),
            statement(query),
            time(query.milliseconds),
            count(query.rows_read),
            bytes(query.memory_bytes),
        ]
    });
    table(
        &["started (UTC)", "user", "query", "took", "rows read", "memory"],
        3,
        rows,
    )
}

fn parts_table(tables: &[TableParts]) -> String {
    let rows = tables.iter().map(|row| {
        vec![
            row.table.clone(),
            row.newest_part_at.clone(),
            count(row.parts),
            count(row.partitions),
            count(row.most_in_a_partition),
            count(row.rows),
            bytes(row.bytes_on_disk),
        ]
    });
    let headers = [
        "table",
        "newest part (UTC)",
        "parts",
        "partitions",
        "most in one",
        "rows",
        "on disk",
    ];
    table(&headers, 2, rows)
}

fn processes_table(running: &[RunningQuery]) -> String {
    if running.is_empty() {
        return "no query runs".to_owned();
    }
    let rows = running.iter().map(|query| {
        vec![
            query.query_id.clone(),
            printable(&query.user),
            shortened(&query.query, SHOWN_CHARACTERS),
            milliseconds((query.seconds * 1e3) as i64),
            count(query.rows_read),
            bytes(query.memory_bytes),
        ]
    });
    table(&["id", "user", "query", "for", "rows read", "memory"], 3, rows)
}

fn disk_table(disks: &[Disk]) -> String {
    let rows = disks.iter().map(|disk| {
        vec![
            disk.name.clone(),
            disk.path.clone(),
            bytes(disk.free_bytes),
            bytes(disk.total_bytes),
            format!("{:.1} %", disk.free_percent()),
        ]
    });
    table(&["disk", "path", "free", "total", "free"], 2, rows)
}

fn retention_text(tables: &[retention::Table]) -> String {
    let expired: u64 = tables.iter().map(retention::Table::expired_rows).sum();
    let next = match expired {
        0 => "no row has expired".to_owned(),
        expired => format!(
            "{} row(s) have expired and are still there; `dp retention run --yes` removes them now",
            count(expired)
        ),
    };
    format!("{}\n{next}", by_partition(tables))
}

fn time(millis: u64) -> String {
    milliseconds(i64::try_from(millis).unwrap_or(i64::MAX))
}

fn statement(query: &LoggedQuery) -> String {
    let shown = shortened(&query.query, SHOWN_CHARACTERS);
    match query.error.as_str() {
        "" => shown,
        error => format!("{shown}\n  {}", printable(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_has_logged_no_statement_yet_has_no_slow_one_and_says_so() {
        assert_eq!(slow_table(&[], true), "no query took that long");
        let unlogged = slow_table(&[], false);
        assert!(
            unlogged.starts_with("no query took that long: no statement is logged yet"),
            "{unlogged}"
        );
    }
}
