//! The datum of a [`LegPrice`] (`schemas/avro/leg_price.avsc`).

use domain::{LegPrice, LegPurpose};

use crate::CodecError;
use crate::reader::Reader;
use crate::tick::{encode_origin, read_kind, read_origin};
use crate::writer as put;

/// Appends the datum.
pub fn encode(leg: &LegPrice<'_>, out: &mut Vec<u8>) {
    encode_origin(&leg.origin, out);
    put::string(leg.tenant_id, out);
    put::long(leg.purpose as i64, out);
    put::string(leg.series, out);
    put::string(leg.role, out);
    put::optional(leg.definition, out, put::string);
    put::string(leg.instrument_id, out);
    put::long(leg.kind as i64, out);
    put::long(leg.event_time, out);
    put::optional(leg.interval_end, out, put::long);
    put::decimal(leg.price, out);
    for value in [leg.volume, leg.bid, leg.ask, leg.congestion, leg.loss] {
        put::optional(value, out, put::decimal);
    }
    put::string(leg.currency, out);
    put::string(leg.unit, out);
    put::optional(leg.version, out, put::string);
    put::optional(leg.sequence, out, put::long);
    put::optional(leg.appended_at, out, put::long);
    put::long(leg.log_clock, out);
    put::long(i64::from(leg.enriched_partition), out);
    put::long(leg.enriched_offset, out);
    put::long(i64::from(leg.index), out);
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(LegPrice<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let leg = LegPrice {
        origin: read_origin(&mut from)?,
        tenant_id: from.string("tenant_id")?,
        purpose: read_purpose(&mut from)?,
        series: from.string("series")?,
        role: from.string("role")?,
        definition: from.optional_string("definition")?,
        instrument_id: from.string("instrument_id")?,
        kind: read_kind(&mut from)?,
        event_time: from.long("event_time")?,
        interval_end: from.optional("interval_end", Reader::long)?,
        price: from.decimal("price")?,
        volume: from.optional("volume", Reader::decimal)?,
        bid: from.optional("bid", Reader::decimal)?,
        ask: from.optional("ask", Reader::decimal)?,
        congestion: from.optional("congestion", Reader::decimal)?,
        loss: from.optional("loss", Reader::decimal)?,
        currency: from.string("currency")?,
        unit: from.string("unit")?,
        version: from.optional_string("version")?,
        sequence: from.optional("sequence", Reader::long)?,
        appended_at: from.optional("appended_at", Reader::long)?,
        log_clock: from.long("log_clock")?,
        enriched_partition: from.int("enriched_partition")?,
        enriched_offset: from.long("enriched_offset")?,
        index: from.int("index")?,
    };
    Ok((leg, from.consumed()))
}

fn read_purpose(from: &mut Reader<'_>) -> Result<LegPurpose, CodecError> {
    let index = from.symbol("purpose", LegPurpose::ALL.len())?;
    Ok(LegPurpose::ALL.get(index).copied().unwrap_or(LegPurpose::Series))
}
