//! Collects a bundle when Alertmanager notifies of a critical alert.
//!
//! Invariant: at most one bundle is collected at a time, and the folder keeps at most so many of them. The oldest is removed before a new one
//! is collected, so that a full disk has room for it.
//! Failure: a bundle that cannot be written is reported, and the next alert tries again: the pause counts from bundles that exist.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use service::http::hook::hook;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Bundle;
use super::call::{Answer, Call};
use super::collecting::{Collecting, name, remove_old};

/// When the last bundle was begun; nothing if it could not be written.
type Begun = Arc<parking_lot::Mutex<Option<Instant>>>;

/// The route that Alertmanager posts to.
pub const ROUTE: &str = "/alerts";

/// Which bundles are collected, and where they stay.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Folder of the bundles.
    pub dir: PathBuf,
    /// Shortest time between the beginnings of two bundles.
    pub pause: Duration,
    /// Logs and slow queries of this length of time.
    pub since: Duration,
    /// Number of bundles to keep.
    pub keep: usize,
}

/// Collects bundles until it is interrupted; `report` gets each of them, or why it could not be written.
///
/// # Errors
/// The listener cannot be used.
pub async fn listen(
    collecting: &Collecting<'_>,
    listener: TcpListener,
    orders: &Orders,
    report: impl FnMut(anyhow::Result<Bundle>),
) -> anyhow::Result<()> {
    let (sender, called) = mpsc::channel(1);
    let begun = Begun::default();
    let gate = Gate {
        last: begun.clone(),
        pause: orders.pause,
        sender,
    };
    let serving = hook(listener, ROUTE, move |body| gate.take(body));
    let collect = move |now: jiff::Timestamp, alerts: Vec<String>| async move {
        let since = now.checked_sub(orders.since).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        collecting.bundle(since, &alerts, orders.dir.join(name(now))).await
    };
    tokio::select! {
        served = serving => served.context("listen"),
        () = collect_all(orders, &begun, called, collect, report) => Ok(()),
    }
}

/// Lets notifications pass that call for a bundle.
#[derive(Clone)]
struct Gate {
    last: Begun,
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

/// Collects one bundle after the other. One that fails is as if it had not been begun.
async fn collect_all<F, R>(
    orders: &Orders,
    begun: &Begun,
    mut called: Receiver<Vec<String>>,
    collect: F,
    mut report: impl FnMut(anyhow::Result<Bundle>),
) where
    F: Fn(jiff::Timestamp, Vec<String>) -> R,
    R: Future<Output = anyhow::Result<Bundle>>,
{
    while let Some(alerts) = called.recv().await {
        if let Err(error) = remove_old(&orders.dir, orders.keep.saturating_sub(1)) {
            report(Err(
                error.context("make room for a bundle, which is collected all the same")
            ));
        }
        let collected = collect(jiff::Timestamp::now(), alerts).await;
        if collected.is_err() {
            *begun.lock() = None;
        }
        report(collected);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::incident::Manifest;

    const CALL: &[u8] = br#"{"status": "firing", "alerts": [
        {"status": "firing", "labels": {"alertname": "RedisDown", "severity": "critical"}}]}"#;

    fn gate(begun: &Begun, pause: Duration) -> (Gate, Receiver<Vec<String>>) {
        let (sender, called) = mpsc::channel(1);
        let last = begun.clone();
        (Gate { last, pause, sender }, called)
    }

    #[tokio::test]
    async fn while_a_bundle_is_wanted_another_call_is_ignored() {
        let (gate, mut called) = gate(&Begun::default(), Duration::ZERO);
        assert_eq!(gate.take(CALL).0, 202);
        assert_eq!(gate.take(CALL).0, 200);
        assert_eq!(called.recv().await.unwrap(), ["RedisDown"]);
        assert_eq!(gate.take(b"{}").0, 400);
    }

    /// A folder with two bundles, of which one is to be kept beside a new one.
    fn orders(test: &str) -> Orders {
        let dir = std::env::temp_dir().join(format!("dp-listen-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for name in ["incident-20261001T000000Z.tar.gz", "incident-20261002T000000Z.tar.gz"] {
            fs::write(dir.join(name), "").unwrap();
        }
        Orders {
            dir,
            pause: Duration::from_secs(3600),
            since: Duration::from_secs(3600),
            keep: 2,
        }
    }

    fn left(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut left: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        left
    }

    fn bundle(file: PathBuf, alerts: Vec<String>) -> Bundle {
        let manifest = Manifest {
            began: jiff::Timestamp::UNIX_EPOCH,
            seconds: 0.0,
            version: "",
            environment: "local",
            since: jiff::Timestamp::UNIX_EPOCH,
            alerts,
            files: Vec::new(),
        };
        Bundle {
            file,
            bytes: 0,
            manifest,
        }
    }

    #[tokio::test]
    async fn a_bundle_that_cannot_be_written_does_not_make_the_next_call_wait() {
        let (orders, begun) = (orders("fails"), Begun::default());
        for fails in [true, false] {
            let (gate, called) = gate(&begun, orders.pause);
            // The second round is within the pause of the first, whose bundle failed.
            assert_eq!(gate.take(CALL).0, 202);
            drop(gate);
            let collect = |_: jiff::Timestamp, alerts: Vec<String>| async move {
                match fails {
                    true => Err(anyhow::anyhow!("the disk is full")),
                    false => Ok(bundle(PathBuf::from("written"), alerts)),
                }
            };
            let mut reported = Vec::new();
            collect_all(&orders, &begun, called, collect, |collected| {
                reported.push(collected.is_err());
            })
            .await;
            assert_eq!(reported, [fails]);
        }
        let (gate, _called) = gate(&begun, orders.pause);
        assert_eq!(
            gate.take(CALL).0,
            200,
            "the pause counts from the bundle that was written"
        );
        fs::remove_dir_all(&orders.dir).unwrap();
    }

    #[tokio::test]
    async fn the_oldest_bundle_makes_room_before_a_new_one_is_collected() {
        let (orders, begun) = (orders("room"), Begun::default());
        let (gate, called) = gate(&begun, orders.pause);
        assert_eq!(gate.take(CALL).0, 202);
        drop(gate);
        let found = parking_lot::Mutex::new(Vec::new());
        let collect = |_: jiff::Timestamp, alerts: Vec<String>| {
            *found.lock() = left(&orders.dir);
            std::future::ready(Ok(bundle(PathBuf::from("written"), alerts)))
        };
        collect_all(&orders, &begun, called, collect, |_| ()).await;
        fs::remove_dir_all(&orders.dir).unwrap();
        assert_eq!(found.into_inner(), ["incident-20261002T000000Z.tar.gz"]);
    }
}
