//! Collects a bundle when Alertmanager notifies of a critical alert.
//!
//! Invariant: at most one bundle is collected at a time, and the folder keeps at most so many of them.
//! Failure: a bundle that cannot be written is reported, and the next alert tries again.

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
    let gate = Gate {
        last: Arc::default(),
        pause: orders.pause,
        sender,
    };
    let serving = hook(listener, ROUTE, move |body| gate.take(body));
    tokio::select! {
        served = serving => served.context("listen"),
        () = collect_all(collecting, orders, called, report) => Ok(()),
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
async fn collect_all(
    collecting: &Collecting<'_>,
    orders: &Orders,
    mut called: Receiver<Vec<String>>,
    mut report: impl FnMut(anyhow::Result<Bundle>),
) {
    while let Some(alerts) = called.recv().await {
        let now = jiff::Timestamp::now();
        let since = now.checked_sub(orders.since).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let collected = collecting.bundle(since, &alerts, orders.dir.join(name(now))).await;
        report(collected.and_then(|bundle| {
            remove_old(&orders.dir, orders.keep)?;
            Ok(bundle)
        }));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

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
