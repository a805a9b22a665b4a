//! One service as a child process: started on a free port, asked over HTTP, ended with the value.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use procfs::process::{Process, StatM, Status};
use serde_json::Value;

use crate::PATIENCE;
use crate::http;

const POLL: Duration = Duration::from_millis(20);

/// A running service. It is killed when the value is dropped.
pub struct ServiceProcess {
    child: Child,
    port: u16,
}

impl ServiceProcess {
    /// Starts the program with exactly this environment, and waits until it tells the port that it has chosen.
    pub fn start(program: &str, env: &BTreeMap<String, String>) -> anyhow::Result<ServiceProcess> {
        let mut child = Command::new(program)
            .env_clear()
            .envs(env)
            .env("DATA_PROC_HEALTH_PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let output = child.stdout.take().context("no output")?;
        let mut process = ServiceProcess { child, port: 0 };
        let mut lines = BufReader::new(output).lines();
        process.port = loop {
            let line = lines.next().context("it ended before it was started")??;
            println!("{line}");
            if let Some(port) = port_told(&line)? {
                break port;
            }
        };
        // The pipe must not fill up, and the log belongs to a failure of the test.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| println!("{line}")));
        Ok(process)
    }

    /// Port of its HTTP server.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Status and body of an answer; a body that is no JSON is a text.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        let answer = http::request(self.port, "GET", path, &[], "")?;
        let body = serde_json::from_str(&answer.body).unwrap_or_else(|_| answer.body.into());
        Ok((answer.status, body))
    }

    /// Asks until the answer is as wanted.
    pub fn wait_until(&self, what: &str, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get(path)?;
            if wanted(status, &body) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("never {what}: {status} {body}");
            }
            std::thread::sleep(POLL);
        }
    }

    /// Resident memory now.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let StatM { resident, .. } = self.process()?.statm()?;
        Ok(resident * procfs::page_size())
    }

    /// The most memory that it ever had resident.
    pub fn peak_bytes(&self) -> anyhow::Result<u64> {
        let Status { vmhwm, .. } = self.process()?.status()?;
        Ok(vmhwm.context("no VmHWM")? * 1024)
    }

    fn process(&self) -> anyhow::Result<Process> {
        Ok(Process::new(self.child.id().cast_signed())?)
    }

    /// Sends a signal such as `-TERM`; answers the exit code, `None` after a kill.
    pub fn signal(mut self, signal: &str) -> anyhow::Result<Option<i32>> {
        Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .context("kill")?;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The port of the log line that tells the addresses, `[127.0.0.1:1234]`.
fn port_told(line: &str) -> anyhow::Result<Option<u16>> {
    let told: Value = serde_json::from_str(line).with_context(|| format!("no log line: {line}"))?;
    if told["event"] != "started" {
        return Ok(None);
    }
    let addresses = told["addresses"].as_str().context("no addresses")?;
    let port = addresses
        .trim_matches(['[', ']'])
        .rsplit(':')
        .next()
        .unwrap_or_default();
    Ok(Some(port.parse().with_context(|| format!("no port: {addresses}"))?))
}
