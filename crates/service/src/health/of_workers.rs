//! Checks without I/O: they read the status of this process's workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stream::{WorkerState, WorkerStatus};

use super::{CheckRecord, Outcome};

pub(super) fn workers_record(workers: &[(Arc<WorkerStatus>, bool)], critical: bool) -> CheckRecord {
    let problems: Vec<String> = workers
        .iter()
        .filter(|(_, is_critical)| *is_critical == critical)
        .filter_map(|(status, _)| match status.state() {
            WorkerState::Running => refused(status),
            WorkerState::Joining => Some(format!("{} is joining its group", status.name())),
            WorkerState::BackingOff(error) => Some(format!("{} is backing off after: {error}", status.name())),
            WorkerState::Failed(error) => Some(format!("{} failed: {error}", status.name())),
            WorkerState::Stopped => Some(format!("{} has stopped", status.name())),
        })
        .collect();
    of_process(problems, critical, "threads of this process")
}

/// What a store refuses a worker. Partitions that wait for the same correction share one sentence.
fn refused(status: &WorkerStatus) -> Option<String> {
    let reasons: BTreeSet<String> = status.refused().into_values().collect();
    let reasons: Vec<String> = reasons.into_iter().collect();
    (!reasons.is_empty()).then(|| format!("{}: {}", status.name(), reasons.join("; ")))
}

/// Partitions whose state is being restored: the service works on the others, and is not ready.
pub(super) fn state_record(workers: &[(Arc<WorkerStatus>, bool)]) -> CheckRecord {
    let of_stage = workers.iter().filter(|(_, critical)| *critical);
    let problems = of_stage.flat_map(|(status, _)| {
        let restoring = status.restoring().into_iter();
        restoring.map(|(partition, progress)| format!("{} is restoring {partition}: {progress}", status.name()))
    });
    of_process(
        problems.collect(),
        false,
        "state of the partitions that this process reads",
    )
}

/// Partitions that cannot be read further (INV-9). Not critical, since the others continue.
pub(super) fn partitions_record(workers: &[(Arc<WorkerStatus>, bool)], lag: &BTreeMap<String, i64>) -> CheckRecord {
    let problems = workers.iter().flat_map(|(status, _)| status.blocked().into_values());
    CheckRecord {
        lag: lag.clone(),
        ..of_process(problems.collect(), false, "partitions that this process reads")
    }
}

/// Consumers that lag and process nothing ([`super::stalled`]).
pub(super) fn consumers_record((problems, is_unhealthy): (Vec<String>, bool)) -> CheckRecord {
    of_process(problems, is_unhealthy, "consumer groups of this process")
}

fn of_process(problems: Vec<String>, critical: bool, target: &str) -> CheckRecord {
    CheckRecord {
        status: if problems.is_empty() {
            Outcome::Pass
        } else {
            Outcome::Fail
        },
        critical,
        duration_ms: 0,
        target: target.to_owned(),
        error: Some(problems.join("; ")).filter(|text| !text.is_empty()),
        lag: BTreeMap::new(),
        last_check: Some(format!("{:.3}", jiff::Timestamp::now())),
    }
}
