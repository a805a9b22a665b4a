//! `dp backup`: copies of the stores, listed, checked and restored.

mod args;
mod restore;

use std::process::ExitCode;

use ops::backup::create::{Order, create};
use ops::backup::examine::{here, sums};
use ops::backup::manifest::Manifest;
use ops::backup::{Listed, Store, list, place};
use ops::connection::Connection;
use ops::place::Place;
use ops::present::{bytes, found, milliseconds, print_either, table};
use ops::progress::waiting;
use service::clients::Dependency;

use crate::cells::count;
use args::{Folder, StoreArgs, findings_text};

/// Back up the stores while the pipeline runs, check backups, and restore them
///
/// A backup is a folder of compressed text files with their checksums in manifest.json. It has the rows and positions of ClickHouse
/// and the tables of PostgreSQL. Redis is a copy of PostgreSQL, so a restore fills it from there. Kafka is not copied: it is the
/// source that a restored store continues from, and `verify` says whether it still can.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 done, or nothing is wrong; 1 a backup is damaged or cannot be restored here; 2 a server or the disk, \
    or wrong usage\n\n\
    Examples:\n  dp backup create\n  dp backup list\n  dp backup verify 20261127T120000Z\n  dp backup restore 20261127T120000Z"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Verify(VerifyArgs),
    Restore(restore::Args),
}

impl Args {
    /// What the command leaves behind if it is interrupted.
    pub fn left_by(&self, yes: bool) -> &'static str {
        match &self.command {
            Command::Create(_) => "the unfinished copy has no manifest.json, so it is not a backup; remove its folder",
            Command::Restore(_) if yes => "run the same restore again before you start services",
            Command::List(_) | Command::Verify(_) | Command::Restore(_) => "nothing was changed",
        }
    }

    /// The stores that are copied, without which the command cannot begin. A restore asks its own.
    pub fn needed_servers(&self) -> Vec<Dependency> {
        let Command::Create(args) = &self.command else {
            return Vec::new();
        };
        let server = |store: Store| match store {
            Store::ClickHouse => Dependency::ClickHouse,
            Store::Postgres => Dependency::Postgres,
            Store::Redis => Dependency::Redis,
        };
        args.copied().into_iter().map(server).collect()
    }

    /// Whether the command needs Kafka.
    pub fn reads_kafka(&self) -> bool {
        !matches!(self.command, Command::List(_))
    }
}

/// Copy the stores; the pipeline may run
///
/// The copy of each store is of one moment: every row up to a position in the log, and this position. What follows is read from the
/// log after a restore. An interrupted copy has no manifest.json and is never taken for a backup.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp backup create\n  dp backup create --folder /mnt/backups --name before-upgrade\n  \
    dp backup create --store postgres --json | jq -r .name"
)]
struct CreateArgs {
    #[command(flatten)]
    folder: Folder,
    /// Name of the backup [default: the time, such as 20261127T120000Z]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    stores: StoreArgs,
}

impl CreateArgs {
    fn copied(&self) -> Vec<Store> {
        match self.stores.stores() {
            named if named.is_empty() => Store::ALL.to_vec(),
            named => named,
        }
    }
}

/// List the backups of a folder, the oldest first
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp backup list\n  dp backup list --folder /mnt/backups\n  \
    dp backup list --json | jq -r '.[] | select(.state == \"whole\") | .name'"
)]
struct ListArgs {
    #[command(flatten)]
    folder: Folder,
}

/// Check a backup: its files, and whether it can be restored here
///
/// Compares every file with its checksum, and every position with the log: are the topics the same, and do they still have what
/// follows? It changes nothing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 whole, and can be restored here; 1 damaged, or cannot; 2 Kafka is unavailable, or wrong usage\n\n\
    Examples:\n  dp backup verify 20261127T120000Z\n  dp backup verify before-upgrade --folder /mnt/backups --json"
)]
struct VerifyArgs {
    /// Name of the backup
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    folder: Folder,
}

/// Runs `dp backup`.
///
/// # Errors
/// A server, the disk, or a backup that does not exist.
pub async fn run(at: &Place, connection: &Connection, args: &Args, yes: bool) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Create(args) => create_one(at, connection, args).await,
        Command::List(args) => list_all(at, connection, args),
        Command::Verify(args) => verify(at, connection, args).await,
        Command::Restore(args) => restore::run(at, connection, args, yes).await,
    }
}

async fn create_one(at: &Place, connection: &Connection, args: &CreateArgs) -> anyhow::Result<ExitCode> {
    let name = args.name.clone().unwrap_or_else(default_name);
    let folder = args.folder.path(at)?;
    let order = Order {
        backup: place(&folder, &name)?,
        name,
        stores: args.copied(),
    };
    let manifest = create(connection, &order).await?;
    print_either(connection.json, &manifest, || {
        let rows = manifest.tables.iter().map(|table| {
            let size = table.files.iter().map(|file| file.bytes).sum();
            let store = table.store.name().to_owned();
            vec![store, table.name.clone(), count(table.rows), bytes(size)]
        });
        let seconds = manifest.finished_at.as_millisecond() - manifest.created_at.as_millisecond();
        format!(
            "{}\n{} in {}: {} rows, {}, {}{}",
            table(&["store", "table", "rows", "size"], 2, rows),
            manifest.name,
            folder.display(),
            count(manifest.rows()),
            bytes(manifest.bytes()),
            milliseconds(seconds),
            match manifest.redis_prices {
                Some(prices) => format!("\nRedis: {} prices, filled from PostgreSQL by a restore", count(prices)),
                None => String::new(),
            }
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The time, as it sorts.
fn default_name() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn list_all(at: &Place, connection: &Connection, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let folder = args.folder.path(at)?;
    let all = list(&folder)?;
    print_either(connection.json, &all, || match all.is_empty() {
        true => format!("{} has no backups; `dp backup create` makes one", folder.display()),
        false => listed_text(&all),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn listed_text(all: &[Listed]) -> String {
    let rows = all.iter().map(|one| {
        let stores: Vec<&str> = one.stores.iter().map(|store| store.name()).collect();
        let age = one
            .age_seconds
            .map_or_else(String::new, |seconds| milliseconds(seconds * 1_000));
        vec![
            one.name.clone(),
            one.state.to_owned(),
            match one.stores.len() == Store::ALL.len() {
                true => "all".to_owned(),
                false => stores.join(" "),
            },
            age,
            count(one.rows),
            bytes(one.bytes),
        ]
    });
    table(&["name", "state", "stores", "age", "rows", "size"], 3, rows)
}

async fn verify(at: &Place, connection: &Connection, args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let backup = place(&args.folder.path(at)?, &args.name)?;
    let manifest = Manifest::read(&backup)?;
    let mut findings = sums(&backup, &manifest, &manifest.stores).await?;
    let compared = here(connection, &manifest, &manifest.stores);
    findings.extend(waiting("reading the logs", compared).await?);
    let shown = serde_json::json!({ "name": manifest.name, "ok": findings.is_empty(), "findings": findings });
    print_either(connection.json, &shown, || match findings.is_empty() {
        true => format!(
            "{} is whole ({} files, {}), and the log has everything that follows it",
            manifest.name,
            count(manifest.files().count() as u64),
            bytes(manifest.bytes())
        ),
        false => findings_text(&findings),
    })?;
    Ok(found(!findings.is_empty()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_is_a_name() {
        let name = default_name();
        assert!(place(std::path::Path::new("/b"), &name).is_ok(), "{name}");
        assert_eq!(name.len(), "20261127T120000Z".len());
    }

    #[test]
    fn the_list_fits_80_columns() {
        let one = Listed {
            name: "20261127T120000Z".to_owned(),
            state: "whole",
            created_at: None,
            age_seconds: Some(86_000),
            generation: Some(String::new()),
            stores: Store::ALL.to_vec(),
            rows: 123_456,
            bytes: 12_345_678,
        };
        let text = listed_text(&[one]);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
