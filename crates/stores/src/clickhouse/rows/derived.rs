//! A row of `derived_prices`: one version of the value of a series at one time.

use domain::{DerivedLeg, DerivedPrice};

use super::{Block, Layout, NAME, OPTIONAL_DECIMAL, OPTIONAL_NAME, OPTIONAL_TEXT, OPTIONAL_TIME, Row, TIME, source};

/// Rows of `derived_prices`.
pub const LAYOUT: Layout = Layout {
    table: "derived_prices",
    columns: &[&[
        ("tenant_id", NAME),
        ("series", NAME),
        ("kind", NAME),
        ("timestamp", TIME),
        ("value", OPTIONAL_DECIMAL),
        ("unit", NAME),
        ("first_role", OPTIONAL_NAME),
        ("first_instrument", OPTIONAL_NAME),
        ("first_price", OPTIONAL_DECIMAL),
        ("first_time", OPTIONAL_TIME),
        ("first_age", "Nullable(Int64)"),
        ("first_origin", OPTIONAL_TEXT),
        ("second_role", OPTIONAL_NAME),
        ("second_instrument", OPTIONAL_NAME),
        ("second_price", OPTIONAL_DECIMAL),
        ("second_time", OPTIONAL_TIME),
        ("second_age", "Nullable(Int64)"),
        ("second_origin", OPTIONAL_TEXT),
        ("log_clock", TIME),
        ("version", "UInt64"),
        ("kept_version", "UInt64"),
        ("revision", "Int32"),
        ("cause", NAME),
        ("cause_origin", "String"),
        ("src_partition", "Int32"),
        ("src_offset", "Int64"),
    ]],
    has_origin: false,
};

/// Appends the row of a derived price that was read from this position of its topic.
pub fn encode(price: &DerivedPrice<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    let mut row = out.row();
    row.name(price.tenant_id);
    row.name(price.series);
    row.name(price.kind);
    row.time(price.event_time);
    row.optional_decimal(price.value);
    row.name(price.unit);
    let mut legs = price.legs.iter();
    for _ in 0..2 {
        leg(legs.next(), &mut row);
    }
    row.time(price.log_clock);
    row.int64(price.version);
    // The same again, in the sorting key.
    row.int64(price.version);
    row.int32(price.revision);
    row.name(price.cause.name());
    row.text(price.cause_origin.to_string());
    source(src_partition, src_offset, &mut row);
    row.end();
}

fn leg(leg: Option<&DerivedLeg<'_>>, row: &mut Row<'_>) {
    row.optional_name(leg.map(|leg| leg.role));
    row.optional_name(leg.map(|leg| leg.instrument_id));
    row.optional_decimal(leg.map(|leg| leg.price));
    row.optional_int64(leg.map(|leg| leg.event_time));
    row.optional_int64(leg.map(|leg| leg.age));
    row.optional_text(leg.map(|leg| leg.origin.to_string()).as_deref());
}
