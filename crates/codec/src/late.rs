//! The datum of a [`LateTick`] (`schemas/avro/late_tick.avsc`).

use domain::{Interval, LateTick};

use crate::CodecError;
use crate::bar::read_interval;
use crate::reader::Reader;
use crate::tick::{encode_origin, read_origin};
use crate::writer as put;

/// Appends the datum.
pub fn encode(late: &LateTick<'_>, out: &mut Vec<u8>) {
    encode_origin(&late.origin, out);
    put::string(late.tenant_id, out);
    put::string(late.instrument_id, out);
    put::long(late.event_time, out);
    put::decimal(late.price, out);
    put::optional(late.volume, out, put::decimal);
    put_intervals(late.missed_intervals, out);
    put::long(late.watermark, out);
    put::long(late.enriched_offset, out);
    put_intervals(late.closed_intervals, out);
    put::boolean(late.is_close, out);
}

fn put_intervals(bits: u8, out: &mut Vec<u8>) {
    let set = Interval::ALL
        .iter()
        .filter(|interval| bits & (1 << interval.index()) != 0);
    put::array(set.collect::<Vec<_>>().into_iter(), out, |interval, out| {
        put::long(interval.index() as i64, out)
    });
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(LateTick<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let late = LateTick {
        origin: read_origin(&mut from)?,
        tenant_id: from.string("tenant_id")?,
        instrument_id: from.string("instrument_id")?,
        event_time: from.long("event_time")?,
        price: from.decimal("price")?,
        volume: from.optional("volume", Reader::decimal)?,
        missed_intervals: read_intervals(&mut from, "missed_intervals")?,
        watermark: from.long("watermark")?,
        enriched_offset: from.long("enriched_offset")?,
        closed_intervals: read_intervals(&mut from, "closed_intervals")?,
        is_close: from.boolean("is_close")?,
    };
    Ok((late, from.consumed()))
}

fn read_intervals(from: &mut Reader<'_>, field: &'static str) -> Result<u8, CodecError> {
    let mut bits = 0;
    from.array(field, |item| {
        bits |= 1 << read_interval(item, field)?.index();
        Ok(())
    })?;
    Ok(bits)
}
