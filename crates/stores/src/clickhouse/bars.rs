//! The newest versions of bars in the table.
//!
//! Failure: nothing is retried here. The caller limits the time, since a client waits for the response.

use domain::{Bar, BarCause, BarVersion, Decimal, Interval, Micros, TimeWeighted, Turnover, Window};
use serde::Deserialize;

use super::history::origin;
use super::{ClickHouse, literal};
use crate::StoreError;

/// A bar's row.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StoredBar {
    tenant_id: String,
    instrument_id: String,
    interval: String,
    window_start: Micros,
    market: String,
    open: i64,
    high: i64,
    low: i64,
    close: i64,
    volume: String,
    turnover: String,
    vwap: Option<i64>,
    price_seconds: String,
    priced_seconds: i64,
    trade_count: i64,
    open_time: Micros,
    first: (String, i32, i64, i32),
    close_time: Micros,
    last: (String, i32, i64, i32),
    revision: i32,
    cause: String,
    version: u64,
    last_appended_at: Micros,
}

impl StoredBar {
    /// The bar; `None` if a value is out of range. The table has no sequences.
    pub fn bar(&self) -> Option<Bar<'_>> {
        let price = |unscaled| Decimal::from_unscaled(unscaled).ok();
        Some(Bar {
            tenant_id: &self.tenant_id,
            instrument_id: &self.instrument_id,
            market: &self.market,
            window: Window {
                interval: Interval::from_name(&self.interval)?,
                start: self.window_start,
            },
            open: price(self.open)?,
            high: price(self.high)?,
            low: price(self.low)?,
            close: price(self.close)?,
            volume: self.volume.parse().ok()?,
            turnover: Turnover(self.turnover.parse().ok()?),
            vwap: self.vwap.and_then(price),
            time_weighted: TimeWeighted {
                price_seconds: self.price_seconds.parse().ok()?,
                seconds: self.priced_seconds,
            },
            trade_count: self.trade_count,
            open_time: self.open_time,
            open_sequence: None,
            first_origin: origin(&self.first),
            close_time: self.close_time,
            close_sequence: None,
            last_origin: origin(&self.last),
            revision: self.revision,
            cause: BarCause::from_name(&self.cause),
            version: BarVersion::from_u64(self.version),
            last_appended_at: self.last_appended_at,
        })
    }
}

/// A bar by its tenant, instrument and window.
pub type BarKey<'a> = (&'a str, &'a str, Window);

/// The newest versions of these bars from this view, in no particular order; bars that are not in the table are omitted.
///
/// # Errors
/// The error of the server.
pub async fn newest_bars(
    clickhouse: &ClickHouse,
    view: &str,
    keys: &[BarKey<'_>],
) -> Result<Vec<StoredBar>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let micros = |column: &str| format!("toUnixTimestamp64Micro({column}) AS {column}");
    let keys: Vec<String> = keys
        .iter()
        .map(|(tenant, instrument, window)| {
            let (tenant, instrument) = (literal(tenant), literal(instrument));
            format!(
                "({tenant}, {instrument}, {}, {})",
                literal(window.interval.name()),
                window.start
            )
        })
        .collect();
    let sql = format!(
        "SELECT toString(tenant_id) AS tenant_id, toString(instrument_id) AS instrument_id, toString(interval) AS interval, {window_start}, toString(market) AS market, reinterpretAsInt64(open) AS open, \
         reinterpretAsInt64(high) AS high, reinterpretAsInt64(low) AS low, reinterpretAsInt64(close) AS close, \
         toString(reinterpretAsInt128(volume)) AS volume, toString(reinterpretAsInt128(turnover)) AS turnover, \
         if(isNull(vwap), NULL, reinterpretAsInt64(assumeNotNull(vwap))) AS vwap, \
         toString(reinterpretAsInt128(price_seconds)) AS price_seconds, priced_seconds, trade_count, {open_time}, \
         (toString(first_feed), first_partition, first_offset, first_index) AS first, {close_time}, \
         (toString(last_feed), last_partition, last_offset, last_index) AS last, revision, toString(cause) AS cause, version, {last_appended_at} \
         FROM {database}.{view} \
         WHERE (tenant_id, instrument_id, interval, toUnixTimestamp64Micro(window_start)) IN ({keys}) \
         SETTINGS prefer_column_name_to_alias = 1, output_format_json_named_tuples_as_objects = 0",
        window_start = micros("window_start"),
        open_time = micros("open_time"),
        close_time = micros("close_time"),
        last_appended_at = micros("last_appended_at"),
        database = clickhouse.database(),
        keys = keys.join(", "),
    );
    clickhouse.rows("read bars", &sql).await
}
