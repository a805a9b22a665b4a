//! Rates, quantiles and CPU shares from two samples. Pure.
//!
//! Invariant: counters of different processes are never compared. A service that was restarted, or another instance that answers at
//! the same address, has no rates until its next sample.

use std::collections::BTreeMap;

use serde::Serialize;
use service::writer::TableSpec;

use super::sample::{Alerts, Counters, GroupSeen, Sample, Seen};
use crate::health::State;
use crate::scrape::Histogram;

/// The services with a stage of their own name, in the order in which data reaches them.
pub(super) const STAGE_SERVICES: [&str; 3] = ["normalization", "enrichment", "aggregation"];
/// The stage of projection.
pub(super) const LATEST_PRICE: &str = "latest_price";

/// The stages in the order in which data reaches them: each service, then the tables that it fills.
fn stages() -> Vec<String> {
    let of_service = |service: &'static str| {
        let tables = TableSpec::of(service).map(TableSpec::stage);
        std::iter::once(service.to_owned()).chain(tables)
    };
    let services = STAGE_SERVICES.into_iter().flat_map(of_service);
    services.chain([LATEST_PRICE.to_owned()]).collect()
}

/// The difference between the uptimes of one process and between the samples that rounding and scraping explain.
const UPTIME_TOLERANCE: f64 = 2.0;

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Time of the newer sample.
    pub time: jiff::Timestamp,
    /// Seconds between the samples; absent after the first one.
    pub seconds: Option<f64>,
    /// Services in the order of the pipeline, then servers.
    pub processes: Vec<Process>,
    /// Time from the append of the raw message to each stage.
    pub hops: Vec<Hop>,
    /// Lag of each group and topic, in the order of the pipeline.
    pub groups: Vec<Group>,
    /// Why the lag is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_unknown: Option<String>,
    /// The alerts.
    pub alerts: Alerts,
}

/// A service or server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// `service` or `server`.
    pub kind: &'static str,
    /// How it is.
    pub state: State,
    /// What is wrong, or why it takes no work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Messages a second that its first stage has handled.
    pub messages_per_second: Option<f64>,
    /// Errors a second, dead letters included.
    pub errors_per_second: Option<f64>,
    /// Dead letters a second.
    pub dead_letters_per_second: Option<f64>,
    /// CPU time; 100 is one core.
    pub cpu_percent: Option<f64>,
    /// Resident memory.
    pub memory_bytes: Option<u64>,
    /// Seconds since its start.
    pub uptime_seconds: Option<u64>,
}

/// The latency of one stage, over all replicas.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hop {
    /// Name of the stage.
    pub stage: String,
    /// Median in seconds; absent if nothing has reached the stage between the samples.
    pub p50_seconds: Option<f64>,
    /// 99th percentile in seconds.
    pub p99_seconds: Option<f64>,
    /// Observations a second.
    pub per_second: Option<f64>,
}

/// A consumer group and one of its topics.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Id of the group.
    pub group: String,
    /// Topic that it reads.
    pub topic: String,
    /// The entry of `hops` with the latency of what it does with them.
    pub stage: Option<String>,
    /// Messages that it has not committed.
    pub lag: i64,
    /// Messages a second that were appended to the topic.
    pub in_per_second: Option<f64>,
    /// Messages a second that the group has committed.
    pub out_per_second: Option<f64>,
}

impl Figures {
    /// Whether no service and no server gave an answer.
    pub fn is_silent(&self) -> bool {
        self.processes.iter().all(|process| process.state == State::Down)
    }
}

/// The figures of `now`, with rates since `before`.
pub fn compared(before: Option<&Sample>, now: &Sample) -> Figures {
    let seconds = before.map(|before| now.elapsed.saturating_sub(before.elapsed).as_secs_f64());
    let seconds = seconds.filter(|seconds| *seconds > 0.0);
    let before = before.filter(|_| seconds.is_some());
    let earlier = |seen: &Seen| before?.processes.iter().find(|other| other.name == seen.name);
    let processes = now.processes.iter().map(|seen| process(earlier(seen), seen, seconds));
    let (groups, lag_unknown) = match &now.groups {
        Ok(groups) => (groups.as_slice(), None),
        Err(reason) => (&[][..], Some(reason.clone())),
    };
    let known = before
        .and_then(|before| before.groups.as_deref().ok())
        .unwrap_or_default();
    Figures {
        time: now.time,
        seconds,
        processes: processes.collect(),
        hops: hops(before, now, seconds),
        groups: groups.iter().map(|seen| group(known, seen, seconds)).collect(),
        lag_unknown,
        alerts: now.alerts.clone(),
    }
}

fn process(before: Option<&Seen>, now: &Seen, seconds: Option<f64>) -> Process {
    let counters = now.counters.as_ref();
    let earlier = same_process(before, now, seconds);
    let rate = |of: fn(&Counters) -> Option<f64>| per_second(of(earlier?)?, of(counters?)?, seconds);
    let cpu = || {
        let before = before.filter(|before| before.pid.is_some() && before.pid == now.pid)?;
        per_second(before.cpu_seconds?, now.cpu_seconds?, seconds)
    };
    Process {
        name: now.name.clone(),
        kind: if now.is_server { "server" } else { "service" },
        state: now.state,
        reason: now.reason.clone(),
        messages_per_second: rate(|counters| counters.messages),
        errors_per_second: rate(|counters| counters.errors),
        dead_letters_per_second: rate(|counters| counters.letters),
        cpu_percent: cpu().map(|share| share * 100.0),
        memory_bytes: now.memory_bytes,
        uptime_seconds: now.uptime_seconds,
    }
}

/// The counters of the earlier sample, if they are of the same process: it has run for as long as it should.
fn same_process<'s>(before: Option<&'s Seen>, now: &Seen, seconds: Option<f64>) -> Option<&'s Counters> {
    let before = before?.counters.as_ref()?;
    let longer = now.counters.as_ref()?.uptime? - before.uptime?;
    ((longer - seconds?).abs() <= UPTIME_TOLERANCE).then_some(before)
}

/// A counter that has become smaller has begun anew: its rate is not known.
fn per_second(before: f64, now: f64, seconds: Option<f64>) -> Option<f64> {
    Some((now - before) / seconds?).filter(|rate| *rate >= 0.0)
}

fn hops(before: Option<&Sample>, now: &Sample, seconds: Option<f64>) -> Vec<Hop> {
    let mut new: BTreeMap<&str, Option<Histogram>> = BTreeMap::new();
    for seen in &now.processes {
        let Some(counters) = &seen.counters else { continue };
        let of_name = before.and_then(|before| before.processes.iter().find(|other| other.name == seen.name));
        let earlier = same_process(of_name, seen, seconds);
        for (stage, histogram) in &counters.latency {
            let sum = new.entry(stage).or_default();
            if let Some(earlier) = earlier {
                sum.get_or_insert_default()
                    .add(&histogram.since(earlier.latency.get(stage)));
            }
        }
    }
    let mut hops: Vec<Hop> = new.into_iter().map(|(stage, new)| hop(stage, new, seconds)).collect();
    let stages = stages();
    let place = |hop: &Hop| stages.iter().position(|stage| *stage == hop.stage);
    // Unknown ones come last.
    hops.sort_by_key(|hop| place(hop).unwrap_or(stages.len()));
    hops
}

fn hop(stage: &str, new: Option<Histogram>, seconds: Option<f64>) -> Hop {
    let quantile = |share| new.as_ref().and_then(|new| new.quantile(share));
    Hop {
        stage: stage.to_owned(),
        p50_seconds: quantile(0.5),
        p99_seconds: quantile(0.99),
        per_second: new.as_ref().and_then(|new| per_second(0.0, new.count(), seconds)),
    }
}

fn group(before: &[GroupSeen], now: &GroupSeen, seconds: Option<f64>) -> Group {
    let earlier = before
        .iter()
        .find(|other| other.group == now.group && other.topic == now.topic);
    let (mut appended, mut committed) = (0, 0);
    for (partition, (position, end)) in &now.offsets {
        let Some((old_position, old_end)) = earlier.and_then(|earlier| earlier.offsets.get(partition)) else {
            continue;
        };
        appended += end - old_end;
        if let (Some(old), Some(new)) = (old_position, position) {
            committed += new - old;
        }
    }
    let rate = |number: i64| earlier.and_then(|_| per_second(0.0, number as f64, seconds));
    Group {
        group: now.group.clone(),
        topic: now.topic.clone(),
        stage: now.stage.clone(),
        lag: now.lag,
        in_per_second: rate(appended),
        out_per_second: rate(committed),
    }
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
