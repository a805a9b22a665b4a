//! The lag of every group of the pipeline, queried from the broker. This also shows groups whose service is stopped, and the
//! progress of a revoked partition under its new owner.
//!
//! Each service exports all groups, so one running service is enough. With several scrape targets, use `max by (group,
//! topic, partition)`. A group that does not keep up is logged by every service ([`backlog`]), since its own may be unable to.
//! A group whose stage is switched off ([`is_switched_off`]) has no lag: what waits in its topic waits for nobody.
//! Failure: while the broker does not respond, the lag is unknown and shown as `NaN`.

mod backlog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Classified as _, ErrorClass};
use stream::kafka::groups::PartitionLag;
use stream::kafka::probe::Probe;
use stream::{Shutdown, StreamError};

use crate::health::Health;
use crate::metrics;
pub use backlog::LARGE_LAG;
use backlog::{Backlogs, News, Reader, Seen, Trouble};

/// Each query takes a request for each group, and each service sends them.
const INTERVAL: Duration = Duration::from_secs(30);
/// Bounds each query.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Groups with the topics that each reads.
pub(crate) type Groups = Vec<(String, Vec<String>)>;

/// Whether the stage of a group that a setting may switch off ([`crate::Names::optional_groups`]) is switched off, from what the broker
/// knows. Without members and offsets it has never run. With offsets it ran before: then its service runs without it, or is down,
/// and only in the first case does nobody miss it.
pub fn is_switched_off(has_committed: bool, is_read: bool, service_runs: bool) -> bool {
    !is_read && (!has_committed || service_runs)
}

/// Each group with the lag of one of its partitions.
type Lags = Vec<(String, PartitionLag)>;

/// The lags of all groups, and the groups of stages that are switched off. The process itself knows of its own ones.
fn ask(probe: &Probe, groups: &Groups, optional: &[(String, String)]) -> Result<(Lags, Vec<String>), StreamError> {
    let lags = probe.lags(groups, TIMEOUT)?;
    // Without an answer, for want of a right as well, the group counts as one that runs: its lag is told.
    let has_members = |group: &str| probe.has_members(group, TIMEOUT).ok();
    let is_off = |(group, other): &&(String, String)| {
        let own: Vec<&PartitionLag> = lags
            .iter()
            .filter(|(name, _)| name == group)
            .map(|(_, lag)| lag)
            .collect();
        if own.iter().all(|lag| lag.lag() == 0) {
            return false;
        }
        let has_committed = own.iter().any(|lag| lag.committed.is_some());
        let (is_read, service_runs) = (has_members(group), has_members(other));
        is_switched_off(has_committed, is_read != Some(false), service_runs == Some(true))
    };
    let off = optional.iter().filter(is_off).map(|(group, _)| group.clone()).collect();
    Ok((lags, off))
}

/// Queries the lag until shutdown, and passes the lag of this service's groups to health. A paused group is not expected to keep up.
pub(crate) async fn watch(
    probe: Arc<Probe>,
    (groups, optional, is_paused): (Groups, Vec<(String, String)>, impl Fn(&str) -> bool),
    service: &str,
    health: Arc<Health>,
    shutdown: Shutdown,
) {
    let prefix = format!("{service}-");
    let (mut known, mut is_reported) = (Lags::new(), false);
    let mut backlogs = Backlogs::default();
    while !shutdown.is_requested() {
        let (asking, asked) = (Arc::clone(&probe), groups.clone());
        let mut others = optional.clone();
        others.retain(|(group, _)| !health.runs(group));
        let answer = tokio::task::spawn_blocking(move || ask(&asking, &asked, &others)).await;
        match answer {
            Ok(Ok((lags, off))) => {
                (known, is_reported) = (lags, false);
                let is_idle = |group: &str| is_paused(group) || off.iter().any(|one| one == group);
                for (group, lag) in &known {
                    let waiting = if off.contains(group) { 0 } else { lag.lag() };
                    metrics::consumer_lag(group, lag, waiting as f64);
                    metrics::consumer_committed(group, lag, position(lag) as f64);
                }
                let now = Instant::now();
                backlogs.forget(is_idle);
                let mut running = seen(&known);
                running.retain(|seen| !is_idle(&seen.reader.0));
                backlogs.observe(&running, now).iter().for_each(tell);
                health.set_backlogs(backlogs.problems(&prefix, |group| health.reads(group), now));
                health.set_lag(&known);
            }
            Ok(Err(error)) => {
                if error.class() == ErrorClass::Fatal && !std::mem::replace(&mut is_reported, true) {
                    tracing::warn!(code = error.code(), error = %error, "the lag of the groups is not available");
                }
                tracing::debug!(error = %error, "the lag of the groups is unknown; retrying");
                for (group, lag) in &known {
                    metrics::consumer_lag(group, lag, f64::NAN);
                    metrics::consumer_committed(group, lag, f64::NAN);
                }
                health.set_lag(&[]);
            }
            Err(error) => tracing::error!(error = %error, "the query for the lag of the groups failed; retrying"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Where a group goes on: its committed offset, or the beginning of the log before the first one.
fn position(lag: &PartitionLag) -> i64 {
    lag.committed.unwrap_or(lag.start).max(lag.start)
}

/// Groups and topics with the sums of their partitions.
fn seen(lags: &[(String, PartitionLag)]) -> Vec<Seen> {
    let mut sums: BTreeMap<Reader, (i64, i64)> = BTreeMap::new();
    for (group, of_partition) in lags {
        let reader = (group.clone(), of_partition.partition.topic.to_string());
        let (lag, committed) = sums.entry(reader).or_default();
        *lag += of_partition.lag();
        *committed += position(of_partition);
    }
    let each = |(reader, (lag, committed))| Seen { reader, lag, committed };
    sums.into_iter().map(each).collect()
}

fn tell(news: &News) {
    let News {
        reader: (group, topic),
        trouble,
        lag,
        seconds,
    } = news;
    match trouble {
        Some(Trouble::Stalled) => tracing::warn!(
            event = "consumer_stalled",
            group,
            topic,
            lag,
            seconds,
            "a consumer group has messages to read and commits nothing; `dp doctor` looks for the cause"
        ),
        Some(Trouble::FallsBehind) => tracing::warn!(
            event = "consumer_falls_behind",
            group,
            topic,
            lag,
            seconds,
            "a consumer group falls behind: more arrives than it handles; `dp capacity` shows what it could handle"
        ),
        None => tracing::info!(
            event = "consumer_keeps_up",
            group,
            topic,
            lag,
            "a consumer group keeps up again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use stream::Partition;

    use super::*;

    #[test]
    fn a_group_that_nobody_reads_is_switched_off_if_it_never_ran_or_its_service_runs_without_it() {
        for (has_committed, is_read, service_runs, expected) in [
            (false, false, false, true),
            (false, false, true, true),
            (true, false, true, true),
            // The service is down: its lag must be told.
            (true, false, false, false),
            (false, true, true, false),
            (true, true, true, false),
        ] {
            let found = is_switched_off(has_committed, is_read, service_runs);
            assert_eq!(found, expected, "{has_committed} {is_read} {service_runs}");
        }
    }

    #[test]
    fn the_partitions_of_a_topic_are_added_up_and_a_group_without_commits_is_at_the_beginning() {
        let lag = |topic: &str, number, committed| PartitionLag {
            partition: Partition {
                topic: topic.into(),
                number,
            },
            committed,
            start: 10,
            end: 100,
        };
        let lags = [
            ("a", lag("t", 0, Some(40))),
            ("a", lag("t", 1, None)),
            ("a", lag("u", 0, Some(100))),
        ];
        let lags = lags.map(|(group, lag)| (group.to_owned(), lag));
        let expected = [("t", 60 + 90, 40 + 10), ("u", 0, 100)].map(|(topic, lag, committed)| Seen {
            reader: ("a".to_owned(), topic.to_owned()),
            lag,
            committed,
        });
        assert_eq!(seen(&lags), expected);
    }
}
