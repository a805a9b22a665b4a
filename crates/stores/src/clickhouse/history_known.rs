//! Facts about the table that [`History`] needs in addition to the windows: how far it is written, its oldest row, and when
//! the log clock reached a time. Each query reads as few rows as possible, and its result is cached.
//!
//! Invariants: the offset with which the clock reached a time never changes once a row has reached it, since rows are written
//! in order. The oldest row is queried again when the cached one is gone. How far the table is written is cached for
//! [`CACHED_FOR`] only, since a restored database may contain less.
//! Failure: nothing is retried here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use domain::Micros;
use serde::Deserialize;

use super::history::{History, Oldest};
use super::literal;
use crate::StoreError;

/// Maximum clock difference between the broker, ClickHouse and a service. It bounds the rows that are read for the log
/// clock, and how early a close is accepted.
pub(super) const CLOCK_SKEW: Micros = 3_600_000_000;
const CACHED_FOR: Duration = Duration::from_secs(2);
/// Cached times per partition.
const MAX_TIMES: usize = 100_000;
/// Times per query: the server rejects longer statements.
const TIMES_AT_ONCE: usize = 1_000;
/// How long after a time the first query looks for the row with which the clock reached it.
const FIRST_RANGE: Micros = 3 * 3_600_000_000;

/// Cached facts about a partition.
#[derive(Default)]
pub(super) struct Known {
    /// The offset after the last row, and when it was queried.
    reached: Option<(i64, Instant)>,
    oldest: Option<OldestRow>,
    /// Time → the first offset with which the log clock reached it.
    first_after: BTreeMap<Micros, i64>,
}

#[derive(Clone, Deserialize)]
struct OldestRow {
    rows: u64,
    #[serde(flatten)]
    oldest: Oldest,
    tenant: String,
    instrument: String,
    event_micros: Micros,
}

#[derive(Deserialize)]
struct Count {
    rows: u64,
}

#[derive(Deserialize)]
struct Reached {
    next: i64,
}

#[derive(Deserialize)]
struct First {
    time: Micros,
    first: i64,
    ingested_micros: Micros,
}

impl History {
    /// Clears the cache of the partition, because a result contradicts it.
    pub fn forget(&self, partition: i32) {
        self.known(partition, |known| *known = Known::default());
    }

    /// Whether every row of the partition up to this offset has been written. Rows are written in order and in complete
    /// batches, so one later row proves it; if all of those have expired, the writer's floor does.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn has_reached(&self, partition: i32, offset: i64) -> Result<bool, StoreError> {
        let known = self.known(partition, |known| known.reached);
        if known.is_some_and(|(next, asked)| next > offset && asked.elapsed() < CACHED_FOR) {
            return Ok(true);
        }
        let asked = Instant::now();
        let sql = format!(
            "SELECT greatest((SELECT if(count() = 0, 0, max(src_offset) + 1) FROM {table} WHERE src_partition = {partition} AND \
             src_offset >= {offset}), (SELECT max(next_offset) FROM {database}.writer_floor WHERE topic = {topic} AND \
             partition = {partition})) AS next",
            database = self.clickhouse.database(),
            table = self.full_table(),
            topic = literal(&self.topic),
        );
        let rows: Vec<Reached> = self.clickhouse.rows("read the end of the table", &sql).await?;
        let next = rows.first().map_or(0, |row| row.next);
        self.known(partition, |known| known.reached = Some((next, asked)));
        Ok(next > offset)
    }

    /// The oldest row of the partition. The oldest day of the table is searched first, then the whole table.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn oldest(&self, partition: i32) -> Result<Option<Oldest>, StoreError> {
        if let Some(known) = self.known(partition, |known| known.oldest.clone())
            && self.is_there(partition, &known).await?
        {
            return Ok(Some(known.oldest));
        }
        let table = self.full_table();
        let first_day = format!("AND toDate(ingested_at) = (SELECT min(toDate(ingested_at)) FROM {table})");
        for days in [first_day.as_str(), ""] {
            let sql = format!(
                "SELECT count() AS rows, min(src_offset) AS offset, \
                 toUnixTimestamp64Micro(argMin(appended_at, src_offset)) AS appended_micros, \
                 toUnixTimestamp64Micro(argMin(ingested_at, src_offset)) AS ingested_micros, \
                 argMin(toString(tenant_id), src_offset) AS tenant, argMin(toString(instrument_id), src_offset) AS instrument, \
                 toUnixTimestamp64Micro(argMin(timestamp, src_offset)) AS event_micros \
                 FROM {table} WHERE src_partition = {partition} {days}"
            );
            let rows: Vec<OldestRow> = self.clickhouse.rows("find the oldest row", &sql).await?;
            if let Some(found) = rows.into_iter().find(|found| found.rows > 0) {
                let oldest = found.oldest;
                self.known(partition, |known| known.oldest = Some(found));
                return Ok(Some(oldest));
            }
        }
        Ok(None)
    }

    /// Whether the row still exists, looked up by the table's order.
    async fn is_there(&self, partition: i32, row: &OldestRow) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT count() AS rows FROM {} WHERE tenant_id = {} AND instrument_id = {} AND \
             timestamp = fromUnixTimestamp64Micro(toInt64({}), 'UTC') AND src_partition = {partition} AND src_offset = {}",
            self.full_table(),
            literal(&row.tenant),
            literal(&row.instrument),
            row.event_micros,
            row.oldest.offset
        );
        let rows: Vec<Count> = self.clickhouse.rows("check the oldest row", &sql).await?;
        Ok(rows.first().is_some_and(|count| count.rows > 0))
    }

    /// For each time, the offset of the first row appended at or after it; times that no row has reached are omitted.
    ///
    /// That row was usually ingested at about its append time, except if the log was quiet or its writer down. So the rows of a
    /// few hours are searched first, then longer ranges.
    pub(super) async fn first_after(
        &self,
        partition: i32,
        times: &BTreeSet<Micros>,
        now: Micros,
    ) -> Result<BTreeMap<Micros, i64>, StoreError> {
        let mut found = self.known(partition, |known| {
            let known = times
                .iter()
                .filter_map(|time| Some((*time, *known.first_after.get(time)?)));
            known.collect::<BTreeMap<_, _>>()
        });
        let is_open = |time: &Micros| !found.contains_key(time);
        let mut open: Vec<Micros> = times.iter().copied().filter(is_open).collect();
        // No row can be newer.
        open.retain(|time| *time <= now.saturating_add(CLOCK_SKEW));
        let mut range = FIRST_RANGE;
        while !open.is_empty() {
            let mut still_open = Vec::new();
            for times in open.chunks(TIMES_AT_ONCE) {
                let until = |time: Micros| Some(time.saturating_add(range)).filter(|until| *until < now);
                let rows = self.firsts(partition, times, until).await?;
                still_open.extend(look_through(times, rows, until, &mut found));
            }
            open = still_open;
            range = range.saturating_mul(8);
        }
        self.known(partition, |known| {
            if known.first_after.len() > MAX_TIMES {
                known.first_after.clear();
            }
            known.first_after.extend(&found);
        });
        Ok(found)
    }

    /// Among the rows around these times (sorted), the first row between each time and the next, latest time first.
    async fn firsts(
        &self,
        partition: i32,
        times: &[Micros],
        until: impl Fn(Micros) -> Option<Micros>,
    ) -> Result<Vec<First>, StoreError> {
        let Some(earliest) = times.first().copied() else {
            return Ok(Vec::new());
        };
        let mut ranges: Vec<(Micros, Option<Micros>)> = Vec::new();
        for time in times {
            let (from, to) = (time.saturating_sub(CLOCK_SKEW), until(*time));
            match ranges.last_mut() {
                Some((_, last)) if last.is_none_or(|last| from <= last) => *last = to,
                _ => ranges.push((from, to)),
            }
        }
        let at = |time: Micros| format!("fromUnixTimestamp64Micro(toInt64({time}), 'UTC')");
        let ranges: Vec<String> = ranges
            .into_iter()
            .map(|(from, to)| {
                let to = to.map_or_else(String::new, |to| format!(" AND ingested_at < {}", at(to)));
                format!("(ingested_at >= {}{to})", at(from))
            })
            .collect();
        let before = self.known(partition, |known| {
            known
                .first_after
                .range(..=earliest)
                .next_back()
                .map(|(_, first)| *first)
        });
        let sql = format!(
            "SELECT roundDown(toUnixTimestamp64Micro(appended_at), CAST({times:?}, 'Array(Int64)')) AS time, min(src_offset) AS first, \
             toUnixTimestamp64Micro(argMin(ingested_at, src_offset)) AS ingested_micros FROM {table} \
             WHERE src_partition = {partition} AND src_offset >= {before} AND appended_at >= {earliest} AND ({ranges}) \
             GROUP BY time ORDER BY time DESC",
            table = self.full_table(),
            before = before.unwrap_or(0),
            earliest = at(earliest),
            ranges = ranges.join(" OR "),
        );
        self.clickhouse.rows("find the log clock", &sql).await
    }

    fn full_table(&self) -> String {
        format!("{}.{}", self.clickhouse.database(), self.table)
    }

    fn known<T>(&self, partition: i32, with: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        with(known.entry(partition).or_default())
    }
}

/// Adds the first rows of these (sorted) times to `found`; returns the times that need a longer search.
fn look_through(
    times: &[Micros],
    rows: Vec<First>,
    until: impl Fn(Micros) -> Option<Micros>,
    found: &mut BTreeMap<Micros, i64>,
) -> Vec<Micros> {
    let mut rows = rows.into_iter().peekable();
    let (mut first, mut still_open): (Option<First>, _) = (None, Vec::new());
    // From the newest time on: a row that has reached a time has reached all earlier ones.
    for time in times.iter().rev().copied() {
        while let Some(row) = rows.next_if(|row| row.time >= time) {
            if first.as_ref().is_none_or(|first| row.first < first.first) {
                first = Some(row);
            }
        }
        let until = until(time);
        // If the searched range is limited, a row close to its end may not be the first: an earlier one may lie beyond.
        let is_the_first = |row: &&First| until.is_none_or(|until| row.ingested_micros < until - CLOCK_SKEW);
        if let Some(row) = first.as_ref().filter(is_the_first) {
            found.insert(time, row.first);
        } else if until.is_some() {
            still_open.push(time);
        }
    }
    still_open.reverse();
    still_open
}
