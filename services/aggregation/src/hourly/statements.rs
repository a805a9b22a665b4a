//! The statements that read the hours of a market from `market_ticks`.
//!
//! Invariants: of each interval the price of the best vintage counts, as in bars, so what is published again changes nothing. Sums are
//! exact. The statement of the nodes and that of the hours have one source; a test compares their results.

use domain::Micros;
use markets::hourly::{HOURLY, TOLERANCE, pairs};
use serde::Deserialize;
use stores::clickhouse::history::VINTAGE;
use stores::clickhouse::literal;
use stores::{ClickHouse, StoreError};

use super::HOUR;
use super::ledger::{Arrived, Hour};

const SECOND: Micros = 1_000_000;
/// A price at scale 8 times an hour, for one USD.
const USD_HOURS: f64 = 1e8 * HOUR as f64;

/// The hours of one market in a range of time.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Table `market_ticks` of this generation.
    pub table: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// The market.
    pub market: &'a str,
    /// Product of its fine prices.
    pub fine: &'a str,
    /// Beginning of the first hour.
    pub from: Micros,
    /// End of the last hour.
    pub to: Micros,
    /// Rows that were stored earlier are left out. The table has a partition for each day of storing, so ClickHouse skips them.
    pub stored_since: Option<Micros>,
}

impl Question<'_> {
    /// One row for each node and hour that has both: `node`, `start` (seconds) and `hourly` (scale 8), `weighted` (price × µs) and
    /// `covered` (µs); all as text.
    pub fn of_nodes(&self) -> String {
        format!(
            "SELECT node, toString(toUnixTimestamp(hour)) AS start, toString(report) AS hourly, toString(sum_of_fine) AS weighted, \
             toString(fine_length) AS covered FROM ({}) ORDER BY node, hour",
            self.both()
        )
    }

    /// One row for each hour: numbers of nodes (`agreeing`, `differing`, `partial`), the largest differences in both
    /// directions, and when the last price was stored (seconds).
    pub fn of_hours(&self) -> String {
        let tolerance = i128::from(TOLERANCE) * i128::from(HOUR);
        format!(
            "SELECT toUnixTimestamp(hour) AS start, \
             toUInt32(countIf(is_whole AND difference <= {tolerance} AND difference >= -{tolerance})) AS agreeing, \
             toUInt32(countIf(is_whole AND (difference > {tolerance} OR difference < -{tolerance}))) AS differing, \
             toUInt32(countIf(NOT is_whole)) AS partial, \
             toFloat64(maxIf(difference, is_whole)) AS highest, toFloat64(minIf(difference, is_whole)) AS lowest, \
             toUInt32(intDiv(toUnixTimestamp64Micro(max(newest)), {SECOND})) AS came FROM (\
             SELECT hour, newest, fine_length = {HOUR} AS is_whole, toInt256(report) * {HOUR} - sum_of_fine AS difference FROM ({})) \
             GROUP BY hour ORDER BY hour",
            self.both()
        )
    }

    fn both(&self) -> String {
        let stored = self
            .stored_since
            .map_or(String::new(), |since| format!("AND ingested_at >= {} ", instant(since)));
        format!(
            "SELECT node, hour, anyIf(best, is_hourly) AS report, sumIf(toInt256(best) * micros, NOT is_hourly) AS sum_of_fine, \
             sumIf(micros, NOT is_hourly) AS fine_length, max(stored_at) AS newest FROM (\
             SELECT substring(instrument_id, 1, length(instrument_id) - length(product) - 1) AS node, product = {hourly} AS is_hourly, \
             toStartOfHour(timestamp) AS hour, reinterpretAsInt64(argMax(price, (vintage, origin))) AS best, max(ingested_at) AS stored_at, \
             toInt64(argMax(toUnixTimestamp64Micro(assumeNotNull(interval_end)), (vintage, origin)) - toUnixTimestamp64Micro(timestamp)) AS micros \
             FROM (SELECT instrument_id, product, timestamp, interval_end, price, ingested_at, \
             (toString(feed), raw_partition, raw_offset, raw_index) AS origin, {VINTAGE} \
             FROM {table} WHERE tenant_id = {tenant} AND market = {market} AND kind = 'interval' AND product IN ({fine}, {hourly}) \
             AND isNotNull(interval_end) {stored}AND timestamp >= {from} AND timestamp < {to}) \
             GROUP BY instrument_id, product, timestamp) \
             GROUP BY node, hour HAVING countIf(is_hourly) > 0 AND countIf(NOT is_hourly) > 0",
            hourly = literal(HOURLY),
            table = self.table,
            tenant = literal(self.tenant),
            market = literal(self.market),
            fine = literal(self.fine),
            from = instant(self.from),
            to = instant(self.to),
        )
    }

    /// What is found in each hour.
    ///
    /// # Errors
    /// ClickHouse does not answer, or the table is missing.
    pub(super) async fn hours(&self, clickhouse: &ClickHouse) -> Result<Vec<Hour>, StoreError> {
        let rows: Vec<HourRow> = clickhouse.query_rows(&self.of_hours()).await?;
        Ok(rows.into_iter().map(Hour::from).collect())
    }
}

/// Fine and hourly prices that were stored since a time.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    /// Table `market_ticks` of this generation.
    pub table: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// Intervals that began earlier do not count.
    pub from: Micros,
    /// Rows that were stored earlier do not count.
    pub stored_since: Micros,
}

impl Arrivals<'_> {
    /// One row for each market and product: beginnings of the first (`earliest`) and of the last interval (`latest`), in seconds.
    pub fn statement(&self) -> String {
        let products = |(market, fine): (&str, &str)| {
            [fine, HOURLY].map(|product| format!("({}, {})", literal(market), literal(product)))
        };
        format!(
            "SELECT market, product, toUInt32(intDiv(toUnixTimestamp64Micro(min(timestamp)), {SECOND})) AS earliest, \
             toUInt32(intDiv(toUnixTimestamp64Micro(max(timestamp)), {SECOND})) AS latest FROM {table} \
             WHERE tenant_id = {tenant} AND kind = 'interval' AND (market, product) IN ({products}) AND isNotNull(interval_end) \
             AND ingested_at >= {stored_since} AND timestamp >= {from} GROUP BY market, product",
            table = self.table,
            tenant = literal(self.tenant),
            products = pairs().flat_map(products).collect::<Vec<_>>().join(", "),
            stored_since = instant(self.stored_since),
            from = instant(self.from),
        )
    }

    /// The ranges of the prices of each market and product.
    ///
    /// # Errors
    /// ClickHouse does not answer, or the table is missing.
    pub(super) async fn ask(&self, clickhouse: &ClickHouse) -> Result<Vec<Arrived>, StoreError> {
        let rows: Vec<ArrivedRow> = clickhouse.query_rows(&self.statement()).await?;
        Ok(rows.into_iter().map(Arrived::from).collect())
    }
}

fn instant(time: Micros) -> String {
    format!("fromUnixTimestamp64Micro(toInt64({time}), 'UTC')")
}

/// A row as ClickHouse writes it. Numbers of 32 bits are never quoted.
#[derive(Deserialize)]
struct HourRow {
    start: u32,
    agreeing: u32,
    differing: u32,
    partial: u32,
    highest: f64,
    lowest: f64,
    came: u32,
}

impl From<HourRow> for Hour {
    fn from(row: HourRow) -> Hour {
        Hour {
            start: Micros::from(row.start) * SECOND,
            agreeing: row.agreeing.into(),
            differing: row.differing.into(),
            partial: row.partial.into(),
            largest: row.highest.abs().max(row.lowest.abs()) / USD_HOURS,
            came: Micros::from(row.came) * SECOND,
        }
    }
}

#[derive(Deserialize)]
struct ArrivedRow {
    market: String,
    product: String,
    earliest: u32,
    latest: u32,
}

impl From<ArrivedRow> for Arrived {
    fn from(row: ArrivedRow) -> Arrived {
        Arrived {
            market: row.market,
            product: row.product,
            earliest: Micros::from(row.earliest) * SECOND,
            latest: Micros::from(row.latest) * SECOND,
        }
    }
}
