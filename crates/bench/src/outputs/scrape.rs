//! CPU time and memory of the processes of the stack, and the latency that they report themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use localstack::{Name, Stack, Usage};
use ops::scrape::{self, Histogram};
use serde::Serialize;

use super::counts::Quantiles;

const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);

/// The resources that a process used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Name of the process.
    pub name: String,
    /// CPU seconds while the bulk was processed.
    pub cpu_seconds: f64,
    /// The same for each message, in microseconds.
    pub cpu_micros_per_message: f64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

/// CPU and memory of every process of the stack at one moment.
pub struct Usages(Vec<(String, i32, Usage)>);

impl Usages {
    /// Reads them from `/proc`.
    pub fn of(stack: &Stack) -> anyhow::Result<Usages> {
        let processes = stack.status().context("read the processes of the stack")?;
        let used = processes
            .into_iter()
            .filter_map(|process| Some((process.name.to_string(), process.pid?, process.usage?)));
        Ok(Usages(used.collect()))
    }

    /// The usage since `before`, in total and for each of `messages`. A restarted process counts from its start.
    pub fn since(&self, before: &Usages, messages: u64) -> Vec<Load> {
        let earlier = |name: &str, pid: i32| {
            let found = before
                .0
                .iter()
                .find(|(other, other_pid, _)| other == name && *other_pid == pid);
            found.map_or(0.0, |(_, _, usage)| usage.cpu_seconds)
        };
        self.0
            .iter()
            .map(|(name, pid, usage)| {
                let cpu_seconds = (usage.cpu_seconds - earlier(name, *pid)).max(0.0);
                Load {
                    name: name.clone(),
                    cpu_seconds,
                    cpu_micros_per_message: cpu_seconds * 1e6 / messages.max(1) as f64,
                    resident_bytes: usage.resident_bytes,
                }
            })
            .collect()
    }
}

/// The latency histograms of all services at one moment, by stage.
pub struct Scrape(BTreeMap<String, Histogram>);

impl Scrape {
    /// Reads `/metrics` of every service.
    pub async fn of(stack: &Stack) -> anyhow::Result<Scrape> {
        let client = security::http_client(&security::Trust::default(), Some(SCRAPE_TIMEOUT))
            .context("create an HTTP client")?;
        let mut found = BTreeMap::new();
        for process in stack.status().context("read the processes of the stack")? {
            if process.pid.is_none() || !matches!(process.name, Name::Service(..)) {
                continue;
            }
            let url = format!("http://127.0.0.1:{}/metrics", process.port);
            let answer = client
                .get(&url)
                .send()
                .await
                .and_then(reqwest::Response::error_for_status);
            let text = answer
                .with_context(|| format!("request {url}"))?
                .text()
                .await
                .with_context(|| format!("read {url}"))?;
            let scraped = scrape::Scrape::parse(&text);
            found.extend(scraped.histograms(stream::metrics::END_TO_END_LATENCY, "stage"));
        }
        Ok(Scrape(found))
    }

    /// Quantiles of the observations since `before`. Stages that write to ClickHouse are measured from their rows, exactly.
    pub fn since(&self, before: &Scrape) -> Vec<(String, Quantiles)> {
        self.0
            .iter()
            .filter(|(stage, _)| !stage.starts_with("clickhouse_"))
            .filter_map(|(stage, histogram)| {
                let new = histogram.since(before.0.get(stage));
                let (p50, p99, p999) = (new.quantile(0.5)?, new.quantile(0.99)?, new.quantile(0.999)?);
                Some((
                    format!("raw append → {stage} (histogram)"),
                    Quantiles {
                        p50_ms: p50 * 1e3,
                        p99_ms: p99 * 1e3,
                        p999_ms: p999 * 1e3,
                    },
                ))
            })
            .collect()
    }
}
