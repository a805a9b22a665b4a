//! Creates topics (for `dp topics create` and tests), removes the oldest records of a partition (`dp dlq purge`), and deletes topics of
//! a benchmark (`dp bench produce`).

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::brokers::Brokers;
use super::reader::LogReader;
use super::{MISSING_RIGHT, classify, connect, refused_topic};
use crate::{Partition, StreamError};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long new topics may take until every partition has a leader.
const LEADERS_WITHIN: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A topic to create.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Replication factor.
    pub replication: i32,
    /// Topic settings such as `cleanup.policy`.
    pub config: Vec<(String, String)>,
}

/// Creates the topics that do not exist yet, and waits until they can be used; returns the names of the created ones.
pub async fn create_topics(bootstrap: &Brokers, specs: &[TopicSpec]) -> Result<Vec<String>, StreamError> {
    let admin = connect::admin(bootstrap).await?;
    let topics: Vec<NewTopic<'_>> = specs
        .iter()
        .map(|spec| {
            let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
            spec.config
                .iter()
                .fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let results = admin
        .create_topics(&topics, &options())
        .await
        .map_err(|e| bootstrap.explain(classify("create topics", &e)))?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(name) => created.push(name),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let spec = specs.iter().find(|spec| spec.name == name).cloned();
                let words = tokio::task::spawn_blocking(move || refused_topic::words(admin.inner(), &spec?)).await;
                let words = words.ok().flatten();
                return Err(bootstrap.explain(not_created(&name, specs, code, words.as_deref())));
            }
        }
    }
    if !created.is_empty() {
        let (bootstrap, topics) = (bootstrap.clone(), created.clone());
        tokio::task::spawn_blocking(move || wait_for_leaders(&bootstrap, &topics))
            .await
            .map_err(|e| StreamError::transient("kafka_unavailable", format!("wait for leaders: {e}")))??;
    }
    Ok(created)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(ANSWER_WITHIN))
        .request_timeout(Some(ANSWER_WITHIN))
}

/// Deletes a topic with all its records; one that does not exist is no error.
///
/// # Errors
/// Kafka does not answer, or the user may not delete the topic.
pub async fn delete_topic(bootstrap: &Brokers, topic: &str) -> Result<(), StreamError> {
    let what = format!("delete topic {topic}");
    let refused = |error: &KafkaError| bootstrap.explain(classify(&what, error));
    let admin = connect::admin(bootstrap).await?;
    let results = admin.delete_topics(&[topic], &options()).await;
    for result in results.map_err(|error| refused(&error))? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((_, code)) => return Err(refused(&KafkaError::Global(code))),
        }
    }
    Ok(())
}

/// Removes all records of the partition before this offset.
///
/// # Errors
/// Kafka does not answer, or the user may not delete records.
pub async fn delete_before(bootstrap: &Brokers, partition: &Partition, offset: i64) -> Result<(), StreamError> {
    let what = format!("delete the records of {partition} before offset {offset}");
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&partition.topic, partition.number, Offset::Offset(offset))
        .map_err(|error| classify(&what, &error))?;
    let admin = connect::admin(bootstrap).await?;
    let answer = admin.delete_records(&before, &AdminOptions::new()).await;
    let answer = answer.map_err(|error| bootstrap.explain(classify(&what, &error)))?;
    answer
        .elements()
        .iter()
        .try_for_each(|element| element.error())
        .map_err(|error| classify(&what, &error))
}

/// Why a topic was not created, and what to do.
fn not_created(name: &str, specs: &[TopicSpec], code: RDKafkaErrorCode, words: Option<&str>) -> StreamError {
    let spec = specs.iter().find(|spec| spec.name == name);
    let what = format!("create topic {name}");
    let said = words.map_or(String::new(), |words| format!(": the broker says: {words}"));
    let settings = || -> String {
        let settings = spec.into_iter().flat_map(|spec| &spec.config);
        settings.map(|(key, value)| format!(" {key}={value}")).collect()
    };
    let (partitions, replication) = spec.map_or((0, 0), |spec| (spec.partitions, spec.replication));
    let remedy = match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            let message = format!("{what}: {code}: grant Create on the cluster or on this topic (docs/security.md)");
            return StreamError::fatal(MISSING_RIGHT, message);
        }
        // The request was not sent, or not answered in time.
        RDKafkaErrorCode::OperationTimedOut
        | RDKafkaErrorCode::RequestTimedOut
        | RDKafkaErrorCode::BrokerTransportFailure
        | RDKafkaErrorCode::AllBrokersDown => {
            return StreamError::transient("kafka_unavailable", format!("{what}: {code}"));
        }
        RDKafkaErrorCode::InvalidReplicationFactor => format!(
            "the cluster has fewer than {replication} brokers: set DATA_PROC_KAFKA_REPLICATION_FACTOR, or give --replication"
        ),
        RDKafkaErrorCode::InvalidPartitions => {
            format!("{partitions} partitions are not allowed: set DATA_PROC_TOPIC_PARTITIONS")
        }
        RDKafkaErrorCode::PolicyViolation => format!(
            "the cluster's policy (create.topic.policy.class.name of the brokers) refuses partitions={partitions} \
             replication={replication}{}: set DATA_PROC_TOPIC_PARTITIONS or DATA_PROC_KAFKA_REPLICATION_FACTOR to what it \
             allows, have the policy changed, or have an administrator create the topic",
            settings()
        ),
        RDKafkaErrorCode::InvalidConfig => format!(
            "the broker refuses a topic setting of{}: have its limit changed, or have an administrator create the topic",
            settings()
        ),
        _ => return StreamError::fatal("create_topic_failed", format!("{what}: {code}{said}")),
    };
    StreamError::fatal("create_topic_failed", format!("{what}: {code}{said}: {remedy}"))
}

/// The broker answers before the whole cluster has the topic and its leaders.
fn wait_for_leaders(bootstrap: &Brokers, topics: &[String]) -> Result<(), StreamError> {
    let (reader, started) = (LogReader::new(bootstrap)?, Instant::now());
    for topic in topics {
        while let Err(error) = is_led(&reader, topic) {
            if started.elapsed() > LEADERS_WITHIN {
                return Err(error);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(())
}

fn is_led(reader: &LogReader, topic: &str) -> Result<(), StreamError> {
    let partitions = reader.partitions(topic)?;
    partitions
        .iter()
        .try_for_each(|partition| reader.log_range(partition).map(|_| ()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_topic_is_named_with_the_limit_and_the_setting() {
        let spec = TopicSpec {
            name: "ticks".to_owned(),
            partitions: 12,
            replication: 3,
            config: vec![("max.message.bytes".to_owned(), "75497472".to_owned())],
        };
        let words = Some("at most 4 partitions");
        for (code, expected) in [
            (
                RDKafkaErrorCode::PolicyViolation,
                &["at most 4 partitions", "partitions=12", "DATA_PROC_TOPIC_PARTITIONS"],
            ),
            (
                RDKafkaErrorCode::InvalidConfig,
                &["at most 4 partitions", "max.message.bytes=75497472", "administrator"],
            ),
            (
                RDKafkaErrorCode::InvalidReplicationFactor,
                &[
                    "at most 4 partitions",
                    "fewer than 3",
                    "DATA_PROC_KAFKA_REPLICATION_FACTOR",
                ],
            ),
        ] {
            let error = not_created("ticks", std::slice::from_ref(&spec), code, words).to_string();
            assert!(error.starts_with("create topic ticks: "), "{error}");
            for word in expected {
                assert!(error.contains(word), "'{word}' is missing: {error}");
            }
        }
    }
}
