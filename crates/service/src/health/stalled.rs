//! Consumers that do not get on: their group lags, and they process nothing.
//!
//! Role: compares the counts of a consumer at each report of the lag. A worker that turns, whose dependencies answer, may still not
//! get on; neither liveness nor the checks of dependencies see that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream::WorkerStatus;
use stream::kafka::groups::PartitionLag;

/// The service is degraded.
const DEGRADED_AFTER: Duration = Duration::from_secs(60);
/// The service is unhealthy.
const UNHEALTHY_AFTER: Duration = Duration::from_secs(180);

/// A consumer group of this process, at a report of the lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub group: String,
    /// Uncommitted messages of the partitions that this process reads.
    pub lag: i64,
    /// Messages that its worker has handled since the start.
    pub handled: u64,
    /// Whether the service is unhealthy without it. A writer of a store that is down only degrades it.
    pub critical: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Still {
    since: Instant,
    lag: i64,
    handled: u64,
    critical: bool,
}

/// What is known of each group that lags.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    still: BTreeMap<String, Still>,
}

impl Stalls {
    /// Takes in a report. A consumer gets on if it has handled anything, or its lag has become smaller.
    pub(crate) fn observe(&mut self, seen: &[Seen], now: Instant) {
        let mut still = BTreeMap::new();
        for group in seen.iter().filter(|group| group.lag > 0) {
            let new = Still {
                since: now,
                lag: group.lag,
                handled: group.handled,
                critical: group.critical,
            };
            let known = self.still.get(&group.group);
            let stays = known.filter(|known| known.handled == group.handled && known.lag <= group.lag);
            still.insert(group.group.clone(), stays.copied().unwrap_or(new));
        }
        self.still = still;
    }

    /// The groups that have not got on for a minute, each with an explanation, and whether one of them makes the service unhealthy.
    pub(crate) fn problems(&self, now: Instant) -> (Vec<String>, bool) {
        let stalled = |still: &Still| now.duration_since(still.since);
        let problems = self
            .still
            .iter()
            .filter(|(_, still)| stalled(still) >= DEGRADED_AFTER)
            .map(|(group, still)| {
                format!(
                    "consumer group {group} is stalled: {} messages behind, and none handled for {} s; see its log, then restart it",
                    still.lag,
                    stalled(still).as_secs()
                )
            });
        let is_unhealthy = self
            .still
            .values()
            .any(|still| still.critical && stalled(still) >= UNHEALTHY_AFTER);
        (problems.collect(), is_unhealthy)
    }
}

/// The groups whose partitions this process reads, by the workers' groups: several may read one topic. Those that restore their state or are paused are left out.
pub(super) fn seen(
    lags: &[(String, PartitionLag)],
    workers: &[(Arc<WorkerStatus>, bool)],
    groups: &BTreeMap<String, String>,
) -> Vec<Seen> {
    let mut seen: BTreeMap<&String, Seen> = BTreeMap::new();
    for (group, lag) in lags {
        let reads = |status: &WorkerStatus| {
            let is_due = status.restoring().is_empty() && !status.is_pause_ordered();
            is_due && groups.get(status.name()) == Some(group) && status.assigned().contains(&lag.partition)
        };
        let Some((worker, critical)) = workers.iter().find(|(status, _)| reads(status)) else {
            continue;
        };
        let entry = seen.entry(group).or_insert_with(|| Seen {
            group: group.clone(),
            lag: 0,
            handled: 0,
            critical: *critical,
        });
        entry.lag += lag.lag();
        entry.handled = entry.handled.max(worker.progress().messages.total());
    }
    seen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lag: i64, handled: u64) -> [Seen; 1] {
        [Seen {
            group: "enrichment-local".to_owned(),
            lag,
            handled,
            critical: true,
        }]
    }

    /// Whether a problem is named, and whether it makes the service unhealthy.
    fn state(stalls: &Stalls, at: Instant) -> (bool, bool) {
        let (problems, is_unhealthy) = stalls.problems(at);
        assert!(
            problems.iter().all(|problem| problem.contains("enrichment-local")),
            "{problems:?}"
        );
        (!problems.is_empty(), is_unhealthy)
    }

    #[test]
    fn a_lag_that_grows_without_a_handled_message_degrades_and_then_fails() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        for (seconds, lag, expected) in [
            (0, 10, (false, false)),
            (30, 20, (false, false)),
            (60, 20, (true, false)),
            (150, 30, (true, false)),
            (180, 30, (true, true)),
        ] {
            stalls.observe(&seen(lag, 5), at(seconds));
            assert_eq!(state(&stalls, at(seconds)), expected, "{seconds}");
        }
        stalls.observe(&seen(30, 6), at(210));
        assert_eq!(state(&stalls, at(210)), (false, false));
    }

    #[test]
    fn a_consumer_that_catches_up_or_has_nothing_to_read_is_not_stalled() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        // Commits come in bursts: the count stands still, but the lag falls.
        for (step, lag) in [50, 40, 30, 20].into_iter().enumerate() {
            stalls.observe(&seen(lag, 5), at(40 * step as u64));
            assert_eq!(state(&stalls, at(40 * step as u64)), (false, false));
        }
        stalls.observe(&seen(0, 5), at(200));
        assert_eq!(state(&stalls, at(900)), (false, false));
    }

    #[test]
    fn a_writer_that_stands_still_only_degrades_the_service() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stalls = Stalls::default();
        let writer = seen(10, 5).map(|seen| Seen {
            critical: false,
            ..seen
        });
        stalls.observe(&writer, at(0));
        assert_eq!(state(&stalls, at(900)), (true, false));
    }
}
