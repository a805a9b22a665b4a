//! Compares every stored position with the log that it belongs to.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use domain::is_known_topic_id;
use serde::Serialize;
use stream::Partition;
use stream::kafka::describe::describe_topics;
use stream::kafka::reader::LogReader;
use stream::positions::{self, Fit, Reader};

use super::homes::{Homes, Stored};
use super::{Consumer, consumers};
use crate::connection::Connection;
use crate::threads::reading;

/// A filter for positions. `None` means no limit.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Service.
    pub service: Option<String>,
    /// Topic.
    pub topic: Option<String>,
    /// Partition.
    pub partition: Option<i32>,
}

/// The result of comparing a position with its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Finding {
    /// No position is stored yet.
    None,
    /// The position is valid.
    Good,
    /// Offsets were removed before they were processed.
    Removed {
        /// The first of them.
        from: i64,
        /// After the last of them.
        to: i64,
    },
    /// The log was replaced. Only a new generation helps.
    Replaced {
        /// What happened.
        why: String,
    },
}

/// One position and its log.
pub struct Standing {
    /// The consumer.
    pub consumer: Consumer,
    /// The partition.
    pub partition: Partition,
    /// Current id of the topic.
    pub topic_id: String,
    /// The stored position.
    pub stored: Option<Stored>,
    /// Oldest and next offset of the log.
    pub range: (i64, i64),
    /// The result of the comparison.
    pub finding: Finding,
}

impl Standing {
    /// The command with which the consumer can continue, if it needs one.
    pub fn remedy(&self, generation: &str) -> Option<String> {
        let reader = reader(&self.consumer, generation);
        match self.finding {
            Finding::None | Finding::Good => None,
            Finding::Removed { .. } => Some(reader.accept_command(&self.partition)),
            Finding::Replaced { .. } => Some(reader.generation_command()),
        }
    }
}

/// The consumer as the services' messages name it.
pub fn reader(consumer: &Consumer, generation: &str) -> Reader {
    Reader {
        service: consumer.service.to_owned(),
        generation: generation.to_owned(),
    }
}

/// Compares all positions that match the filter.
///
/// # Errors
/// A server does not answer, or a topic does not exist.
pub async fn survey(connection: &Connection, homes: &Homes<'_>, wanted: &Wanted) -> anyhow::Result<Vec<Standing>> {
    let meant: Vec<Consumer> = consumers(&connection.names)
        .into_iter()
        .filter(|consumer| {
            wanted
                .service
                .as_ref()
                .is_none_or(|service| service == consumer.service)
        })
        .filter(|consumer| wanted.topic.as_ref().is_none_or(|topic| *topic == consumer.topic))
        .collect();
    let mut topics: Vec<String> = meant.iter().map(|consumer| consumer.topic.clone()).collect();
    topics.sort();
    topics.dedup();
    let logs = logs(connection, topics).await?;
    let mut standings = Vec::new();
    for consumer in meant {
        let Some(log) = logs.get(&consumer.topic) else {
            continue;
        };
        for (partition, range) in &log.ranges {
            if wanted.partition.is_some_and(|number| number != partition.number) {
                continue;
            }
            let stored = homes.read(&consumer, partition).await.with_context(|| {
                let (group, at) = (&consumer.group, consumer.home.server(&connection.settings));
                format!("read the position of {group} in {partition} from {at}: is it running (`dp status`)?")
            })?;
            standings.push(Standing {
                finding: find(stored.as_ref(), *range, &log.id),
                consumer: consumer.clone(),
                partition: partition.clone(),
                topic_id: log.id.clone(),
                stored,
                range: *range,
            });
        }
    }
    look_again(connection, &mut standings).await?;
    Ok(standings)
}

/// Under load a position passes the end of its log that was read before it. Only one that is beyond an end read after it shows that the log
/// was cut.
async fn look_again(connection: &Connection, standings: &mut [Standing]) -> anyhow::Result<()> {
    let is_odd = |standing: &&mut Standing| matches!(standing.finding, Finding::Replaced { .. });
    let mut topics: Vec<String> = standings
        .iter_mut()
        .filter(is_odd)
        .map(|standing| standing.partition.topic.to_string())
        .collect();
    topics.sort();
    topics.dedup();
    if topics.is_empty() {
        return Ok(());
    }
    let logs = logs(connection, topics).await?;
    for standing in standings.iter_mut().filter(is_odd) {
        let log = logs.values().flat_map(|log| &log.ranges);
        let mut same = log.filter(|(partition, _)| *partition == standing.partition);
        if let Some((_, range)) = same.next() {
            standing.range = *range;
            standing.finding = find(standing.stored.as_ref(), *range, &standing.topic_id);
        }
    }
    Ok(())
}

struct Log {
    id: String,
    ranges: Vec<(Partition, (i64, i64))>,
}

async fn logs(connection: &Connection, topics: Vec<String>) -> anyhow::Result<BTreeMap<String, Log>> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let at = format!("read the logs of Kafka at {bootstrap}: is it running (`dp status`)?");
    reading(move || {
        let reader = LogReader::new(&bootstrap)?;
        let mut logs = BTreeMap::new();
        for topic in describe_topics(&bootstrap, &topics, Duration::from_secs(15))? {
            let mut ranges = Vec::new();
            for partition in reader.partitions(&topic.name)? {
                let range = reader.log_range(&partition)?;
                ranges.push((partition, range));
            }
            ranges.sort();
            logs.insert(topic.name, Log { id: topic.id, ranges });
        }
        Ok(logs)
    })
    .await
    .context(at)
}

fn find(stored: Option<&Stored>, range: (i64, i64), id: &str) -> Finding {
    let Some(stored) = stored else {
        return Finding::None;
    };
    if let Some(known) = stored.topic_id.as_deref().filter(|known| is_known_topic_id(known))
        && is_known_topic_id(id)
        && known != id
    {
        let why = format!("the topic was deleted and created again (id {known}, now {id})");
        return Finding::Replaced { why };
    }
    match positions::fit(stored.next_offset, range) {
        Fit::Whole => Finding::Good,
        Fit::Removed { from, to } => Finding::Removed { from, to },
        Fit::Cut { from, to } => Finding::Replaced {
            why: format!(
                "the log was cut: offsets {from} to {} were read, but no longer exist",
                to - 1
            ),
        },
    }
}
