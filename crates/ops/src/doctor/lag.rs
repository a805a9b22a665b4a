//! Finds groups that have messages to read and process none, and groups whose large lag grows: lag alone is normal. Pure.
//!
//! Role: compares two surveys of all groups, partition by partition. Between them every working stage has committed at least once.

use std::collections::BTreeMap;
use std::time::Duration;

use service::LARGE_LAG;
use service::control::order::{self, Order};

use super::subject::Subject;
use super::{Area, Finding, Severity};
use crate::lag::{GroupLag, OFF, PartitionOffsets};
use crate::positions::members;

/// Workers commit this often.
const COMMIT: Duration = Duration::from_secs(1);
/// For the work itself, and for a commit that has just begun.
const MARGIN: Duration = Duration::from_secs(3);
/// Longer intervals are set by hand, and a command must end.
const LONGEST: Duration = Duration::from_secs(30);

/// The time between two surveys: longer than the longest of the `intervals` after which a stage flushes or commits.
pub(super) fn look_again(intervals: impl IntoIterator<Item = Duration>) -> Duration {
    let longest = intervals.into_iter().fold(COMMIT, Duration::max);
    (longest + MARGIN).min(LONGEST)
}

/// A stage or a tenant that an operator has paused. Its lag is intended; that nobody forgets it is not.
pub(super) fn paused(subject: &order::Subject, order: &Order, topic: &str) -> Finding {
    let (what, cause) = match subject {
        order::Subject::Stage(stage) => (
            format!("stage {stage} is paused, and takes no input"),
            "an operator has ordered it; what its topics keep longer than their retention is lost",
        ),
        order::Subject::Tenant(id) => (
            format!("tenant {id} is paused, and its messages become dead letters"),
            "an operator has ordered it; letters that dlq keeps longer than its retention are lost",
        ),
    };
    Finding::new(Severity::Warning, Area::Lag, what, topic)
        .shown_by([order.explain(subject)])
        .because(cause, format!("dp resume {}", subject.argument()))
}

/// The stages that are switched off although they are configured here, or have run before. `is_configured`: the series of this
/// environment, which is that of a local stack's aggregation.
pub(super) fn switched_off(lags: &[GroupLag], is_configured: bool) -> Vec<Finding> {
    let off = lags.iter().filter(|lag| lag.state == OFF);
    let finding = |lag: &GroupLag| {
        let ran_before = lag.partitions.iter().any(|one| one.committed.is_some());
        let (severity, what, cause) = match (is_configured, ran_before) {
            (true, _) => (
                Severity::Critical,
                format!("nobody reads for group {}", lag.group),
                "AGGREGATION_DERIVED_SERIES defines series, but service aggregation runs without them, or its worker left the group",
            ),
            (false, true) => (
                Severity::Note,
                format!("the stage of group {} is switched off, and ran before", lag.group),
                "AGGREGATION_DERIVED_SERIES is empty in the running aggregation: derived prices have stopped. If that is not meant, set it again",
            ),
            (false, false) => return None,
        };
        let finding = Finding::new(severity, Area::Lag, what, lag.topic.clone());
        Some(finding.because(cause, "dp restart aggregation"))
    };
    off.filter_map(finding).collect()
}

/// A group and one of its topics with partitions that stand still.
struct Standing<'a> {
    now: &'a GroupLag,
    partitions: Vec<(&'a PartitionOffsets, &'a PartitionOffsets)>,
    /// Whether another partition of the same topic has moved.
    others_move: bool,
}

/// The groups that committed nothing in a partition of which they had messages to read all the time.
/// `is_local` says whether this command can restart a service, and has its log.
pub(super) fn stalled(before: &[GroupLag], after: &[GroupLag], waited: Duration, is_local: bool) -> Vec<Finding> {
    let earlier: BTreeMap<(&str, &str, i32), &PartitionOffsets> = before
        .iter()
        .flat_map(|lag| {
            lag.partitions
                .iter()
                .map(move |one| ((lag.group.as_str(), lag.topic.as_str(), one.partition), one))
        })
        .collect();
    let standing = after.iter().map(|now| {
        let pairs = now.partitions.iter().filter_map(|one| {
            let key = (now.group.as_str(), now.topic.as_str(), one.partition);
            earlier.get(&key).map(|earlier| (*earlier, one))
        });
        let (stand, rest): (Vec<_>, Vec<_>) = pairs.partition(|(earlier, now)| stands(earlier, now));
        Standing {
            now,
            partitions: stand,
            others_move: rest.iter().any(|(earlier, now)| earlier.committed != now.committed),
        }
    });
    standing
        .filter(|standing| !standing.partitions.is_empty())
        .map(|standing| finding(&standing, waited, is_local))
        .collect()
}

fn stands(before: &PartitionOffsets, after: &PartitionOffsets) -> bool {
    before.lag > 0 && after.lag > 0 && before.committed == after.committed
}

fn finding(standing: &Standing<'_>, waited: Duration, is_local: bool) -> Finding {
    let Standing {
        now,
        partitions,
        others_move,
    } = standing;
    let sum = |side: fn(&(&PartitionOffsets, &PartitionOffsets)) -> i64| partitions.iter().map(side).sum::<i64>();
    let (before, after) = (sum(|pair| pair.0.lag), sum(|pair| pair.1.lag));
    let numbers: Vec<String> = partitions.iter().map(|(_, one)| one.partition.to_string()).collect();
    let group = &now.group;
    let service = group.split('-').next().unwrap_or(group);
    let (severity, what, cause, next) = match (now.members, after > before, others_move) {
        (0, ..) => (
            Severity::Critical,
            format!("nobody reads for group {group}"),
            format!("service {service} does not run or is frozen, or its workers left the group"),
            // Starts one that is down as well.
            members::how_to_restart(service, is_local),
        ),
        (_, true, _) => (
            Severity::Critical,
            format!("group {group} processes nothing while its lag grows"),
            "the stage waits for a server or for its state, or a message blocks it".to_owned(),
            members::how_to_read_the_log(service, is_local),
        ),
        (_, false, true) => (
            Severity::Warning,
            format!("group {group} does not go on in some partitions"),
            "a record that cannot be fetched blocks these partitions, or their worker is stuck; if one is blocked, the next command prints \
             the command that skips it"
                .to_owned(),
            "dp health --all".to_owned(),
        ),
        (_, false, false) => (
            Severity::Warning,
            format!("group {group} has messages to read and processes none"),
            "the stage waits for a server or for its state, or a message blocks it".to_owned(),
            members::how_to_read_the_log(service, is_local),
        ),
    };
    Finding::new(severity, Area::Lag, what, now.topic.clone())
        .shown_by([
            format!(
                "{after} messages behind ({before} before) in partition(s) {}; no commit within {} s",
                numbers.join(", "),
                waited.as_secs()
            ),
            format!("{} member(s), state {}", now.members, now.state),
        ])
        .because(cause, next)
        .about(Subject::Group {
            id: group.clone(),
            is_read: now.members > 0,
        })
}

/// The groups that commit, and whose lag is large and grows nevertheless.
pub(super) fn falling_behind(before: &[GroupLag], after: &[GroupLag], waited: Duration) -> Vec<Finding> {
    let pairs = after.iter().filter_map(|now| {
        let is_same = |earlier: &&GroupLag| (&earlier.group, &earlier.topic) == (&now.group, &now.topic);
        Some((before.iter().find(is_same)?, now))
    });
    let behind = pairs.filter_map(|(earlier, now)| {
        let (handled, arrived) = (moved(earlier, now, |one| one.committed), moved(earlier, now, |one| Some(one.end)));
        let is_behind = now.lag > LARGE_LAG && now.lag > earlier.lag && handled > 0;
        is_behind.then(|| {
            let what = format!("group {} falls behind", now.group);
            let seconds = waited.as_secs().max(1).cast_signed();
            Finding::new(Severity::Warning, Area::Lag, what, now.topic.clone())
                .shown_by([
                    format!("{} messages behind ({} before)", now.lag, earlier.lag),
                    format!("{} a second arrive, {} are handled", arrived / seconds, handled / seconds),
                ])
                .because(
                    "a flood of messages, a slow store, or too little CPU for this stage; a replica takes half of its partitions",
                    "dp capacity",
                )
                .about(Subject::Group {
                    id: now.group.clone(),
                    is_read: now.members > 0,
                })
        })
    });
    behind.collect()
}

/// By how much an offset has moved, in all partitions.
fn moved(before: &GroupLag, after: &GroupLag, offset: fn(&PartitionOffsets) -> Option<i64>) -> i64 {
    let sum = |lag: &GroupLag| lag.partitions.iter().filter_map(offset).sum::<i64>();
    sum(after) - sum(before)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    const WAITED: Duration = Duration::from_secs(8);

    #[test]
    fn a_stage_that_is_switched_off_is_told_if_it_is_configured_or_ran_before() {
        for (committed, is_configured, expected) in [
            (None, false, None),
            (None, true, Some(Severity::Critical)),
            (Some(3), false, Some(Severity::Note)),
            (Some(3), true, Some(Severity::Critical)),
        ] {
            let off = GroupLag {
                state: OFF.to_owned(),
                ..lag("aggregation-local-derived", 0, &[(0, committed, 0)])
            };
            let found = switched_off(&[off, lag("enrichment-local", 0, &[(0, Some(3), 0)])], is_configured);
            let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
            assert_eq!(severities, Vec::from_iter(expected), "{committed:?} {is_configured}");
        }
    }

    /// Partitions as (number, committed, lag).
    fn lag(group: &str, members: usize, partitions: &[(i32, Option<i64>, i64)]) -> GroupLag {
        GroupLag {
            group: group.to_owned(),
            topic: "t".to_owned(),
            state: "Stable".to_owned(),
            members,
            lag: partitions.iter().map(|(_, _, lag)| lag).sum(),
            partitions: partitions
                .iter()
                .map(|(partition, committed, lag)| PartitionOffsets {
                    partition: *partition,
                    committed: *committed,
                    end: committed.unwrap_or(0) + lag,
                    lag: *lag,
                    owner: None,
                })
                .collect(),
        }
    }

    fn found(before: &[GroupLag], after: &[GroupLag]) -> Vec<(Severity, String)> {
        let found = stalled(before, after, WAITED, true);
        found
            .into_iter()
            .map(|finding| (finding.severity, finding.what))
            .collect()
    }

    #[test]
    fn lag_is_a_finding_only_without_progress() {
        let before = [lag("a-local", 1, &[(0, Some(10), 5)])];
        assert_eq!(found(&before, &[lag("a-local", 1, &[(0, Some(12), 9)])]), []);
        assert_eq!(found(&before, &[lag("a-local", 1, &[(0, Some(15), 0)])]), []);
        // The messages came only after the first survey.
        let empty = [lag("a-local", 1, &[(0, Some(10), 0)])];
        assert_eq!(found(&empty, &[lag("a-local", 1, &[(0, Some(10), 3)])]), []);
    }

    #[test]
    fn growing_lag_is_critical_and_standing_lag_a_warning() {
        let before = [lag("a-local", 1, &[(0, Some(10), 5)])];
        let of = |lag_now, members| {
            stalled(
                &before,
                &[lag("a-local", members, &[(0, Some(10), lag_now)])],
                WAITED,
                true,
            )
        };
        assert_eq!(of(9, 1)[0].severity, Severity::Critical);
        assert_eq!(of(5, 1)[0].severity, Severity::Warning);
        let nobody = &of(5, 0)[0];
        assert_eq!(
            (nobody.severity, nobody.next.as_str()),
            (Severity::Critical, "dp restart a")
        );
        assert!(
            nobody.evidence[0].starts_with("5 messages behind (5 before) in partition(s) 0;"),
            "{nobody:?}"
        );
    }

    #[test]
    fn a_large_lag_that_grows_although_the_group_commits_is_a_warning() {
        let before = [lag("a-local", 1, &[(0, Some(100), 9_000), (1, Some(50), 5_000)])];
        let of =
            |partitions: &[(i32, Option<i64>, i64)]| falling_behind(&before, &[lag("a-local", 1, partitions)], WAITED);
        let found = of(&[(0, Some(180), 9_500), (1, Some(130), 5_100)]);
        assert_eq!(
            found
                .iter()
                .map(|finding| (finding.severity, finding.what.as_str()))
                .collect::<Vec<_>>(),
            [(Severity::Warning, "group a-local falls behind")]
        );
        assert_eq!(
            found[0].evidence,
            [
                "14600 messages behind (14000 before)",
                "95 a second arrive, 20 are handled"
            ]
        );
        // It catches up, it is only a little behind, or it commits nothing, which is another finding.
        assert_eq!(of(&[(0, Some(5_100), 6_000), (1, Some(50), 5_000)]), []);
        assert_eq!(of(&[(0, Some(9_100), 500), (1, Some(50), 5_000)]), []);
        assert_eq!(of(&[(0, Some(100), 9_900), (1, Some(50), 5_000)]), []);
    }

    #[test]
    fn a_paused_stage_is_a_warning_with_the_command_that_ends_it() -> Result<(), serde_json::Error> {
        let order = r#"{"paused":true,"since":"2026-10-01T00:00:00Z","by":"ann","reason":"restore"}"#;
        let found = paused(
            &order::Subject::Stage("enrichment"),
            &serde_json::from_str(order)?,
            "pipeline.control.v1",
        );
        assert_eq!(
            (found.severity, found.next.as_str()),
            (Severity::Warning, "dp resume enrichment")
        );
        assert!(found.evidence[0].contains("by ann (restore)"), "{found:?}");
        Ok(())
    }

    #[test]
    fn surveys_are_paired_by_group_topic_and_partition() {
        // Another order, a partition more and a group less than before.
        let before = [
            lag("a-local", 1, &[(0, Some(10), 5), (1, Some(7), 5)]),
            lag("gone-local", 1, &[(0, Some(1), 1)]),
            lag("b-local", 1, &[(0, Some(7), 5)]),
        ];
        let after = [
            lag("b-local", 1, &[(0, Some(9), 3)]),
            lag("a-local", 1, &[(2, None, 4), (1, Some(9), 3), (0, Some(15), 1)]),
        ];
        assert_eq!(found(&before, &after), []);
    }

    #[test]
    fn a_partition_that_stands_while_others_move_is_found() {
        let before = [lag("a-local", 2, &[(0, Some(10), 5), (1, Some(7), 5)])];
        let after = [lag("a-local", 2, &[(0, Some(10), 5), (1, Some(12), 0)])];
        let found = stalled(&before, &after, WAITED, true);
        assert_eq!(found.len(), 1);
        // The services know what blocks a partition, and print the command that skips it.
        assert_eq!(found[0].next, "dp health --all");
        assert!(found[0].what.contains("some partitions") && found[0].evidence[0].contains("partition(s) 0;"));
    }

    #[test]
    fn a_group_that_has_never_committed_stands_too() {
        let (before, after) = (
            [lag("a-local", 0, &[(0, None, 2)])],
            [lag("a-local", 0, &[(0, None, 2)])],
        );
        assert_eq!(found(&before, &after).len(), 1);
    }

    #[test]
    fn outside_of_a_local_stack_the_next_command_is_that_of_the_cluster() {
        let next = |members, after, is_local| {
            let (before, after) = (
                [lag("a-local", members, &[(0, None, 2)])],
                [lag("a-local", members, &[(0, None, after)])],
            );
            stalled(&before, &after, WAITED, is_local)[0].next.clone()
        };
        assert_eq!(next(0, 2, true), "dp restart a");
        assert!(next(0, 2, false).starts_with("kubectl rollout restart -n data-processing-prod deployment/a-service"));
        assert_eq!(next(1, 9, true), "dp logs a -n 100");
        for after in [2, 9] {
            let next = next(1, after, false);
            assert!(
                next.contains("deployment/a-service") && next.contains("docker compose logs"),
                "{next}"
            );
        }
    }

    #[test]
    fn the_second_look_waits_for_the_longest_interval() {
        assert_eq!(look_again([]), COMMIT + MARGIN);
        assert_eq!(
            look_again([Duration::from_secs(5), Duration::from_millis(10)]),
            Duration::from_secs(8)
        );
        assert_eq!(look_again([Duration::from_secs(600)]), LONGEST);
    }

    #[test]
    fn the_alerts_have_the_same_limit() {
        let rules = include_str!("../../../../monitoring/alert_rules.yml");
        for alert in ["ConsumerLagGrowing", "ThroughputLow"] {
            let (_, after) = rules.split_once(&format!("- alert: {alert}\n")).unwrap_or_default();
            let rule = after.split("- alert:").next().unwrap_or_default();
            assert!(rule.contains(&format!("> {LARGE_LAG}\n")), "{alert}: {rule}");
        }
    }
}
