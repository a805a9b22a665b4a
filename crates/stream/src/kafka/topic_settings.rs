//! Reads and changes the settings of existing topics (for `dp topics create`).
//!
//! Failure: if the broker denies a read or a change, the error names the topic.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, ResourceSpecifier};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::admin::TopicSpec;
use super::brokers::Brokers;
use super::watch::Watch;
use super::{MISSING_RIGHT, classify, connect};
use crate::StreamError;

/// Kafka's setting for the largest record of a topic, in bytes.
pub const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// Kafka's setting for the number of replicas that must have a record before its sender is told so.
pub const MIN_IN_SYNC: &str = "min.insync.replicas";

/// Kafka's setting for the clock that sets a record's timestamp.
pub const TIMESTAMP_TYPE: &str = "message.timestamp.type";
/// The value for raw topics: the broker's clock.
pub const APPEND_TIME: &str = "LogAppendTime";

/// Rejects raw topics whose records carry the producer's time. The append time decides repeated events, lateness and every clock
/// after them (INV-1).
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
        // Without the right to read settings, the records show it: those without append time become dead letters.
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

/// The largest record that a topic accepts, headers included; `None` if the user may not read it or the topic does not exist.
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

/// The value of a setting in effect for each topic, in order; `None` if the user may not read it or the topic does not exist.
///
/// # Errors
/// Kafka does not answer.
pub async fn values(bootstrap: &Brokers, topics: &[String], name: &str) -> Result<Vec<Option<String>>, StreamError> {
    let admin = connect::admin(bootstrap).await?;
    let resources: Vec<ResourceSpecifier<'_>> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let found = admin
        .describe_configs(&resources, &options())
        .await
        .map_err(|e| bootstrap.explain(classify("read topic settings", &e)))?;
    let value = |resource: ConfigResource| resource.entries.into_iter().find(|entry| entry.name == name)?.value;
    Ok(found
        .into_iter()
        .map(|resource| resource.ok().and_then(value))
        .collect())
}

/// A setting that was changed, or that the cluster refused to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Topic.
    pub topic: String,
    /// Value before.
    pub from: String,
    /// Requested value.
    pub to: String,
    /// Why the cluster keeps the old value: a policy, or a limit of the brokers.
    pub refused: Option<String>,
}

/// Sets this setting of each topic to the value of its specification; other settings are not changed.
///
/// # Errors
/// Kafka does not answer, or refuses. A limit of the cluster is reported in the result instead.
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

/// Sets the value; returns the reason if a limit of the cluster does not allow it. The call resets all settings that it does not
/// name, so it includes those that were set for the topic.
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
