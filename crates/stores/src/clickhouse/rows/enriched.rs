//! A row of `enriched_ticks`: the tick, then its reference data.

use domain::{Classification, EnrichedTick};

use super::{Block, Columns, Layout, NAME, OPTIONAL_DECIMAL, OPTIONAL_NAME, ORIGIN, TIME, tick};

/// Rows of `enriched_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "enriched_ticks",
    columns: &[tick::VALUES, ENRICHMENT, ORIGIN, tick::TIMES],
    has_origin: true,
};

const ENRICHMENT: Columns = &[
    ("commodity", NAME),
    ("region", NAME),
    ("product_tier", NAME),
    ("instrument_unit", OPTIONAL_NAME),
    ("contract_size", OPTIONAL_DECIMAL),
    ("tick_size", OPTIONAL_DECIMAL),
    ("curve_id", OPTIONAL_NAME),
    ("classification_confidence", "Decimal(3, 2)"),
    (
        "classification_method",
        "Enum8('database' = 1, 'rule_based' = 2, 'fallback' = 3)",
    ),
    ("low_confidence_classification", "Bool"),
    ("enriched_at", TIME),
];

/// Appends the row of an enriched tick that was read from this position of the enriched topic.
pub fn encode(enriched: &EnrichedTick<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    tick::values(&enriched.tick, out);
    let enrichment = &enriched.enrichment;
    out.text(enrichment.commodity);
    out.text(enrichment.region);
    out.text(enrichment.product_tier);
    out.optional_text(enrichment.unit);
    out.optional_decimal(enrichment.contract_size);
    out.optional_decimal(enrichment.tick_size);
    out.optional_text(enrichment.curve_id);
    out.int32(enrichment.confidence_percent);
    out.byte(match enrichment.method {
        Classification::Database => 1,
        Classification::RuleBased => 2,
        Classification::Fallback => 3,
    });
    out.byte(u8::from(enrichment.low_confidence));
    out.time(enrichment.enriched_at);
    tick::place(&enriched.tick, src_partition, src_offset, out);
    out.end_row();
}
