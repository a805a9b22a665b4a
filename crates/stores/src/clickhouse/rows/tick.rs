//! A row of `market_ticks`, and the part of it that `enriched_ticks` shares.

use domain::{Kind, QualityFlags, Tick};

use super::{
    Block, Columns, DECIMAL, Layout, NAME, OPTIONAL_DECIMAL, OPTIONAL_NAME, OPTIONAL_TEXT, OPTIONAL_TIME, ORIGIN, TIME,
    origin, source,
};

/// Rows of `market_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "market_ticks",
    columns: &[VALUES, ORIGIN, TIMES],
    has_origin: true,
};

/// The columns of [`values`].
pub(super) const VALUES: Columns = &[
    ("tenant_id", NAME),
    ("instrument_id", NAME),
    ("timestamp", TIME),
    ("market", NAME),
    ("product", NAME),
    ("kind", "Enum8('trade' = 1, 'interval' = 2)"),
    ("price", DECIMAL),
    ("volume", OPTIONAL_DECIMAL),
    ("bid", OPTIONAL_DECIMAL),
    ("ask", OPTIONAL_DECIMAL),
    ("energy", OPTIONAL_DECIMAL),
    ("congestion", OPTIONAL_DECIMAL),
    ("loss", OPTIONAL_DECIMAL),
    ("ghg", OPTIONAL_DECIMAL),
    ("currency", NAME),
    ("unit", NAME),
    ("symbol", OPTIONAL_NAME),
    ("node", OPTIONAL_NAME),
    ("zone", OPTIONAL_NAME),
    ("hub", OPTIONAL_NAME),
    ("market_status", OPTIONAL_NAME),
    ("version", OPTIONAL_NAME),
    ("interval_end", OPTIONAL_TIME),
    ("quality_flags", "Array(String)"),
    ("source_system", NAME),
    ("sequence", "Nullable(Int64)"),
    ("source_event_id", "String"),
    ("correlation_id", "String"),
    ("causation_id", OPTIONAL_TEXT),
];

/// The columns of [`place`] after the origin.
pub(super) const TIMES: Columns = &[("appended_at", TIME), ("normalized_at", TIME)];

/// Appends the row of a tick that was read from this position of the normalized topic.
pub fn encode(tick: &Tick<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    values(tick, out);
    place(tick, src_partition, src_offset, out);
    out.end_row();
}

/// The columns before the origin.
#[inline]
pub(super) fn values(tick: &Tick<'_>, out: &mut Block) {
    out.text(tick.tenant_id);
    out.text(tick.instrument_id);
    out.time(tick.event_time);
    out.text(tick.market);
    out.text(tick.product);
    out.byte(match tick.kind {
        Kind::Trade => 1,
        Kind::Interval => 2,
    });
    out.decimal(tick.price);
    for value in [
        tick.volume,
        tick.bid,
        tick.ask,
        tick.energy,
        tick.congestion,
        tick.loss,
        tick.ghg,
    ] {
        out.optional_decimal(value);
    }
    out.text(tick.currency);
    out.text(tick.unit);
    for value in [
        tick.symbol,
        tick.node,
        tick.zone,
        tick.hub,
        tick.market_status,
        tick.version,
    ] {
        out.optional_text(value);
    }
    out.optional_int64(tick.interval_end);
    quality_flags(tick.quality_flags, out);
    out.text(tick.source_system);
    out.optional_int64(tick.sequence);
    out.text(tick.source_event_id);
    out.text(tick.correlation_id);
    out.optional_text(tick.causation_id);
}

/// Origin, source and times.
#[inline]
pub(super) fn place(tick: &Tick<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    origin(&tick.origin, out);
    source(src_partition, src_offset, out);
    out.time(tick.appended_at);
    out.time(tick.normalized_at);
}

fn quality_flags(flags: QualityFlags, out: &mut Block) {
    // Few flags are set, so walking the set bits is faster than testing every flag.
    let mut bits = flags.bits();
    out.texts(std::iter::from_fn(|| {
        let index = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        domain::QualityFlag::ALL.get(index).map(|flag| flag.name())
    }));
}
