//! Example queries for analysts, to continue with after the demo.

use anyhow::Context as _;
use stores::ClickHouse;

use crate::connection::Connection;

/// The queries of this pipeline. Each of them is run before it is shown.
///
/// # Errors
/// ClickHouse does not answer one of them.
pub async fn examples(connection: &Connection, clickhouse: &ClickHouse) -> anyhow::Result<[String; 3]> {
    let queries = queries(|table| connection.names.table(table));
    for sql in &queries {
        clickhouse
            .query_json(sql)
            .await
            .with_context(|| format!("query ClickHouse: {sql}"))?;
    }
    Ok(queries)
}

/// The queries; `tables` gives the name of a table.
fn queries(tables: impl Fn(&str) -> String) -> [String; 3] {
    [
        format!(
            "SELECT market, product, count() AS ticks, round(avg(price), 2) AS mean, min(price), max(price) FROM {} GROUP BY market, product ORDER BY market, product",
            tables("market_ticks")
        ),
        format!(
            "SELECT window_start, open, high, low, close, volume, vwap, trade_count, revision FROM {} WHERE instrument_id = 'MISO.INDIANA.HUB.SPOT' AND interval = '5m' ORDER BY window_start DESC LIMIT 5",
            tables("bars_latest")
        ),
        format!(
            "SELECT commodity, region, classification_method, count() AS ticks, uniqExact(instrument_id) AS instruments FROM {} GROUP BY ALL ORDER BY ticks DESC",
            tables("enriched_ticks")
        ),
    ]
}
