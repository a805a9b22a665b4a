//! `dp redis`: the keys that Redis holds, its memory, and the sentinels that may watch it. Reads only.

use std::process::ExitCode;

use ops::connection::Connection;
use ops::inspect::redis::{KeyGroup, Memory, keys, memory};
use ops::inspect::sentinel::{Master, Replica, masters};
use ops::migrations::stores;
use ops::present::{bytes, found, print_either, printable, table};
use service::settings::host_and_port;

use crate::cells::count;

/// Look into Redis: keys by kind and tenant, memory, sentinels
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong; 1 something was found; 2 Redis is unavailable, or wrong usage\n\n\
    Examples:\n  dp redis keys\n  dp redis keys --pattern 'served:latest_price:*'\n  dp redis memory\n  \
    dp redis sentinel --address redis-1:26379"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

impl Args {
    /// Whether it asks Redis, and not a sentinel.
    pub fn asks_redis(&self) -> bool {
        !matches!(self.command, Command::Sentinel(_))
    }
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
    Sentinel(SentinelArgs),
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

/// Ask a sentinel for the masters that it watches: replicas, quorum, flags
///
/// Exit code 1 if a master or replica is not reached, if a replica has no connection to its master, or if the sentinels that answer
/// could not agree on a failover; also if the sentinel watches no master. The services of the pipeline know no sentinel: they connect to
/// the one address of DATA_PROC_REDIS_URL, which must lead to the master, also after a failover (a proxy, or a name that is moved).
/// A sentinel that requires a login or TLS cannot be asked: use redis-cli.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp redis sentinel\n  dp redis sentinel --address redis-1:26379\n  \
    dp redis sentinel --json | jq '.[] | {name, address, quorum, problems}'"
)]
struct SentinelArgs {
    /// Address of the sentinel
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:26379", value_parser = address)]
    address: (String, u16),
}

fn address(text: &str) -> Result<(String, u16), String> {
    let parts = host_and_port(text).map(|(host, port)| (host.to_owned(), port));
    parts.ok_or_else(|| {
        "expected HOST:PORT, such as redis-1:26379 or [::1]:26379, with a port from 1 to 65535".to_owned()
    })
}

/// Runs `dp redis`.
///
/// # Errors
/// Redis or the sentinel does not answer.
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
        Command::Sentinel(args) => {
            let (host, port) = &args.address;
            let watched = masters(connection, host, *port).await?;
            print_either(connection.json, &watched, || sentinel_text(&watched))?;
            Ok(found(
                watched.is_empty() || watched.iter().any(|master| !master.problems.is_empty()),
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

fn sentinel_text(watched: &[Master]) -> String {
    if watched.is_empty() {
        return "the sentinel watches no master: its configuration has no line `sentinel monitor NAME HOST PORT QUORUM`".to_owned();
    }
    let rows = watched.iter().flat_map(|master| {
        let own = row(&master.name, &master.address, "master", &master.flags, "");
        let of = |one: &Replica| row(&master.name, &one.address, "replica", &one.flags, &one.link);
        std::iter::once(own).chain(master.replicas.iter().map(of).collect::<Vec<_>>())
    });
    let mut text = table(&["master", "server", "role", "flags", "link"], 5, rows);
    for master in watched {
        let (name, quorum, sentinels) = (printable(&master.name), master.quorum, master.sentinels);
        text.push_str(&format!(
            "\n{name}: {sentinels} sentinel(s), {quorum} must agree on a failover"
        ));
        for problem in &master.problems {
            text.push_str(&format!("\n  {}", printable(problem)));
        }
    }
    let next = "the services know no sentinel: DATA_PROC_REDIS_URL (`dp config env`) must lead to the master";
    format!("{text}\n{next}")
}

fn row(master: &str, address: &str, role: &str, flags: &[String], link: &str) -> Vec<String> {
    Vec::from([master, address, role, flags.join(", ").as_str(), link].map(printable))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(address("redis-1:26379"), Ok(("redis-1".to_owned(), 26_379)));
        assert_eq!(address("[::1]:5"), Ok(("::1".to_owned(), 5)));
        for text in [
            "",
            "redis-1",
            ":26379",
            "redis-1:",
            "redis-1:70000",
            "redis://redis-1:1",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
