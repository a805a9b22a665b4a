//! Ticks with reference data: the flags of the tick, and what enrichment adds.

use domain::{Decimal, Enrichment};
use service::writer::tables::ENRICHED_TICKS;

use super::comparison::{Basis, Comparison};
use crate::verify::canonical::{FLAGS, Field, SourceText, Writer, columns, field, optional, plain, time};

pub(super) static COMPARISON: Comparison = Comparison {
    table: &ENRICHED_TICKS,
    basis: Basis::Tick(SourceText {
        columns: || [columns(&[FLAGS]), columns(&ENRICHMENT)].concat(),
        append: |wire, payload, to| {
            let enriched = wire.decode_enriched(payload)?;
            (FLAGS.write)(to, &enriched.tick);
            ENRICHMENT
                .iter()
                .for_each(|field| (field.write)(to, &enriched.enrichment));
            Ok(enriched.tick.origin)
        },
    }),
};

type OfEnrichment = fn(&mut Writer<'_>, &Enrichment<'_>);

static ENRICHMENT: [Field<OfEnrichment>; 11] = [
    field(plain("commodity"), |to, of| to.value(of.commodity)),
    field(plain("region"), |to, of| to.value(of.region)),
    field(plain("product_tier"), |to, of| to.value(of.product_tier)),
    field(optional("instrument_unit"), |to, of| to.optional(of.unit)),
    field(optional("contract_size"), |to, of| to.optional(of.contract_size)),
    field(optional("tick_size"), |to, of| to.optional(of.tick_size)),
    field(optional("curve_id"), |to, of| to.optional(of.curve_id)),
    field(plain("classification_confidence"), |to, of| {
        to.value(hundredths(of.confidence_percent));
    }),
    field(plain("classification_method"), |to, of| to.value(of.method.name())),
    field(plain("low_confidence_classification"), |to, of| {
        to.value(of.low_confidence);
    }),
    field(time("enriched_at"), |to, of| to.value(of.enriched_at)),
];

fn hundredths(percent: i32) -> Decimal {
    Decimal::from_unscaled(i64::from(percent) * 1_000_000).unwrap_or_default()
}
