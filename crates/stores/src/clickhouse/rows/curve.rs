//! A row of `curve_snapshots`: one version of a snapshot of a curve to one horizon.
//!
//! Points and quotes are JSON texts with the names of the record's fields. A time in them is a number of microseconds.

use domain::{CurveInput, CurvePoint, CurveSnapshot};
use serde_json::{Value, json};

use super::{Block, DAY, Layout, NAME, TIME, source};

/// Rows of `curve_snapshots`.
pub const LAYOUT: Layout = Layout {
    table: "curve_snapshots",
    columns: &[&[
        ("tenant_id", NAME),
        ("curve_id", NAME),
        ("market", NAME),
        ("horizon", NAME),
        ("as_of", TIME),
        ("day", DAY),
        ("method", NAME),
        ("definition", NAME),
        ("points", "String"),
        ("inputs", "String"),
        ("log_clock", TIME),
        ("version", "UInt64"),
        ("revision", "Int32"),
        ("cause", NAME),
        ("origin", "String"),
        ("src_partition", "Int32"),
        ("src_offset", "Int64"),
    ]],
    has_origin: false,
};

/// Appends the row of a snapshot that was read from this position of its topic.
pub fn encode(snapshot: &CurveSnapshot<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    let points: Value = snapshot.points.iter().map(point).collect();
    let inputs: Value = snapshot.inputs.iter().map(input).collect();
    let mut row = out.row();
    row.name(snapshot.tenant_id);
    row.name(snapshot.curve_id);
    row.name(snapshot.market);
    row.name(snapshot.horizon);
    row.time(snapshot.as_of);
    row.int32(snapshot.day);
    row.name(snapshot.method);
    row.name(snapshot.definition);
    row.text(points.to_string());
    row.text(inputs.to_string());
    row.time(snapshot.log_clock);
    row.int64(snapshot.version);
    row.int32(snapshot.revision);
    row.name(snapshot.cause.name());
    row.text(snapshot.origin.to_string());
    source(src_partition, src_offset, &mut row);
    row.end();
}

fn point(point: &CurvePoint<'_>) -> Value {
    json!({
        "contract": point.contract,
        "block": point.block,
        "delivery_start": point.delivery_start,
        "delivery_end": point.delivery_end,
        "price": point.price,
        "volume": point.volume,
        "confidence": point.confidence,
        "method": point.method,
        "extrapolated": point.extrapolated,
        "sources": point.sources,
    })
}

fn input(input: &CurveInput<'_>) -> Value {
    json!({
        "contract": input.contract,
        "block": input.block,
        "price": input.price,
        "curve_price": input.curve_price,
        "residual": input.residual,
        "state": input.state,
        "implied_by": input.implied_by,
        "source": input.source,
        "known_at": input.known_at,
    })
}
