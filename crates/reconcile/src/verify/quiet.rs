//! Waits until no message is in flight: every group has committed the end of its topics, and no topic grows.
//!
//! Committed offsets are not positions. A member that no longer owns a partition may set them back, and they are only
//! corrected with the next message. So lag alone does not prove that messages are in flight. If no offset changes for longer
//! than a group needs to notice a dead member, the wait ends, and the comparison shows whether data is missing.
//! One exception: for the second stage of aggregation (`restate`) the committed offset is the position. Its lag is late ticks
//! that are not in their bars yet, so the wait continues until it has none.

use std::time::{Duration, Instant};

use serde::Serialize;
use service::Names;
use stream::Brokers;
use stream::kafka::groups::{GroupReader, PartitionLag};
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

const POLL: Duration = Duration::from_millis(250);
/// Longer than a checkpoint (1 s) followed by a writer's flush (1 s).
const STILL: Duration = Duration::from_millis(2_500);
/// Longer than the session timeout of a group member (10 s) plus a takeover of its partitions.
const STALLED: Duration = Duration::from_secs(20);

/// How the wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quiet {
    /// No lag, and no topic has grown for `STILL`.
    Yes,
    /// A group has lag, but no offset has changed for `STALLED`.
    Stalled,
    /// Messages are still in flight.
    No,
}

/// Messages that a group has not committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnTheWay {
    /// Consumer group.
    pub group: String,
    /// Its lag.
    pub messages: i64,
    /// Whether these are late ticks whose bars are not recomputed yet.
    pub restates: bool,
    /// Where they are.
    pub partitions: Vec<Behind>,
}

/// A partition whose committed offset is before the end of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Behind {
    pub topic: String,
    pub partition: i32,
    /// `None` if the group has committed nothing.
    pub committed: Option<i64>,
    pub end: i64,
}

impl Behind {
    fn of(lag: &PartitionLag) -> Behind {
        Behind {
            topic: lag.partition.topic.to_string(),
            partition: lag.partition.number,
            committed: lag.committed,
            end: lag.end,
        }
    }
}

impl std::fmt::Display for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Behind {
            topic, partition, end, ..
        } = self;
        match self.committed {
            Some(committed) => write!(f, "{topic}[{partition}] committed {committed}, log end {end}"),
            None => write!(f, "{topic}[{partition}] nothing committed, log end {end}"),
        }
    }
}

impl std::fmt::Display for OnTheWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.restates { "late tick(s)" } else { "message(s)" };
        let partitions: Vec<String> = self.partitions.iter().map(ToString::to_string).collect();
        write!(
            f,
            "{} is {} {what} behind ({})",
            self.group,
            self.messages,
            partitions.join("; ")
        )
    }
}

/// The list as text for a note.
pub fn in_words(on_the_way: &[OnTheWay]) -> String {
    let words: Vec<String> = on_the_way.iter().map(ToString::to_string).collect();
    words.join(", ")
}

struct Member {
    group: String,
    restates: bool,
    reader: GroupReader,
    partitions: Vec<Partition>,
}

/// Waits for at most `limit`. Returns how the wait ended and which messages were in flight then. Blocks.
///
/// # Errors
/// Kafka does not answer, or a topic does not exist.
pub fn wait(bootstrap: &Brokers, names: &Names, limit: Duration) -> Result<(Quiet, Vec<OnTheWay>), StreamError> {
    let log = LogReader::new(bootstrap)?;
    let mut members = Vec::new();
    for (group, topics) in names.groups() {
        let mut partitions = Vec::new();
        for topic in &topics {
            partitions.extend(log.partitions(topic)?);
        }
        members.push(Member {
            reader: GroupReader::new(bootstrap, &group)?,
            group,
            restates: topics == [names.late.clone()],
            partitions,
        });
    }
    // A shorter wait could not tell a quiet system from a busy one.
    let deadline = Instant::now() + limit.max(2 * STILL);
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let (on_the_way, state) = look(&members)?;
        if state != seen {
            (seen, since) = (state, Instant::now());
        }
        let is_over = Instant::now() >= deadline;
        if let Some(quiet) = decide(&on_the_way, since.elapsed(), is_over) {
            return Ok((quiet, on_the_way));
        }
        std::thread::sleep(POLL);
    }
}

fn decide(on_the_way: &[OnTheWay], still_for: Duration, is_over: bool) -> Option<Quiet> {
    let restates = on_the_way.iter().any(|one| one.restates);
    if on_the_way.is_empty() && still_for >= STILL {
        Some(Quiet::Yes)
    } else if !on_the_way.is_empty() && !restates && still_for >= STALLED {
        Some(Quiet::Stalled)
    } else {
        is_over.then_some(Quiet::No)
    }
}

// The groups with lag, and every offset that may change: ends of topics and committed offsets.
fn look(members: &[Member]) -> Result<(Vec<OnTheWay>, Vec<i64>), StreamError> {
    let (mut on_the_way, mut state) = (Vec::new(), Vec::new());
    for member in members {
        let lags = member.reader.lag(&member.partitions)?;
        let messages: i64 = lags.iter().map(PartitionLag::lag).sum();
        if messages > 0 {
            on_the_way.push(OnTheWay {
                group: member.group.clone(),
                messages,
                restates: member.restates,
                partitions: lags.iter().filter(|lag| lag.lag() > 0).map(Behind::of).collect(),
            });
        }
        state.extend(lags.iter().flat_map(|lag| [lag.end, lag.committed.unwrap_or(-1)]));
    }
    Ok((on_the_way, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(restates: bool) -> Vec<OnTheWay> {
        vec![OnTheWay {
            group: "x".to_owned(),
            messages: 3,
            restates,
            partitions: vec![Behind {
                topic: "t".to_owned(),
                partition: 2,
                committed: Some(5),
                end: 8,
            }],
        }]
    }

    #[test]
    fn a_lag_that_no_longer_changes_ends_the_wait() {
        assert_eq!(decide(&[], STILL, false), Some(Quiet::Yes));
        assert_eq!(decide(&[], Duration::ZERO, false), None);
        assert_eq!(decide(&behind(false), STILL, false), None);
        assert_eq!(decide(&behind(false), STALLED, false), Some(Quiet::Stalled));
        assert_eq!(decide(&behind(false), STILL, true), Some(Quiet::No));
        assert_eq!(decide(&[], Duration::ZERO, true), Some(Quiet::No));
        assert_eq!(
            in_words(&behind(false)),
            "x is 3 message(s) behind (t[2] committed 5, log end 8)"
        );
    }

    #[test]
    fn a_lag_of_late_ticks_never_counts_as_stalled() {
        assert_eq!(decide(&behind(true), STALLED, false), None);
        assert_eq!(decide(&behind(true), STALLED, true), Some(Quiet::No));
        assert_eq!(
            in_words(&behind(true)),
            "x is 3 late tick(s) behind (t[2] committed 5, log end 8)"
        );
    }
}
