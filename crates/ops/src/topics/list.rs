//! Id, partitions and offset ranges of each topic of the pipeline.

use anyhow::Context as _;
use domain::Classified as _;
use serde::Serialize;
use stream::kafka::describe::describe_topics;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

use super::specs;
use super::timeout::CALL_TIMEOUT;
use crate::connection::Connection;
use crate::reach;

/// One topic of the pipeline as the broker has it.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// Id; `None` if the topic does not exist.
    pub id: Option<String>,
    /// Number of partitions; 0 if the topic does not exist.
    pub partitions: i32,
    /// Offsets between the oldest and the newest message of all partitions; compacted topics contain fewer messages.
    pub messages: i64,
    /// By partition.
    pub ranges: Vec<Range>,
}

/// The offsets of one partition.
#[derive(Debug, Serialize)]
pub struct Range {
    /// Number of the partition.
    pub partition: i32,
    /// Offset of the oldest message.
    pub start: i64,
    /// Offset after the newest message.
    pub end: i64,
}

/// Reads every topic of the pipeline, those that do not exist yet included.
///
/// # Errors
/// Kafka does not answer.
pub async fn list(connection: &Connection) -> anyhow::Result<Vec<Listed>> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    reach::kafka(&bootstrap).await?;
    let names: Vec<String> = specs(&connection.names, &connection.settings, None)
        .into_iter()
        .map(|spec| spec.name)
        .collect();
    tokio::task::spawn_blocking(move || -> Result<Vec<Listed>, StreamError> {
        let reader = LogReader::new(&bootstrap)?;
        names
            .into_iter()
            .map(|name| listed(&bootstrap, &reader, name))
            .collect()
    })
    .await
    .context("list topics")?
    .context("list topics: is Kafka running (`dp status`)?")
}

fn listed(bootstrap: &Brokers, reader: &LogReader, name: String) -> Result<Listed, StreamError> {
    let described = match describe_topics(bootstrap, std::slice::from_ref(&name), CALL_TIMEOUT) {
        Ok(described) => described.into_iter().next(),
        Err(error) if error.code() == "unknown_topic" => None,
        Err(error) => return Err(error),
    };
    let mut ranges = Vec::new();
    if described.is_some() {
        for partition in reader.partitions(&name)? {
            let (start, end) = reader.log_range(&partition)?;
            ranges.push(Range {
                partition: partition.number,
                start,
                end,
            });
        }
    }
    ranges.sort_by_key(|range| range.partition);
    Ok(Listed {
        name,
        partitions: described.as_ref().map_or(0, |topic| topic.partitions),
        id: described.map(|topic| topic.id),
        messages: ranges.iter().map(|range| range.end - range.start).sum(),
        ranges,
    })
}
