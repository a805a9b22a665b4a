//! Requests that the broker has served, by kind, from its own counters.
//!
//! Role: starts the broker's management agent for local processes with `jcmd`, and reads the counters with Kafka's `JmxTool`. Both
//! cost the broker CPU time, so read them outside of a measured window.
//! Failure: without a JDK there are no counters; the error says so, and the benchmark continues without them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};
use localstack::{Server, Stack};

const COUNTERS: &str = "kafka.network:type=RequestMetrics,name=RequestsPerSec,*";
/// The broker counts each fetch a second time under this name.
const COUNTED_TWICE: &str = "FetchConsumer";

/// The counters at one moment.
#[derive(Debug, Clone)]
pub struct Requests {
    counts: BTreeMap<String, u64>,
    at: Instant,
}

impl Requests {
    /// Reads the counters.
    ///
    /// # Errors
    /// No JDK, or a broker that does not run.
    pub fn of(stack: &Stack) -> anyhow::Result<Requests> {
        let pid = stack.pid(Server::Kafka).context("kafka does not run")?.to_string();
        let jcmd = |command: &str| output_of(Command::new("jcmd").args([pid.as_str(), command]));
        jcmd("ManagementAgent.start_local")?;
        let status = jcmd("ManagementAgent.status")?;
        let url = address_in(&status).context("the management agent of kafka has no address")?;
        let read = output_of(Command::new("java").args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-cp",
            &stack.kafka_classpath()?,
            "org.apache.kafka.tools.JmxTool",
            "--one-time",
            "--report-format",
            "properties",
            "--attributes",
            "Count",
            "--object-name",
            COUNTERS,
            "--jmx-url",
            url,
        ]))?;
        let counts = counts_in(&read);
        Ok(Requests {
            counts,
            at: Instant::now(),
        })
    }

    /// Requests a second since `before`, by kind; kinds without any are left out.
    pub fn since(&self, before: &Requests) -> BTreeMap<String, f64> {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let rate = |(kind, count): (&String, &u64)| {
            let more = count.saturating_sub(before.counts.get(kind).copied().unwrap_or(0));
            (more > 0 && seconds > 0.0).then(|| (kind.clone(), more as f64 / seconds))
        };
        self.counts.iter().filter_map(rate).collect()
    }
}

fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("run {program} (part of a JDK)"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", said.lines().next_back().unwrap_or("failed"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The address of the agent in the output of `jcmd … ManagementAgent.status`.
fn address_in(status: &str) -> Option<&str> {
    let line = status.lines().find(|line| line.starts_with("URL"))?;
    line.split_once(':').map(|(_, url)| url.trim())
}

/// Counts by kind, all versions of a request together.
fn counts_in(properties: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in properties.lines() {
        let Some((name, count)) = line.rsplit_once(":Count=") else {
            continue;
        };
        let kind = name.split(',').find_map(|part| part.strip_prefix("request="));
        if let (Some(kind), Ok(count)) = (kind, count.trim().parse::<u64>())
            && kind != COUNTED_TWICE
        {
            *counts.entry(kind.to_owned()).or_default() += count;
        }
    }
    counts
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_request_are_added_and_a_fetch_counts_once() {
        let line = |kind: &str, version: u8, count: u64| {
            format!(
                "kafka.network:type=RequestMetrics,name=RequestsPerSec,request={kind},version={version}:Count={count}\n"
            )
        };
        let text = [
            "Trying to connect to JMX url: x\ntime=1\n".to_owned(),
            line("Fetch", 11, 5),
            line("FetchConsumer", 11, 5),
            line("Metadata", 12, 2),
            line("Metadata", 13, 3),
        ];
        let counts = counts_in(&text.concat());
        let expected = [("Fetch", 5), ("Metadata", 5)].map(|(kind, count)| (kind.to_owned(), count));
        assert_eq!(counts, BTreeMap::from(expected));
    }

    #[test]
    fn the_address_is_read_whole() {
        let status =
            "12:\nAgent: enabled\nProtocol       : rmi\nURL            : service:jmx:rmi://127.0.0.1/stub/rO0\n";
        assert_eq!(address_in(status).unwrap(), "service:jmx:rmi://127.0.0.1/stub/rO0");
    }
}
