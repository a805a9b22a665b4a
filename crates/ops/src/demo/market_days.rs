//! The day-ahead prices of the example documents, by market: how complete the day is, and its mean.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use stores::ClickHouse;

use crate::connection::Connection;
use crate::ingest::EXAMPLE_DAY;

/// A market day in ClickHouse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MarketDay {
    /// Market.
    pub market: String,
    /// Hours of the day by the market's clock.
    pub expected: u32,
    /// Hours that have a price.
    pub present: u32,
    /// Prices of all instruments.
    pub prices: u32,
    /// Instruments with a bar of the whole day.
    pub complete_bars: u32,
    /// Mean of the day bars' averages by time, USD/MWh.
    pub mean: Option<f64>,
}

/// Reads the views of completeness and of market days.
///
/// # Errors
/// ClickHouse does not answer.
pub async fn read(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<Vec<MarketDay>> {
    let table = |name| connection.names.table(name);
    let sql = format!(
        "SELECT market, toUInt32(expected) AS expected, toUInt32(present) AS present, toUInt32(prices) AS prices, \
             toUInt32(bars.complete) AS complete_bars, bars.mean AS mean \
         FROM {completeness} AS days \
         LEFT JOIN (SELECT market, countIf(is_complete) AS complete, round(avgOrNull(toFloat64(twap)), 2) AS mean FROM {bars} \
             WHERE day = toDate('{EXAMPLE_DAY}') AND endsWith(instrument_id, '.DA') AND tenant_id = '{tenant}' GROUP BY market) AS bars \
             USING (market) \
         WHERE day = toDate('{EXAMPLE_DAY}') AND product = 'da' AND tenant_id = '{tenant}' ORDER BY market",
        completeness = table("completeness"),
        bars = table("bars_1d_local"),
        tenant = connection.settings.tenant_id,
    );
    clickhouse
        .query_rows(&sql)
        .await
        .context("read the market days of the example documents")
}
