//! A row of `enriched_ticks`: the tick, then its reference data.

use domain::{Classification, EnrichedTick};

use super::{
    DECIMAL, Layout, OPTIONAL_DECIMAL, OPTIONAL_TEXT, OPTIONAL_TIME, TIME, int32, optional_decimal, optional_text,
    text, tick, time,
};

/// Rows of `enriched_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "enriched_ticks",
    columns: &[
        ("tenant_id", "String"),
        ("instrument_id", "String"),
        ("timestamp", TIME),
        ("market", "String"),
        ("product", "String"),
        ("kind", "Enum8(\\'trade\\' = 1, \\'interval\\' = 2)"),
        ("price", DECIMAL),
        ("volume", OPTIONAL_DECIMAL),
        ("bid", OPTIONAL_DECIMAL),
        ("ask", OPTIONAL_DECIMAL),
        ("energy", OPTIONAL_DECIMAL),
        ("congestion", OPTIONAL_DECIMAL),
        ("loss", OPTIONAL_DECIMAL),
        ("ghg", OPTIONAL_DECIMAL),
        ("currency", "String"),
        ("unit", "String"),
        ("symbol", OPTIONAL_TEXT),
        ("node", OPTIONAL_TEXT),
        ("zone", OPTIONAL_TEXT),
        ("hub", OPTIONAL_TEXT),
        ("market_status", OPTIONAL_TEXT),
        ("version", OPTIONAL_TEXT),
        ("interval_end", OPTIONAL_TIME),
        ("quality_flags", "Array(String)"),
        ("source_system", "String"),
        ("sequence", "Nullable(Int64)"),
        ("source_event_id", "String"),
        ("correlation_id", "String"),
        ("causation_id", OPTIONAL_TEXT),
        ("commodity", "String"),
        ("region", "String"),
        ("product_tier", "String"),
        ("instrument_unit", OPTIONAL_TEXT),
        ("contract_size", OPTIONAL_DECIMAL),
        ("tick_size", OPTIONAL_DECIMAL),
        ("curve_id", OPTIONAL_TEXT),
        ("classification_confidence", "Decimal(3, 2)"),
        (
            "classification_method",
            "Enum8(\\'database\\' = 1, \\'rule_based\\' = 2, \\'fallback\\' = 3)",
        ),
        ("low_confidence_classification", "Bool"),
        ("enriched_at", TIME),
        ("feed", "String"),
        ("raw_partition", "Int32"),
        ("raw_offset", "Int64"),
        ("raw_index", "Int32"),
        ("src_partition", "Int32"),
        ("src_offset", "Int64"),
        ("appended_at", TIME),
        ("normalized_at", TIME),
    ],
    has_origin: true,
};

/// Appends the row of an enriched tick that was read from this place of the enriched topic.
pub fn encode(enriched: &EnrichedTick<'_>, src_partition: i32, src_offset: i64, out: &mut Vec<u8>) {
    tick::values(&enriched.tick, out);
    let enrichment = &enriched.enrichment;
    text(enrichment.commodity, out);
    text(enrichment.region, out);
    text(enrichment.product_tier, out);
    optional_text(enrichment.unit, out);
    optional_decimal(enrichment.contract_size, out);
    optional_decimal(enrichment.tick_size, out);
    optional_text(enrichment.curve_id, out);
    int32(enrichment.confidence_percent, out);
    out.push(match enrichment.method {
        Classification::Database => 1,
        Classification::RuleBased => 2,
        Classification::Fallback => 3,
    });
    out.push(u8::from(enrichment.low_confidence));
    time(enrichment.enriched_at, out);
    tick::place(&enriched.tick, src_partition, src_offset, out);
}
