//! `dp postgres`: sessions, pools, locks, statements, indexes, sizes, and the end of sessions. Only the last one changes something.

mod sessions;
mod terminate;

use std::process::ExitCode;
use std::time::Duration;

use ops::connection::Connection;
use ops::inspect::postgres::{
    Activity, Blocked, Index, Pool, TableSize, activity, blocked, indexes, long_running, pools, sizes,
};
use ops::inspect::statements::{Statement, statements};
use ops::migrations::stores;
use ops::present::{bytes, duration, found, milliseconds, print_either, printable, table};

use crate::cells::{count, shortened};
use sessions::{SHOWN_CHARACTERS, sessions_text};

/// Look into PostgreSQL: sessions, pools, locks, statements, indexes, sizes
///
/// Only terminate changes something. A role that is not a superuser sees no statements of other roles.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 something was found; 2 PostgreSQL is unavailable, or wrong usage\n\n\
    Examples:\n  dp postgres activity\n  dp postgres pool\n  dp postgres locks\n  dp postgres long-running --over 5m\n  \
    dp postgres statements\n  dp postgres indexes --unused\n  dp postgres sizes\n  dp postgres terminate --idle-in-transaction 5m --dry-run"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether the command ends sessions.
    pub fn writes(&self) -> bool {
        matches!(&self.command, Command::Terminate(args) if !args.dry_run)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the sessions of the database, and how many connections are used
    ///
    /// Exit code 1 if more than 80 % of max_connections are used.
    #[command(after_help = "Examples:\n  dp postgres activity\n  \
        dp postgres activity --json | jq '{connections, max_connections}'")]
    Activity,
    /// Show how many connections each program uses, against the server's limit
    ///
    /// Each replica of a service opens up to DATA_PROC_DB_POOL_SIZE connections. Exit code 1 if more than 80 % of max_connections are
    /// used.
    #[command(
        after_help = "Examples:\n  dp postgres pool\n  dp postgres pool --json | jq '.pools[] | {application, connections}'"
    )]
    Pool,
    /// Show sessions that wait for a lock, and the sessions that hold it
    ///
    /// Exit code 1 if one waits. `dp postgres terminate PID` ends the session that holds the lock.
    #[command(
        visible_alias = "blocking",
        after_help = "Examples:\n  dp postgres locks\n  dp postgres locks --json | jq '.[].blocked_by'"
    )]
    Locks,
    LongRunning(LongRunningArgs),
    Statements(StatementsArgs),
    Indexes(IndexesArgs),
    /// Show the size of each table with its indexes
    #[command(
        after_help = "Examples:\n  dp postgres sizes\n  dp postgres sizes --json | jq '.[] | {table, total_bytes}'"
    )]
    Sizes,
    Terminate(terminate::Args),
}

/// Show transactions that have been open for a long time
///
/// Exit code 1 if there is one. Idle ones are shown too: they hold their locks, and keep VACUUM from removing rows.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp postgres long-running\n  dp postgres long-running --over 30s --json")]
struct LongRunningArgs {
    /// Show transactions that have been open at least this long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    over: Duration,
}

/// Show the statements that take the most time in total, by `pg_stat_statements`
///
/// Calls, total and mean time to execute, and rows, since the statistics were reset; constants are shown as $1, so that all calls of a
/// kind count together. Exit code 2 if the server does not count statements; the message says how to switch it on.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp postgres statements\n  dp postgres statements --limit 3\n  \
    dp postgres statements --json | jq '.[] | {query, calls, mean_ms}'"
)]
struct StatementsArgs {
    /// How many to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
}

/// Show each index with its uses and its size
///
/// An index with fewer than 100 uses since the statistics were reset, and that enforces no uniqueness, counts as unused. Exit code 1
/// if --unused finds one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp postgres indexes\n  dp postgres indexes --unused")]
struct IndexesArgs {
    /// Show only unused ones
    #[arg(long)]
    unused: bool,
}

/// Runs `dp postgres`.
///
/// # Errors
/// PostgreSQL does not answer, or the user does not confirm.
pub async fn run(connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    let postgres = stores(connection)?.postgres;
    let json = connection.json;
    let something = match &args.command {
        Command::Activity => {
            let activity = activity(&postgres).await?;
            print_either(json, &activity, || activity_text(&activity))?;
            activity.is_crowded()
        }
        Command::Pool => {
            let activity = activity(&postgres).await?;
            let (pools, size) = (pools(&activity.sessions), connection.settings.db_pool_size);
            let shown = serde_json::json!({
                "pools": pools, "connections": activity.connections, "max_connections": activity.max_connections, "pool_size": size,
            });
            print_either(json, &shown, || pool_text(&pools, &activity, size))?;
            activity.is_crowded()
        }
        Command::Locks => {
            let blocked = blocked(&postgres).await?;
            print_either(json, &blocked, || locks_text(&blocked))?;
            !blocked.is_empty()
        }
        Command::LongRunning(args) => {
            let sessions = long_running(&postgres, args.over).await?;
            print_either(json, &sessions, || {
                sessions_text(&sessions, "no transaction has been open that long")
            })?;
            !sessions.is_empty()
        }
        Command::Statements(args) => {
            let statements = statements(&postgres, args.limit).await?;
            print_either(json, &statements, || statements_text(&statements))?;
            false
        }
        Command::Indexes(args) => {
            let mut indexes = indexes(&postgres).await?;
            indexes.retain(|index| !args.unused || index.is_unused());
            print_either(json, &indexes, || indexes_text(&indexes))?;
            args.unused && !indexes.is_empty()
        }
        Command::Sizes => {
            let sizes = sizes(&postgres).await?;
            print_either(json, &sizes, || sizes_text(&sizes))?;
            false
        }
        Command::Terminate(args) => return terminate::run(connection, &postgres, args, yes).await,
    };
    Ok(found(something))
}

fn activity_text(activity: &Activity) -> String {
    format!(
        "{}\n{} of {} connections are used",
        sessions_text(&activity.sessions, "no other session uses this database"),
        activity.connections,
        activity.max_connections
    )
}

fn pool_text(pools: &[Pool], activity: &Activity, size: usize) -> String {
    let rows = pools.iter().map(|pool| {
        vec![
            printable(&pool.application),
            printable(&pool.user),
            count(pool.active),
            count(pool.in_transaction),
            count(pool.idle),
            count(pool.connections),
        ]
    });
    format!(
        "{}\n{} of {} connections of the server are used; DATA_PROC_DB_POOL_SIZE is {size} for each replica",
        table(
            &[
                "application",
                "user",
                "active",
                "idle in transaction",
                "idle",
                "connections"
            ],
            2,
            rows
        ),
        activity.connections,
        activity.max_connections
    )
}

fn locks_text(blocked: &[Blocked]) -> String {
    if blocked.is_empty() {
        return "no session waits for a lock".to_owned();
    }
    let rows = blocked.iter().map(|wait| {
        let holder = format!("{} ({})", printable(&wait.blocker_user), wait.blocker_state);
        vec![
            shortened(&wait.query, SHOWN_CHARACTERS),
            holder,
            shortened(&wait.blocker_query, SHOWN_CHARACTERS),
            wait.pid.to_string(),
            milliseconds(wait.waiting_ms),
            wait.blocked_by.to_string(),
            milliseconds(wait.blocker_ms),
        ]
    });
    let headers = [
        "statement that waits",
        "holder",
        "statement of the holder",
        "pid",
        "waits for",
        "holder's pid",
        "holds for",
    ];
    table(&headers, 3, rows)
}

fn statements_text(statements: &[Statement]) -> String {
    if statements.is_empty() {
        return "no statement has been counted yet".to_owned();
    }
    let rows = statements.iter().map(|statement| {
        vec![
            shortened(&statement.query, SHOWN_CHARACTERS),
            printable(&statement.user),
            count(statement.calls),
            milliseconds(statement.total_ms.round() as i64),
            format!("{:.2} ms", statement.mean_ms),
            count(statement.rows),
            format!("{:.1} %", statement.percent),
        ]
    });
    let headers = ["statement", "user", "calls", "total", "mean", "rows", "share of time"];
    table(&headers, 2, rows)
}

fn indexes_text(indexes: &[Index]) -> String {
    if indexes.is_empty() {
        return "there is no such index".to_owned();
    }
    let rows = indexes.iter().map(|index| {
        vec![
            index.table.clone(),
            index.index.clone(),
            if index.is_unused() { "unused" } else { "" }.to_owned(),
            count(index.scans),
            bytes(index.bytes),
        ]
    });
    table(&["table", "index", "", "uses", "size"], 3, rows)
}

fn sizes_text(sizes: &[TableSize]) -> String {
    let rows = sizes.iter().map(|size| {
        vec![
            size.table.clone(),
            count(size.live_rows),
            count(size.dead_rows),
            bytes(size.table_bytes),
            bytes(size.index_bytes),
            bytes(size.total_bytes),
        ]
    });
    table(&["table", "rows", "dead rows", "table", "indexes", "total"], 1, rows)
}
