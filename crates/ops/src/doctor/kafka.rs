//! Judges topics, their replicas and the dead letters. Pure.

use domain::Micros;
use service::Names;
use stream::kafka::replicas::{Cluster, Replicas};

use super::{Area, Finding, Severity};
use crate::dead_letters::Group;
use crate::present::milliseconds;
use crate::topics::{Listed, may_have_any_partitions};

/// Lines of evidence for a finding.
const SHOWN: usize = 5;

/// Topics that are missing, or have another number of partitions than configured.
pub(super) fn topics(listed: &[Listed], names: &Names, wanted: i32) -> Vec<Finding> {
    let mut findings = Vec::new();
    for topic in listed {
        if topic.id.is_none() {
            let what = format!("topic {} does not exist", topic.name);
            let finding = Finding::new(Severity::Critical, Area::Topics, what, topic.name.clone());
            findings.push(finding.because("it was never created, or was deleted", "dp topics create"));
        } else if topic.partitions != wanted && !may_have_any_partitions(names, &topic.name) {
            let what = format!("topic {} has a wrong number of partitions", topic.name);
            let finding = Finding::new(Severity::Critical, Area::Topics, what, topic.name.clone());
            findings.push(
                finding
                    .shown_by([format!("{} partitions; {wanted} are configured", topic.partitions)])
                    .because(
                        "another DATA_PROC_TOPIC_PARTITIONS than when it was created; set the old one, or start a new generation",
                        "dp config env --set",
                    ),
            );
        }
    }
    findings
}

/// The replication of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replication {
    /// Its partitions.
    pub partitions: Vec<Replicas>,
    /// Replicas that must have a record before its sender is told so; `None` if unknown.
    pub min_in_sync: Option<usize>,
}

/// Groups the partitions of a cluster by topic. `min_in_sync` has the setting of each topic, in order.
pub(super) fn by_topic(topics: &[String], cluster: &Cluster, min_in_sync: &[Option<String>]) -> Vec<Replication> {
    let of = |topic: &String| {
        cluster
            .partitions
            .iter()
            .filter(|one| one.topic == *topic)
            .cloned()
            .collect()
    };
    let setting = min_in_sync
        .iter()
        .map(|value| value.as_ref().and_then(|value| value.parse().ok()));
    let zipped = topics.iter().zip(setting);
    zipped
        .map(|(topic, min_in_sync)| Replication {
            partitions: of(topic),
            min_in_sync,
        })
        .collect()
}

/// What is wrong with the replicas. `single` accepts one replica of each partition: a local stack has one broker.
pub(super) fn replicas(topics: &[Replication], brokers: usize, single: bool) -> Vec<Finding> {
    let select = |wrong: fn(&Replicas, usize) -> bool| -> Vec<String> {
        let of = |topic: &Replication| {
            let min = topic.min_in_sync.unwrap_or(1);
            let wrong = topic.partitions.iter().filter(move |one| wrong(one, min));
            wrong
                .map(|one| {
                    format!(
                        "{}/{}: {} of {} in sync",
                        one.topic, one.partition, one.in_sync, one.replicas
                    )
                })
                .collect::<Vec<_>>()
        };
        topics.iter().flat_map(of).collect()
    };
    let leaderless = select(|one, _| !one.has_leader);
    let refusing = select(|one, min| one.has_leader && one.in_sync < min);
    let lagging = select(|one, min| one.has_leader && one.in_sync >= min && one.in_sync < one.replicas);
    let mut findings = Vec::new();
    let place = format!("{brokers} broker(s)");
    let mut found = |severity, what: String, lines: Vec<String>, cause: &str| {
        if !lines.is_empty() {
            let evidence = lines.into_iter().take(SHOWN);
            let finding = Finding::new(severity, Area::Replicas, what, place.clone());
            findings.push(
                finding
                    .shown_by(evidence)
                    .because(cause, "dp kafka topics --under-replicated"),
            );
        }
    };
    found(
        Severity::Critical,
        format!("{} partition(s) have no leader", leaderless.len()),
        leaderless,
        "every broker that has them is down: they can be neither read nor written",
    );
    found(
        Severity::Critical,
        format!("{} partition(s) refuse records", refusing.len()),
        refusing,
        "fewer replicas are in sync than min.insync.replicas: a broker is down or slow",
    );
    found(
        Severity::Warning,
        format!("{} partition(s) are under-replicated", lagging.len()),
        lagging,
        "a broker is down, or its replicas do not keep up",
    );
    findings.extend(configuration(topics, brokers, single));
    findings
}

/// Settings with which one broker that fails loses records, or stops the pipeline.
fn configuration(topics: &[Replication], brokers: usize, single: bool) -> Vec<Finding> {
    let named = |wrong: fn(usize, Option<usize>) -> bool| -> Vec<String> {
        let of = |topic: &Replication| {
            let one = topic.partitions.first()?;
            let line = |min: Option<usize>| {
                let min = min.map_or_else(|| "unknown".to_owned(), |min| min.to_string());
                format!("{}: {} replica(s), min.insync.replicas {min}", one.topic, one.replicas)
            };
            wrong(one.replicas, topic.min_in_sync).then(|| line(topic.min_in_sync))
        };
        topics.iter().filter_map(of).collect()
    };
    let alone = if single {
        Vec::new()
    } else {
        named(|replicas, _| replicas == 1)
    };
    let unsafe_acks = named(|replicas, min| replicas > 1 && min == Some(1));
    let no_spare = named(|replicas, min| replicas > 1 && min.is_some_and(|min| min >= replicas));
    let rows = [
        (
            alone,
            "topic(s) have one replica",
            "a broker that fails stops these topics, and its disk is their only copy",
        ),
        (
            unsafe_acks,
            "topic(s) confirm records that one broker has",
            "with min.insync.replicas 1, a broker that fails may lose confirmed records: set it to 2",
        ),
        (
            no_spare,
            "topic(s) refuse records as soon as one broker is down",
            "min.insync.replicas is as large as the number of replicas: set it one lower",
        ),
    ];
    let found = rows.into_iter().filter(|(lines, ..)| !lines.is_empty());
    found
        .map(|(lines, what, cause)| {
            let what = format!("{} {what}", lines.len());
            let finding = Finding::new(Severity::Warning, Area::Replicas, what, format!("{brokers} broker(s)"));
            finding
                .shown_by(lines.into_iter().take(SHOWN))
                .because(cause, "dp config env --set")
        })
        .collect()
}

/// Dead letters: those of the last hour are a warning, older ones a note. `groups` are counted by stage and code.
pub(super) fn letters(groups: &[Group], now: Micros, recent: Micros) -> Option<Finding> {
    let total: u64 = groups.iter().map(|group| group.letters).sum();
    let oldest = groups.iter().map(Group::oldest).min()?;
    let newest = groups.iter().map(Group::newest).max()?;
    let is_recent = newest >= now.saturating_sub(recent);
    let severity = if is_recent { Severity::Warning } else { Severity::Note };
    let age = |time: Micros| milliseconds((now.saturating_sub(time) / 1_000).max(0));
    let mut evidence = vec![format!(
        "the oldest failed {} ago, the newest {} ago",
        age(oldest),
        age(newest)
    )];
    evidence.extend(groups.iter().take(SHOWN).map(|group| {
        let values: Vec<&str> = group.values.values().map(String::as_str).collect();
        format!("{} of {}, such as {}", group.letters, values.join(", "), group.example)
    }));
    let what = format!("{total} message(s) or rows are dead letters");
    let example = groups.first().map_or("", |group| group.example.as_str());
    let offset = example.rsplit('/').next().unwrap_or_default();
    let finding = Finding::new(severity, Area::Letters, what, "dlq");
    Some(finding.shown_by(evidence).because(
        "producers sent what the pipeline cannot use; the code and the reason of each letter say what",
        format!("dp dlq show {offset}"),
    ))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::topics::Range;

    fn replication(replicas: usize, in_sync: usize, min_in_sync: usize) -> Replication {
        Replication {
            partitions: vec![Replicas {
                topic: "t".to_owned(),
                partition: 3,
                has_leader: in_sync > 0,
                replicas,
                in_sync,
                missing: Vec::new(),
            }],
            min_in_sync: Some(min_in_sync),
        }
    }

    fn severities(topic: Replication, single: bool) -> Vec<(Severity, String)> {
        let found = replicas(&[topic], 3, single);
        found
            .into_iter()
            .map(|finding| (finding.severity, finding.what))
            .collect()
    }

    #[test]
    fn replicas_are_judged_by_what_one_more_failure_would_do() {
        assert_eq!(severities(replication(3, 3, 2), false), []);
        let of = |severity, what: &str| vec![(severity, what.to_owned())];
        assert_eq!(
            severities(replication(3, 0, 2), false),
            of(Severity::Critical, "1 partition(s) have no leader")
        );
        assert_eq!(
            severities(replication(3, 1, 2), false),
            of(Severity::Critical, "1 partition(s) refuse records")
        );
        assert_eq!(
            severities(replication(3, 2, 2), false),
            of(Severity::Warning, "1 partition(s) are under-replicated")
        );
        assert_eq!(
            severities(replication(3, 3, 1), false),
            of(Severity::Warning, "1 topic(s) confirm records that one broker has")
        );
        assert_eq!(
            severities(replication(2, 2, 2), false),
            of(
                Severity::Warning,
                "1 topic(s) refuse records as soon as one broker is down"
            )
        );
    }

    #[test]
    fn one_replica_is_accepted_only_in_a_local_stack() {
        assert_eq!(severities(replication(1, 1, 1), true), []);
        assert_eq!(severities(replication(1, 1, 1), false).len(), 1);
    }

    #[test]
    fn settings_belong_to_the_topics_in_order() {
        let cluster = Cluster {
            brokers: 1,
            partitions: replication(1, 1, 1).partitions,
        };
        let topics = ["s".to_owned(), "t".to_owned()];
        let grouped = by_topic(&topics, &cluster, &[Some("2".to_owned()), None]);
        assert_eq!((grouped[0].partitions.len(), grouped[0].min_in_sync), (0, Some(2)));
        assert_eq!((grouped[1].partitions.len(), grouped[1].min_in_sync), (1, None));
    }

    #[test]
    fn a_missing_topic_and_a_wrong_number_of_partitions_are_critical() -> Result<(), Box<dyn std::error::Error>> {
        let loaded = service::settings::load(&service::Env::new(), 8080, |_| ())?;
        let names = Names::new(&loaded.settings);
        let listed = |name: &str, partitions: i32| Listed {
            name: name.to_owned(),
            id: (partitions > 0).then(|| "id".to_owned()),
            partitions,
            messages: 0,
            ranges: Vec::<Range>::new(),
        };
        let found = topics(
            &[
                listed(&names.bars, 0),
                listed(&names.enriched, 3),
                listed(&names.normalized, 4),
                listed(&names.dlq, 1),
                listed(&names.control, 1),
            ],
            &names,
            4,
        );
        let what: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            what,
            [
                format!("topic {} does not exist", names.bars),
                format!("topic {} has a wrong number of partitions", names.enriched)
            ]
        );
        assert!(found.iter().all(|finding| finding.severity == Severity::Critical));
        Ok(())
    }
}
