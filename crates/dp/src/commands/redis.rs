//! `dp redis`: the keys that Redis holds. Reads only.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::inspect::redis::{KeyGroup, keys};
use ops::migrations::stores;
use ops::present::{print_either, printable, table};

use crate::cells::count;

/// Look into Redis: keys by kind and tenant
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 done; 2 Redis is unavailable, or wrong usage\n\n\
    Examples:\n  dp redis keys\n  dp redis keys --pattern 'ratelimit:*'")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Keys(KeysArgs),
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
    let Command::Keys(args) = &args.command;
    let groups = keys(&redis, &args.pattern).await?;
    print_either(connection.json, &groups, || text(&groups))?;
    Ok(ExitCode::SUCCESS)
}

fn text(groups: &[KeyGroup]) -> String {
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
