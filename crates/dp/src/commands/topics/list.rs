//! `dp topics list`: id, partitions and offset ranges of each topic.

use anyhow::Context as _;
use domain::Classified as _;
use serde::Serialize;
use stream::kafka::describe::describe_topics;
use stream::kafka::reader::LogReader;
use stream::{Brokers, StreamError};

use super::{CALL_TIMEOUT, specs};
use crate::commands::present::{grouped, print_json, print_line, table};
use crate::connection::Connection;
use crate::hints::localized;

/// One topic as `dp topics list` shows it.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    id: Option<String>,
    /// Number of partitions; 0 if the topic does not exist.
    partitions: i32,
    /// Offsets between the oldest and the newest message of all partitions; compacted topics contain fewer messages.
    messages: i64,
    ranges: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Range {
    partition: i32,
    /// Offset of the oldest message.
    start: i64,
    /// Offset after the newest message.
    end: i64,
}

pub(super) async fn list(connection: &Connection) -> anyhow::Result<()> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let names: Vec<String> = specs(&connection.names, &connection.settings, None)
        .into_iter()
        .map(|spec| spec.name)
        .collect();
    let listed = tokio::task::spawn_blocking(move || -> Result<Vec<Listed>, StreamError> {
        let reader = LogReader::new(&bootstrap)?;
        names
            .into_iter()
            .map(|name| listed(&bootstrap, &reader, name))
            .collect()
    })
    .await
    .context("list topics")?
    .context("list topics: is Kafka running (`dp status`)?")?;
    if connection.json {
        return print_json(&listed);
    }
    let rows = listed.iter().map(|topic| {
        let ranges: Vec<String> = topic
            .ranges
            .iter()
            .map(|r| format!("{}:{}–{}", r.partition, r.start, r.end))
            .collect();
        let id = topic.id.clone().unwrap_or_else(|| "does not exist".to_owned());
        vec![
            topic.name.clone(),
            id,
            ranges.join("  "),
            topic.partitions.to_string(),
            grouped(topic.messages),
        ]
    });
    print_line(&table(
        &["topic", "id", "partition:oldest–next offset", "partitions", "messages"],
        3,
        rows,
    ))?;
    if listed.iter().any(|topic| topic.id.is_none()) {
        print_line(&localized(
            "some topics do not exist: create them with `dp topics create`",
        ))?;
    }
    Ok(())
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
