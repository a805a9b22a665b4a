//! Compares bars and late ticks with naive arithmetic over all expected ticks.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;

use super::{Comparison, Place, cell, newest, origin, place};
use crate::bars::{self, Bar, BarKey, Edge, INTERVALS, Placed, Times};
use crate::expect::Expected;
use crate::numbers::at_scale;
use crate::parse::Tick;
use crate::stores::{ClickHouse, Row};

/// Partition and offset of ticks in the enriched topic, by origin.
pub struct Placement(HashMap<Place, (i32, i64)>);

impl Placement {
    /// Reads them from the table of enriched ticks, which has its own comparison with the raw log.
    pub fn read(clickhouse: &ClickHouse, table: &str) -> anyhow::Result<Placement> {
        let rows = clickhouse.rows(&format!(
            "SELECT feed, raw_partition, raw_offset, raw_index, src_partition, src_offset FROM {table}"
        ))?;
        let mut places = HashMap::new();
        for row in &rows {
            places.insert(origin(row)?, (cell(row, 4)?.parse()?, cell(row, 5)?.parse()?));
        }
        Ok(Placement(places))
    }

    /// The expected ticks that are in the topic, with the clock of their partition.
    pub fn of<'t>(&self, expected: &'t Expected, times: &Times) -> Vec<Placed<'t>> {
        let found = |tick: &'t Tick| {
            let (partition, offset) = self.0.get(&place(tick))?;
            Some((tick, *partition, *offset))
        };
        bars::placed(expected.ticks.iter().filter_map(found).collect(), times)
    }
}

/// Compares the table of late ticks. It must have exactly the trades whose window was forgotten. Interval prices and
/// instruments with several products may have additional rows, because they take the table path for other reasons too.
pub fn late(clickhouse: &ClickHouse, table: &str, ticks: &[Placed<'_>]) -> anyhow::Result<Comparison> {
    let rows = clickhouse.rows(&format!(
        "SELECT feed, raw_partition, raw_offset, raw_index, arrayStringConcat(intervals, ',') FROM {table}"
    ))?;
    let mut missing: HashMap<Place, (Vec<&str>, &Placed<'_>)> = ticks
        .iter()
        .map(|placed| (place(placed.tick), (forgotten(placed), placed)))
        .filter(|(_, (intervals, _))| !intervals.is_empty())
        .collect();
    let known: HashMap<Place, &Placed<'_>> = ticks.iter().map(|placed| (place(placed.tick), placed)).collect();
    let mut comparison = Comparison {
        name: table.to_owned(),
        expected: rows.len(),
        found: rows.len(),
        ..Comparison::default()
    };
    let of_several = instruments_of_several_products(ticks);
    let mut seen: HashSet<Place> = HashSet::new();
    for row in &rows {
        let origin = origin(row)?;
        let Some(placed) = known.get(&origin) else {
            comparison.wrong.push(format!("{row:?} has no tick in the log"));
            continue;
        };
        if !seen.insert(origin.clone()) {
            comparison.doubled.push(format!("{origin:?}"));
        }
        let said: Vec<&str> = cell(row, 4)?.split(',').collect();
        let forgotten = missing
            .remove(&origin)
            .map(|(intervals, _)| intervals)
            .unwrap_or_default();
        let tick = placed.tick;
        let only_late = placed.rule.nominal == 0 && !of_several.contains(&(&tick.tenant, &tick.instrument));
        let is_right = match only_late {
            true => said == forgotten,
            false => forgotten.iter().all(|interval| said.contains(interval)),
        };
        if !is_right {
            comparison.wrong.push(format!(
                "{row:?}, but the forgotten windows are {forgotten:?}: {placed:?}"
            ));
        }
    }
    comparison.lost = missing.into_keys().map(|origin| format!("{origin:?}")).collect();
    Ok(comparison)
}

fn instruments_of_several_products<'t>(ticks: &[Placed<'t>]) -> HashSet<(&'t str, &'t str)> {
    let (mut products, mut of_several) = (HashMap::new(), HashSet::new());
    for tick in ticks.iter().map(|placed| placed.tick) {
        let instrument = (&*tick.tenant, &*tick.instrument);
        if **products.entry(instrument).or_insert(&tick.product) != tick.product {
            of_several.insert(instrument);
        }
    }
    of_several
}

/// The intervals whose window was already forgotten when the tick arrived.
fn forgotten(placed: &Placed<'_>) -> Vec<&'static str> {
    let rule = placed.rule;
    let is_forgotten = |length: i64| {
        let end = bars::window_start(placed.tick.time, length) + length;
        length >= rule.nominal && placed.clock >= end + rule.forget_after
    };
    INTERVALS
        .iter()
        .filter(|(_, length)| is_forgotten(*length))
        .map(|(name, _)| *name)
        .collect()
}

/// Compares the newest version of every bar with naive arithmetic over all ticks of its window.
pub fn bars(clickhouse: &ClickHouse, table: &str, ticks: &[Placed<'_>]) -> anyhow::Result<Comparison> {
    let rows = clickhouse.rows(&format!(
        "SELECT tenant_id, instrument_id, toString(interval), toUnixTimestamp64Micro(toDateTime64(window_start, 6, 'UTC')), version, \
         open, high, low, close, volume, turnover, if(isNull(vwap), '-', toString(vwap)), trade_count, revision, toUInt8(closed), \
         toUnixTimestamp64Micro(open_time), first_feed, first_partition, first_offset, first_index, \
         toUnixTimestamp64Micro(close_time), last_feed, last_partition, last_offset, last_index, \
         if(isNull(twap), '-', toString(twap)), price_seconds, priced_seconds, cause \
         FROM {table}"
    ))?;
    let now = clickhouse.rows("SELECT toUnixTimestamp64Micro(now64(6))")?;
    let now: i64 = cell(now.first().context("ClickHouse has no clock")?, 0)?.parse()?;
    let mut comparison = Comparison {
        name: table.to_owned(),
        ..Comparison::default()
    };
    let newest = newest(&rows, &mut comparison, found)?;
    let mut wanted = bars::bars(ticks);
    comparison.expected = wanted.len();
    comparison.found = newest.len();
    for (key, found) in newest {
        let Some(wanted) = wanted.remove(&key) else {
            comparison.wrong.push(format!("{key:?}: its window has no tick"));
            continue;
        };
        let may_be_closed = wanted.is_closed || wanted.closes_at <= now;
        if found.bar != wanted.bar || wanted.is_closed && !found.closed || found.closed && !may_be_closed {
            comparison
                .wrong
                .push(format!("{key:?}: {found:?} instead of {wanted:?}"));
        }
    }
    comparison.lost = wanted.into_keys().map(|key| format!("{key:?}")).collect();
    Ok(comparison)
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    closed: bool,
    bar: Bar,
}

fn found(row: &Row) -> anyhow::Result<(BarKey, u64, Found)> {
    let number = |index: usize, scale: usize| {
        at_scale(cell(row, index)?, scale).with_context(|| format!("number {index} of {row:?}"))
    };
    let optional = |index: usize| match cell(row, index)? {
        "-" => anyhow::Ok(None),
        _ => Ok(Some(number(index, 8)?)),
    };
    let edge = |from: usize| -> anyhow::Result<Edge> {
        Ok((
            cell(row, from)?.parse()?,
            cell(row, from + 1)?.to_owned(),
            cell(row, from + 2)?.parse()?,
            cell(row, from + 3)?.parse()?,
            cell(row, from + 4)?.parse()?,
        ))
    };
    let key = (
        cell(row, 0)?.to_owned(),
        cell(row, 1)?.to_owned(),
        cell(row, 2)?.to_owned(),
        cell(row, 3)?.parse()?,
    );
    let version: u64 = cell(row, 4)?.parse()?;
    let found = Found {
        closed: cell(row, 14)? == "1",
        bar: Bar {
            open: number(5, 8)?,
            high: number(6, 8)?,
            low: number(7, 8)?,
            close: number(8, 8)?,
            volume: number(9, 8)?,
            turnover: number(10, 16)?,
            vwap: optional(11)?,
            by_time: (optional(25)?, number(26, 8)?, number(27, 0)?),
            count: number(12, 0)?,
            first: edge(15)?,
            last: edge(20)?,
            revision: number(13, 0)?,
            cause: cell(row, 28)?.to_owned(),
            // The version is twice the offset, plus one if the bar is closed.
            last_offset: i64::try_from(version / 2)?,
        },
    };
    Ok((key, version, found))
}
