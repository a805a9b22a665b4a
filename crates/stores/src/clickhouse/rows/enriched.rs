//! A row of `enriched_ticks`: the values of the tick, then its reference data. Its transport fields are in `market_ticks`.

use domain::{Classification, EnrichedTickOf};

use super::{Block, Columns, Layout, NAME, OPTIONAL_DECIMAL, OPTIONAL_NAME, ORIGIN, TIME, origin, source, tick};

/// Rows of `enriched_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "enriched_ticks",
    columns: &[tick::VALUES, ENRICHMENT, ORIGIN],
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

/// Appends the row of an enriched tick, with texts in any form, that was read from this position of the enriched topic.
pub fn encode<T: AsRef<[u8]> + Copy>(
    enriched: &EnrichedTickOf<'_, T>,
    src_partition: i32,
    src_offset: i64,
    out: &mut Block,
) {
    let mut row = out.row();
    tick::values(&enriched.tick, &mut row);
    let enrichment = &enriched.enrichment;
    row.name(enrichment.commodity);
    row.name(enrichment.region);
    row.name(enrichment.product_tier);
    row.optional_name(enrichment.unit);
    row.optional_decimal(enrichment.contract_size);
    row.optional_decimal(enrichment.tick_size);
    row.optional_name(enrichment.curve_id);
    row.int32(enrichment.confidence_percent);
    row.byte(match enrichment.method {
        Classification::Database => 1,
        Classification::RuleBased => 2,
        Classification::Fallback => 3,
    });
    row.byte(u8::from(enrichment.low_confidence));
    row.time(enrichment.enriched_at);
    origin(&enriched.tick.origin, &mut row);
    source(src_partition, src_offset, &mut row);
    row.end();
}
