//! `dp groups`: the lag of every consumer group of the pipeline.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Serialize;
use service::Names;
use stream::Brokers;
use stream::kafka::groups::{GroupReader, PartitionLag};
use stream::kafka::reader::LogReader;
use stream::{Partition, StreamError};

use super::present::{grouped, print_json, print_line, table};
use crate::connection::Connection;

/// Show the lag of every consumer group.
///
/// Use it to see which stage is behind. Only the stages of normalization and enrichment continue from their committed
/// offsets. All other consumers store their positions with their outputs (see `dp position show`), so a reset of their group
/// offsets changes only the lag shown here.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  dp groups\n  dp groups --partitions\n  dp groups --json | jq '.[] | {group, lag}'"
)]
pub struct Args {
    /// Show one row for each partition
    #[arg(long)]
    partitions: bool,
}

/// A consumer group and a topic that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Id of the group.
    pub group: String,
    /// Topic.
    pub topic: String,
}

/// Every group of the pipeline with each of its topics, in the order in which data flows.
pub fn subscriptions(names: &Names) -> Vec<Subscription> {
    let mut all: Vec<(String, &String)> = names
        .raw
        .iter()
        .map(|raw| (names.group("normalization"), raw))
        .collect();
    all.extend([
        (names.writer_group("normalization"), &names.normalized),
        (names.group("enrichment"), &names.normalized),
        (names.writer_group("enrichment"), &names.enriched),
        (names.group("aggregation"), &names.enriched),
        (names.writer_group("aggregation"), &names.bars),
        (names.writer_group("aggregation"), &names.late),
        (names.restate_group("aggregation"), &names.late),
        (names.group("projection"), &names.enriched),
    ]);
    all.into_iter()
        .map(|(group, topic)| Subscription {
            group,
            topic: topic.clone(),
        })
        .collect()
}

/// Reads the lag of all groups repeatedly over the same connections.
pub struct LagWatch {
    readers: BTreeMap<String, GroupReader>,
    watched: Vec<(Subscription, Vec<Partition>)>,
}

/// The lag of one subscription.
#[derive(Debug)]
pub struct Lag {
    /// The group and its topic.
    pub subscription: Subscription,
    /// By partition.
    pub partitions: Vec<PartitionLag>,
}

impl Lag {
    /// Messages of all partitions that the group has not committed.
    pub fn total(&self) -> i64 {
        self.partitions.iter().map(PartitionLag::lag).sum()
    }
}

impl LagWatch {
    /// Looks up the partitions of every topic.
    ///
    /// # Errors
    /// Kafka does not answer, or a topic does not exist.
    pub fn new(bootstrap: &Brokers, names: &Names) -> Result<LagWatch, StreamError> {
        let reader = LogReader::new(bootstrap)?;
        let mut readers = BTreeMap::new();
        let mut watched = Vec::new();
        for subscription in subscriptions(names) {
            let partitions = reader.partitions(&subscription.topic)?;
            if !readers.contains_key(&subscription.group) {
                readers.insert(
                    subscription.group.clone(),
                    GroupReader::new(bootstrap, &subscription.group)?,
                );
            }
            watched.push((subscription, partitions));
        }
        Ok(LagWatch { readers, watched })
    }

    /// The current lags, upstream first. A stage commits an input when its outputs are acknowledged, so zero for every group,
    /// read in this order, means that all messages have been processed.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn lags(&self) -> Result<Vec<Lag>, StreamError> {
        let mut lags = Vec::with_capacity(self.watched.len());
        for (subscription, partitions) in &self.watched {
            if let Some(reader) = self.readers.get(&subscription.group) {
                let partitions = reader.lag(partitions)?;
                lags.push(Lag {
                    subscription: subscription.clone(),
                    partitions,
                });
            }
        }
        Ok(lags)
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    group: String,
    topic: String,
    state: String,
    members: usize,
    /// Messages of all partitions that are not committed yet.
    lag: i64,
    partitions: Vec<ListedPartition>,
}

#[derive(Debug, Serialize)]
struct ListedPartition {
    partition: i32,
    /// Committed offset, the next one to read; `null` before the first commit.
    committed: Option<i64>,
    end: i64,
    lag: i64,
}

/// Runs `dp groups`.
pub async fn run(connection: &Connection, args: &Args) -> anyhow::Result<()> {
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    let listed = tokio::task::spawn_blocking(move || list(&bootstrap, &names))
        .await
        .context("read lag")?
        .context("read lag: is Kafka running (`dp status`), and do the topics exist (`dp topics create`)?")?;
    if connection.json {
        return print_json(&listed);
    }
    let text = if args.partitions {
        by_partition(&listed)
    } else {
        by_group(&listed)
    };
    print_line(&text)
}

fn list(bootstrap: &Brokers, names: &Names) -> Result<Vec<Listed>, StreamError> {
    let watch = LagWatch::new(bootstrap, names)?;
    let mut listed = Vec::new();
    for lag in watch.lags()? {
        let state = watch
            .readers
            .get(&lag.subscription.group)
            .map(GroupReader::state)
            .transpose()?
            .flatten();
        listed.push(Listed {
            lag: lag.total(),
            state: state
                .as_ref()
                .map_or_else(|| "none".to_owned(), |state| state.state.clone()),
            members: state.map_or(0, |state| state.members),
            partitions: lag.partitions.iter().map(listed_partition).collect(),
            group: lag.subscription.group,
            topic: lag.subscription.topic,
        });
    }
    Ok(listed)
}

fn listed_partition(lag: &PartitionLag) -> ListedPartition {
    ListedPartition {
        partition: lag.partition.number,
        committed: lag.committed,
        end: lag.end,
        lag: lag.lag(),
    }
}

fn by_group(listed: &[Listed]) -> String {
    let rows = listed.iter().map(|group| {
        let (members, lag) = (group.members.to_string(), grouped(group.lag));
        vec![
            group.group.clone(),
            group.topic.clone(),
            group.state.clone(),
            members,
            lag,
        ]
    });
    table(&["group", "topic", "state", "members", "lag"], 3, rows)
}

fn by_partition(listed: &[Listed]) -> String {
    let rows = listed.iter().flat_map(|group| {
        group.partitions.iter().map(|partition| {
            let committed = partition.committed.map_or_else(|| "none".to_owned(), grouped);
            let (group, topic, number) = (
                group.group.clone(),
                group.topic.clone(),
                partition.partition.to_string(),
            );
            vec![
                group,
                topic,
                number,
                committed,
                grouped(partition.end),
                grouped(partition.lag),
            ]
        })
    });
    table(&["group", "topic", "partition", "committed", "end", "lag"], 2, rows)
}
