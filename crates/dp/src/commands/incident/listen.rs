//! `dp incident listen`: a webhook of Alertmanager that collects a bundle when a critical alert fires.
//!
//! Role: arguments and printing; [`ops::incident::listen`] listens and collects.
//! Failure: a bundle that cannot be written is logged on stderr, and the next alert tries again.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use ops::connection::Connection;
use ops::incident::Bundle;
use ops::incident::collecting::{Collecting, probe};
use ops::incident::listen::{Orders, ROUTE, listen};
use ops::place::Place;
use ops::present::{duration, print_json_line, print_line};

/// Wait for notifications of Alertmanager, and collect a bundle when a critical alert fires
///
/// Give Alertmanager a receiver with `webhook_configs: [{url: "http://127.0.0.1:9097/alerts"}]` and a route to it for `severity="critical"` with
/// `continue: true` (docs/monitoring.md). Notifications of resolved or less severe alerts are answered and ignored, and so are those within --pause
/// of the last bundle: one incident fires many alerts. It runs until Ctrl-C or SIGTERM, and prints one line for each bundle.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp incident listen --dir-out /var/lib/incidents\n  \
    dp incident listen --listen 0.0.0.0:9097 --pause 1h --keep 5")]
pub struct Args {
    /// Address to listen on. Anyone who can reach it can trigger a collection
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9097")]
    listen: SocketAddr,
    /// Folder of the bundles [default: this folder]
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    dir_out: PathBuf,
    /// Shortest time between the beginnings of two bundles; one that could not be written does not count
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pause: Duration,
    /// Logs and slow queries of this length of time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    since: Duration,
    /// Number of bundles to keep; the oldest is removed before a new one is collected
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
}

/// Runs `dp incident listen`.
///
/// # Errors
/// The address is in use, or the folder takes no file.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<()> {
    probe(&args.dir_out).context(
        "no bundle could be written: create the folder and let this user write to it, or name another with --dir-out",
    )?;
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("listen on {}: name another address with --listen", args.listen))?;
    let address = listener.local_addr().context("read the own address")?;
    eprintln!("listening on http://{address}{ROUTE}");
    let orders = Orders {
        dir: args.dir_out.clone(),
        pause: args.pause,
        since: args.since,
        keep: args.keep as usize,
    };
    let collecting = Collecting::of(place, connection);
    listen(&collecting, listener, &orders, |collected| {
        if let Err(error) = collected.and_then(|bundle| print(connection.json, &bundle)) {
            eprintln!("error: {error:#}");
        }
    })
    .await
}

fn print(json: bool, bundle: &Bundle) -> anyhow::Result<()> {
    match json {
        true => print_json_line(bundle),
        false => print_line(&format!(
            "{} for {}",
            bundle.file.display(),
            bundle.manifest.alerts.join(", ")
        )),
    }
}
