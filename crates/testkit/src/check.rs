//! Compares the expected outputs with every store, without `FINAL` and without views.

mod bars;
mod curves;
mod derived;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;

use anyhow::Context as _;

pub use bars::{Placement, bars, late};
pub use curves::curves;
pub use derived::derived;

use crate::expect::{Expected, ROWS};
use crate::kafka::Record;
use crate::numbers::at_scale;
use crate::parse::Tick;
use crate::stores::{ClickHouse, Postgres, Redis, Row};

/// The table of bars.
pub const BARS: &str = "bars";
/// The table of late ticks.
pub const LATE: &str = "late_ticks";
/// The table of derived prices.
pub const DERIVED: &str = "derived_prices";
/// The table of snapshots of curves.
pub const CURVES: &str = "curve_snapshots";

/// The result of one comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is compared.
    pub name: String,
    /// Expected number.
    pub expected: usize,
    /// Number found.
    pub found: usize,
    /// Expected, but missing.
    pub lost: Vec<String>,
    /// Stored more than once.
    pub doubled: Vec<String>,
    /// Stored, but not expected or with other values.
    pub wrong: Vec<String>,
}

impl Comparison {
    /// Whether everything agrees.
    pub fn is_ok(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.wrong.is_empty() && self.expected == self.found
    }
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = |list: &[String]| list.iter().take(5).cloned().collect::<Vec<_>>().join("; ");
        write!(f, "{}: expected {}, found {}", self.name, self.expected, self.found)?;
        for (what, list) in [("lost", &self.lost), ("doubled", &self.doubled), ("wrong", &self.wrong)] {
            write!(f, ", {what} {}", list.len())?;
            if !list.is_empty() {
                write!(f, " ({})", first(list))?;
            }
        }
        Ok(())
    }
}

type Place = (String, i32, i64, i32);

fn place(tick: &Tick) -> Place {
    (tick.feed.clone(), tick.partition, tick.offset, tick.index)
}

fn cell(row: &Row, index: usize) -> anyhow::Result<&str> {
    row.get(index)
        .map(String::as_str)
        .with_context(|| format!("column {index} is missing in {row:?}"))
}

/// The origin in the first four columns of a row.
fn origin(row: &Row) -> anyhow::Result<Place> {
    Ok((
        cell(row, 0)?.to_owned(),
        cell(row, 1)?.parse()?,
        cell(row, 2)?.parse()?,
        cell(row, 3)?.parse()?,
    ))
}

/// The content of the largest version of each key, which `read` returns for a row. A version of a key has one content.
fn newest<K: Ord + Debug, T: PartialEq>(
    rows: &[Row],
    comparison: &mut Comparison,
    read: impl Fn(&Row) -> anyhow::Result<(K, u64, T)>,
) -> anyhow::Result<BTreeMap<K, T>> {
    let mut newest: BTreeMap<K, (u64, T)> = BTreeMap::new();
    for row in rows {
        let (key, version, found) = read(row)?;
        match newest.get(&key) {
            Some((known, content)) if *known == version && *content != found => {
                let conflict = format!("{key:?}: conflicting contents of version {version}");
                comparison.wrong.push(conflict);
            }
            Some((known, _)) if *known >= version => {}
            _ => _ = newest.insert(key, (version, found)),
        }
    }
    Ok(newest.into_iter().map(|(key, (_, found))| (key, found)).collect())
}

/// A record of the topic may have one row only. Its partition and offset are in the columns from `first` on.
fn once(rows: &[Row], first: usize, comparison: &mut Comparison) -> anyhow::Result<()> {
    let mut places = HashSet::new();
    for row in rows {
        let place: (i32, i64) = (cell(row, first)?.parse()?, cell(row, first + 1)?.parse()?);
        if !places.insert(place) {
            comparison.doubled.push(format!("{place:?}"));
        }
    }
    Ok(())
}

/// Compares a tick table with the expected ticks. Only `market_ticks` has the ids of the events, and says of which documents there is more.
pub fn ticks(clickhouse: &ClickHouse, table: &str, expected: &Expected) -> anyhow::Result<Comparison> {
    let mut missing: HashMap<Place, &Tick> = expected.ticks.iter().map(|tick| (place(tick), tick)).collect();
    let known: HashMap<Place, &Tick> = missing.clone();
    let mut comparison = Comparison {
        name: table.to_owned(),
        expected: expected.ticks.len(),
        ..Comparison::default()
    };
    let has_event = table.starts_with("market_ticks");
    let event = if has_event { "source_event_id" } else { "''" };
    let status = if has_event { "ifNull(market_status, '')" } else { "''" };
    // Reads one raw partition at a time, so that the whole table is never in memory.
    for partition in clickhouse.rows(&format!("SELECT DISTINCT raw_partition FROM {table}"))? {
        let rows = clickhouse.rows(&format!(
            "SELECT feed, raw_partition, raw_offset, raw_index, tenant_id, instrument_id, {event}, price, \
             if(isNull(volume), '-', toString(volume)), toUnixTimestamp64Micro(timestamp), \
             has(quality_flags, 'event_id_reused'), ifNull(version, ''), {status} = 'part' FROM {table} \
             WHERE raw_partition = {}",
            cell(&partition, 0)?
        ))?;
        comparison.found += rows.len();
        for row in &rows {
            let origin = origin(row)?;
            let Some(tick) = known.get(&origin) else {
                comparison.wrong.push(format!("{row:?} has no tick in the log"));
                continue;
            };
            if missing.remove(&origin).is_none() {
                comparison.doubled.push(format!("{origin:?}"));
            }
            if !agrees(row, tick, has_event)? {
                comparison.wrong.push(format!("{row:?} instead of {tick:?}"));
            }
        }
    }
    comparison.lost = missing.into_keys().map(|origin| format!("{origin:?}")).collect();
    Ok(comparison)
}

/// Whether the row of a tick table agrees with the tick.
fn agrees(row: &Row, tick: &Tick, has_event: bool) -> anyhow::Result<bool> {
    let volume = match cell(row, 8)? {
        "-" => None,
        text => Some(at_scale(text, 8).context("volume")?),
    };
    let event = cell(row, 6)?;
    let is_its = |id: &str| !has_event || event == id;
    Ok(cell(row, 4)? == tick.tenant
        && cell(row, 5)? == tick.instrument
        && tick.event_id.as_deref().is_none_or(is_its)
        && at_scale(cell(row, 7)?, 8) == Some(tick.price)
        && volume == tick.volume
        && cell(row, 9)?.parse() == Ok(tick.time)
        && (cell(row, 10)? == "1") == tick.reused_id
        && cell(row, 11)? == tick.version.as_deref().unwrap_or_default()
        && (!has_event || (cell(row, 12)? == "1") == tick.is_part))
}

/// Compares the served prices in PostgreSQL with the newest tick of every instrument.
pub fn postgres(postgres: &Postgres, generation: &str, expected: &Expected) -> anyhow::Result<Comparison> {
    let rows = postgres.rows(&format!(
        "SELECT tenant_id, instrument_id, price::text, (extract(epoch FROM event_time) * 1000000)::bigint \
         FROM served_latest_prices WHERE generation = '{generation}'"
    ))?;
    let mut comparison = Comparison {
        name: "served_latest_prices".to_owned(),
        found: rows.len(),
        ..Comparison::default()
    };
    let mut latest = expected.latest();
    comparison.expected = latest.len();
    for row in &rows {
        let key = (cell(row, 0)?.to_owned(), cell(row, 1)?.to_owned());
        match latest.remove(&key) {
            Some(tick) if at_scale(cell(row, 2)?, 8) == Some(tick.price) && cell(row, 3)?.parse() == Ok(tick.time) => {}
            Some(tick) => comparison.wrong.push(format!("{row:?} instead of {tick:?}")),
            None => comparison
                .wrong
                .push(format!("{row:?}: the instrument has no tick, or a second row")),
        }
    }
    comparison.lost = latest.into_keys().map(|key| format!("{key:?}")).collect();
    Ok(comparison)
}

/// Compares the served prices in Redis with the newest tick of every instrument.
pub fn redis(redis: &Redis, expected: &Expected) -> anyhow::Result<Comparison> {
    let pairs: BTreeMap<String, String> = redis.with_prefix("served:latest_price:")?.into_iter().collect();
    let mut comparison = Comparison {
        name: "served:latest_price:*".to_owned(),
        found: pairs.len(),
        ..Comparison::default()
    };
    let latest = expected.latest();
    comparison.expected = latest.len();
    for ((tenant, instrument), tick) in &latest {
        let [tenant, instrument] = [tenant, instrument].map(|part| part.replace('%', "%25").replace(':', "%3A"));
        let key = format!("served:latest_price:{tenant}:{instrument}");
        let Some(text) = pairs.get(&key) else {
            comparison.lost.push(key);
            continue;
        };
        // Takes the price from the text, so that it never becomes a binary number.
        let price = text
            .split("\"price\":")
            .nth(1)
            .and_then(|rest| rest.split([',', '}']).next());
        if price.and_then(|price| at_scale(price.trim().trim_matches('"'), 8)) != Some(tick.price) {
            comparison.wrong.push(format!("{key}: {text} instead of {tick:?}"));
        }
    }
    Ok(comparison)
}

/// Whether a letter names these rows. A long list ends in `...`.
fn names_rows(rows: &str, wanted: &str) -> bool {
    match rows.strip_suffix("...") {
        Some(first) => wanted.starts_with(first),
        None => rows == wanted,
    }
}

/// Whether a record is the dead letter of a raw message. A marker of a replay is no dead letter. Requests of operators are not in
/// the raw topic, so nothing says which of them are dead letters.
fn is_of_raw_topic(record: &Record) -> bool {
    let topic = record.header("__connect.errors.topic").unwrap_or_default();
    record.header("dp.replayed.letter").is_none() && !topic.starts_with("projection.invalidation.v1")
}

/// Compares the dead letters with the expected ones: at least one for each, no others, with the right code, the rejected rows and all headers.
/// (At-least-once stages may write a dead letter twice.)
pub fn dead_letters(letters: &[Record], expected: &Expected) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison {
        name: "dlq".to_owned(),
        expected: expected.dead_letters.len(),
        ..Comparison::default()
    };
    let mut missing = expected.dead_letters.clone();
    let mut found = BTreeMap::new();
    for letter in letters.iter().filter(|record| is_of_raw_topic(record)) {
        let header = |name: &str| {
            letter.header(name).with_context(|| {
                format!(
                    "header {name} is missing in dlq[{}]@{}",
                    letter.partition, letter.offset
                )
            })
        };
        let place = (
            header("__connect.errors.topic")?,
            header("__connect.errors.partition")?.parse::<i32>()?,
            header("__connect.errors.offset")?.parse::<i64>()?,
        );
        let code = header("dp.error.code")?;
        missing.remove(&place);
        found.insert(place.clone(), ());
        let rows = header("dp.rejected_rows")?;
        let is_right = |wanted: &str| match wanted.strip_prefix(ROWS) {
            Some(wanted) => names_rows(&rows, wanted),
            None => wanted == code && rows.is_empty(),
        };
        match expected.dead_letters.get(&place) {
            Some(wanted) if is_right(wanted) => {}
            Some(wanted) => comparison.wrong.push(format!(
                "{place:?} has code {code} and rows '{rows}' instead of {wanted}"
            )),
            None => comparison
                .wrong
                .push(format!("{place:?} with code {code} is not expected")),
        }
        for name in [
            "__connect.errors.stage",
            "__connect.errors.class.name",
            "__connect.errors.exception.message",
        ] {
            header(name)?;
        }
    }
    comparison.found = found.len();
    comparison.lost = missing
        .into_iter()
        .map(|(place, code)| format!("{place:?} {code}"))
        .collect();
    Ok(comparison)
}
