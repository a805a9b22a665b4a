//! The topics of the pipeline with their settings.

use service::settings::Retention;
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

/// Kafka's setting for the time after which a topic may remove a record, in milliseconds.
pub(super) const RETENTION_MS: &str = "retention.ms";
const HOUR_MS: u64 = 3_600_000;

/// How long a topic keeps its records; `None` if it keeps the newest record of each key.
fn retention(names: &Names, settings: &Settings, topic: &str) -> Option<Retention> {
    let kept = &settings.retention;
    if topic == names.state || topic == names.control {
        None
    } else if names.raw.iter().any(|raw| raw == topic) {
        Some(kept.raw)
    } else if topic == names.legs {
        Some(kept.legs)
    } else if topic == names.dlq {
        Some(kept.dlq)
    } else {
        Some(kept.stages)
    }
}

/// The topics whose retention somebody has chosen. That of the others may have been set by hand, and a shorter one removes records.
pub(super) fn with_chosen_retention(names: &Names, settings: &Settings, specs: &[TopicSpec]) -> Vec<TopicSpec> {
    let is_chosen = |spec: &&TopicSpec| retention(names, settings, &spec.name).is_some_and(|kept| kept.is_set);
    specs.iter().filter(is_chosen).cloned().collect()
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
            .chain(
                retention(names, settings, name)
                    .map(|kept| (RETENTION_MS.to_owned(), (kept.hours * HOUR_MS).to_string())),
            )
            .collect(),
    };
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
        .map(|name| spec(name, partitions, &[(TIMESTAMP_TYPE, APPEND_TIME)]))
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
    specs.extend(keyed.into_iter().map(|name| spec(name, partitions, &[])));
    // Stages of aggregation read legs again after a restart: quotes of curves count for a week, and are held for up to four days more.
    specs.push(spec(&names.legs, partitions, &[]));
    specs.push(spec(&names.state, partitions, &state));
    // Compacted: it keeps the newest order of each stage. With one partition, a reader at its end has every order.
    specs.push(spec(&names.control, 1, &[("cleanup.policy", "compact")]));
    // One partition keeps dead letters in the order of their failure; a month leaves time to look at them.
    specs.push(spec(&names.dlq, 1, &[]));
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

    #[test]
    fn a_topic_keeps_its_records_as_configured_and_one_that_exists_is_changed_only_if_that_is_chosen() {
        let topics = [
            "ingestion.market.raw.v1",
            "aggregation.bars.v1",
            "aggregation.legs.v1",
            "dlq",
            "aggregation.state.v1",
        ];
        let kept = |pairs: &[(&str, &str)]| {
            let specs = specs_for(pairs);
            topics.map(|topic| setting(&specs, topic, RETENTION_MS).map(str::to_owned))
        };
        let periods = |periods: [Option<&str>; 5]| periods.map(|period| period.map(str::to_owned));
        let (week, two_weeks, month) = (Some("604800000"), Some("1209600000"), Some("2592000000"));
        assert_eq!(kept(&[]), periods([week, week, two_weeks, month, None]));
        let chosen = [
            ("DATA_PROC_RETENTION_RAW_HOURS", "48"),
            ("DATA_PROC_RETENTION_LEGS_HOURS", "720"),
        ];
        assert_eq!(kept(&chosen), periods([Some("172800000"), week, month, month, None]));

        let corrected = |pairs: &[(&str, &str)]| {
            let settings = settings_for(pairs);
            let names = Names::new(&settings);
            let chosen = with_chosen_retention(&names, &settings, &specs(&names, &settings, None));
            chosen.into_iter().map(|spec| spec.name).collect::<Vec<_>>()
        };
        assert_eq!(corrected(&[]), Vec::<String>::new());
        assert_eq!(corrected(&chosen), [topics[0], topics[2]]);
        for (name, wrong) in [
            ("DATA_PROC_RETENTION_LEGS_HOURS", "335"),
            ("DATA_PROC_RETENTION_RAW_HOURS", "23"),
        ] {
            let env = Env::from([(name.to_owned(), wrong.to_owned())]);
            let problems = load(&env, 8080, |_| ()).unwrap_err().problems;
            assert!(problems.iter().any(|problem| problem.starts_with(name)), "{problems:?}");
        }
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
