//! Debian's Alertmanager on a free port, with alerts as Prometheus sends them.
//!
//! Failure: a missing program is named with its package. It is killed when the value is dropped.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::http;

const POLL: Duration = Duration::from_millis(50);

/// A running Alertmanager.
pub struct Alertmanager {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl Alertmanager {
    /// Starts it; `receiver` is the rest of the definition of its only receiver, such as a list of webhooks.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(receiver: &str) -> anyhow::Result<Alertmanager> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("alertmanager.yml");
        let text = format!("route: {{receiver: only, group_wait: 0s}}\nreceivers:\n  - name: only\n{receiver}");
        std::fs::write(&config, text)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", folder.path().display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("apt-get install prometheus-alertmanager")?;
        let running = Alertmanager {
            port,
            process,
            _folder: folder,
        };
        let deadline = Instant::now() + PATIENCE;
        while !http::request(port, "GET", "/-/ready", &[], "").is_ok_and(|answer| answer.status == 200) {
            if Instant::now() > deadline {
                bail!("Alertmanager is not ready within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(running)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// An alert that has fired for ten minutes.
    ///
    /// # Errors
    /// It is refused.
    pub fn fire(&self, name: &str, severity: &str, service: &str) -> anyhow::Result<()> {
        let since = jiff::Timestamp::now() - Duration::from_secs(600);
        let alerts: Value = json!([{
            "labels": { "alertname": name, "severity": severity, "service": service },
            "annotations": { "summary": format!("{service} is down."), "runbook_url": format!("docs/runbooks/{name}.md") },
            "startsAt": since.to_string(),
        }]);
        let headers = [("Content-Type", "application/json")];
        let answer = http::request(self.port, "POST", "/api/v2/alerts", &headers, &alerts.to_string())?;
        ensure!(answer.status == 200, "{}", answer.body);
        Ok(())
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
