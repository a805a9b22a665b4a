//! The topics of the pipeline with their settings.

use service::{Names, Settings};
use stream::kafka::admin::TopicSpec;
use stream::kafka::settings::{MAX_RAW_BYTES, MAX_SENT_BYTES};
use stream::kafka::topic_settings::{APPEND_TIME, MAX_MESSAGE_BYTES, TIMESTAMP_TYPE};

/// A raw topic accepts what fits into a dead letter, every other topic what a stage can send.
fn largest(names: &Names, topic: &str) -> usize {
    if names.raw.iter().any(|raw| raw == topic) {
        MAX_RAW_BYTES
    } else {
        MAX_SENT_BYTES
    }
}

/// Every topic of the pipeline with its settings.
pub fn specs(names: &Names, settings: &Settings, replication: Option<i32>) -> Vec<TopicSpec> {
    let replication = replication.unwrap_or(settings.kafka_replication);
    // A topic must accept whatever a stage can send: a record that the broker rejects for its size would stop its partition
    // for good (INV-9).
    let spec = |name: &str, partitions: i32, config: &[(&str, &str)]| TopicSpec {
        name: name.to_owned(),
        partitions,
        replication,
        config: config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .chain([(MAX_MESSAGE_BYTES.to_owned(), largest(names, name).to_string())])
            .collect(),
    };
    let week = ("retention.ms", "604800000");
    // Stages of aggregation read legs again after a restart: quotes of curves count for a week, and are held for up to four days more.
    let two_weeks = ("retention.ms", "1209600000");
    let state = [
        ("cleanup.policy", "compact"),
        // A restore that runs during compaction must still find the records that it expects.
        ("min.compaction.lag.ms", "600000"),
        ("segment.bytes", "16777216"),
        ("segment.ms", "600000"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("delete.retention.ms", "86400000"),
    ];
    let partitions = settings.topic_partitions;
    let mut specs: Vec<TopicSpec> = names
        .raw
        .iter()
        .map(|name| spec(name, partitions, &[(TIMESTAMP_TYPE, APPEND_TIME), week]))
        .collect();
    let keyed = [
        &names.normalized,
        &names.enriched,
        &names.bars,
        &names.curves,
        &names.derived,
        &names.late,
        &names.invalidation,
    ];
    specs.extend(keyed.into_iter().map(|name| spec(name, partitions, &[week])));
    specs.push(spec(&names.legs, partitions, &[two_weeks]));
    specs.push(spec(&names.state, partitions, &state));
    // Compacted: it keeps the newest order of each stage. With one partition, a reader at its end has every order.
    specs.push(spec(&names.control, 1, &[("cleanup.policy", "compact")]));
    // One partition keeps dead letters in the order of their failure; a month leaves time to look at them.
    specs.push(spec(&names.dlq, 1, &[("retention.ms", "2592000000")]));
    specs
}

/// The topics of the default settings.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn default_specs() -> (Names, Vec<TopicSpec>) {
    let settings = service::settings::load(&service::Env::new(), 8080, |_| ())
        .unwrap()
        .settings;
    let names = Names::new(&settings);
    let specs = specs(&names, &settings, None);
    (names, specs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use service::settings::{Env, load};

    fn settings_for(pairs: &[(&str, &str)]) -> Settings {
        let env: Env = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        load(&env, 8080, |_| ()).unwrap().settings
    }

    fn specs_for(pairs: &[(&str, &str)]) -> Vec<TopicSpec> {
        let settings = settings_for(pairs);
        specs(&Names::new(&settings), &settings, None)
    }

    fn setting<'s>(specs: &'s [TopicSpec], topic: &str, key: &str) -> Option<&'s str> {
        let spec = specs.iter().find(|spec| spec.name == topic)?;
        spec.config
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    #[test]
    fn raw_topics_have_append_time_and_only_state_and_orders_are_compacted() {
        let specs = specs_for(&[("DATA_PROC_RAW_TOPICS", "ingestion.market.raw.v1,other.raw")]);
        for raw in ["ingestion.market.raw.v1", "other.raw"] {
            assert_eq!(setting(&specs, raw, "message.timestamp.type"), Some("LogAppendTime"));
        }
        let compacted: Vec<&str> = specs
            .iter()
            .filter(|spec| setting(&specs, &spec.name, "cleanup.policy") == Some("compact"))
            .map(|spec| spec.name.as_str())
            .collect();
        assert_eq!(compacted, ["aggregation.state.v1", "pipeline.control.v1"]);
        let largest = |topic| setting(&specs, topic, MAX_MESSAGE_BYTES);
        assert_eq!(largest("other.raw"), Some("67108864"));
        let written = specs.iter().filter(|spec| !spec.name.contains("raw"));
        assert!(
            written
                .map(|spec| largest(&spec.name))
                .all(|size| size == Some("75497472"))
        );
    }

    fn has_one_partition(spec: &TopicSpec) -> bool {
        ["dlq", "pipeline.control.v1"].contains(&spec.name.as_str())
    }

    #[test]
    fn partitions_and_replicas_follow_the_environment() {
        let local = specs_for(&[]);
        assert!(
            local
                .iter()
                .all(|spec| spec.replication == 1 && (spec.partitions == 4 || has_one_partition(spec)))
        );
        let staging = specs_for(&[
            ("DATA_PROC_ENV", "staging"),
            ("DATA_PROC_TOPIC_PARTITIONS", "24"),
            ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka:9092"),
            ("DATA_PROC_CLICKHOUSE_URL", "https://clickhouse:8123"),
            ("DATA_PROC_CLICKHOUSE_PASSWORD", "secret"),
            (
                "DATA_PROC_POSTGRES_DSN",
                "postgresql://pipeline:secret@postgres/db?sslmode=verify-full",
            ),
            ("DATA_PROC_REDIS_URL", "redis://redis:6379/0"),
        ]);
        assert!(
            staging
                .iter()
                .all(|spec| spec.replication == 3 && (spec.partitions == 24 || has_one_partition(spec)))
        );
    }
}
