//! Shape C: the same statement as an Avro record.

use codec::{RawTick, Wire};
use domain::Decimal;

use super::statement::{Statement, source};

/// Appends the framed record. Single-object framing always: every reader accepts it, with or without a registry.
pub(super) fn write(wire: &Wire, said: &Statement<'_>, out: &mut Vec<u8>) {
    // The strings are generated here and always valid numbers.
    let number = |text: Option<&str>| text.and_then(|text| Decimal::parse(text.trim_matches('"').as_bytes()).ok());
    let tick = RawTick {
        event_id: said.event_id.unwrap_or_default(),
        correlation_id: None,
        causation_id: None,
        tenant_id: said.tenant_id,
        source: &source(said.market),
        market: said.market,
        instrument_id: said.instrument_id.unwrap_or_default(),
        symbol: said.instrument_id,
        timestamp: said.event_time.unwrap_or(said.sent_at),
        price: number(said.price).unwrap_or(Decimal::ZERO),
        volume: number(said.volume),
        bid: number(said.bid),
        ask: number(said.ask),
        node: Some(said.node).filter(|node| !node.is_empty()),
        zone: said.zone,
        hub: Some(said.node).filter(|node| !node.is_empty()),
        market_status: None,
        sequence: i64::try_from(said.sequence).ok(),
        dropped_quote: false,
    };
    wire.encode_raw(&tick, out);
}
