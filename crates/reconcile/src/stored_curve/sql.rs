//! What is read of prices, and in which order.
//!
//! Invariant: settlements and prices of instruments with a tenor have one order, so that the best one is the same.

use curves::{Definition, DeliveryCalendar};
use domain::Micros;
use markets::contract::SETTLEMENT;
use stores::clickhouse::literal;

use crate::sql::vintage_number;

/// What is read of a price.
pub(super) const COLUMNS: &str = "instrument_id, market, toInt64(toUnixTimestamp64Micro(timestamp)) AS event_time, reinterpretAsInt64(price) AS unscaled, \
    toString(if(isNull(volume), toInt64(-1), reinterpretAsInt64(assumeNotNull(volume)))) AS traded, tick_id AS origin, \
    toInt64(toUnixTimestamp64Micro(appended_at)) AS appended, toString(currency) AS currency_, \
    toString(ifNull(instrument_unit, unit)) AS unit_";

/// The newest price of each instrument that fits the definition. What `Quoted::of` leaves out by its tick alone hides no other price.
pub(super) fn statement(table: &str, tenant: &str, definition: &Definition, as_of: Micros) -> String {
    let fits: Vec<String> = definition
        .instruments
        .iter()
        .map(|pattern| format!("instrument_id LIKE {}", literal(&pattern.like())))
        .collect();
    format!(
        "SELECT {COLUMNS} FROM {table} WHERE tenant_id = {tenant} AND product = {product} AND ({fits}) \
         AND appended_at <= fromUnixTimestamp64Micro(toInt64({as_of}), 'UTC') \
         ORDER BY instrument_id, {ranked} LIMIT 1 BY instrument_id, market, abs(price) > {most}",
        most = curves::MOST_PRICE,
        tenant = literal(tenant),
        product = literal(SETTLEMENT),
        fits = fits.join(" OR "),
        ranked = ranked("market"),
    )
}

/// The order of the prices of an instrument, best first. `market` is an expression with the market whose days count.
pub(super) fn ranked(market: &str) -> String {
    format!(
        "{trade_date} DESC, {vintage} DESC, {is_dated} DESC, timestamp DESC, sequence DESC NULLS LAST, feed DESC, raw_partition DESC, \
         raw_offset DESC, raw_index DESC",
        trade_date = by_zone(market, "toYYYYMMDD(timestamp, ", ")"),
        is_dated = by_zone(market, "timestamp = toStartOfDay(timestamp, ", ")"),
        vintage = vintage_number(),
    )
}

/// An expression with the zone in which the market of a price delivers between its two parts.
pub(super) fn by_zone(market_of: &str, before: &str, after: &str) -> String {
    let markets = markets::describe(&markets::iso_venues());
    let calendars = markets
        .iter()
        .filter_map(|market| DeliveryCalendar::of(&market.name).ok());
    let of_markets = calendars.filter_map(|calendar| {
        let (market, zone) = (literal(calendar.market()), literal(calendar.zone()?));
        Some(format!("{market_of} = {market}, {before}{zone}{after}, "))
    });
    format!("multiIf({}{before}'UTC'{after})", of_markets.collect::<String>())
}
