//! The datum of an [`EnrichedTick`] (`schemas/avro/enriched_tick.avsc`): the tick's datum, then the fields of enrichment.

use domain::{Classification, EnrichedTick, Enrichment};

use crate::reader::Reader;
use crate::writer as put;
use crate::{CodecError, tick};

const METHODS: [Classification; 3] = [
    Classification::Database,
    Classification::RuleBased,
    Classification::Fallback,
];

/// Appends the enriched datum: a copy of the tick's bytes, then the enrichment.
pub fn append_enrichment(tick_datum: &[u8], enrichment: &Enrichment<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(tick_datum);
    put::string(enrichment.commodity, out);
    put::string(enrichment.region, out);
    put::string(enrichment.product_tier, out);
    put::optional(enrichment.unit, out, put::string);
    put::optional(enrichment.contract_size, out, put::decimal);
    put::optional(enrichment.tick_size, out, put::decimal);
    put::optional(enrichment.curve_id, out, put::string);
    put::optional(enrichment.curve_definition, out, put::string);
    put::long(i64::from(enrichment.confidence_percent), out);
    put::long(enrichment.method as i64, out);
    put::boolean(enrichment.low_confidence, out);
    put::long(enrichment.enriched_at, out);
}

/// Appends the datum.
pub fn encode(enriched: &EnrichedTick<'_>, out: &mut Vec<u8>) {
    tick::encode(&enriched.tick, out);
    append_enrichment(&[], &enriched.enrichment, out);
}

/// Reads a datum; also returns its length.
pub fn decode(datum: &[u8]) -> Result<(EnrichedTick<'_>, usize), CodecError> {
    let mut from = Reader::new(datum);
    let tick = tick::read(&mut from)?;
    let enrichment = Enrichment {
        commodity: from.string("commodity")?,
        region: from.string("region")?,
        product_tier: from.string("product_tier")?,
        unit: from.optional_string("reference_unit")?,
        contract_size: from.optional("contract_size", Reader::decimal)?,
        tick_size: from.optional("tick_size", Reader::decimal)?,
        curve_id: from.optional_string("curve_id")?,
        curve_definition: from.optional_string("curve_definition")?,
        confidence_percent: from.int("classification_confidence_percent")?,
        method: read_method(&mut from)?,
        low_confidence: from.boolean("low_confidence_classification")?,
        enriched_at: from.long("enriched_at")?,
    };
    Ok((EnrichedTick { tick, enrichment }, from.consumed()))
}

fn read_method(from: &mut Reader<'_>) -> Result<Classification, CodecError> {
    let index = from.symbol("classification_method", METHODS.len())?;
    Ok(METHODS.get(index).copied().unwrap_or(Classification::Fallback))
}
