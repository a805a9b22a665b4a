//! The statement that `dp check-market` compares hours with. It reads `market_ticks`; the comparison is `markets::hourly`.
//!
//! Invariant: of each interval the price of the best vintage counts, as in bars, so that what is published again changes nothing.

use domain::Micros;
use markets::hourly::HOURLY;
use service::Names;
use stores::clickhouse::literal;

use crate::vintage::VINTAGE;

const ORIGIN: &str = "(toString(feed), raw_partition, raw_offset, raw_index)";

/// The hours of one market in a range of time.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Names of the tables.
    pub names: &'a Names,
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
}

impl Question<'_> {
    /// One row for each node and hour that has both: `node`, `start` and `hourly` (µs and scale 8), `weighted`, `covered`; all as text.
    pub fn sql(&self) -> String {
        format!(
            "SELECT node, toString(toUnixTimestamp(hour)) AS start, toString(anyIf(best, is_hourly)) AS hourly, \
             toString(sumIf(toInt256(best) * length, NOT is_hourly)) AS weighted, toString(sumIf(length, NOT is_hourly)) AS covered FROM (\
             SELECT substring(instrument_id, 1, length(instrument_id) - length(product) - 1) AS node, product = {hourly} AS is_hourly, \
             toStartOfHour(timestamp) AS hour, reinterpretAsInt64(argMax(price, ({VINTAGE}, {ORIGIN}))) AS best, \
             toInt64(argMax(toUnixTimestamp64Micro(assumeNotNull(interval_end)), ({VINTAGE}, {ORIGIN})) - toUnixTimestamp64Micro(timestamp)) AS length \
             FROM {table} WHERE tenant_id = {tenant} AND market = {market} AND kind = 'interval' AND product IN ({fine}, {hourly}) \
             AND isNotNull(interval_end) AND timestamp >= fromUnixTimestamp64Micro(toInt64({from}), 'UTC') \
             AND timestamp < fromUnixTimestamp64Micro(toInt64({to}), 'UTC') GROUP BY instrument_id, product, timestamp) \
             GROUP BY node, hour HAVING countIf(is_hourly) > 0 AND countIf(NOT is_hourly) > 0 ORDER BY node, hour",
            hourly = literal(HOURLY),
            table = self.names.table("market_ticks"),
            tenant = literal(self.tenant),
            market = literal(self.market),
            fine = literal(self.fine),
            from = self.from,
            to = self.to,
        )
    }
}
