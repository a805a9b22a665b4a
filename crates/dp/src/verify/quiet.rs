//! Waits until nothing is under way any more: every group has committed the end of its topics, and no topic grows.
//!
//! Committed offsets are no positions (blueprint section 2): a member that no longer owns a partition may set them back,
//! and nobody corrects them before the next message. So lag alone does not mean that something is under way: where
//! nothing moves for longer than a group needs to notice a dead member, it is over, and the comparison tells the rest.

use std::time::{Duration, Instant};

use service::Names;
use stream::kafka::groups::GroupReader;
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
    /// Nothing moves any more although a group has not committed everything, in words.
    Stalled(String),
    /// Something is still under way, in words.
    No(String),
}

struct Member {
    group: String,
    reader: GroupReader,
    partitions: Vec<Partition>,
}

/// Waits for at most `limit`. Blocks.
///
/// # Errors
/// Kafka does not answer, or a topic does not exist.
pub fn wait(bootstrap: &str, names: &Names, limit: Duration) -> Result<Quiet, StreamError> {
    let log = LogReader::new(bootstrap)?;
    let mut members = Vec::new();
    for (group, topics) in consumers(names) {
        let mut partitions = Vec::new();
        for topic in topics {
            partitions.extend(log.partitions(topic)?);
        }
        members.push(Member {
            reader: GroupReader::new(bootstrap, &group)?,
            group,
            partitions,
        });
    }
    // Less than that could not tell quiet from busy.
    let deadline = Instant::now() + limit.max(2 * STILL);
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let (lag, state) = look(&members)?;
        if state != seen {
            (seen, since) = (state, Instant::now());
        }
        let is_over = Instant::now() >= deadline;
        if let Some(quiet) = decide(lag, since.elapsed(), is_over) {
            return Ok(quiet);
        }
        std::thread::sleep(POLL);
    }
}

fn decide(lag: Option<String>, still_for: Duration, is_over: bool) -> Option<Quiet> {
    match lag {
        None if still_for >= STILL => Some(Quiet::Yes),
        Some(lag) if still_for >= STALLED => Some(Quiet::Stalled(lag)),
        lag => is_over.then(|| Quiet::No(lag.unwrap_or_else(|| "topics still grow".to_owned()))),
    }
}

fn consumers(names: &Names) -> Vec<(String, Vec<&String>)> {
    vec![
        (names.group("normalization"), names.raw.iter().collect()),
        (names.writer_group("normalization"), vec![&names.normalized]),
        (names.group("enrichment"), vec![&names.normalized]),
        (names.writer_group("enrichment"), vec![&names.enriched]),
        (names.group("aggregation"), vec![&names.enriched]),
        (names.writer_group("aggregation"), vec![&names.bars, &names.late]),
        (names.group("projection"), vec![&names.enriched]),
    ]
}

// The groups that lag, in words; and everything that moves: ends of topics and committed offsets.
fn look(members: &[Member]) -> Result<(Option<String>, Vec<i64>), StreamError> {
    let (mut lagging, mut state) = (Vec::new(), Vec::new());
    for member in members {
        let lags = member.reader.lag(&member.partitions)?;
        let behind: i64 = lags.iter().map(stream::kafka::groups::PartitionLag::lag).sum();
        if behind > 0 {
            lagging.push(format!("{} is {behind} message(s) behind", member.group));
        }
        state.extend(lags.iter().flat_map(|lag| [lag.end, lag.committed.unwrap_or(-1)]));
    }
    Ok(((!lagging.is_empty()).then(|| lagging.join(", ")), state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_that_nobody_works_on_ends_the_waiting_and_is_told() {
        let lag = || Some("x is 3 message(s) behind".to_owned());
        assert_eq!(decide(None, STILL, false), Some(Quiet::Yes));
        assert_eq!(decide(None, Duration::ZERO, false), None);
        assert_eq!(decide(lag(), STILL, false), None);
        assert_eq!(decide(lag(), STALLED, false), lag().map(Quiet::Stalled));
        assert_eq!(decide(lag(), STILL, true), lag().map(Quiet::No));
        assert_eq!(
            decide(None, Duration::ZERO, true),
            Some(Quiet::No("topics still grow".to_owned()))
        );
    }
}
