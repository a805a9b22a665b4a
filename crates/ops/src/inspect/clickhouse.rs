//! What ClickHouse does and has done: slow and running queries, parts of tables, disks.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Serialize;
use serde_json::{Map, Value};
use stores::ClickHouse;
use stores::clickhouse::FENCED;

use crate::rows::{number, text};

/// A query of the query log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct LoggedQuery {
    pub started_at: String,
    pub milliseconds: u64,
    pub rows_read: u64,
    pub bytes_read: u64,
    pub memory_bytes: u64,
    pub user: String,
    pub query_id: String,
    /// On one line.
    pub query: String,
    /// Empty if it succeeded.
    pub error: String,
}

/// The slowest queries that ended within `since` and took at least `over`, the slowest first; none while the server has no query log
/// yet ([`has_query_log`]).
///
/// # Errors
/// ClickHouse does not answer, or logs no queries.
pub async fn slow(
    clickhouse: &ClickHouse,
    over: Duration,
    since: Duration,
    limit: u64,
) -> anyhow::Result<Vec<LoggedQuery>> {
    if !has_query_log(clickhouse).await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT toString(toTimeZone(query_start_time, 'UTC')) AS started_at, toUInt64(query_duration_ms) AS milliseconds, \
         toUInt64(read_rows) AS rows_read, toUInt64(read_bytes) AS bytes_read, toUInt64(memory_usage) AS memory_bytes, user, \
         query_id, {ONE_LINE} AS statement, substring(exception, 1, 300) AS error \
         FROM system.query_log \
         WHERE type IN ('QueryFinish', 'ExceptionWhileProcessing') AND is_initial_query \
         AND event_date >= toDate(now() - {seconds}) AND event_time >= now() - {seconds} AND query_duration_ms >= {millis} \
         ORDER BY query_duration_ms DESC, query_start_time DESC LIMIT {limit}",
        seconds = since.as_secs(),
        millis = over.as_millis(),
    );
    let rows = ask(clickhouse, &sql, "read the query log").await?;
    rows.iter()
        .map(|row| {
            Ok(LoggedQuery {
                started_at: text(row, "started_at")?.to_owned(),
                milliseconds: number(row, "milliseconds")?,
                rows_read: number(row, "rows_read")?,
                bytes_read: number(row, "bytes_read")?,
                memory_bytes: number(row, "memory_bytes")?,
                user: text(row, "user")?.to_owned(),
                query_id: text(row, "query_id")?.to_owned(),
                query: text(row, "statement")?.to_owned(),
                error: text(row, "error")?.to_owned(),
            })
        })
        .collect()
}

/// The statement on one line, long enough to recognize it.
const ONE_LINE: &str = "substring(replaceRegexpAll(query, '\\\\s+', ' '), 1, 2000)";

/// Whether the server has logged a query. It creates the log with the first query that it writes there, within eight seconds; one
/// that logs only slow queries, such as that of the local stack, may run for long without it.
///
/// # Errors
/// ClickHouse does not answer, logs no queries, or cannot write its log: then the reason is the server's own.
pub async fn has_query_log(clickhouse: &ClickHouse) -> anyhow::Result<bool> {
    // Who reads a table that does not exist (60) or may not read it (497) makes an error that names it as well.
    let sql = "SELECT toUInt64(count()) AS tables, toUInt64(getSetting('log_queries')) AS logs, \
               (SELECT substring(argMax(last_error_message, last_error_time), 1, 300) FROM system.errors \
               WHERE last_error_message LIKE '%query_log%' AND code NOT IN (60, 497)) AS refused \
               FROM system.tables WHERE database = 'system' AND name = 'query_log'";
    let rows = ask(clickhouse, sql, "look for the query log").await?;
    let row = rows
        .first()
        .context("look for the query log: ClickHouse returned no row")?;
    is_logged(
        number::<u64>(row, "tables")? > 0,
        number::<u64>(row, "logs")? > 0,
        text(row, "refused")?,
    )
}

/// `refused` is the server's last error about its log.
fn is_logged(exists: bool, is_on: bool, refused: &str) -> anyhow::Result<bool> {
    match (exists, is_on) {
        (true, _) => Ok(true),
        (false, false) => bail!(
            "ClickHouse logs no queries: log_queries is 0 for this user; `dp clickhouse processes` shows the queries that run now"
        ),
        (false, true) if !refused.is_empty() => bail!(
            "ClickHouse cannot write its query log: {refused}; a restart of the local stack's server repairs this (`dp restart clickhouse`)"
        ),
        (false, true) => Ok(false),
    }
}

/// Inserts that failed with the same error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct FailedInserts {
    pub inserts: u64,
    pub newest_at: String,
    /// The error of the newest one.
    pub error: String,
}

/// The inserts of the last `since` that failed, the most frequent error first. A writer that was replaced by another one is
/// refused on purpose, and does not count.
///
/// # Errors
/// ClickHouse does not answer, or keeps no query log.
pub async fn failed_inserts(clickhouse: &ClickHouse, since: Duration) -> anyhow::Result<Vec<FailedInserts>> {
    if !has_query_log(clickhouse).await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT toUInt64(count()) AS inserts, toString(toTimeZone(max(event_time), 'UTC')) AS newest_at, \
         substring(argMax(exception, event_time), 1, 300) AS error FROM system.query_log \
         WHERE type IN ('ExceptionBeforeStart', 'ExceptionWhileProcessing') AND query_kind = 'Insert' AND is_initial_query \
         AND event_date >= toDate(now() - {seconds}) AND event_time >= now() - {seconds} AND exception NOT LIKE '%{FENCED}%' \
         GROUP BY exception_code ORDER BY inserts DESC LIMIT 20",
        seconds = since.as_secs(),
    );
    let rows = ask(clickhouse, &sql, "read the query log").await?;
    rows.iter()
        .map(|row| {
            Ok(FailedInserts {
                inserts: number(row, "inserts")?,
                newest_at: text(row, "newest_at")?.to_owned(),
                error: text(row, "error")?.to_owned(),
            })
        })
        .collect()
}

/// A running query.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct RunningQuery {
    pub seconds: f64,
    pub user: String,
    pub rows_read: u64,
    pub memory_bytes: u64,
    pub query_id: String,
    /// On one line.
    pub query: String,
}

/// The queries that run now, the longest first, without the one that asks.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn processes(clickhouse: &ClickHouse) -> anyhow::Result<Vec<RunningQuery>> {
    // Interface 6 is the engine's own session: the query that keeps the server of a local stack running.
    let sql = format!(
        "SELECT toString(elapsed) AS seconds, user, toUInt64(read_rows) AS rows_read, \
         toUInt64(greatest(memory_usage, 0)) AS memory_bytes, query_id, {ONE_LINE} AS statement FROM system.processes \
         WHERE is_initial_query AND interface != 6 AND query_id != queryID() ORDER BY elapsed DESC"
    );
    let rows = ask(clickhouse, &sql, "read the running queries").await?;
    rows.iter()
        .map(|row| {
            Ok(RunningQuery {
                seconds: number(row, "seconds")?,
                user: text(row, "user")?.to_owned(),
                rows_read: number(row, "rows_read")?,
                memory_bytes: number(row, "memory_bytes")?,
                query_id: text(row, "query_id")?.to_owned(),
                query: text(row, "statement")?.to_owned(),
            })
        })
        .collect()
}

/// The active parts of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TableParts {
    pub table: String,
    pub parts: u64,
    pub partitions: u64,
    /// Parts of the partition that has the most. ClickHouse slows inserts down at 1,000, and refuses them at 3,000.
    pub most_in_a_partition: u64,
    pub rows: u64,
    pub bytes_on_disk: u64,
    pub newest_part_at: String,
}

/// The parts of every table of the pipeline, the largest table first.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn parts(clickhouse: &ClickHouse) -> anyhow::Result<Vec<TableParts>> {
    let sql = "SELECT table, toUInt64(sum(in_partition)) AS parts, toUInt64(count()) AS partitions, \
               toUInt64(max(in_partition)) AS most_in_a_partition, toUInt64(sum(rows_)) AS rows_in_all, \
               toUInt64(sum(bytes_)) AS bytes_on_disk, toString(toTimeZone(max(newest_), 'UTC')) AS newest_part_at FROM \
               (SELECT table, partition_id, count() AS in_partition, sum(rows) AS rows_, sum(bytes_on_disk) AS bytes_, \
               max(modification_time) AS newest_ FROM system.parts WHERE active AND database = currentDatabase() \
               GROUP BY table, partition_id) GROUP BY table ORDER BY bytes_on_disk DESC, table";
    let rows = ask(clickhouse, sql, "read the parts of the tables").await?;
    rows.iter()
        .map(|row| {
            Ok(TableParts {
                table: text(row, "table")?.to_owned(),
                parts: number(row, "parts")?,
                partitions: number(row, "partitions")?,
                most_in_a_partition: number(row, "most_in_a_partition")?,
                rows: number(row, "rows_in_all")?,
                bytes_on_disk: number(row, "bytes_on_disk")?,
                newest_part_at: text(row, "newest_part_at")?.to_owned(),
            })
        })
        .collect()
}

/// A disk of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Disk {
    pub name: String,
    pub path: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl Disk {
    /// Percentage that is free.
    pub fn free_percent(&self) -> f64 {
        match self.total_bytes {
            0 => 100.0,
            total => self.free_bytes as f64 / total as f64 * 100.0,
        }
    }
}

/// The disks of the server.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn disks(clickhouse: &ClickHouse) -> anyhow::Result<Vec<Disk>> {
    let sql = "SELECT name, path, toUInt64(free_space) AS free_bytes, toUInt64(total_space) AS total_bytes \
               FROM system.disks ORDER BY name";
    let rows = ask(clickhouse, sql, "read the disks").await?;
    rows.iter()
        .map(|row| {
            Ok(Disk {
                name: text(row, "name")?.to_owned(),
                path: text(row, "path")?.to_owned(),
                free_bytes: number(row, "free_bytes")?,
                total_bytes: number(row, "total_bytes")?,
            })
        })
        .collect()
}

/// What the server has written for inserts since its start, before merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Inserted {
    pub bytes: u64,
    pub seconds: u64,
}

/// What the server has written for inserts since its start.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn inserted(clickhouse: &ClickHouse) -> anyhow::Result<Inserted> {
    // The parts of a table would count what merges rewrite as new.
    let sql = "SELECT toUInt64(sum(value)) AS bytes, toUInt64(any(uptime())) AS seconds FROM system.events \
               WHERE event = 'MergeTreeDataWriterCompressedBytes'";
    let rows = ask(clickhouse, sql, "read how much was inserted").await?;
    let row = rows.first().context("ClickHouse returned no row of its events")?;
    Ok(Inserted {
        bytes: number(row, "bytes")?,
        seconds: number(row, "seconds")?,
    })
}

async fn ask(clickhouse: &ClickHouse, sql: &str, what: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    clickhouse
        .query_json(sql)
        .await
        .with_context(|| format!("{what}: is ClickHouse running (`dp status`)?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_query_log_is_an_error_only_if_the_server_cannot_write_it() {
        assert!(is_logged(true, true, "an old error").is_ok_and(|logged| logged));
        assert!(is_logged(false, true, "").is_ok_and(|logged| !logged));
        for (is_on, refused, told) in [
            (false, "", "log_queries is 0"),
            (
                true,
                "Directory for table data data/system/query_log/ already exists",
                "already exists",
            ),
        ] {
            let error = is_logged(false, is_on, refused).map_err(|error| error.to_string());
            assert!(error.as_ref().is_err_and(|text| text.contains(told)), "{error:?}");
        }
    }
}
