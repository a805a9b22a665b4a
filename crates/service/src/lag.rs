//! The lag of every group of the pipeline, queried from the broker. This also shows groups whose service is stopped, and the
//! progress of a revoked partition under its new owner.
//!
//! Each service exports all groups, so one running service is enough. With several scrape targets, use `max by (group,
//! topic, partition)`. A group that does not keep up is logged by every service ([`backlog`]), since its own may be unable to.
//! Failure: while the broker does not respond, the lag is unknown and shown as `NaN`.

mod backlog;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Classified as _, ErrorClass};
use stream::Shutdown;
use stream::kafka::groups::PartitionLag;
use stream::kafka::probe::Probe;

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

/// Queries the lag until shutdown, and passes the lag of this service's groups to health. A paused group is not expected to keep up.
pub(crate) async fn watch(
    probe: Arc<Probe>,
    (groups, is_paused): (Groups, impl Fn(&str) -> bool),
    service: &str,
    health: Arc<Health>,
    shutdown: Shutdown,
) {
    let prefix = format!("{service}-");
    let (mut known, mut is_reported) = (Vec::<(String, PartitionLag)>::new(), false);
    let mut backlogs = Backlogs::default();
    while !shutdown.is_requested() {
        let (asking, asked) = (Arc::clone(&probe), groups.clone());
        let answer = tokio::task::spawn_blocking(move || asking.lags(&asked, TIMEOUT)).await;
        match answer {
            Ok(Ok(lags)) => {
                (known, is_reported) = (lags, false);
                for (group, lag) in &known {
                    metrics::consumer_lag(group, lag, lag.lag() as f64);
                    metrics::consumer_committed(group, lag, position(lag) as f64);
                }
                let now = Instant::now();
                backlogs.forget(&is_paused);
                let mut running = seen(&known);
                running.retain(|seen| !is_paused(&seen.reader.0));
                backlogs.observe(&running, now).iter().for_each(tell);
                health.set_falling_behind(backlogs.falling_behind(&prefix, now));
                let own: Vec<(String, PartitionLag)> = known
                    .iter()
                    .filter(|(group, _)| group.starts_with(&prefix))
                    .cloned()
                    .collect();
                health.set_lag(&own);
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
