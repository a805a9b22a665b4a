//! Waits until everything that follows from the cut of a run is in the stores: every group has committed the ends that its topics had when the
//! stage before had passed its own ([`cut`](super::cut)). Topics may grow meanwhile.
//!
//! A stage commits an offset when all outputs of what is before it are acknowledged, and a writer when its rows are stored. So ends that are
//! taken after the commit have all that follows from what was committed.
//! Committed offsets are not positions. A member that no longer owns a partition may set them back, and they are only
//! corrected with the next message. So lag alone does not prove that messages are in flight. If no offset changes for longer
//! than a group needs to notice a dead member, the wait ends, and the comparison shows whether data is missing.
//! A stage that is switched off ([`is_off`]) is not waited for.
//! One exception: for the second stage of aggregation (`restate`) the committed offset is the position. Its lag is late ticks
//! that are not in their bars yet, so the wait continues until it has none.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ops::lag::is_off;
use serde::Serialize;
use service::Names;
use stream::kafka::groups::{GroupReader, PartitionLag};
use stream::kafka::reader::LogReader;
use stream::{Brokers, Partition, StreamError};

use super::cut::{Cut, Ends, ROUNDS};

const POLL: Duration = Duration::from_millis(250);
/// Longer than a checkpoint (1 s) followed by a writer's flush (1 s).
const STILL: Duration = Duration::from_millis(2_500);
/// Longer than the session timeout of a group member (10 s) plus a takeover of its partitions.
const STALLED: Duration = Duration::from_secs(20);

/// How the wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// Every group has passed what follows from the cut.
    Yes,
    /// A group has not, but no offset has changed for `STALLED`.
    Stalled,
    /// What follows from the cut is still in flight.
    No,
}

/// Messages before the cut that a group has not committed.
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

/// A partition whose committed offset is before the end that it must pass.
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
    /// Of a stage that may be switched off: a group of its service that always runs.
    other: Option<GroupReader>,
    restates: bool,
    reader: GroupReader,
    partitions: Vec<Partition>,
}

/// Takes the cut, and waits for at most `limit` until it is passed. Returns the cut, how the wait ended, and which messages were in flight
/// then. Blocks.
///
/// # Errors
/// Kafka does not answer, or a topic does not exist.
pub fn wait(bootstrap: &Brokers, names: &Names, limit: Duration) -> Result<(Cut, Passed, Vec<OnTheWay>), StreamError> {
    let log = LogReader::new(bootstrap)?;
    let (mut members, mut partitions, optional) = (Vec::new(), BTreeSet::new(), names.optional_groups());
    for (group, topics) in names.groups() {
        let mut of_group = Vec::new();
        for topic in &topics {
            of_group.extend(log.partitions(topic)?);
        }
        partitions.extend(of_group.iter().cloned());
        members.push(Member {
            reader: GroupReader::new(bootstrap, &group)?,
            other: optional
                .iter()
                .find(|(optional, _)| *optional == group)
                .map(|(_, other)| GroupReader::new(bootstrap, other))
                .transpose()?,
            group,
            restates: topics == [names.late.clone()],
            partitions: of_group,
        });
    }
    let begun = Instant::now();
    // Each round takes a checkpoint and a flush at most, if nobody is behind.
    let deadline = begun + limit.max(STILL * u32::try_from(ROUNDS).unwrap_or(u32::MAX));
    let mut rounds = Rounds::begin(Cut::of(names), ends(&log, &partitions)?);
    let (mut seen, mut since) = (Vec::new(), Instant::now());
    loop {
        let (on_the_way, state) = look(&members, &rounds.ends)?;
        if on_the_way.is_empty() && !rounds.are_over() {
            rounds.next(ends(&log, &partitions)?);
            continue;
        }
        if state != seen {
            (seen, since) = (state, Instant::now());
        }
        let is_over = Instant::now() >= deadline;
        if let Some(passed) = decide(&on_the_way, (begun.elapsed(), since.elapsed()), is_over) {
            while !rounds.are_over() {
                rounds.next(ends(&log, &partitions)?);
            }
            return Ok((rounds.cut, passed, on_the_way));
        }
        std::thread::sleep(POLL);
    }
}

/// The rounds in which the ends of the topics are taken and passed.
struct Rounds {
    cut: Cut,
    number: usize,
    /// What every group must pass now.
    ends: Ends,
}

impl Rounds {
    fn begin(mut cut: Cut, ends: Ends) -> Rounds {
        cut.take(0, &ends);
        Rounds { cut, number: 0, ends }
    }

    fn are_over(&self) -> bool {
        self.number + 1 >= ROUNDS
    }

    fn next(&mut self, ends: Ends) {
        self.number += 1;
        self.cut.take(self.number, &ends);
        self.ends = ends;
    }
}

fn decide(on_the_way: &[OnTheWay], (waited, still_for): (Duration, Duration), is_over: bool) -> Option<Passed> {
    let restates = on_the_way.iter().any(|one| one.restates);
    if on_the_way.is_empty() && waited >= STILL {
        Some(Passed::Yes)
    } else if !on_the_way.is_empty() && !restates && still_for >= STALLED {
        Some(Passed::Stalled)
    } else {
        is_over.then_some(Passed::No)
    }
}

/// The ends of these partitions now. Blocks.
///
/// # Errors
/// Kafka does not answer.
pub fn ends<'p>(log: &LogReader, partitions: impl IntoIterator<Item = &'p Partition>) -> Result<Ends, StreamError> {
    let end = |partition: &Partition| Ok((partition.clone(), log.log_range(partition)?.1));
    partitions.into_iter().map(end).collect()
}

// The groups that have not passed these ends, and every offset that may change: ends of topics and committed offsets.
fn look(members: &[Member], ends: &Ends) -> Result<(Vec<OnTheWay>, Vec<i64>), StreamError> {
    let (mut on_the_way, mut state) = (Vec::new(), Vec::new());
    for member in members {
        let mut lags = member.reader.lag(&member.partitions)?;
        state.extend(lags.iter().flat_map(|lag| [lag.end, lag.committed.unwrap_or(-1)]));
        to_the_cut(&mut lags, ends);
        let messages: i64 = lags.iter().map(PartitionLag::lag).sum();
        let is_off = match &member.other {
            Some(other) => is_off(&member.reader, other, &lags)?,
            None => false,
        };
        if messages > 0 && !is_off {
            on_the_way.push(OnTheWay {
                group: member.group.clone(),
                messages,
                restates: member.restates,
                partitions: lags.iter().filter(|lag| lag.lag() > 0).map(Behind::of).collect(),
            });
        }
    }
    Ok((on_the_way, state))
}

/// What came since is not waited for.
fn to_the_cut(lags: &mut [PartitionLag], ends: &Ends) {
    for lag in lags {
        lag.end = ends.get(&lag.partition).map_or(lag.end, |end| lag.end.min(*end));
    }
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
        let decide = |on_the_way: &[OnTheWay], still_for, is_over| decide(on_the_way, (STILL, still_for), is_over);
        assert_eq!(decide(&[], Duration::ZERO, false), Some(Passed::Yes), "topics may grow");
        assert_eq!(super::decide(&[], (Duration::ZERO, STILL), false), None);
        assert_eq!(decide(&behind(false), STILL, false), None);
        assert_eq!(decide(&behind(false), STALLED, false), Some(Passed::Stalled));
        assert_eq!(decide(&behind(false), STILL, true), Some(Passed::No));
        assert_eq!(
            in_words(&behind(false)),
            "x is 3 message(s) behind (t[2] committed 5, log end 8)"
        );
    }

    #[test]
    fn a_lag_of_late_ticks_never_counts_as_stalled() {
        assert_eq!(decide(&behind(true), (STALLED, STALLED), false), None);
        assert_eq!(decide(&behind(true), (STALLED, STALLED), true), Some(Passed::No));
        assert_eq!(
            in_words(&behind(true)),
            "x is 3 late tick(s) behind (t[2] committed 5, log end 8)"
        );
    }

    #[test]
    fn a_group_is_behind_only_for_what_the_cut_has() {
        let partition = Partition {
            topic: "t".into(),
            number: 0,
        };
        let behind = |committed, end, cut| {
            let mut lags = [PartitionLag {
                partition: partition.clone(),
                committed,
                start: 2,
                end,
            }];
            to_the_cut(&mut lags, &[(partition.clone(), cut)].into());
            lags.iter().map(PartitionLag::lag).sum::<i64>()
        };
        assert_eq!(behind(Some(7), 90, 9), 2);
        assert_eq!(behind(Some(9), 90, 9), 0, "the load goes on");
        assert_eq!(behind(Some(60), 90, 9), 0);
        assert_eq!(behind(None, 90, 9), 7);
        assert_eq!(behind(Some(9), 9, 9), 0);
    }
}
