//! Message shape C: a producer's tick, typed (`schemas/avro/raw_market_tick.avsc`).

use domain::{Decimal, Micros};

use crate::CodecError;
use crate::reader::Reader;
use crate::writer as put;

/// A producer's tick, borrowed from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RawTick<'a> {
    pub event_id: &'a str,
    pub correlation_id: Option<&'a str>,
    pub causation_id: Option<&'a str>,
    pub tenant_id: &'a str,
    pub source: &'a str,
    pub market: &'a str,
    pub instrument_id: &'a str,
    pub symbol: Option<&'a str>,
    pub timestamp: Micros,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub node: Option<&'a str>,
    pub zone: Option<&'a str>,
    pub hub: Option<&'a str>,
    pub market_status: Option<&'a str>,
    pub sequence: Option<i64>,
    /// A bid or ask with a magnitude of 10^10 or more was dropped. Never written.
    pub dropped_quote: bool,
}

/// Appends the datum.
pub fn encode(raw: &RawTick<'_>, out: &mut Vec<u8>) {
    put::string(raw.event_id, out);
    put::optional(raw.correlation_id, out, put::string);
    put::optional(raw.causation_id, out, put::string);
    for text in [raw.tenant_id, raw.source, raw.market, raw.instrument_id] {
        put::string(text, out);
    }
    put::optional(raw.symbol, out, put::string);
    put::long(raw.timestamp, out);
    put::decimal(raw.price, out);
    for value in [raw.volume, raw.bid, raw.ask] {
        put::optional(value, out, put::decimal);
    }
    for text in [raw.node, raw.zone, raw.hub, raw.market_status] {
        put::optional(text, out, put::string);
    }
    put::optional(raw.sequence, out, put::long);
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(RawTick<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let mut dropped_quote = false;
    let mut quote = |from: &mut Reader<'_>, field| {
        let read = from.decimal(field);
        dropped_quote |= matches!(read, Err(CodecError::InvalidValue { .. }));
        match read {
            Err(CodecError::InvalidValue { .. }) => Ok(None),
            read => read.map(Some),
        }
    };
    let raw = RawTick {
        event_id: from.string("event_id")?,
        correlation_id: from.optional_string("correlation_id")?,
        causation_id: from.optional_string("causation_id")?,
        tenant_id: from.string("tenant_id")?,
        source: from.string("source")?,
        market: from.string("market")?,
        instrument_id: from.string("instrument_id")?,
        symbol: from.optional_string("symbol")?,
        timestamp: from.long("timestamp")?,
        price: from.decimal("price")?,
        volume: from.optional("volume", Reader::decimal)?,
        bid: from.optional("bid", &mut quote)?.flatten(),
        ask: from.optional("ask", &mut quote)?.flatten(),
        node: from.optional_string("node")?,
        zone: from.optional_string("zone")?,
        hub: from.optional_string("hub")?,
        market_status: from.optional_string("market_status")?,
        sequence: from.optional("sequence", Reader::long)?,
        dropped_quote: false,
    };
    Ok((RawTick { dropped_quote, ..raw }, from.consumed()))
}
