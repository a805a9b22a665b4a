//! What services, servers, Kafka and Alertmanager answered at one moment. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use service::declared::{MEMORY, UPTIME};
use stream::metrics::{DLQ_MESSAGES, END_TO_END_LATENCY, ERRORS, MESSAGES_PROCESSED};

use crate::alerts::Alert;
use crate::health::{Line, State};
use crate::lag::Lag;
use crate::scrape::{Histogram, Scrape};

/// One moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Wall-clock time.
    pub time: jiff::Timestamp,
    /// Time since the first sample, by a clock that is never set.
    pub elapsed: Duration,
    /// Services in the order of the pipeline, then servers.
    pub processes: Vec<Seen>,
    /// The lag of each group and topic, or why it is not known.
    pub groups: Result<Vec<GroupSeen>, String>,
    /// The alerts.
    pub alerts: Alerts,
}

/// A service or server.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Whether it is a server.
    pub is_server: bool,
    /// How it is.
    pub state: State,
    /// What is wrong, or why it takes no work.
    pub reason: Option<String>,
    /// Its counters; `None` for a server, and for a service that does not answer.
    pub counters: Option<Counters>,
    /// Its process id, if it runs in the local stack.
    pub pid: Option<i32>,
    /// CPU time in seconds since its start, if it runs in the local stack.
    pub cpu_seconds: Option<f64>,
    /// Resident memory.
    pub memory_bytes: Option<u64>,
    /// Seconds since its start.
    pub uptime_seconds: Option<u64>,
}

/// The counters of a service, since its start.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Seconds since its start.
    pub uptime: Option<f64>,
    /// Messages that its first stage has handled: it reads what the service before it wrote.
    pub messages: Option<f64>,
    /// Errors, dead letters included.
    pub errors: Option<f64>,
    /// Messages that it sent to the dead letters.
    pub letters: Option<f64>,
    /// Time from the append of the raw message, by stage.
    pub latency: BTreeMap<String, Histogram>,
}

/// A consumer group and one of its topics.
#[derive(Debug, Clone)]
pub struct GroupSeen {
    /// Id of the group.
    pub group: String,
    /// Topic that it reads.
    pub topic: String,
    /// The label `stage` of the latency of what it does with them.
    pub stage: Option<String>,
    /// Messages that it has not committed.
    pub lag: i64,
    /// Committed offset and end of the log, by partition.
    pub offsets: BTreeMap<i32, (Option<i64>, i64)>,
}

/// Alerts that Alertmanager has.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Alerts {
    /// No Alertmanager is configured.
    NotConfigured,
    /// It gave no answer, for this reason.
    Unknown(String),
    /// These.
    Found(Vec<Alert>),
}

impl Seen {
    /// A service or server that gave this answer, without counters.
    pub fn of(line: &Line) -> Seen {
        Seen {
            name: line.name.clone(),
            is_server: line.is_server(),
            state: line.state,
            reason: line.reason.clone().or_else(|| line.not_ready.clone()),
            counters: None,
            pid: None,
            cpu_seconds: None,
            memory_bytes: None,
            uptime_seconds: None,
        }
    }

    /// With what the service exports. `inputs` are the topics that the first stage of each service reads.
    #[must_use]
    pub fn exporting(mut self, scrape: &Scrape, inputs: &BTreeMap<String, Vec<String>>) -> Seen {
        // The service says which one it is; the user may have named it otherwise.
        let service = scrape.label(UPTIME, "service").unwrap_or(&self.name);
        let is_input = |topic: Option<&str>| match (inputs.get(service), topic) {
            (Some(inputs), Some(topic)) => inputs.iter().any(|input| input == topic),
            _ => false,
        };
        let messages = scrape.sums(MESSAGES_PROCESSED, "topic", |sample| {
            is_input(sample.labels.get("topic")) && sample.labels.get("status") != Some("observed")
        });
        self.counters = Some(Counters {
            uptime: scrape.sum(UPTIME),
            messages: messages.into_values().reduce(|one, other| one + other),
            // A series exists from its first event on, at the latest.
            errors: Some(scrape.sum(ERRORS).unwrap_or(0.0)),
            letters: Some(scrape.sum(DLQ_MESSAGES).unwrap_or(0.0)),
            latency: scrape.histograms(END_TO_END_LATENCY, "stage"),
        });
        self.memory_bytes = scrape.sum(MEMORY).map(|bytes| bytes as u64);
        self.uptime_seconds = scrape.sum(UPTIME).map(|seconds| seconds as u64);
        self
    }
}

impl GroupSeen {
    /// The lag of one subscription, whose messages reach this stage.
    pub fn of(lag: &Lag, stage: Option<&str>) -> GroupSeen {
        let offsets = lag.partitions.iter();
        GroupSeen {
            group: lag.subscription.group.clone(),
            topic: lag.subscription.topic.clone(),
            stage: stage.map(str::to_owned),
            lag: lag.total(),
            offsets: offsets
                .map(|lag| (lag.partition.number, (lag.committed, lag.end)))
                .collect(),
        }
    }
}
