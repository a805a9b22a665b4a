//! The lag of consumer groups as a table: what `dp groups` and `dp kafka` show.

use std::collections::{BTreeMap, BTreeSet};

use ops::lag::{GroupLag, Owner};
use ops::present::{grouped, printable, table};

const NOBODY: &str = "none";

/// One row for each group and topic; one line in it for each member that owns partitions.
pub fn by_group(lags: &[GroupLag]) -> String {
    let rows = lags.iter().map(|lag| {
        vec![
            lag.group.clone(),
            lag.topic.clone(),
            lag.state.clone(),
            owners(lag),
            lag.members.to_string(),
            grouped(lag.lag),
        ]
    });
    table(
        &["group", "topic", "state", "owner: partitions", "members", "lag"],
        4,
        rows,
    )
}

/// One row for each partition.
pub fn by_partition(lags: &[GroupLag]) -> String {
    let rows = lags.iter().flat_map(|lag| {
        lag.partitions.iter().map(|partition| {
            vec![
                lag.group.clone(),
                lag.topic.clone(),
                partition.owner.as_ref().map_or_else(|| NOBODY.to_owned(), named),
                partition.partition.to_string(),
                partition.committed.map_or_else(|| "none".to_owned(), grouped),
                grouped(partition.end),
                grouped(partition.lag),
            ]
        })
    });
    table(
        &["group", "topic", "owner", "partition", "committed", "end", "lag"],
        3,
        rows,
    )
}

/// The partitions of each member, which shows whether they are spread evenly. Members with the same name have a line each.
fn owners(lag: &GroupLag) -> String {
    let mut by_owner: BTreeMap<Option<&Owner>, BTreeSet<i32>> = BTreeMap::new();
    for partition in &lag.partitions {
        let owned = by_owner.entry(partition.owner.as_ref()).or_default();
        owned.insert(partition.partition);
    }
    let lines = by_owner.iter().map(|(owner, numbers)| {
        let name = owner.map_or_else(|| NOBODY.to_owned(), named);
        let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
        format!("{name}: {}", numbers.join(" "))
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn named(owner: &Owner) -> String {
    format!("{} at {}", printable(&owner.client_id), printable(&owner.host))
}

#[cfg(test)]
mod tests {
    use ops::lag::PartitionOffsets;

    use super::*;

    fn partition(partition: i32, owner: Option<(&str, &str)>) -> PartitionOffsets {
        PartitionOffsets {
            partition,
            committed: None,
            end: 7,
            lag: 7,
            owner: owner.map(|(client_id, member)| Owner {
                client_id: client_id.to_owned(),
                host: "10.0.0.1".to_owned(),
                member: member.to_owned(),
            }),
        }
    }

    fn lag() -> GroupLag {
        let partitions = [
            partition(0, Some(("n-raw", "m2"))),
            partition(1, Some(("n-raw", "m1"))),
            partition(2, Some(("n-raw", "m2"))),
            partition(3, None),
        ];
        GroupLag {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            state: "Stable".to_owned(),
            members: 2,
            lag: 28,
            partitions: partitions.into(),
        }
    }

    #[test]
    fn members_with_the_same_name_are_told_apart_and_free_partitions_are_shown() {
        assert_eq!(owners(&lag()), "none: 3\nn-raw at 10.0.0.1: 1\nn-raw at 10.0.0.1: 0 2");
    }

    #[test]
    fn each_partition_has_its_owner() {
        let text = by_partition(&[lag()]);
        assert_eq!(text.matches("n-raw at 10.0.0.1").count(), 3, "{text}");
        assert!(by_group(&[lag()]).contains("none: 3"), "{text}");
    }
}
