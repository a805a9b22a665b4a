//! Tables that their writers fill again: after a table was dropped or renamed by hand and created again (`dp migrate`).
//!
//! Committed offsets alone do not show it. The group has committed the end of the topic, and its writer finds the table empty only
//! at its next takeover. So the end of each table is compared with what its writer has committed. Messages at the end of a topic
//! that became no rows also leave a table short, until the writer stores its floor. So a short table is no difference by
//! itself: it only makes a comparison that has found differences wait and compare again. It is asked for only then; whether a table was
//! filled during the comparison shows in its number of rows.
//! Failure: a server that does not answer is an error. A writer that does not run, or that has not noticed, ends the wait.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Map, Value};
use service::Names;
use service::writer::{TABLES, TableSpec};
use stores::ClickHouse;
use stores::clickhouse::literal;
use stream::Brokers;
use stream::StreamError;
use stream::kafka::groups::{GroupReader, PartitionLag};
use stream::kafka::reader::LogReader;

use ops::connection::Connection;
use ops::positions::homes::fenced_table;
use ops::rows::{number, text};
use ops::threads::reading;

const POLL: Duration = Duration::from_secs(1);
/// Longer than a writer needs to claim its partitions again and to insert.
const STALLED: Duration = Duration::from_secs(20);

/// A table that ends before what its writer has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    table: String,
    service: &'static str,
    partition: i32,
    next_offset: i64,
    committed: i64,
}

impl Short {
    fn of(spec: &TableSpec, table: String, lag: &PartitionLag, in_table: Option<i64>) -> Option<Short> {
        let committed = lag.committed?;
        // Retention has removed what is before the start: no writer can read it again.
        let next_offset = in_table.unwrap_or(0).max(lag.start);
        (next_offset < committed).then_some(Short {
            table,
            service: spec.service,
            partition: lag.partition.number,
            next_offset,
            committed,
        })
    }
}

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Short {
            table,
            partition,
            next_offset,
            committed,
            ..
        } = self;
        write!(
            f,
            "{table} ends at offset {next_offset} of partition {partition}, committed {committed}"
        )
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refill {
    /// Every table has what its writer has committed.
    Done,
    /// Rows were still being written when the time was over.
    Unfinished,
    /// No table has changed for `STALLED`.
    Stalled,
}

/// How many rows each table has. The server knows it without reading them.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn rows(clickhouse: &ClickHouse, names: &Names) -> anyhow::Result<BTreeMap<String, u64>> {
    let tables: Vec<String> = TABLES.iter().map(|spec| literal(&names.table(spec.name))).collect();
    let sql = format!(
        "SELECT name, toString(ifNull(total_rows, 0)) AS rows FROM system.tables WHERE database = {} AND name IN ({})",
        literal(clickhouse.database()),
        tables.join(", ")
    );
    let rows = clickhouse.query_json(&sql).await;
    let rows = rows.context("count the rows of the tables")?;
    let counted = |row: &Map<String, Value>| Ok((text(row, "name")?.to_owned(), number(row, "rows")?));
    rows.iter().map(counted).collect()
}

/// Whether a table has more rows than it had. Merges and retention only take some away.
pub fn has_grown(before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> bool {
    now.iter()
        .any(|(table, rows)| before.get(table).is_none_or(|before| rows > before))
}

/// Every table that ends before what its writer has committed.
///
/// # Errors
/// A server does not answer, or a topic or table is missing.
pub async fn short(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<Short>> {
    let (bootstrap, names) = (connection.settings.kafka_bootstrap.clone(), connection.names.clone());
    let lags = reading(move || committed(&bootstrap, &names)).await?;
    let mut short = Vec::new();
    for (spec, lag) in lags {
        let names = &connection.names;
        let table = fenced_table(clickhouse, names, spec.name).context("a table without a layout")?;
        let in_table = table.read_back(&lag.partition.topic, lag.partition.number).await?;
        let next_offset = in_table.map(|position| position.next_offset);
        short.extend(Short::of(spec, names.table(spec.name), &lag, next_offset));
    }
    Ok(short)
}

/// Waits until no table is short, or until nothing changes any more, or until the deadline.
///
/// # Errors
/// As [`short`].
pub async fn wait(
    connection: &Connection,
    clickhouse: &ClickHouse,
    mut seen: Vec<Short>,
    deadline: Instant,
) -> anyhow::Result<(Refill, Vec<Short>)> {
    let mut since = Instant::now();
    loop {
        let now = short(connection, clickhouse).await?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        if let Some(ended) = decide(seen.is_empty(), since.elapsed(), Instant::now() >= deadline) {
            return Ok((ended, seen));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What the report says about a wait that did not end with full tables.
pub fn in_words(ended: Refill, short: &[Short]) -> Option<String> {
    let tables: Vec<String> = short.iter().map(ToString::to_string).collect();
    let mut services: Vec<&str> = short.iter().map(|one| one.service).collect();
    services.dedup();
    let (tables, services) = (tables.join("; "), services.join(" "));
    match ended {
        Refill::Done => None,
        Refill::Unfinished => Some(format!(
            "a table has fewer rows than its writer has committed, so it is being filled again: {tables}"
        )),
        Refill::Stalled => Some(format!(
            "a table has fewer rows than its writer has committed, and no rows arrive: {tables}. A running writer notices a table that \
             was created again with its next message; `dp restart {services}` fills it at once"
        )),
    }
}

fn decide(is_full: bool, still_for: Duration, is_over: bool) -> Option<Refill> {
    if is_full {
        Some(Refill::Done)
    } else if still_for >= STALLED {
        Some(Refill::Stalled)
    } else {
        is_over.then_some(Refill::Unfinished)
    }
}

/// What the writer of each table has committed. Blocks.
fn committed(bootstrap: &Brokers, names: &Names) -> Result<Vec<(&'static TableSpec, PartitionLag)>, StreamError> {
    let (log, mut readers, mut found) = (LogReader::new(bootstrap)?, BTreeMap::new(), Vec::new());
    for table in TABLES {
        let reader = match readers.entry(table.service) {
            Entry::Occupied(reader) => reader.into_mut(),
            Entry::Vacant(place) => place.insert(GroupReader::new(bootstrap, &names.writer_group(table.service))?),
        };
        let lags = reader.lag(&log.partitions((table.topic)(names))?)?;
        found.extend(lags.into_iter().map(|lag| (table, lag)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use stream::Partition;

    use super::*;

    #[test]
    fn a_table_is_short_if_it_ends_before_what_is_committed_and_still_in_the_log() {
        let short = |committed, start, in_table| {
            let lag = PartitionLag {
                partition: Partition {
                    topic: "t".into(),
                    number: 2,
                },
                committed,
                start,
                end: 9,
            };
            Short::of(&service::writer::tables::BARS, "bars".to_owned(), &lag, in_table).map(|short| short.next_offset)
        };
        assert_eq!(short(Some(9), 0, None), Some(0), "created again");
        assert_eq!(short(Some(9), 4, None), Some(4), "retention has cut the log");
        assert_eq!(short(Some(9), 0, Some(7)), Some(7), "half filled");
        assert_eq!(short(Some(9), 0, Some(9)), None);
        assert_eq!(short(Some(5), 0, Some(9)), None, "an older commit");
        assert_eq!(short(None, 0, None), None, "nothing was ever read");
        assert_eq!(short(Some(9), 9, None), None, "nothing is left to read");
    }

    #[test]
    fn a_wait_ends_with_full_tables_a_standstill_or_its_time() {
        assert_eq!(decide(true, Duration::ZERO, true), Some(Refill::Done));
        assert_eq!(decide(false, Duration::ZERO, false), None);
        assert_eq!(decide(false, STALLED, false), Some(Refill::Stalled));
        assert_eq!(decide(false, Duration::ZERO, true), Some(Refill::Unfinished));
        assert_eq!(in_words(Refill::Done, &[]), None);
        let short = Short {
            table: "bars".to_owned(),
            service: "aggregation",
            partition: 1,
            next_offset: 0,
            committed: 8,
        };
        let told = in_words(Refill::Stalled, &[short.clone(), short]).unwrap_or_default();
        assert!(
            told.contains("bars ends at offset 0 of partition 1, committed 8"),
            "{told}"
        );
        assert!(told.ends_with("`dp restart aggregation` fills it at once"), "{told}");
    }
}
