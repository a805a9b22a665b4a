//! `dp incident`: one file with everything that a later analysis needs, taken by hand or when a critical alert fires.

mod listen;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use ops::connection::Connection;
use ops::incident::Bundle;
use ops::incident::collecting::{Collecting, name};
use ops::place::Place;
use ops::present::{bytes, moment, print_either, printable};

/// Collect what an analysis of an incident needs, in one file without secrets
#[derive(Debug, clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Collect(CollectArgs),
    Listen(listen::Args),
}

/// Collect health, logs, metrics, lag, configuration, queries and sizes into one archive
///
/// The archive has manifest.json (files, times, sizes, errors); health, doctor, rates, alerts, configuration, versions, net, groups, topics,
/// positions, dlq; metrics and state of each service (/info, /stats); logs of each process of the local stack; queries and sizes of ClickHouse, PostgreSQL and Redis. What cannot
/// be read is a file NAME.error.txt with the reason. Secrets are replaced by ***: those of the configuration, of variables that are called PASSWORD,
/// SECRET or TOKEN, and the passwords of all addresses. Read the archive all the same before you give it to others: messages and queries contain
/// data. It changes nothing, and takes about 15 seconds.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the archive is written, whatever could not be read; 2 it could not be written\n\n\
    Examples:\n  dp incident collect\n  dp incident collect --since 6h --out /tmp/outage.tar.gz\n  \
    dp incident collect --json | jq '.manifest.files[] | select(.error)'"
)]
struct CollectArgs {
    /// The archive to write [default: incident-TIME.tar.gz in this folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Logs and slow queries from this time on, or of this length of time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = moment)]
    since: jiff::Timestamp,
}

/// Runs `dp incident`.
///
/// # Errors
/// The archive cannot be written, or the address is in use.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Collect(args) => {
            let out = args
                .out
                .clone()
                .unwrap_or_else(|| PathBuf::from(name(jiff::Timestamp::now())));
            // Before the collection, which takes its time.
            let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                bail!(
                    "there is no folder {} for the archive: create it, or give another --out",
                    folder.display()
                );
            }
            let bundle = Collecting::of(place, connection).bundle(args.since, &[], out).await?;
            print_either(connection.json, &bundle, || text(&bundle))?;
        }
        Command::Listen(args) => listen::run(place, connection, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(bundle: &Bundle) -> String {
    let files = &bundle.manifest.files;
    let mut text = String::new();
    for (listed, error) in files.iter().filter_map(|listed| Some((listed, listed.error.as_ref()?))) {
        text.push_str(&format!("not read: {}: {}\n", listed.part, printable(error)));
    }
    let failed = files.iter().filter(|listed| listed.error.is_some()).count();
    text.push_str(&format!(
        "{} parts, {failed} of them could not be read\n{} ({}); secrets are masked, data is not",
        files.len(),
        bundle.file.display(),
        bytes(bundle.bytes)
    ));
    text
}
