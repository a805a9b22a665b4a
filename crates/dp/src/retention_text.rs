//! How long data is kept, as text: what `dp retention` and `dp clickhouse retention` show.

use ops::present::{bytes, grouped, milliseconds, table};
use ops::retention::{Table, Topic};

use crate::cells::count;

/// One row for each topic.
pub fn by_topic(topics: &[Topic]) -> String {
    let rows = topics
        .iter()
        .map(|topic| vec![topic.name.clone(), kept(topic), grouped(topic.messages)]);
    table(&["topic", "keeps", "messages"], 2, rows)
}

/// One row for each partition of each table, then the rule of each table.
pub fn by_partition(tables: &[Table]) -> String {
    let rows = tables.iter().flat_map(|one| {
        one.partitions.iter().map(|partition| {
            vec![
                one.name.clone(),
                partition.id.clone(),
                count(partition.rows),
                bytes(partition.bytes),
                count(partition.expired_rows),
            ]
        })
    });
    let rules = tables.iter().map(|table| {
        let rule = table.ttl.as_deref().unwrap_or("never");
        format!("{}: a row expires at {rule}", table.name)
    });
    format!(
        "{}\n{}",
        table(&["table", "partition", "rows", "size", "expired"], 2, rows),
        rules.collect::<Vec<_>>().join("\n")
    )
}

fn kept(topic: &Topic) -> String {
    let mut text = match topic.retention_ms {
        Some(limit) if limit >= 172_800_000 => format!("{} days", limit / 86_400_000),
        Some(limit) => milliseconds(limit),
        None => "for ever".to_owned(),
    };
    if topic.policy.contains("compact") {
        "newest of each key".clone_into(&mut text);
    }
    if let Some(limit) = topic.retention_bytes {
        text.push_str(&format!(", {}", bytes(limit.unsigned_abs())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_shown_in_words() {
        let topic = |policy: &str, retention_ms, retention_bytes| Topic {
            name: String::new(),
            policy: policy.to_owned(),
            retention_ms,
            retention_bytes,
            messages: 0,
        };
        assert_eq!(kept(&topic("delete", Some(604_800_000), None)), "7 days");
        assert_eq!(
            kept(&topic("delete", Some(3_600_000), Some(1_048_576))),
            "60 min, 1.00 MiB"
        );
        assert_eq!(kept(&topic("delete", None, None)), "for ever");
        assert_eq!(kept(&topic("compact", Some(1), None)), "newest of each key");
    }
}
