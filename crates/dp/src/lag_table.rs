//! The lag of consumer groups as a table: what `dp groups` and `dp kafka` show.

use ops::lag::GroupLag;
use ops::present::{grouped, table};

/// One row for each group and topic.
pub fn by_group(lags: &[GroupLag]) -> String {
    let rows = lags.iter().map(|lag| {
        vec![
            lag.group.clone(),
            lag.topic.clone(),
            lag.state.clone(),
            lag.members.to_string(),
            grouped(lag.lag),
        ]
    });
    table(&["group", "topic", "state", "members", "lag"], 3, rows)
}

/// One row for each partition.
pub fn by_partition(lags: &[GroupLag]) -> String {
    let rows = lags.iter().flat_map(|lag| {
        lag.partitions.iter().map(|partition| {
            vec![
                lag.group.clone(),
                lag.topic.clone(),
                partition.partition.to_string(),
                partition.committed.map_or_else(|| "none".to_owned(), grouped),
                grouped(partition.end),
                grouped(partition.lag),
            ]
        })
    });
    table(&["group", "topic", "partition", "committed", "end", "lag"], 2, rows)
}
