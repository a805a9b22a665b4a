//! Waits until nothing is under way any more: every group has committed the end of its topics, and no topic grows.
//!
//! Committed offsets are no positions (blueprint section 2), but they show lag, and that is what is asked here.

use std::time::{Duration, Instant};

use service::Names;
use stream::kafka::groups::GroupReader;
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

const POLL: Duration = Duration::from_millis(250);
/// Longer than a checkpoint (1 s) and the flush of a writer (1 s) one after the other.
const STILL: Duration = Duration::from_millis(2_500);

/// What was seen when the waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quiet {
    /// No lag, and no topic has grown for a while.
    Yes,
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
        let (lag, ends) = look(&members)?;
        if ends != seen {
            (seen, since) = (ends, Instant::now());
        }
        if lag.is_none() && since.elapsed() >= STILL {
            return Ok(Quiet::Yes);
        }
        if Instant::now() >= deadline {
            return Ok(Quiet::No(lag.unwrap_or_else(|| "topics still grow".to_owned())));
        }
        std::thread::sleep(POLL);
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

// The groups that lag, in words; and the ends of all topics.
fn look(members: &[Member]) -> Result<(Option<String>, Vec<i64>), StreamError> {
    let (mut lagging, mut ends) = (Vec::new(), Vec::new());
    for member in members {
        let lags = member.reader.lag(&member.partitions)?;
        let behind: i64 = lags.iter().map(stream::kafka::groups::PartitionLag::lag).sum();
        if behind > 0 {
            lagging.push(format!("{} is {behind} message(s) behind", member.group));
        }
        ends.extend(lags.iter().map(|lag| lag.end));
    }
    Ok(((!lagging.is_empty()).then(|| lagging.join(", ")), ends))
}
