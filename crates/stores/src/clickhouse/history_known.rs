//! What [`History`] asks of the table beside the windows: how far it is, where it begins, and when the log's clock had
//! reached a time. Each is asked of as few rows as possible, and remembered.
//!
//! Invariants: with which offset the clock has reached a time never changes once a row has reached it, since rows land in
//! order; the oldest row is looked for again when the one known is gone. How far the table is, is believed for
//! [`BELIEVED_FOR`] only: a database that was set back holds less.
//! Failure: nothing is retried here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::Micros;
use serde::Deserialize;

use super::history::{History, Oldest};
use super::literal;
use crate::StoreError;

/// By how much the clocks of the broker, of ClickHouse and of a service may differ: bounds the rows that are read for the
/// log's clock, and how early a closing is believed.
pub(super) const CLOCK_SKEW: Micros = 3_600_000_000;
const BELIEVED_FOR: Duration = Duration::from_secs(2);
/// Times whose offsets are remembered, for each partition.
const MOST_TIMES: usize = 100_000;
/// Times of one question: a longer text is refused by the server.
const TIMES_AT_ONCE: usize = 1_000;
/// The rows after a time that are looked at first for the one with which the clock has reached it.
const FIRST_REACH: Micros = 3 * 3_600_000_000;

/// What is known of a partition.
#[derive(Default)]
pub(super) struct Known {
    /// The offset after the last row, and when that was asked.
    reached: Option<(i64, Instant)>,
    oldest: Option<OldestRow>,
    /// Time → the first offset with which the log's clock has reached it.
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
    /// Everything that is remembered of the partition is asked for anew: an answer does not fit it.
    pub fn forget(&self, partition: i32) {
        self.known(partition, |known| *known = Known::default());
    }

    /// Whether every row of the partition up to this offset has been written. Rows land in order and whole batches at a
    /// time, so one behind it says so; where all of those have expired, the writer's floor does.
    ///
    /// # Errors
    /// As the server says.
    pub async fn has_reached(&self, partition: i32, offset: i64) -> Result<bool, StoreError> {
        let known = self.known(partition, |known| known.reached);
        if known.is_some_and(|(next, asked)| next > offset && asked.elapsed() < BELIEVED_FOR) {
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
        let rows: Vec<Reached> = self.clickhouse.rows("ask how far the table is", &sql).await?;
        let next = rows.first().map_or(0, |row| row.next);
        self.known(partition, |known| known.reached = Some((next, asked)));
        Ok(next > offset)
    }

    /// The oldest row of the partition. Looked for in the oldest day of the table, else in all of it.
    ///
    /// # Errors
    /// As the server says.
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

    /// Whether the row is still there: found by the table's order.
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
        let rows: Vec<Count> = self.clickhouse.rows("look for the oldest row", &sql).await?;
        Ok(rows.first().is_some_and(|count| count.rows > 0))
    }

    /// Of each time, the offset of the first row that was appended then or later; times that no row has reached are left out.
    ///
    /// That row was ingested at about its time, unless the log was quiet or its writer away: rows of a few hours are looked at
    /// first, then of longer.
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
        // No row is newer.
        open.retain(|time| *time <= now.saturating_add(CLOCK_SKEW));
        let mut reach = FIRST_REACH;
        while !open.is_empty() {
            let mut still_open = Vec::new();
            for times in open.chunks(TIMES_AT_ONCE) {
                let until = |time: Micros| Some(time.saturating_add(reach)).filter(|until| *until < now);
                let rows = self.firsts(partition, times, until).await?;
                still_open.extend(look_through(times, rows, until, &mut found));
            }
            open = still_open;
            reach = reach.saturating_mul(8);
        }
        self.known(partition, |known| {
            if known.first_after.len() > MOST_TIMES {
                known.first_after.clear();
            }
            known.first_after.extend(&found);
        });
        Ok(found)
    }

    /// Of the rows around these times (in order), the first of those between one time and the next, latest time first.
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
        self.clickhouse.rows("find the clock of the log", &sql).await
    }

    fn full_table(&self) -> String {
        format!("{}.{}", self.clickhouse.database(), self.table)
    }

    fn known<T>(&self, partition: i32, with: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock();
        with(known.entry(partition).or_default())
    }
}

/// Notes the first rows of these times (in order) as found; answers the times that have to be looked for further on.
fn look_through(
    times: &[Micros],
    rows: Vec<First>,
    until: impl Fn(Micros) -> Option<Micros>,
    found: &mut BTreeMap<Micros, i64>,
) -> Vec<Micros> {
    let mut rows = rows.into_iter().peekable();
    let (mut first, mut still_open): (Option<First>, _) = (None, Vec::new());
    // From the newest on: a row that has reached a time has reached those before it.
    for time in times.iter().rev().copied() {
        while let Some(row) = rows.next_if(|row| row.time >= time) {
            if first.as_ref().is_none_or(|first| row.first < first.first) {
                first = Some(row);
            }
        }
        let until = until(time);
        // Where the rows looked at have an end, an earlier row than one close to it may lie behind.
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
