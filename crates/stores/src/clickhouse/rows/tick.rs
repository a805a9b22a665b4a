//! A row of `market_ticks`, and the part of it that `enriched_ticks` shares.

use domain::{Kind, QualityFlags, Tick};

use super::{
    Columns, DECIMAL, Layout, OPTIONAL_DECIMAL, OPTIONAL_TEXT, OPTIONAL_TIME, ORIGIN, TIME, decimal, length,
    optional_decimal, optional_int64, optional_text, origin, source, text, time,
};

/// Rows of `market_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "market_ticks",
    columns: &[VALUES, ORIGIN, TIMES],
    has_origin: true,
};

/// The columns of [`values`].
pub(super) const VALUES: Columns = &[
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
];

/// The columns of [`place`] after the origin.
pub(super) const TIMES: Columns = &[("appended_at", TIME), ("normalized_at", TIME)];

/// Appends the row of a tick that was read from this position of the normalized topic.
pub fn encode(tick: &Tick<'_>, src_partition: i32, src_offset: i64, out: &mut Vec<u8>) {
    values(tick, out);
    place(tick, src_partition, src_offset, out);
}

/// The columns before the origin.
#[inline]
pub(super) fn values(tick: &Tick<'_>, out: &mut Vec<u8>) {
    text(tick.tenant_id, out);
    text(tick.instrument_id, out);
    time(tick.event_time, out);
    text(tick.market, out);
    text(tick.product, out);
    out.push(match tick.kind {
        Kind::Trade => 1,
        Kind::Interval => 2,
    });
    decimal(tick.price, out);
    for value in [
        tick.volume,
        tick.bid,
        tick.ask,
        tick.energy,
        tick.congestion,
        tick.loss,
        tick.ghg,
    ] {
        optional_decimal(value, out);
    }
    text(tick.currency, out);
    text(tick.unit, out);
    for value in [
        tick.symbol,
        tick.node,
        tick.zone,
        tick.hub,
        tick.market_status,
        tick.version,
    ] {
        optional_text(value, out);
    }
    optional_int64(tick.interval_end, out);
    quality_flags(tick.quality_flags, out);
    text(tick.source_system, out);
    optional_int64(tick.sequence, out);
    text(tick.source_event_id, out);
    text(tick.correlation_id, out);
    optional_text(tick.causation_id, out);
}

/// Origin, source and times.
#[inline]
pub(super) fn place(tick: &Tick<'_>, src_partition: i32, src_offset: i64, out: &mut Vec<u8>) {
    origin(&tick.origin, out);
    source(src_partition, src_offset, out);
    time(tick.appended_at, out);
    time(tick.normalized_at, out);
}

fn quality_flags(flags: QualityFlags, out: &mut Vec<u8>) {
    length(flags.bits().count_ones() as usize, out);
    // Few flags are set, so walking the set bits is faster than testing every flag.
    let mut bits = flags.bits();
    while bits != 0 {
        let index = bits.trailing_zeros() as usize;
        text(domain::QualityFlag::ALL.get(index).map_or("", |flag| flag.name()), out);
        bits &= bits - 1;
    }
}
