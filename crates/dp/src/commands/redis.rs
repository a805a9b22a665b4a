//! `dp redis`: the keys that Redis holds, and its memory. Reads only.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::inspect::redis::{KeyGroup, Memory, keys, memory};
use ops::migrations::stores;
use ops::present::{bytes, found, print_either, printable, table};

use crate::cells::count;

/// Look into Redis: keys by kind and tenant, memory
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 something was found; 2 Redis is unavailable, or wrong usage\n\n\
    Examples:\n  dp redis keys\n  dp redis keys --pattern 'ratelimit:*'\n  dp redis memory"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Keys(KeysArgs),
    /// Show how much memory Redis uses, its limit, and how many keys it has removed
    ///
    /// One line for each master. Exit code 1 if one uses 80 % of its limit, or has removed keys for lack of memory.
    #[command(
        after_help = "Examples:\n  dp redis memory\n  dp redis memory --json | jq '.[] | {used_bytes, evicted_keys}'"
    )]
    Memory,
}

/// Show how many keys of each kind Redis holds
///
/// Uses SCAN, which does not hold up other clients, unlike KEYS. Only keys of the generation in effect are counted.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp redis keys\n  dp redis keys --pattern 'served:latest_price:acme:*'\n  \
    dp redis keys --json | jq '.[] | {kind, tenant, keys}'"
)]
struct KeysArgs {
    /// Count only keys that match, with * and ? as in Redis
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pattern: String,
}

/// Runs `dp redis`.
///
/// # Errors
/// Redis does not answer.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let redis = stores(connection)?.redis;
    match &args.command {
        Command::Keys(args) => {
            let groups = keys(&redis, &args.pattern).await?;
            print_either(connection.json, &groups, || keys_text(&groups))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Memory => {
            let nodes = memory(&redis).await?;
            print_either(connection.json, &nodes, || memory_text(&nodes))?;
            Ok(found(
                nodes.iter().any(|node| node.is_near_limit() || node.evicted_keys > 0),
            ))
        }
    }
}

fn memory_text(nodes: &[Memory]) -> String {
    let rows = nodes.iter().map(|node| {
        let limit = if node.max_bytes == 0 {
            "none".to_owned()
        } else {
            bytes(node.max_bytes)
        };
        vec![
            printable(&node.node),
            printable(&node.policy),
            bytes(node.used_bytes),
            bytes(node.peak_bytes),
            limit,
            count(node.evicted_keys),
            count(node.clients),
        ]
    });
    table(
        &["server", "at the limit", "used", "most", "limit", "removed", "clients"],
        2,
        rows,
    )
}

fn keys_text(groups: &[KeyGroup]) -> String {
    if groups.is_empty() {
        return "there is no such key".to_owned();
    }
    let rows = groups.iter().map(|group| {
        vec![
            printable(&group.kind),
            printable(&group.tenant),
            printable(&group.example),
            count(group.keys),
        ]
    });
    table(&["kind", "tenant", "example", "keys"], 3, rows)
}
