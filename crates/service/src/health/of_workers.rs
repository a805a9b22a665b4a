//! Checks without I/O: they read the status of this process's workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::Micros;
use stream::{OutcomeCounts, WorkerState, WorkerStatus};

use super::{CheckRecord, Outcome};

/// More rejected messages than this share of the last minute degrade the service.
const MOST_REJECTED_PERCENT: u64 = 10;
/// A share of fewer messages says nothing.
const ENOUGH_MESSAGES: u64 = 100;
/// So do more repetitions. A stage that starts again repeats a second of its outputs, and producers repeat some messages.
const MOST_REPEATED_PERCENT: u64 = 25;
const ENOUGH_FOR_REPETITIONS: u64 = 1_000;

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

/// Consumers that lag and process nothing ([`super::stalled`]), and groups that fall behind, which only degrades the service.
pub(super) fn consumers_record((mut problems, is_unhealthy): (Vec<String>, bool), behind: &[String]) -> CheckRecord {
    problems.extend_from_slice(behind);
    of_process(problems, is_unhealthy, "consumer groups of this process")
}

/// Stages that an operator has paused, and orders that cannot be read. The service does what it should, but less than usual.
pub(super) fn paused_record(problems: Vec<String>) -> CheckRecord {
    of_process(problems, false, "orders to the stages of this process")
}

/// Messages of the last minute that became dead letters: a producer is wrong. The service works, and nothing is lost.
pub(super) fn dead_letters_record(recent: &OutcomeCounts) -> CheckRecord {
    of_process(
        rejected(recent).into_iter().collect(),
        false,
        "messages of the last minute",
    )
}

/// Messages of the last minute that were repetitions: a producer sends twice, or a stage reads its input again. Nothing is doubled.
pub(super) fn repetitions_record(recent: &OutcomeCounts) -> CheckRecord {
    of_process(
        repeated(recent).into_iter().collect(),
        false,
        "messages of the last minute",
    )
}

/// What became of the messages of the last minute.
pub(super) fn recent(workers: &[(Arc<WorkerStatus>, bool)], now: Micros) -> OutcomeCounts {
    let mut recent = OutcomeCounts::default();
    let of_stage = workers.iter().filter(|(_, critical)| *critical);
    of_stage.for_each(|(status, _)| recent.merge(&status.progress().recent(now)));
    recent
}

fn rejected(recent: &OutcomeCounts) -> Option<String> {
    let (rejected, all) = (recent.of(stream::Outcome::DeadLettered), recent.decided());
    let is_much = all >= ENOUGH_MESSAGES && rejected * 100 > all * MOST_REJECTED_PERCENT;
    is_much.then(|| {
        format!("{rejected} of {all} messages of the last minute became dead letters; `dp dlq stats --since 10m` names the cause")
    })
}

fn repeated(recent: &OutcomeCounts) -> Option<String> {
    let (repeated, all) = (recent.of(stream::Outcome::Duplicate), recent.decided());
    let is_much = all >= ENOUGH_FOR_REPETITIONS && repeated * 100 > all * MOST_REPEATED_PERCENT;
    is_much.then(|| {
        format!(
            "{repeated} of {all} messages of the last minute were repetitions, and refused: an earlier stage reads its input again, or \
             a producer sends twice; `dp kafka lag` shows a stage that reads again"
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(good: u64, rejected: u64) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        (0..good).for_each(|_| counts.add(stream::Outcome::Success));
        (0..rejected).for_each(|_| counts.add(stream::Outcome::DeadLettered));
        counts
    }

    #[test]
    fn more_than_a_tenth_of_enough_messages_is_a_problem() {
        for (good, bad, is_problem) in [
            (0, 99, false),
            (90, 10, false),
            (89, 11, true),
            (0, 100, true),
            (9_000, 900, false),
        ] {
            assert_eq!(rejected(&counts(good, bad)).is_some(), is_problem, "{good} {bad}");
        }
    }

    #[test]
    fn more_than_a_quarter_of_enough_messages_are_too_many_repetitions() {
        for (good, again, is_problem) in [
            (0, 999, false),
            (750, 250, false),
            (749, 251, true),
            (9_000, 2_000, false),
        ] {
            let mut counts = counts(good, 0);
            (0..again).for_each(|_| counts.add(stream::Outcome::Duplicate));
            assert_eq!(repeated(&counts).is_some(), is_problem, "{good} {again}");
        }
    }
}
