//! Plans which brokers have which partitions, as input of `kafka-reassign-partitions`.
//!
//! Invariants: every partition keeps those of its replicas that may stay, so no more data moves than must; the others go to the brokers
//! that have the fewest. A partition has each broker at most once. Nothing is moved here.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Serialize;
use stream::kafka::reader::LogReader;

use crate::connection::Connection;
use crate::threads::reading;

/// The file that `kafka-reassign-partitions --reassignment-json-file` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Version of the form.
    pub version: u32,
    /// By topic and partition.
    pub partitions: Vec<Assigned>,
}

/// The brokers of a partition; the first is its preferred leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Assigned {
    pub topic: String,
    pub partition: i32,
    pub replicas: Vec<i32>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The file.
    pub file: File,
    /// Partitions whose brokers change.
    pub changed: usize,
    /// Copies of partitions that are moved to another broker.
    pub moved: usize,
}

/// Plans for these topics. Without brokers: those that run. Without a replication: that of each partition.
///
/// # Errors
/// Kafka does not answer, a topic does not exist, or there are fewer brokers than replicas.
pub async fn plan(
    connection: &Connection,
    topics: Vec<String>,
    brokers: &[i32],
    replication: Option<usize>,
) -> anyhow::Result<Plan> {
    let bootstrap = connection.settings.kafka_bootstrap.clone();
    let asked = topics.clone();
    let (running, current) = reading(move || {
        let log = LogReader::new(&bootstrap)?;
        log.assignments(&asked)
    })
    .await
    .context("read the replicas: is Kafka running (`dp status`)?")?;
    if let Some(missing) = topics
        .iter()
        .find(|topic| !current.iter().any(|(name, ..)| name == *topic))
    {
        bail!("topic {missing} does not exist; `dp kafka topics` lists the topics of the pipeline");
    }
    let mut wanted = if brokers.is_empty() {
        running.clone()
    } else {
        brokers.to_vec()
    };
    wanted.sort_unstable();
    wanted.dedup();
    if let Some(unknown) = wanted.iter().find(|broker| !running.contains(broker)) {
        let running: Vec<String> = running.iter().map(ToString::to_string).collect();
        bail!(
            "broker {unknown} does not run; those that do are {}",
            running.join(", ")
        );
    }
    let current = current
        .into_iter()
        .map(|(topic, partition, replicas)| Assigned {
            topic,
            partition,
            replicas,
        })
        .collect();
    assign(current, &wanted, replication)
}

/// The assignment with the fewest moves that uses only these brokers.
fn assign(current: Vec<Assigned>, brokers: &[i32], replication: Option<usize>) -> anyhow::Result<Plan> {
    let mut copies: BTreeMap<i32, usize> = brokers.iter().map(|broker| (*broker, 0)).collect();
    let mut kept = Vec::new();
    for mut partition in current {
        let before = partition.replicas.clone();
        let size = replication.unwrap_or(before.len()).max(1);
        if size > brokers.len() {
            bail!(
                "{}[{}] needs {size} replicas on different brokers, and there are {}: name more with --brokers, or use a smaller \
                 --replication",
                partition.topic,
                partition.partition,
                brokers.len()
            );
        }
        partition.replicas.retain(|broker| copies.contains_key(broker));
        partition.replicas.truncate(size);
        for broker in &partition.replicas {
            *copies.entry(*broker).or_default() += 1;
        }
        kept.push((partition, before, size));
    }
    let (mut partitions, mut changed, mut moved) = (Vec::new(), 0, 0);
    for (mut partition, before, size) in kept {
        while partition.replicas.len() < size {
            let free = copies
                .iter()
                .filter(|(broker, _)| !partition.replicas.contains(broker))
                .min_by_key(|(broker, count)| (**count, **broker))
                .map(|(broker, _)| *broker);
            let broker = free.context("there are fewer brokers than replicas")?;
            *copies.entry(broker).or_default() += 1;
            partition.replicas.push(broker);
        }
        changed += usize::from(partition.replicas != before);
        moved += partition
            .replicas
            .iter()
            .filter(|broker| !before.contains(broker))
            .count();
        partitions.push(partition);
    }
    Ok(Plan {
        file: File { version: 1, partitions },
        changed,
        moved,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn topic(replicas: &[&[i32]]) -> Vec<Assigned> {
        let one = |(partition, replicas): (usize, &&[i32])| Assigned {
            topic: "t".to_owned(),
            partition: partition as i32,
            replicas: replicas.to_vec(),
        };
        replicas.iter().enumerate().map(one).collect()
    }

    fn replicas(plan: &Plan) -> Vec<Vec<i32>> {
        plan.file
            .partitions
            .iter()
            .map(|partition| partition.replicas.clone())
            .collect()
    }

    #[test]
    fn nothing_moves_if_nothing_must() {
        let plan = assign(topic(&[&[1, 2], &[2, 3], &[3, 1]]), &[1, 2, 3], None).unwrap();
        assert_eq!((plan.changed, plan.moved), (0, 0));
        assert_eq!(replicas(&plan), [[1, 2], [2, 3], [3, 1]]);
    }

    #[test]
    fn a_broker_that_leaves_gives_its_copies_to_those_that_have_the_fewest() {
        let plan = assign(topic(&[&[1, 2], &[2, 3], &[3, 1]]), &[1, 2, 4], None).unwrap();
        assert_eq!(replicas(&plan), [vec![1, 2], vec![2, 4], vec![1, 4]]);
        assert_eq!((plan.changed, plan.moved), (2, 2));
    }

    #[test]
    fn more_replicas_are_added_evenly_and_fewer_keep_the_leader() {
        let plan = assign(topic(&[&[1], &[1], &[1]]), &[1, 2, 3], Some(2)).unwrap();
        assert_eq!(replicas(&plan), [[1, 2], [1, 3], [1, 2]]);
        let plan = assign(topic(&[&[3, 1, 2]]), &[1, 2, 3], Some(1)).unwrap();
        assert_eq!((replicas(&plan), plan.moved), (vec![vec![3]], 0));
        let few = assign(topic(&[&[1]]), &[1, 2], Some(3)).unwrap_err().to_string();
        assert!(few.contains("t[0] needs 3 replicas"), "{few}");
    }

    #[test]
    fn every_plan_is_valid() {
        let mut seed = 7_u64;
        let mut random = |limit: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % limit
        };
        for _ in 0..2_000 {
            let brokers: Vec<i32> = (1..=(1 + random(6) as i32)).collect();
            let size = 1 + random(brokers.len() as u64) as usize;
            let partitions = 1 + random(12) as usize;
            let start: Vec<Vec<i32>> = (0..partitions).map(|_| vec![1 + random(9) as i32]).collect();
            let start: Vec<&[i32]> = start.iter().map(Vec::as_slice).collect();
            let plan = assign(topic(&start), &brokers, Some(size)).unwrap();
            assert_eq!(plan.file.partitions.len(), partitions);
            for partition in &plan.file.partitions {
                let mut distinct = partition.replicas.clone();
                distinct.sort_unstable();
                distinct.dedup();
                assert_eq!((distinct.len(), partition.replicas.len()), (size, size));
                assert!(distinct.iter().all(|broker| brokers.contains(broker)));
            }
        }
    }
}
