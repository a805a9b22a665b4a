//! The datum of a [`DerivedPrice`] (`schemas/avro/derived_price.avsc`).

use domain::{DerivedCause, DerivedLeg, DerivedPrice};

use crate::CodecError;
use crate::reader::Reader;
use crate::tick::{encode_origin, read_origin};
use crate::writer as put;

/// Appends the datum.
pub fn encode(price: &DerivedPrice<'_>, out: &mut Vec<u8>) {
    put::string(price.tenant_id, out);
    put::string(price.series, out);
    put::string(price.kind, out);
    put::long(price.event_time, out);
    put::optional(price.value, out, put::decimal);
    put::string(price.unit, out);
    put::array(price.legs.iter(), out, |leg, out| {
        put::string(leg.role, out);
        put::string(leg.instrument_id, out);
        put::decimal(leg.price, out);
        put::long(leg.event_time, out);
        put::long(leg.age, out);
        encode_origin(&leg.origin, out);
    });
    put::long(price.log_clock, out);
    put::long(price.version, out);
    put::long(i64::from(price.revision), out);
    put::long(price.cause as i64, out);
    encode_origin(&price.cause_origin, out);
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(DerivedPrice<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let price = DerivedPrice {
        tenant_id: from.string("tenant_id")?,
        series: from.string("series")?,
        kind: from.string("kind")?,
        event_time: from.long("event_time")?,
        value: from.optional("value", Reader::decimal)?,
        unit: from.string("unit")?,
        legs: read_legs(&mut from)?,
        log_clock: from.long("log_clock")?,
        version: from.long("version")?,
        revision: from.int("revision")?,
        cause: read_cause(&mut from)?,
        cause_origin: read_origin(&mut from)?,
    };
    Ok((price, from.consumed()))
}

fn read_legs<'a>(from: &mut Reader<'a>) -> Result<Vec<DerivedLeg<'a>>, CodecError> {
    let mut legs = Vec::new();
    from.array("legs", |item| {
        legs.push(DerivedLeg {
            role: item.string("role")?,
            instrument_id: item.string("instrument_id")?,
            price: item.decimal("price")?,
            event_time: item.long("event_time")?,
            age: item.long("age")?,
            origin: read_origin(item)?,
        });
        Ok(())
    })?;
    Ok(legs)
}

pub(crate) fn read_cause(from: &mut Reader<'_>) -> Result<DerivedCause, CodecError> {
    let index = from.symbol("cause", DerivedCause::ALL.len())?;
    Ok(DerivedCause::ALL.get(index).copied().unwrap_or(DerivedCause::First))
}
