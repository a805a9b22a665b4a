//! Sets the committed offsets of a consumer group.
//!
//! Role: what an operator of Kafka expects of `--reset-offsets`, with what it means here: only the stages between topics and the
//! stages of aggregation beside its windows (restate, derived, curves) continue from their committed offsets; everything else keeps its
//! position with its outputs ([`super::Home`]).
//! Invariants: INV-2: backwards is always safe, since any offset before the committed one is a finished frontier, and what is sent again
//! is recognised by its origin or its version. Forwards would skip messages in silence (INV-5), so for these stages it is refused, and
//! `dp position skip` is named, which stores the gap. The mark of the log is kept with the offset.
//! Failure: Kafka refuses commits while the group has members.

use anyhow::{Context as _, bail};
use serde::Serialize;
use service::Names;
use stream::Partition;
use stream::kafka::consumer::Commit;
use stream::kafka::groups::GroupReader;
use stream::kafka::reader::LogReader;

use super::{Consumer, Home, consumers};
use crate::connection::Connection;
use crate::threads::reading;

/// Where to set the offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The oldest message.
    Earliest,
    /// After the newest message.
    Latest,
    /// The first message at or after this time, in microseconds.
    Time(i64),
    /// This offset, or the nearest that the log has.
    Offset(i64),
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The committed offset.
    pub current: Option<i64>,
    /// The new one.
    pub new: i64,
    /// Messages that the group reads again.
    pub again: i64,
    /// Messages that the group never reads.
    pub skipped: i64,
    /// The metadata of the committed offset.
    #[serde(skip)]
    metadata: String,
}

/// What a reset does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The group.
    pub group: String,
    /// The service, if it is a group of the pipeline.
    pub service: Option<&'static str>,
    /// Whether the group continues from its committed offsets. Otherwise they are for tools that show lag, and the service sets them again.
    pub is_position: bool,
    /// Where the position is otherwise.
    pub home: Option<String>,
    /// By topic and partition.
    pub rows: Vec<Row>,
}

impl Plan {
    /// The first partition in which messages would be skipped in silence.
    pub fn skips(&self) -> Option<&Row> {
        self.rows
            .iter()
            .find(|row| self.service.is_some() && self.is_position && row.skipped > 0)
    }
}

/// Reads the committed offsets and the logs; changes nothing. A group of the pipeline needs no topic.
///
/// # Errors
/// Kafka does not answer, or the group does not read the topic.
pub async fn plan(connection: &Connection, group: &str, topic: Option<&str>, target: Target) -> anyhow::Result<Plan> {
    let own = own_consumers(&connection.names, group);
    let topics: Vec<String> = match topic {
        _ if group == connection.names.invalidation_group("projection") => bail!(
            "{group} has no position to reset: a request that is carried out twice changes nothing, so its offsets are worth nothing; to drop copies \
             again, use `dp cache refresh`"
        ),
        Some(topic) => vec![topic.to_owned()],
        None if own.is_empty() => bail!(
            "{group} is not a group of the pipeline: name its topic with --topic; `dp kafka groups` lists the groups of the pipeline"
        ),
        None => own.iter().map(|consumer| consumer.topic.clone()).collect(),
    };
    if let (Some(topic), Some(first)) = (topic, own.first())
        && !own.iter().any(|consumer| consumer.topic == *topic)
    {
        bail!("{group} does not read {topic}; it reads {}", first.topic);
    }
    let (bootstrap, asked) = (connection.settings.kafka_bootstrap.clone(), group.to_owned());
    let rows = reading(move || {
        let (log, group) = (LogReader::new(&bootstrap)?, GroupReader::new(&bootstrap, &asked)?);
        let mut rows = Vec::new();
        for topic in topics {
            let mut partitions = log.partitions(&topic)?;
            partitions.sort();
            for committed in group.committed(&partitions)? {
                let range = log.log_range(&committed.partition)?;
                let at = match target {
                    Target::Time(time) => log.offset_at(&committed.partition, time)?,
                    _ => None,
                };
                let metadata = committed.mark.as_ref().map(delivery::log_mark::LogMark::to_metadata);
                rows.push(Row {
                    metadata: metadata.unwrap_or_default(),
                    ..row(
                        &committed.partition,
                        committed.next_offset,
                        range,
                        offset(target, at, range),
                    )
                });
            }
        }
        Ok(rows)
    })
    .await
    .with_context(|| {
        format!("read the offsets of {group}: is Kafka running (`dp status`), and does the topic exist?")
    })?;
    Ok(Plan {
        group: group.to_owned(),
        service: own.first().map(|consumer| consumer.service),
        is_position: own.is_empty() || own.iter().any(|consumer| consumer.home == Home::Group),
        home: own.first().map(|consumer| consumer.home.name()),
        rows,
    })
}

fn own_consumers(names: &Names, group: &str) -> Vec<Consumer> {
    let all = consumers(names).into_iter();
    all.filter(|consumer| consumer.group == group).collect()
}

/// The offset of a target within the log. A time after the newest message is its end.
fn offset(target: Target, at_time: Option<i64>, (oldest, end): (i64, i64)) -> i64 {
    match target {
        Target::Earliest => oldest,
        Target::Latest => end,
        Target::Time(_) => at_time.unwrap_or(end),
        Target::Offset(offset) => offset.clamp(oldest, end),
    }
}

fn row(partition: &Partition, current: Option<i64>, (oldest, _): (i64, i64), new: i64) -> Row {
    // Without a committed offset a group begins at the oldest message.
    let from = current.unwrap_or(oldest);
    Row {
        topic: partition.topic.to_string(),
        partition: partition.number,
        current,
        new,
        again: (from - new).max(0),
        skipped: (new - from.max(oldest)).max(0),
        metadata: String::new(),
    }
}

/// Commits the new offsets. The group must have no members.
///
/// # Errors
/// Kafka does not answer, or the group has members; some partitions may be set already.
pub async fn carry_out(connection: &Connection, plan: &Plan) -> anyhow::Result<()> {
    let (bootstrap, plan) = (connection.settings.kafka_bootstrap.clone(), plan.clone());
    reading(move || {
        let group = GroupReader::new(&bootstrap, &plan.group)?;
        for row in plan.rows {
            group.commit(&Commit {
                partition: Partition {
                    topic: row.topic.as_str().into(),
                    number: row.partition,
                },
                next_offset: row.new,
                metadata: row.metadata,
            })?;
        }
        Ok(())
    })
    .await
    .context("commit the offsets: does the group have members again? Run the command again to set the rest")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use service::settings::{Env, load};

    use super::*;

    fn partition() -> Partition {
        Partition {
            topic: "t".into(),
            number: 3,
        }
    }

    #[test]
    fn every_target_is_within_the_log() {
        let range = (10, 50);
        for (target, at, expected) in [
            (Target::Earliest, None, 10),
            (Target::Latest, None, 50),
            (Target::Time(7), Some(33), 33),
            (Target::Time(7), None, 50),
            (Target::Offset(20), None, 20),
            (Target::Offset(0), None, 10),
            (Target::Offset(99), None, 50),
        ] {
            assert_eq!(offset(target, at, range), expected, "{target:?}");
        }
    }

    #[test]
    fn messages_are_read_again_or_skipped_and_expired_ones_are_neither() {
        let counts = |current: Option<i64>, new: i64| {
            let row = row(&partition(), current, (10, 50), new);
            (row.again, row.skipped)
        };
        assert_eq!(counts(Some(40), 10), (30, 0));
        assert_eq!(counts(Some(40), 50), (0, 10));
        assert_eq!(counts(Some(40), 40), (0, 0));
        assert_eq!(counts(None, 10), (0, 0));
        assert_eq!(counts(Some(5), 10), (0, 0), "retention has removed them");
    }

    #[test]
    fn only_stages_continue_from_the_committed_offsets() {
        let names = Names::new(&load(&Env::new(), 8080, |_| ()).unwrap().settings);
        let is_position = |group: &str| {
            let own = own_consumers(&names, group);
            own.iter().any(|consumer| consumer.home == Home::Group)
        };
        for group in [
            "normalization-local",
            "enrichment-local",
            "aggregation-local-restate",
            "aggregation-local-derived",
            "aggregation-local-curves",
        ] {
            assert!(is_position(group), "{group}");
        }
        assert!(!is_position("projection-local") && !is_position("normalization-local-clickhouse"));
    }
}
