//! What ClickHouse has of the asked days.

use domain::Micros;
use jiff::civil::Date;
use serde::Deserialize;
use stores::clickhouse::literal;
use stores::{ClickHouse, StoreError};

/// Days before the first one whose prices tell which markets and products are expected.
pub const BEFORE: i64 = 7;
const SECOND: Micros = 1_000_000;

/// What is asked for.
#[allow(missing_docs)]
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    pub tenant: &'a str,
    pub market: Option<&'a str>,
    pub product: Option<&'a str>,
    /// The first and the last market day.
    pub days: (Date, Date),
    /// Real-time prices whose interval ends later are not due.
    pub due_until: Micros,
}

/// The prices of one market, product and market day.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub market: String,
    pub product: String,
    pub day: Date,
    /// Starts of the intervals that have a price.
    pub starts: Vec<Micros>,
    /// Those of `starts` that a document has that is its whole set.
    pub whole: Vec<Micros>,
    pub instruments: u64,
    /// Pairs of instrument and interval.
    pub prices: u64,
}

/// The prices of the asked days and the week before, from the view `market_intervals`.
///
/// # Errors
/// ClickHouse does not answer, or the view is missing.
pub async fn seen(clickhouse: &ClickHouse, view: &str, asked: &Asked<'_>) -> Result<Vec<Seen>, StoreError> {
    let rows: Vec<Row> = clickhouse.query_rows(&statement(view, asked)).await?;
    Ok(rows.into_iter().map(Seen::from).collect())
}

fn statement(view: &str, asked: &Asked<'_>) -> String {
    let (first, last) = asked.days;
    let first = first.saturating_sub(jiff::Span::new().days(BEFORE));
    let equals = |column: &str, value: Option<&str>| match value {
        Some(value) => format!("AND {column} = {}", literal(value)),
        None => String::new(),
    };
    // Days of markets begin up to eight hours after those of UTC. The bounds on the event time let ClickHouse skip the rest.
    format!(
        "SELECT market, product, toString(day) AS on_day, \
             arraySort(groupUniqArray(toUnixTimestamp(interval_start))) AS starts, \
             arraySort(groupUniqArrayIf(toUnixTimestamp(interval_start), is_part = 0)) AS whole, \
             toUInt32(uniqExact(instrument_id)) AS instruments, \
             toUInt32(uniqExact(instrument_id, interval_start)) AS prices \
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
    )
}

/// A row as ClickHouse writes it. Numbers of 32 bits are never quoted.
#[derive(Deserialize)]
struct Row {
    market: String,
    product: String,
    on_day: Date,
    starts: Vec<u32>,
    whole: Vec<u32>,
    instruments: u32,
    prices: u32,
}

impl From<Row> for Seen {
    fn from(row: Row) -> Seen {
        let times = |seconds: Vec<u32>| {
            seconds
                .into_iter()
                .map(|second| Micros::from(second) * SECOND)
                .collect()
        };
        Seen {
            market: row.market,
            product: row.product,
            day: row.on_day,
            starts: times(row.starts),
            whole: times(row.whole),
            instruments: row.instruments.into(),
            prices: row.prices.into(),
        }
    }
}
