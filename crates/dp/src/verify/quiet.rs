//! Waits until nothing is under way any more: every group has committed the end of its topics, and no topic grows.
//!
//! Committed offsets are not positions: a member that no longer owns a partition may set them back,
//! and nobody corrects them before the next message. So lag alone does not mean that something is under way: where
//! nothing moves for longer than a group needs to notice a dead member, it is over, and the comparison tells the rest.
//! One exception: the committed offset of the stage that makes bars from the tables is its position, so what it has not
//! committed are late ticks whose bars are still on their way, and the waiting continues until there are none.

use std::time::{Duration, Instant};

use serde::Serialize;
use service::Names;
use stream::Brokers;
use stream::kafka::groups::{GroupReader, PartitionLag};
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

const POLL: Duration = Duration::from_millis(250);
/// Longer than a checkpoint (1 s) and the flush of a writer (1 s) one after the other.
const STILL: Duration = Duration::from_millis(2_500);
/// Longer than the session of a group's member (10 s) and the restart of its partitions elsewhere.
const STALLED: Duration = Duration::from_secs(20);

/// What was seen when the waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quiet {
    /// No lag, and no topic has grown for a while.
    Yes,
    /// Nothing moves any more although a group has not committed everything.
    Stalled,
    /// Something is still under way.
    No,
}

/// Messages that a group has not committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnTheWay {
    /// Who.
    pub group: String,
    /// How many.
    pub messages: i64,
    /// Whether these are late ticks that wait for their bars to be made from the tables.
    pub restates: bool,
}

impl std::fmt::Display for OnTheWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.restates { "late tick(s)" } else { "message(s)" };
        write!(f, "{} is {} {what} behind", self.group, self.messages)
    }
}

/// Those of a list in words.
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

/// Waits for at most `limit`; answers how it ended, and what was still on its way then. Blocks.
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
    // Less than that could not tell quiet from busy.
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

// The groups that lag; and everything that moves: ends of topics and committed offsets.
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
        }]
    }

    #[test]
    fn a_lag_that_nobody_works_on_ends_the_waiting() {
        assert_eq!(decide(&[], STILL, false), Some(Quiet::Yes));
        assert_eq!(decide(&[], Duration::ZERO, false), None);
        assert_eq!(decide(&behind(false), STILL, false), None);
        assert_eq!(decide(&behind(false), STALLED, false), Some(Quiet::Stalled));
        assert_eq!(decide(&behind(false), STILL, true), Some(Quiet::No));
        assert_eq!(decide(&[], Duration::ZERO, true), Some(Quiet::No));
        assert_eq!(in_words(&behind(false)), "x is 3 message(s) behind");
    }

    #[test]
    fn late_ticks_that_wait_for_their_bars_are_waited_for_however_still_it_is() {
        assert_eq!(decide(&behind(true), STALLED, false), None);
        assert_eq!(decide(&behind(true), STALLED, true), Some(Quiet::No));
        assert_eq!(in_words(&behind(true)), "x is 3 late tick(s) behind");
    }
}
