//! The topics of the pipeline: creates them, corrects their settings, and lists what the broker has.
//!
//! Invariant: creating fails if an existing topic has another number of partitions than configured (INV-4).

mod list;
mod retention;
mod specs;
mod timeout;

use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::Classified;
use service::Names;
use stream::kafka::admin::{TopicSpec, create_topics};
use stream::kafka::describe::{TopicDescription, describe_topics};
use stream::kafka::topic_settings::{Changed, MAX_MESSAGE_BYTES, TIMESTAMP_TYPE, set_where_different};
use stream::{Brokers, StreamError};

pub use list::{Listed, Range, list};
pub use specs::specs;

use crate::connection::Connection;
use retention::Applied;
use specs::RETENTION_MS;
use timeout::CALL_TIMEOUT;

/// What [`create`] has changed.
#[derive(Debug)]
pub struct Outcome {
    /// Topics that were created.
    pub created: Vec<String>,
    /// A sentence for each corrected topic setting: the largest record, the clock of the record times, or the retention.
    pub changed: Vec<String>,
    /// A sentence for each topic that keeps its records longer than configured, because nobody has agreed to remove them.
    pub kept: Vec<String>,
}

/// Creates the missing topics, sets the largest record of all topics (INV-9) and the retention that somebody has chosen, and checks their
/// partitions.
///
/// `replication` of new topics is that of the settings unless it is given. A shorter retention removes records, so it is set only if this
/// `may_shorten` it.
///
/// # Errors
/// Kafka does not answer, or an existing topic has another number of partitions than configured (INV-4).
pub async fn create(connection: &Connection, replication: Option<i32>, may_shorten: bool) -> anyhow::Result<Outcome> {
    let settings = &connection.settings;
    let specs = specs(&connection.names, settings, replication);
    let bootstrap = &settings.kafka_bootstrap;
    let created = create_topics(bootstrap, &specs)
        .await
        .with_context(|| format!("create topics at {bootstrap}: is Kafka running (`dp status`)?"))?;
    let resized = set_where_different(bootstrap, &specs, MAX_MESSAGE_BYTES)
        .await
        .context("set the largest record of the topics")?;
    let restamped = set_where_different(bootstrap, &specs, TIMESTAMP_TYPE)
        .await
        .context("set the broker's append time for the raw topics")?;
    let Applied { changed: rekept, kept } = retention::apply(connection, &specs, may_shorten).await?;
    let resized = resized.iter().map(|changed| sentence(MAX_MESSAGE_BYTES, changed));
    let restamped = restamped.iter().map(|changed| sentence(TIMESTAMP_TYPE, changed));
    let rekept = rekept.iter().map(|changed| sentence(RETENTION_MS, changed));
    let changed = resized.chain(restamped).chain(rekept).collect();
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let found = describe(bootstrap.clone(), names).await?;
    let problems = differing(&connection.names, &specs, &found);
    if !problems.is_empty() {
        bail!(
            "{}; the partition of each instrument depends on this number, so it cannot be changed in place: set \
             DATA_PROC_TOPIC_PARTITIONS to the existing number, or start a new generation (DATA_PROC_GENERATION)",
            problems.join("; ")
        );
    }
    Ok(Outcome { created, changed, kept })
}

fn sentence(setting: &str, changed: &Changed) -> String {
    let Changed {
        topic,
        from,
        to,
        refused,
    } = changed;
    match refused {
        None => format!("set {setting} of topic {topic} from {from} to {to}"),
        Some(why) => format!("topic {topic} keeps {setting}={from}: the cluster does not allow {to} ({why})"),
    }
}

/// Whether the topic may have any number of partitions: raw topics, `dlq` and the topic of orders.
pub fn may_have_any_partitions(names: &Names, topic: &str) -> bool {
    topic == names.dlq || topic == names.control || names.raw.iter().any(|raw| raw == topic)
}

/// One sentence for each topic that exists with another number of partitions.
fn differing(names: &Names, specs: &[TopicSpec], found: &[TopicDescription]) -> Vec<String> {
    specs
        .iter()
        .filter(|spec| !may_have_any_partitions(names, &spec.name))
        .filter_map(|spec| {
            let topic = found.iter().find(|topic| topic.name == spec.name)?;
            (topic.partitions != spec.partitions).then(|| {
                format!(
                    "topic {} has {} partitions, but {} are configured",
                    spec.name, topic.partitions, spec.partitions
                )
            })
        })
        .collect()
}

async fn describe(bootstrap: Brokers, names: Vec<String>) -> anyhow::Result<Vec<TopicDescription>> {
    tokio::task::spawn_blocking(move || describe_once_known(&bootstrap, &names))
        .await
        .context("describe topics")?
        .context("describe topics")
}

/// Retries while a new topic is still unknown to a broker.
fn describe_once_known(bootstrap: &Brokers, names: &[String]) -> Result<Vec<TopicDescription>, StreamError> {
    let deadline = std::time::Instant::now() + CALL_TIMEOUT;
    loop {
        match describe_topics(bootstrap, names, CALL_TIMEOUT) {
            Err(error) if error.code() == "unknown_topic" && std::time::Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_another_number_of_partitions_is_reported() {
        let (names, specs) = specs::default_specs();
        let found: Vec<TopicDescription> = specs
            .iter()
            .map(|spec| TopicDescription {
                name: spec.name.clone(),
                id: String::new(),
                partitions: if spec.name.starts_with("enriched") {
                    3
                } else {
                    spec.partitions
                },
            })
            .map(|topic| {
                if topic.name == "dlq" {
                    TopicDescription { partitions: 9, ..topic }
                } else {
                    topic
                }
            })
            .collect();
        assert_eq!(
            differing(&names, &specs, &found),
            ["topic enriched.market.ticks.v1 has 3 partitions, but 4 are configured"]
        );
    }
}
