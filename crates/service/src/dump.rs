//! SIGUSR1: writes the state of the process into a JSON file (features 76).
//!
//! Role: helps an operator inspect a service while HTTP does not respond.
//! Invariant: the signal never ends the process. Failure: a file that cannot be written is logged.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use stream::WorkerStatus;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::health::Health;
use crate::http::Stats;
use crate::life::StartError;

/// Sources of the state.
pub(crate) struct Sources {
    pub(crate) service: &'static str,
    pub(crate) info: Value,
    pub(crate) health: Arc<Health>,
    pub(crate) stats: Vec<Stats>,
    pub(crate) metrics: PrometheusHandle,
}

/// Installs the signal handler, so that the signal no longer ends the process.
pub(crate) fn take_signal(runtime: &Handle) -> Result<Signal, StartError> {
    let _context = runtime.enter();
    signal(SignalKind::user_defined1()).map_err(|error| format!("listen to SIGUSR1: {error}").into())
}

/// Writes one file per signal.
pub(crate) async fn on_signal(mut signal: Signal, sources: Sources) {
    while signal.recv().await.is_some() {
        let written = sources.write(&std::env::temp_dir());
        match written {
            Ok(path) => tracing::info!(event = "state_dump", path = %path.display(), "state written"),
            Err(error) => {
                tracing::error!(event = "state_dump", error = %error, "state cannot be written; set TMPDIR to a folder with free space");
            }
        }
    }
}

impl Sources {
    fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        let path = folder.join(format!("{}-{}-{stamp}.json", self.service, std::process::id()));
        // The folder may be shared: the file must be new, and readable by this user only.
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(&serde_json::to_vec_pretty(&self.state())?)?;
        Ok(path)
    }

    fn state(&self) -> Value {
        let report = self.health.report();
        let mut stats = Map::new();
        for part in &self.stats {
            stats.extend(part());
        }
        let metrics = self.metrics.render();
        let samples: Vec<&str> = metrics
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        json!({
            "info": self.info,
            "health": {"status": report.level, "checks": report.checks, "circuit_breaker_state": report.breaker.name()},
            "workers": self.health.workers().iter().map(|status| worker(status)).collect::<Vec<_>>(),
            "stats": stats,
            "memory": memory(),
            "metrics": samples,
        })
    }
}

fn worker(status: &WorkerStatus) -> Value {
    let lag = status.lag();
    let positions: Vec<Value> = status
        .assigned()
        .iter()
        .map(|partition| json!({"partition": partition.to_string(), "lag": lag.get(partition)}))
        .collect();
    json!({
        "name": status.name(),
        "state": format!("{:?}", status.state()),
        "seconds_since_last_turn": status.since_last_turn().as_secs_f64(),
        "messages": status.messages(),
        "rebuilds": status.rebuilds(),
        "partitions": positions,
    })
}

/// Memory and threads of the process, with the names of `/proc/self/status`.
fn memory() -> Map<String, Value> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.starts_with("Vm") || name.starts_with("Rss") || *name == "Threads")
        .map(|(name, value)| (name.to_owned(), value.trim().into()))
        .collect()
}
