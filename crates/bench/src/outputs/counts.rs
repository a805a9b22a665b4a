//! Counts of the log and of every store, taken while no message is in flight.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use domain::{Micros, RowRanges};
use serde::Serialize;
use serde_json::{Map, Value};
use service::writer::TABLES;
use stores::ClickHouse;
use stream::StreamError;
use stream::dead_letter::header;
use stream::kafka::reader::LogReader;

use ops::connection::Connection;
use ops::migrations::Stores;

/// Counts since the beginning of the data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Messages that were ever appended to the raw topics.
    pub raw_messages: i64,
    /// Raw messages with at least one tick in `market_ticks`.
    pub messages_with_ticks: i64,
    /// Ticks with the flag `late_arrival`.
    pub late: i64,
    /// Raw messages that became dead letters as a whole.
    pub dead_messages: i64,
    /// Rejected rows of documents whose other rows were accepted.
    pub rejected_rows: i64,
    /// Dead letters by code, each origin once.
    pub dead_letters: BTreeMap<String, i64>,
    /// Rows of each table.
    pub tables: BTreeMap<String, i64>,
    /// Newest version of each bar, by interval.
    pub bars: BTreeMap<String, i64>,
    /// Latest prices in PostgreSQL.
    pub postgres_prices: i64,
    /// Latest prices in Redis.
    pub redis_prices: i64,
}

impl Figures {
    /// Messages that repeated an event: those with neither ticks nor a dead letter. (`dp verify` counts them from the log
    /// itself; this is the remainder.)
    pub fn duplicates(&self) -> i64 {
        self.raw_messages - self.messages_with_ticks - self.dead_messages
    }
}

/// Reads all figures.
///
/// # Errors
/// A store does not answer; the message names it.
pub async fn read(connection: &Connection, stores: &Stores) -> anyhow::Result<Figures> {
    let mut figures = log_figures(connection).await?;
    let clickhouse = &stores.clickhouse;
    let ticks = connection.names.table("market_ticks");
    let sql = format!(
        "SELECT uniqExact(feed, raw_partition, raw_offset) AS messages, countIf(has(quality_flags, 'late_arrival')) AS late FROM {ticks}"
    );
    if let Some(row) = query(clickhouse, &sql).await?.first() {
        (figures.messages_with_ticks, figures.late) = (integer(row, "messages")?, integer(row, "late")?);
    }
    for table in TABLES {
        let rows = query(
            clickhouse,
            &format!("SELECT count() AS rows FROM {}", connection.names.table(table.name)),
        )
        .await?;
        figures.tables.insert(
            table.name.to_owned(),
            rows.first().map_or(Ok(0), |row| integer(row, "rows"))?,
        );
    }
    let sql = format!(
        "SELECT interval, count() AS bars FROM {} GROUP BY interval",
        connection.names.table("bars_latest")
    );
    for row in query(clickhouse, &sql).await? {
        figures.bars.insert(text(&row, "interval"), integer(&row, "bars")?);
    }
    let sql = format!(
        "SELECT count(*) FROM served_latest_prices WHERE generation = '{}'",
        connection.names.generation()
    );
    let rows = stores
        .postgres
        .query_text(&sql)
        .await
        .context("count latest prices in PostgreSQL")?;
    let count = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
    figures.postgres_prices = count
        .and_then(|count| count.parse().ok())
        .context("PostgreSQL did not return a number")?;
    let keys = stores
        .redis
        .scan(&stores::redis::key::every_latest_price())
        .await
        .context("count latest prices in Redis")?;
    figures.redis_prices = keys.len() as i64;
    Ok(figures)
}

async fn log_figures(connection: &Connection) -> anyhow::Result<Figures> {
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    tokio::task::spawn_blocking(move || -> Result<Figures, StreamError> {
        let reader = LogReader::new(&bootstrap)?;
        let mut figures = Figures::default();
        for topic in &names.raw {
            for partition in reader.partitions(topic)? {
                figures.raw_messages += reader.log_range(&partition)?.1;
            }
        }
        let mut seen = BTreeSet::new();
        for partition in reader.partitions(&names.dlq)? {
            let (start, end) = reader.log_range(&partition)?;
            reader.read(&partition, start, end, |message| {
                let text = |name: &str| String::from_utf8_lossy(message.header(name).unwrap_or_default()).into_owned();
                let (topic, rows) = (text(header::TOPIC), text(header::REJECTED_ROWS));
                // A stage that is killed after sending a dead letter sends it again.
                if names.raw.contains(&topic)
                    && seen.insert((topic, text(header::PARTITION), text(header::OFFSET), rows.clone()))
                {
                    *figures.dead_letters.entry(text(header::CODE)).or_default() += 1;
                    if rows.is_empty() {
                        figures.dead_messages += 1;
                    } else {
                        figures.rejected_rows += RowRanges::read(&rows).map_or(0, |(rows, _)| rows.len() as i64);
                    }
                }
                true
            })?;
        }
        Ok(figures)
    })
    .await
    .context("read the log")?
    .context("read the log")
}

/// Quantiles of a step, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
}

/// The steps that are measured from columns: name, table, from, to.
const STEPS: [(&str, &str, &str, &str); 6] = [
    (
        "raw append → normalized",
        "market_ticks",
        "appended_at",
        "normalized_at",
    ),
    ("raw append → enriched", "enriched_ticks", "appended_at", "enriched_at"),
    (
        "raw append → market_ticks",
        "market_ticks",
        "appended_at",
        "ingested_at",
    ),
    (
        "raw append → enriched_ticks",
        "enriched_ticks",
        "appended_at",
        "ingested_at",
    ),
    (
        "raw append → bars (row written)",
        "bars",
        "last_appended_at",
        "ingested_at",
    ),
    (
        "enriched → enriched_ticks",
        "enriched_ticks",
        "enriched_at",
        "ingested_at",
    ),
];

/// Quantiles of every step over the rows written between two times; steps without rows are omitted.
pub async fn latencies(
    connection: &Connection,
    clickhouse: &ClickHouse,
    from: Micros,
    to: Micros,
) -> anyhow::Result<Vec<(String, Quantiles)>> {
    let mut all = Vec::new();
    for (name, table, begin, end) in STEPS {
        // The raw message must be of this period too: a bar of an earlier run may be written again.
        let first = if table == "bars" {
            "last_appended_at"
        } else {
            "appended_at"
        };
        let sql = format!(
            "SELECT count() AS rows, quantilesExact(0.5, 0.99, 0.999)(toFloat64(toUnixTimestamp64Micro({end}) - toUnixTimestamp64Micro({begin}))) AS micros \
             FROM {} WHERE toUnixTimestamp64Micro(ingested_at) BETWEEN {from} AND {to} AND toUnixTimestamp64Micro({first}) >= {from}",
            connection.names.table(table)
        );
        let rows = query(clickhouse, &sql).await?;
        let Some(row) = rows.first() else { continue };
        if integer(row, "rows")? == 0 {
            continue;
        }
        let micros: Vec<f64> = row
            .get("micros")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect();
        if let [p50, p99, p999] = micros.as_slice() {
            all.push((
                name.to_owned(),
                Quantiles {
                    p50_ms: p50 / 1000.0,
                    p99_ms: p99 / 1000.0,
                    p999_ms: p999 / 1000.0,
                },
            ));
        }
    }
    Ok(all)
}

async fn query(clickhouse: &ClickHouse, sql: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    clickhouse
        .query_json(sql)
        .await
        .with_context(|| format!("query ClickHouse: {sql}"))
}

fn text(row: &Map<String, Value>, name: &str) -> String {
    match row.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn integer(row: &Map<String, Value>, name: &str) -> anyhow::Result<i64> {
    text(row, name)
        .parse()
        .with_context(|| format!("ClickHouse did not return a number in column {name}"))
}
