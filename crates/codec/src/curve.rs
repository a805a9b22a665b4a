//! The datum of a [`CurveSnapshot`] (`schemas/avro/curve_snapshot.avsc`).

use domain::{CurveInput, CurvePoint, CurveSnapshot};

use crate::CodecError;
use crate::derived::read_cause;
use crate::reader::Reader;
use crate::tick::{encode_origin, read_origin};
use crate::writer as put;

/// Appends the datum.
pub fn encode(snapshot: &CurveSnapshot<'_>, out: &mut Vec<u8>) {
    encode_origin(&snapshot.origin, out);
    for text in [snapshot.tenant_id, snapshot.curve_id, snapshot.market, snapshot.horizon] {
        put::string(text, out);
    }
    put::long(snapshot.as_of, out);
    put::long(i64::from(snapshot.day), out);
    put::string(snapshot.method, out);
    put::string(snapshot.definition, out);
    put::optional(Some(snapshot.log_clock), out, put::long);
    put::long(snapshot.version, out);
    put::long(i64::from(snapshot.revision), out);
    put::long(snapshot.cause as i64, out);
    put::array(snapshot.points.iter(), out, encode_point);
    put::array(snapshot.inputs.iter(), out, encode_input);
}

fn encode_point(point: &CurvePoint<'_>, out: &mut Vec<u8>) {
    for text in [point.contract, point.block, point.delivery_start, point.delivery_end] {
        put::string(text, out);
    }
    put::double(point.price, out);
    put::optional(point.volume, out, put::double);
    put::double(point.confidence, out);
    put::string(point.method, out);
    put::boolean(point.extrapolated, out);
    put::array(point.sources.iter(), out, |source, out| put::string(source, out));
}

fn encode_input(input: &CurveInput<'_>, out: &mut Vec<u8>) {
    put::string(input.contract, out);
    put::string(input.block, out);
    put::double(input.price, out);
    put::optional(input.curve_price, out, put::double);
    put::optional(input.residual, out, put::double);
    put::string(input.state, out);
    put::array(input.implied_by.iter(), out, |contract, out| put::string(contract, out));
    put::string(input.source, out);
    put::long(input.known_at, out);
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(CurveSnapshot<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let origin = read_origin(&mut from)?;
    let tenant_id = from.string("tenant_id")?;
    let curve_id = from.string("curve_id")?;
    let market = from.string("market")?;
    let horizon = from.string("horizon")?;
    let as_of = from.long("as_of")?;
    let snapshot = CurveSnapshot {
        origin,
        tenant_id,
        curve_id,
        market,
        horizon,
        as_of,
        day: from.int("day")?,
        method: from.string("method")?,
        definition: from.string("definition")?,
        // Records of the first version of the schema do not have it.
        log_clock: from.optional("log_clock", Reader::long)?.unwrap_or(as_of),
        version: from.long("version")?,
        revision: from.int("revision")?,
        cause: read_cause(&mut from)?,
        points: read_points(&mut from)?,
        inputs: read_inputs(&mut from)?,
    };
    Ok((snapshot, from.consumed()))
}

fn read_points<'a>(from: &mut Reader<'a>) -> Result<Vec<CurvePoint<'a>>, CodecError> {
    let mut points = Vec::new();
    from.array("points", |item| {
        points.push(CurvePoint {
            contract: item.string("contract")?,
            block: item.string("block")?,
            delivery_start: item.string("delivery_start")?,
            delivery_end: item.string("delivery_end")?,
            price: item.double("price")?,
            volume: item.optional("volume", Reader::double)?,
            confidence: item.double("confidence")?,
            method: item.string("method")?,
            extrapolated: item.boolean("extrapolated")?,
            sources: read_texts(item, "sources")?,
        });
        Ok(())
    })?;
    Ok(points)
}

fn read_inputs<'a>(from: &mut Reader<'a>) -> Result<Vec<CurveInput<'a>>, CodecError> {
    let mut inputs = Vec::new();
    from.array("inputs", |item| {
        inputs.push(CurveInput {
            contract: item.string("contract")?,
            block: item.string("block")?,
            price: item.double("price")?,
            curve_price: item.optional("curve_price", Reader::double)?,
            residual: item.optional("residual", Reader::double)?,
            state: item.string("state")?,
            implied_by: read_texts(item, "implied_by")?,
            source: item.string("source")?,
            known_at: item.long("known_at")?,
        });
        Ok(())
    })?;
    Ok(inputs)
}

fn read_texts<'a>(from: &mut Reader<'a>, field: &'static str) -> Result<Vec<&'a str>, CodecError> {
    let mut texts = Vec::new();
    from.array(field, |item| {
        texts.push(item.string(field)?);
        Ok(())
    })?;
    Ok(texts)
}
