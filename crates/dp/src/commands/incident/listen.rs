//! `dp incident listen`: a webhook of Alertmanager that collects a bundle when a critical alert fires.
//!
//! Invariant: at most one bundle is collected at a time, and the folder keeps at most so many of them; other files in it are not touched.
//! Failure: a bundle that cannot be written is logged on stderr, and the next alert tries again.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ops::connection::Connection;
use ops::incident::call::{Answer, Call};
use ops::place::Place;
use ops::present::{duration, print_json_line, print_line};
use serde_json::{Value, json};
use service::http::hook::hook;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::collecting::{Collecting, PREFIX, SUFFIX, name};

/// The route that Alertmanager posts to.
const ROUTE: &str = "/alerts";

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
    /// Shortest time between the beginnings of two bundles
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    pause: Duration,
    /// Logs and slow queries of this length of time
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    since: Duration,
    /// Number of bundles to keep; older ones are removed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
}

/// Runs `dp incident listen`.
///
/// # Errors
/// The address is in use, or the folder does not exist.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<()> {
    fs::read_dir(&args.dir_out).with_context(|| {
        format!(
            "read {}: name an existing folder with --dir-out",
            args.dir_out.display()
        )
    })?;
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("listen on {}: name another address with --listen", args.listen))?;
    let address = listener.local_addr().context("read the own address")?;
    let (sender, called) = mpsc::channel(1);
    let gate = Gate {
        last: Arc::default(),
        pause: args.pause,
        sender,
    };
    eprintln!("listening on http://{address}{ROUTE}");
    let serving = hook(listener, ROUTE, move |body| gate.take(body));
    tokio::select! {
        served = serving => served.context("listen"),
        () = collecting(place, connection, args, called) => Ok(()),
    }
}

/// Lets notifications pass that call for a bundle.
#[derive(Clone)]
struct Gate {
    /// When the last bundle was begun.
    last: Arc<parking_lot::Mutex<Option<Instant>>>,
    pause: Duration,
    sender: Sender<Vec<String>>,
}

impl Gate {
    /// Status and body of the answer to this notification.
    fn take(&self, body: &[u8]) -> (u16, Value) {
        let call = match Call::read(body) {
            Ok(call) => call,
            Err(problem) => return (400, json!({ "error": problem })),
        };
        let mut last = self.last.lock();
        match call.answer(last.map(|last| last.elapsed()), self.pause) {
            Answer::Ignore(reason) => (200, json!({ "ignored": reason })),
            Answer::Collect(alerts) => match self.sender.try_send(alerts.clone()) {
                Ok(()) => {
                    *last = Some(Instant::now());
                    (202, json!({ "collecting": alerts }))
                }
                Err(_) => (200, json!({ "ignored": "a bundle is being collected" })),
            },
        }
    }
}

/// Collects one bundle after the other.
async fn collecting(place: &Place, connection: &Connection, args: &Args, mut called: Receiver<Vec<String>>) {
    let collecting = Collecting::of(place, connection);
    while let Some(alerts) = called.recv().await {
        let now = jiff::Timestamp::now();
        let since = now.checked_sub(args.since).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let collected = collecting.bundle(since, &alerts, args.dir_out.join(name(now))).await;
        let reported = collected.and_then(|bundle| {
            remove_old(&args.dir_out, args.keep as usize)?;
            match connection.json {
                true => print_json_line(&bundle),
                false => print_line(&format!("{} for {}", bundle.file.display(), alerts.join(", "))),
            }
        });
        if let Err(error) = reported {
            eprintln!("error: {error:#}");
        }
    }
}

/// Removes the oldest bundles.
fn remove_old(dir: &Path, keep: usize) -> anyhow::Result<()> {
    let is_bundle = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PREFIX) && name.ends_with(SUFFIX)
    };
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut bundles: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_bundle).collect();
    // Their names sort by time.
    bundles.sort();
    for old in bundles.iter().take(bundles.len().saturating_sub(keep)) {
        fs::remove_file(old).with_context(|| format!("remove {}", old.display()))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_bundles_are_kept_and_other_files_too() {
        let dir = std::env::temp_dir().join(format!("dp-bundles-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in [
            "incident-20261001T000000Z.tar.gz",
            "incident-20261003T000000Z.tar.gz",
            "incident-20261002T000000Z.tar.gz",
            "notes.txt",
        ] {
            fs::write(dir.join(name), "").unwrap();
        }
        remove_old(&dir, 2).unwrap();
        let mut left: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            left,
            [
                "incident-20261002T000000Z.tar.gz",
                "incident-20261003T000000Z.tar.gz",
                "notes.txt"
            ]
        );
    }

    #[tokio::test]
    async fn while_a_bundle_is_wanted_another_call_is_ignored() {
        let (sender, mut called) = mpsc::channel(1);
        let gate = Gate {
            last: Arc::default(),
            pause: Duration::ZERO,
            sender,
        };
        let body = json!({
            "status": "firing",
            "alerts": [{ "status": "firing", "labels": { "alertname": "RedisDown", "severity": "critical" } }],
        });
        let body = body.to_string();
        assert_eq!(gate.take(body.as_bytes()).0, 202);
        assert_eq!(gate.take(body.as_bytes()).0, 200);
        assert_eq!(called.recv().await.unwrap(), ["RedisDown"]);
        assert_eq!(gate.take(b"{}").0, 400);
    }
}
