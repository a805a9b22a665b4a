//! The lag of consumer groups as a table: what `dp groups` and `dp kafka` show.

use std::collections::{BTreeMap, BTreeSet};

use ops::lag::{GroupLag, Owner};
use ops::present::{grouped, table, wrapped};

use crate::cells::middle;

const NOBODY: &str = "none";
/// Characters of names and owners: with them both tables fit into 80 columns, up to offsets of ten digits.
const NAME: usize = 30;
const OWNERS: usize = 27;
const TITLE: usize = 36;
const OWNER: usize = 23;

/// One row for each group and topic; in it the partitions of each member.
pub fn by_group(lags: &[GroupLag]) -> String {
    let rows = lags.iter().map(|lag| {
        let names = [
            middle(&lag.group, NAME),
            middle(&lag.topic, NAME),
            format!("{} ({})", lag.state, lag.members),
        ];
        vec![names.join("\n"), owners(lag), grouped(lag.lag)]
    });
    table(&["group, topic, state (members)", "owner: partitions", "lag"], 2, rows)
}

/// One table for each group and topic, with a row for each partition.
pub fn by_partition(lags: &[GroupLag]) -> String {
    let tables = lags.iter().map(|lag| {
        let rows = lag.partitions.iter().map(|partition| {
            vec![
                partition
                    .owner
                    .as_ref()
                    .map_or_else(|| NOBODY.to_owned(), |owner| middle(&named(owner), OWNER)),
                partition.partition.to_string(),
                partition.committed.map_or_else(|| "none".to_owned(), grouped),
                grouped(partition.end),
                grouped(partition.lag),
            ]
        });
        let rows = table(&["owner", "part", "committed", "end", "lag"], 1, rows);
        format!(
            "{} reads {}\n{rows}",
            middle(&lag.group, TITLE),
            middle(&lag.topic, TITLE)
        )
    });
    tables.collect::<Vec<String>>().join("\n")
}

/// The partitions of each member, which shows whether they are spread evenly. Members with the same name have a line each.
fn owners(lag: &GroupLag) -> String {
    let mut by_owner: BTreeMap<Option<&Owner>, BTreeSet<i32>> = BTreeMap::new();
    for partition in &lag.partitions {
        let owned = by_owner.entry(partition.owner.as_ref()).or_default();
        owned.insert(partition.partition);
    }
    let lines = by_owner.iter().flat_map(|(owner, numbers)| {
        let name = owner.map_or_else(|| NOBODY.to_owned(), |owner| middle(&named(owner), OWNERS - 1));
        let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
        wrapped(&format!("{name}: {}", numbers.join(" ")), OWNERS)
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn named(owner: &Owner) -> String {
    format!("{} at {}", owner.client_id, owner.host)
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

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
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

    #[test]
    fn long_names_and_offsets_fit_into_80_columns_and_keep_both_ends() {
        let mut lag = lag();
        lag.group = "aggregation-staging-clickhouse-generation2".to_owned();
        lag.topic = "normalized.market.ticks.of.another.feed.v1".to_owned();
        lag.state = "PreparingRebalance".to_owned();
        lag.lag = 9_999_999_999;
        lag.partitions = (0..12)
            .map(|number| PartitionOffsets {
                committed: Some(9_900_000_000),
                end: 9_999_999_999,
                lag: 99_999_999,
                ..partition(number, Some(("aggregation-clickhouse-writer", "m1")))
            })
            .collect();
        let (groups, partitions) = (by_group(&[lag.clone()]), by_partition(&[lag]));
        assert!(widest(&groups) <= 80, "{groups}");
        assert!(widest(&partitions) <= 80, "{partitions}");
        for part in ["aggregation-sta", "generation2", "11", "10.0.0.1:"] {
            assert!(groups.contains(part), "{part}\n{groups}");
        }
        assert!(partitions.contains(" reads normalized."), "{partitions}");
        assert_eq!(partitions.matches("10.0.0.1").count(), 12, "{partitions}");
    }
}
