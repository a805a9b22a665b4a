//! What limits the pipeline now: the bottleneck, a score, and what to do. [`collect`] asks the services; the rest is pure.
//!
//! Role: composes the figures of [`crate::top`] (queues, rates, latency, processor time) with what services say of their calls of
//! the stores and of their machine. Each finding has a cost, and the score is 100 without the costs.
//! Invariant: what is not known is no finding. A queue of one second is on its way, and no bottleneck.

pub mod collect;
mod findings;
mod machine;
mod measured;

use serde::Serialize;

use crate::top::{Figures, Group};

pub use findings::Finding;
pub use machine::MachineUse;
pub use measured::{Call, Measured, Stage};

use measured::BUSY_PERCENT;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// When it ended.
    pub time: jiff::Timestamp,
    /// How long it measured.
    pub analysis_seconds: Option<f64>,
    /// From 0 to 100: 100 without the costs of all findings.
    pub score: u32,
    /// The stage that limits the others, if one does.
    pub bottleneck: Option<Bottleneck>,
    /// What is wrong and what to do, the most expensive first.
    pub findings: Vec<Finding>,
    /// The stages, in the order of the pipeline.
    pub stages: Vec<Stage>,
    /// The calls of stores by all services, the slowest first.
    pub calls: Vec<Call>,
    /// The machines of the services.
    pub machines: Vec<MachineUse>,
}

/// The stage that limits the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// Its consumer group, or its service.
    pub stage: String,
    /// Why it is the bottleneck.
    pub reason: String,
}

/// The analysis of these figures.
pub fn analysis(figures: &Figures, measured: Measured) -> Analysis {
    let stages: Vec<Stage> = figures.groups.iter().map(|group| stage(group, figures)).collect();
    let bottleneck = bottleneck(figures, &stages);
    let mut findings = findings::of(figures, &stages, &measured);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.cost));
    let Measured { mut calls, machines } = measured;
    calls.sort_by(|a, b| b.newest.p95_ms.total_cmp(&a.newest.p95_ms));
    let costs: u32 = findings.iter().map(|finding| finding.cost).sum();
    Analysis {
        time: figures.time,
        analysis_seconds: figures.seconds,
        score: 100u32.saturating_sub(costs),
        bottleneck,
        findings,
        stages,
        calls,
        machines,
    }
}

fn stage(group: &Group, figures: &Figures) -> Stage {
    let hop = figures.hops.iter().find(|hop| group.stage.as_ref() == Some(&hop.stage));
    let out = group.out_per_second.filter(|rate| *rate > 0.0);
    Stage {
        group: group.group.clone(),
        topic: group.topic.clone(),
        queue: group.lag,
        queue_seconds: match group.lag {
            0 => Some(0.0),
            lag => out.map(|rate| lag as f64 / rate),
        },
        in_per_second: group.in_per_second,
        out_per_second: group.out_per_second,
        p99_seconds: hop.and_then(|hop| hop.p99_seconds),
        is_behind: group.in_per_second.is_some_and(|rate| group.lag as f64 > rate.max(1.0)),
    }
}

/// Of the groups with more than a second of messages, the one whose queue takes the longest; else the busiest service.
fn bottleneck(figures: &Figures, stages: &[Stage]) -> Option<Bottleneck> {
    let waits = |stage: &Stage| stage.queue_seconds.unwrap_or(f64::INFINITY);
    let behind = stages.iter().filter(|stage| stage.is_behind);
    if let Some(stage) = behind.max_by(|a, b| waits(a).total_cmp(&waits(b))) {
        let waiting = match stage.queue_seconds {
            Some(seconds) => format!("which take it {seconds:.1} s at its present rate"),
            None => "and it finishes none".to_owned(),
        };
        return Some(Bottleneck {
            stage: stage.group.clone(),
            reason: format!("{} messages of {} wait, {waiting}", stage.queue, stage.topic),
        });
    }
    let busy = figures.processes.iter().filter(|process| process.kind == "service");
    let busy = busy.filter_map(|process| Some((process, process.cpu_percent?)));
    let (process, percent) = busy.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (percent >= BUSY_PERCENT).then(|| Bottleneck {
        stage: process.name.clone(),
        reason: format!("it uses {percent:.0} % of a core, and nothing waits yet"),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
