//! How long topics and tables keep their data, what has expired, and its removal now.
//!
//! Role: topics expire by `retention.ms` in the broker, tables by the TTL of their definition in merges of the server. [`run`] lets
//! the server apply the TTL at once; it decides nothing itself, so it never removes what the rule keeps.
//! Invariant: only tables of this generation that writers fill. Positions survive their rows: floors do not expire.
//! Failure: a mutation that the server has not finished goes on there; another run waits for it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use service::writer::TABLES;
use stores::ClickHouse;
use stores::clickhouse::literal;
use stream::kafka::topic_settings::values;

use crate::connection::Connection;
use crate::progress::waiting;
use crate::rows::{number, text};
use crate::topics;

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Everything that has a retention.
#[derive(Debug, Serialize)]
pub struct Retention {
    /// Topics.
    pub topics: Vec<Topic>,
    /// Tables.
    pub tables: Vec<Table>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// `delete`, or `compact`: then the newest record of each key stays.
    pub policy: String,
    /// Milliseconds; `None` is for ever.
    pub retention_ms: Option<i64>,
    /// Bytes of a partition; `None` is no limit.
    pub retention_bytes: Option<i64>,
    /// Messages between the oldest and the newest offset.
    pub messages: i64,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Name.
    pub name: String,
    /// When a row expires, in SQL; `None` is never.
    pub ttl: Option<String>,
    /// Partitions of the table, the oldest first.
    pub partitions: Vec<Partition>,
}

/// A partition of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Id.
    pub id: String,
    /// Rows.
    pub rows: u64,
    /// Bytes on the disk.
    pub bytes: u64,
    /// Rows that have expired and are still there.
    pub expired_rows: u64,
    /// Their share of the bytes.
    pub expired_bytes: u64,
}

impl Table {
    /// Rows that have expired and are still there.
    pub fn expired_rows(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.expired_rows).sum()
    }

    /// The partitions that have such rows.
    pub fn expired(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.iter().filter(|partition| partition.expired_rows > 0)
    }
}

/// Reads everything; changes nothing.
///
/// # Errors
/// Kafka or ClickHouse does not answer.
pub async fn survey(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Retention> {
    Ok(Retention {
        topics: waiting("reading the topics", topics_of(connection)).await?,
        tables: tables(connection, clickhouse).await?,
    })
}

/// Reads the tables; changes nothing.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn tables(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<Table>> {
    let at = || {
        format!(
            "read the tables of ClickHouse at {}",
            connection.settings.clickhouse.url
        )
    };
    let tables = waiting("reading the tables", tables_of(connection, clickhouse)).await;
    tables.with_context(at)
}

async fn topics_of(connection: &Connection) -> anyhow::Result<Vec<Topic>> {
    let listed = topics::list(connection).await?;
    let names: Vec<String> = listed.iter().map(|topic| topic.name.clone()).collect();
    let read = async |name| {
        let found = values(&connection.settings.kafka_bootstrap, &names, name).await;
        found.context("read the settings of the topics")
    };
    let (policies, times, sizes) = (
        read("cleanup.policy").await?,
        read("retention.ms").await?,
        read("retention.bytes").await?,
    );
    let limit = |value: Option<&Option<String>>| {
        let number: Option<i64> = value.and_then(|value| value.as_deref()?.parse().ok());
        number.filter(|number| *number >= 0)
    };
    let existing = listed.into_iter().enumerate().filter(|(_, topic)| topic.id.is_some());
    let topics = existing.map(|(index, topic)| Topic {
        name: topic.name,
        policy: policies.get(index).cloned().flatten().unwrap_or_default(),
        retention_ms: limit(times.get(index)),
        retention_bytes: limit(sizes.get(index)),
        messages: topic.messages,
    });
    Ok(topics.collect())
}

async fn tables_of(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for spec in TABLES {
        let name = connection.names.table(spec.name);
        let sql = format!(
            "SELECT engine_full FROM system.tables WHERE database = {} AND name = {}",
            literal(clickhouse.database()),
            literal(&name)
        );
        let rows = clickhouse.query_json(&sql).await?;
        let Some(row) = rows.first() else {
            bail!("table {name} does not exist: create it with `dp migrate`");
        };
        let ttl = ttl_of(text(row, "engine_full")?);
        let partitions = partitions_of(clickhouse, &name, ttl.as_deref()).await?;
        tables.push(Table { name, ttl, partitions });
    }
    Ok(tables)
}

/// The rule of a definition such as `MergeTree … TTL toDateTime(ingested_at) + toIntervalDay(365) SETTINGS …`.
fn ttl_of(engine: &str) -> Option<String> {
    let (_, rule) = engine.split_once(" TTL ")?;
    let rule = rule.split_once(" SETTINGS ").map_or(rule, |(rule, _)| rule);
    Some(rule.trim().to_owned())
}

/// Rows are counted only in partitions whose parts say that some may have expired.
async fn partitions_of(clickhouse: &ClickHouse, table: &str, ttl: Option<&str>) -> anyhow::Result<Vec<Partition>> {
    let sql = format!(
        "SELECT partition_id, sum(rows) AS rows, sum(bytes_on_disk) AS bytes, \
         countIf(delete_ttl_info_min > toDateTime(0) AND delete_ttl_info_min <= now()) AS touched FROM system.parts \
         WHERE active AND database = {} AND table = {} GROUP BY partition_id ORDER BY partition_id",
        literal(clickhouse.database()),
        literal(table)
    );
    let mut partitions = Vec::new();
    for row in clickhouse.query_json(&sql).await? {
        let (id, rows, bytes) = (
            text(&row, "partition_id")?,
            number(&row, "rows")?,
            number(&row, "bytes")?,
        );
        let touched: u64 = number(&row, "touched")?;
        let expired_rows = match ttl {
            Some(ttl) if touched > 0 => {
                let sql = format!(
                    "SELECT count() AS rows FROM {}.{table} WHERE _partition_id = {} AND {ttl} <= now()",
                    clickhouse.database(),
                    literal(id)
                );
                let counted = clickhouse.query_json(&sql).await?;
                counted.first().map_or(Ok(0), |row| number(row, "rows"))?
            }
            _ => 0,
        };
        partitions.push(Partition {
            id: id.to_owned(),
            rows,
            bytes,
            expired_rows,
            expired_bytes: share(bytes, expired_rows, rows),
        });
    }
    Ok(partitions)
}

fn share(bytes: u64, expired: u64, rows: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(expired) / u128::from(rows.max(1));
    u64::try_from(share).unwrap_or(bytes)
}

/// Lets the server remove what has expired, and waits for it.
///
/// # Errors
/// ClickHouse does not answer or refuses.
pub async fn run(clickhouse: &ClickHouse, tables: &[Table]) -> anyhow::Result<()> {
    for table in tables {
        for partition in table.expired() {
            let sql = format!(
                "ALTER TABLE {}.{} MATERIALIZE TTL IN PARTITION ID {}",
                clickhouse.database(),
                table.name,
                literal(&partition.id)
            );
            let remove = async {
                clickhouse.exec(&sql).await?;
                await_mutations(clickhouse, &table.name).await
            };
            let what = format!("removing expired rows of {}, partition {}", table.name, partition.id);
            waiting(&what, remove)
                .await
                .with_context(|| format!("{what}: run the command again"))?;
        }
    }
    Ok(())
}

async fn await_mutations(clickhouse: &ClickHouse, table: &str) -> anyhow::Result<()> {
    let sql = format!(
        "SELECT any(latest_fail_reason) AS failed, count() AS mutations FROM system.mutations WHERE database = {} AND table = {} AND \
         NOT is_done",
        literal(clickhouse.database()),
        literal(table)
    );
    loop {
        let rows = clickhouse.query_json(&sql).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        if number::<u64>(row, "mutations")? == 0 {
            return Ok(());
        }
        let failed = text(row, "failed")?;
        if !failed.is_empty() {
            bail!("ClickHouse cannot remove the rows: {failed}");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_a_definition_is_found() {
        let engine = "MergeTree PARTITION BY toDate(ingested_at) ORDER BY (tenant_id, timestamp) TTL toDateTime(ingested_at) + \
                      toIntervalDay(365) SETTINGS index_granularity = 8192";
        assert_eq!(
            ttl_of(engine).as_deref(),
            Some("toDateTime(ingested_at) + toIntervalDay(365)")
        );
        assert_eq!(ttl_of("MergeTree ORDER BY a TTL b").as_deref(), Some("b"));
        assert_eq!(ttl_of("MergeTree ORDER BY a SETTINGS c = 1"), None);
    }

    #[test]
    fn expired_bytes_are_a_share() {
        assert_eq!(share(1_000, 1, 4), 250);
        assert_eq!(share(1_000, 0, 0), 0);
        assert_eq!(share(u64::MAX, u64::MAX, u64::MAX), u64::MAX);
    }
}
