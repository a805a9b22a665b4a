//! What ClickHouse has of the asked days.

use anyhow::{Context as _, bail};
use domain::Micros;
use jiff::civil::Date;
use ops::rows::{number, text};
use serde_json::{Map, Value};
use stores::ClickHouse;
use stores::clickhouse::literal;

/// Days before the first one whose prices tell which markets and products are expected.
pub(super) const BEFORE: i64 = 7;
const SECOND: Micros = 1_000_000;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    pub(super) tenant: &'a str,
    pub(super) market: Option<&'a str>,
    pub(super) product: Option<&'a str>,
    /// The first and the last market day.
    pub(super) days: (Date, Date),
    /// Real-time prices whose interval ends later are not due.
    pub(super) due_until: Micros,
}

/// The prices of one market, product and market day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) market: String,
    pub(super) product: String,
    pub(super) day: Date,
    /// Starts of the intervals that have a price.
    pub(super) starts: Vec<Micros>,
    /// Those of `starts` that a document has that is its whole set.
    pub(super) whole: Vec<Micros>,
    pub(super) instruments: u64,
    /// Pairs of instrument and interval.
    pub(super) prices: u64,
}

/// The prices of the asked days and the week before.
pub(super) async fn seen(clickhouse: &ClickHouse, view: &str, asked: &Asked<'_>) -> anyhow::Result<Vec<Seen>> {
    let rows = clickhouse.query_json(&statement(view, asked)?).await?;
    rows.iter().map(row).collect()
}

fn statement(view: &str, asked: &Asked<'_>) -> anyhow::Result<String> {
    let (first, last) = asked.days;
    let first = first.checked_sub(jiff::Span::new().days(BEFORE))?;
    let equals = |column: &str, value: Option<&str>| match value {
        Some(value) => format!("AND {column} = {}", literal(value)),
        None => String::new(),
    };
    // Days of markets begin up to eight hours after those of UTC. The bounds on the event time let ClickHouse skip the rest.
    Ok(format!(
        "SELECT market, product, toString(day) AS on_day, \
             arrayMap(start -> toString(toUnixTimestamp(start)), arraySort(groupUniqArray(interval_start))) AS starts, \
             arrayMap(start -> toString(toUnixTimestamp(start)), arraySort(groupUniqArrayIf(interval_start, is_part = 0))) AS whole, \
             toString(uniqExact(instrument_id)) AS instruments, \
             toString(uniqExact(instrument_id, interval_start)) AS prices \
         FROM {view} \
         WHERE tenant_id = {} {} {} \
             AND timestamp >= toDateTime64('{first} 00:00:00', 6, 'UTC') \
             AND timestamp < toDateTime64('{last} 00:00:00', 6, 'UTC') + INTERVAL 3 DAY \
             AND day >= toDate('{first}') AND day <= toDate('{last}') \
             AND (product = 'da' OR toUnixTimestamp(interval_start) + seconds <= {}) \
         GROUP BY market, product, day ORDER BY market, product, day",
        literal(asked.tenant),
        equals("market", asked.market),
        equals("product", asked.product),
        asked.due_until / SECOND,
    ))
}

fn row(row: &Map<String, Value>) -> anyhow::Result<Seen> {
    let day = text(row, "on_day")?;
    Ok(Seen {
        market: text(row, "market")?.to_owned(),
        product: text(row, "product")?.to_owned(),
        day: day.parse().with_context(|| format!("ClickHouse returned day {day}"))?,
        starts: times(row, "starts")?,
        whole: times(row, "whole")?,
        instruments: number(row, "instruments")?,
        prices: number(row, "prices")?,
    })
}

fn times(row: &Map<String, Value>, name: &str) -> anyhow::Result<Vec<Micros>> {
    let Some(Value::Array(values)) = row.get(name) else {
        bail!("ClickHouse returned no array for column {name}");
    };
    let time = |value: &Value| {
        let seconds: Option<Micros> = value.as_str()?.parse().ok();
        Some(seconds? * SECOND)
    };
    let times: Option<Vec<Micros>> = values.iter().map(time).collect();
    times.with_context(|| format!("ClickHouse returned a time in column {name} that is not a number"))
}
