//! Quotes of instruments that reference data gives a tenor.
//!
//! Role: their prices of each trade date from `enriched_ticks`, as settlements of the contracts that the tenors mean: the crate `curves` says
//! which, for snapshots and here.
//! Invariant: of an instrument and contract the last trade date counts, and of one trade date the best price, by the order of settlements.
//! Failure: a price whose tenor means no contract is no quote, and no row.

use std::collections::BTreeSet;

use curves::{TenorPrice, Tenors};
use domain::{Decimal, Micros};
use markets::contract::SETTLEMENT;
use ops::rows::{number, text};
use serde_json::{Map, Value};
use stores::clickhouse::literal;

use super::quoted::decimal;
use super::sql::{COLUMNS, by_zone, ranked};

/// A row of ClickHouse, by the names of its columns.
type Row = Map<String, Value>;

/// The market whose hours such a price has, as the crate `curves` says it.
const MARKET: &str = "if(commodity = 'natural_gas', 'GAS', toString(market))";
/// How far ahead of its message the event time of such a quote may lie, as in snapshots.
const AHEAD: &str = "INTERVAL 1 DAY";
const DAY: Micros = 86_400_000_000;

/// The table, and which of its rows may be such prices.
#[derive(Debug, Clone)]
pub(super) struct Prices {
    table: String,
    /// Of tenant, curve and time.
    are_of_curve: String,
}

impl Prices {
    pub(super) fn new(table: &str, (tenant, curve_id): (&str, &str), as_of: Micros) -> Prices {
        Prices {
            table: table.to_owned(),
            are_of_curve: format!(
                "tenant_id = {} AND curve_id = {} AND product != {} AND timestamp <= appended_at + {AHEAD} \
                 AND appended_at <= fromUnixTimestamp64Micro(toInt64({as_of}), 'UTC')",
                literal(tenant),
                literal(curve_id),
                literal(SETTLEMENT)
            ),
        }
    }

    /// The product tiers of the curve's instruments that are no settlements.
    pub(super) fn tiers(&self) -> String {
        format!(
            "SELECT DISTINCT toString(product_tier) AS tier FROM {} WHERE {}",
            self.table, self.are_of_curve
        )
    }

    /// The best price of each instrument, tenor and trade date that is not stale; `None` without a tenor.
    pub(super) fn statement(&self, tiers: &[String], max_age: Micros) -> Option<String> {
        let tenors = tiers.iter().filter(|tier| Tenors::has(tier)).map(|tier| literal(tier));
        let tenors: Vec<String> = tenors.collect();
        let (table, day) = (&self.table, by_zone(MARKET, "toYYYYMMDD(timestamp, ", ")"));
        let of_tenors = format!("{} AND product_tier IN ({})", self.are_of_curve, tenors.join(", "));
        let span = max_age.saturating_add(DAY);
        (!tenors.is_empty()).then(|| {
            format!(
                "SELECT {COLUMNS}, toString(product_tier) AS tier_, toString(commodity) AS commodity_ FROM {table} WHERE {of_tenors} \
                 AND timestamp >= (SELECT max(timestamp) FROM {table} WHERE {of_tenors}) - toIntervalMicrosecond({span}) \
                 ORDER BY instrument_id, {} LIMIT 1 BY instrument_id, market, product_tier, commodity, {day}, abs(price) > {}",
                ranked(MARKET),
                curves::MOST_PRICE
            )
        })
    }
}

/// The rows of [`Prices::statement`] as rows of settlements, and the ids of their instruments.
pub(super) fn absolute(rows: Vec<Row>) -> anyhow::Result<(Vec<Row>, BTreeSet<String>)> {
    let mut tenors = Tenors::default();
    let (mut found, mut ids, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for mut row in rows {
        let price = TenorPrice {
            instrument_id: text(&row, "instrument_id")?,
            product_tier: text(&row, "tier_")?,
            commodity: text(&row, "commodity_")?,
            market: text(&row, "market")?,
            event_time: number(&row, "event_time")?,
        };
        let Some((market, id)) = tenors.contract_of(price) else {
            continue;
        };
        let market = market.to_owned();
        let price: Decimal = decimal(number(&row, "unscaled")?)?;
        // The last trade date of the contract comes first.
        if !seen.insert((id.clone(), market.clone(), curves::is_plausible(price))) {
            continue;
        }
        row.insert("instrument_id".to_owned(), Value::String(id.clone()));
        row.insert("market".to_owned(), Value::String(market));
        ids.insert(id);
        found.push(row);
    }
    Ok((found, ids))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn row(tier: &str, time: &str, unscaled: i64) -> Map<String, Value> {
        let time: jiff::Timestamp = time.parse().unwrap();
        let row = serde_json::json!({
            "instrument_id": "NG_HH_M1", "market": "NYMEX", "commodity_": "natural_gas", "tier_": tier,
            "event_time": time.as_microsecond().to_string(), "unscaled": unscaled.to_string(), "traded": "-1", "origin": "raw/0/1/0",
            "appended": "1", "currency_": "USD", "unit_": "MMBtu",
        });
        row.as_object().unwrap().clone()
    }

    #[test]
    fn the_last_price_of_each_contract_counts_before_and_after_an_expiry() {
        // December expires on 25 November 2026.
        let rows = vec![
            row("M1", "2026-11-30T18:00:00Z", 5),
            row("M1", "2026-11-27T18:00:00Z", 4),
            row("M1", "2026-11-24T18:00:00Z", 3),
            row("M1", "2026-11-23T18:00:00Z", 2),
            row("standard", "2026-11-23T18:00:00Z", 1),
        ];
        let (rows, ids) = absolute(rows).unwrap();
        let shown: Vec<(&str, &str, i64)> = rows
            .iter()
            .map(|row| {
                let named = (text(row, "instrument_id").unwrap(), text(row, "market").unwrap());
                (named.0, named.1, number(row, "unscaled").unwrap())
            })
            .collect();
        let expected = [
            ("NG_HH_M1.2027-01.FLAT.SETTLEMENT", "GAS", 5),
            ("NG_HH_M1.2026-12.FLAT.SETTLEMENT", "GAS", 3),
        ];
        assert_eq!(shown, expected);
        assert!(
            expected.iter().all(|(id, ..)| ids.contains(*id)) && ids.len() == 2,
            "{ids:?}"
        );
    }

    #[test]
    fn a_statement_asks_for_tenors_only_and_there_is_none_without_them() {
        let prices = Prices::new("db.enriched_ticks", ("it's", "NG"), 7);
        assert_eq!(
            prices.statement(&["standard".to_owned(), "futures".to_owned()], 5),
            None
        );
        let sql = prices.statement(&["standard".to_owned(), "M1".to_owned()], 5).unwrap();
        for expected in [
            "product_tier IN ('M1')",
            "curve_id = 'NG'",
            "toInt64(7)",
            "toIntervalMicrosecond(86400000005)",
        ] {
            assert!(sql.contains(expected), "{expected}: {sql}");
        }
        assert!(!sql.contains("'it's'") && !prices.tiers().contains("'it's'"), "{sql}");
    }
}
