//! Reads and changes the settings of topics that exist (for `dp topics create`).
//!
//! Failure: a broker that does not let us look or change is an error that names the topic.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, ResourceSpecifier};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::admin::TopicSpec;
use super::brokers::Brokers;
use super::watch::Watch;
use super::{MISSING_RIGHT, classify, connect};
use crate::StreamError;

/// Kafka's name for the most bytes that a record of a topic may take.
pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// Kafka's name for whose clock stamps the records of a topic.
pub const TIMESTAMP_TYPE: &str = "message.timestamp.type";
/// Of raw topics: the broker's.
pub const APPEND_TIME: &str = "LogAppendTime";

/// Refuses raw topics whose records carry the producer's time: repeated events, lateness and every clock after them are
/// decided by the append time (INV-1).
///
/// # Errors
/// `raw_topic_without_append_time` with the command; or Kafka does not answer.
pub async fn check_append_time(bootstrap: &Brokers, topics: &[String]) -> Result<(), StreamError> {
    let admin = connect::admin(bootstrap).await?;
    let resources: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let found = admin
        .describe_configs(&resources, &options())
        .await
        .map_err(|e| classify("read topic settings", &e))?;
    for (topic, resource) in topics.iter().zip(found) {
        // A user without the right to look sees it in the records: those without append time become dead letters.
        let Ok(resource) = resource else { continue };
        let entry = resource.entries.iter().find(|entry| entry.name == TIMESTAMP_TYPE);
        let Some(value) = entry.and_then(|entry| entry.value.as_deref()) else {
            continue;
        };
        if value != APPEND_TIME {
            return Err(StreamError::fatal(
                "raw_topic_without_append_time",
                format!(
                    "raw topic {topic} has {TIMESTAMP_TYPE}={value}: its records carry the producer's time, and what is late \
                     or repeated is decided by the time at which the broker appended them. Run `dp topics create`, which sets \
                     {TIMESTAMP_TYPE}={APPEND_TIME}, then start the service again"
                ),
            ));
        }
    }
    Ok(())
}

/// The largest record that a topic takes, headers included; `None` where the user may not look, or there is no such topic.
///
/// # Errors
/// Kafka does not answer.
pub async fn largest_record(bootstrap: &Brokers, topic: &str) -> Result<Option<usize>, StreamError> {
    let admin = connect::admin(bootstrap).await?;
    let found = admin
        .describe_configs(&[ResourceSpecifier::Topic(topic)], &options())
        .await
        .map_err(|e| bootstrap.explain(classify("read topic settings", &e)))?;
    let Some(Ok(resource)) = found.into_iter().next() else {
        return Ok(None);
    };
    let entry = resource.entries.iter().find(|entry| entry.name == MAX_MESSAGE_BYTES);
    Ok(entry.and_then(|entry| entry.value.as_deref()?.parse().ok()))
}

/// A setting that was changed, or was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Topic.
    pub topic: String,
    /// Value before.
    pub from: String,
    /// Value asked for.
    pub to: String,
    /// Why the cluster keeps the value from before: a policy, or a limit of the brokers.
    pub refused: Option<String>,
}

/// Gives this setting of each topic the value that its specification says; other settings stay as they are.
///
/// # Errors
/// Kafka does not answer, or refuses; a limit of the cluster is told in the answer instead.
pub async fn set_where_different(
    bootstrap: &Brokers,
    specs: &[TopicSpec],
    name: &str,
) -> Result<Vec<Changed>, StreamError> {
    let admin = connect::admin(bootstrap).await?;
    let asked: Vec<(&TopicSpec, &str)> = specs
        .iter()
        .filter_map(|spec| Some((spec, spec.config.iter().find(|(key, _)| key == name)?.1.as_str())))
        .collect();
    let resources: Vec<ResourceSpecifier<'_>> = asked
        .iter()
        .map(|(spec, _)| ResourceSpecifier::Topic(&spec.name))
        .collect();
    let found = admin
        .describe_configs(&resources, &options())
        .await
        .map_err(|e| classify("read topic settings", &e))?;
    let mut changed = Vec::new();
    for ((spec, wanted), resource) in asked.into_iter().zip(found) {
        let resource = resource.map_err(|code| refused("read the settings of", &spec.name, code))?;
        let now = resource.entries.iter().find(|entry| entry.name == name);
        let now = now.and_then(|entry| entry.value.clone()).unwrap_or_default();
        if now == wanted {
            continue;
        }
        let refused = set(&admin, &spec.name, &resource, name, wanted).await?;
        changed.push(Changed {
            topic: spec.name.clone(),
            from: now,
            to: wanted.to_owned(),
            refused,
        });
    }
    Ok(changed)
}

/// Sets it; answers why a limit of the cluster does not allow it. The call resets whatever it does not name, so what was
/// set for the topic goes along.
async fn set(
    admin: &AdminClient<Watch>,
    topic: &str,
    now: &ConfigResource,
    name: &str,
    value: &str,
) -> Result<Option<String>, StreamError> {
    let kept = now
        .entries
        .iter()
        .filter(|entry| entry.source == ConfigSource::DynamicTopic && entry.name != name);
    let change = kept
        .filter_map(|entry| Some((entry.name.as_str(), entry.value.as_deref()?)))
        .fold(
            AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value),
            |change, (name, value)| change.set(name, value),
        );
    let answers = admin
        .alter_configs(&[change], &options())
        .await
        .map_err(|e: KafkaError| classify("change topic settings", &e))?;
    match answers.into_iter().next() {
        Some(Err((_, code @ (RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig)))) => {
            Ok(Some(code.to_string()))
        }
        Some(Err((_, code))) => Err(refused(&format!("set {name}={value} of"), topic, code)),
        _ => Ok(None),
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(30)))
}

fn refused(what: &str, topic: &str, code: RDKafkaErrorCode) -> StreamError {
    let what = format!("{what} topic {topic}: {code}");
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed => {
            let message = format!("{what}: grant DescribeConfigs and AlterConfigs on it (docs/security.md)");
            StreamError::fatal(MISSING_RIGHT, message)
        }
        _ => StreamError::fatal("topic_setting_refused", what),
    }
}
