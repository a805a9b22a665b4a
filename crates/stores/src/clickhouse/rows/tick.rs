//! A row of `market_ticks`, and the part of it that `enriched_ticks` shares.

use domain::{Kind, QualityFlags, TickOf};

use super::{
    Block, Columns, DECIMAL, Layout, NAME, NAMES, OPTIONAL_DECIMAL, OPTIONAL_NAME, OPTIONAL_TEXT, OPTIONAL_TIME,
    ORIGIN, Row, TIME, origin, source,
};

/// Rows of `market_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "market_ticks",
    columns: &[VALUES, TRANSPORT, ORIGIN],
    has_origin: true,
};

/// The columns of [`values`]: what bars and analysts read.
pub(super) const VALUES: Columns = &[
    ("tenant_id", NAME),
    ("instrument_id", NAME),
    ("timestamp", TIME),
    ("market", NAME),
    ("product", NAME),
    ("kind", "Enum8('trade' = 1, 'interval' = 2)"),
    ("price", DECIMAL),
    ("volume", OPTIONAL_DECIMAL),
    ("energy", OPTIONAL_DECIMAL),
    ("congestion", OPTIONAL_DECIMAL),
    ("loss", OPTIONAL_DECIMAL),
    ("ghg", OPTIONAL_DECIMAL),
    ("currency", NAME),
    ("unit", NAME),
    ("version", OPTIONAL_NAME),
    ("interval_end", OPTIONAL_TIME),
    ("quality_flags", NAMES),
    ("sequence", "Nullable(Int64)"),
    ("appended_at", TIME),
];

/// The columns of [`transport`]: how the tick came here, and what its producer said beside the price. Only `market_ticks` has
/// them, because a row of `enriched_ticks` leads to its row here by its origin.
const TRANSPORT: Columns = &[
    ("bid", OPTIONAL_DECIMAL),
    ("ask", OPTIONAL_DECIMAL),
    ("symbol", OPTIONAL_NAME),
    ("node", OPTIONAL_NAME),
    ("zone", OPTIONAL_NAME),
    ("hub", OPTIONAL_NAME),
    ("market_status", OPTIONAL_NAME),
    ("source_system", NAME),
    ("source_event_id", "String"),
    ("correlation_id", "String"),
    ("causation_id", OPTIONAL_TEXT),
    ("normalized_at", TIME),
];

/// Appends the row of a tick, with texts in any form, that was read from this position of the normalized topic.
pub fn encode<T: AsRef<[u8]> + Copy>(tick: &TickOf<'_, T>, src_partition: i32, src_offset: i64, out: &mut Block) {
    let mut row = out.row();
    values(tick, &mut row);
    transport(tick, &mut row);
    origin(&tick.origin, &mut row);
    source(src_partition, src_offset, &mut row);
    row.end();
}

#[inline]
pub(super) fn values<T: AsRef<[u8]> + Copy>(tick: &TickOf<'_, T>, out: &mut Row<'_>) {
    out.name(tick.tenant_id);
    out.name(tick.instrument_id);
    out.time(tick.event_time);
    out.name(tick.market);
    out.name(tick.product);
    out.byte(match tick.kind {
        Kind::Trade => 1,
        Kind::Interval => 2,
    });
    out.decimal(tick.price);
    for value in [tick.volume, tick.energy, tick.congestion, tick.loss, tick.ghg] {
        out.optional_decimal(value);
    }
    out.name(tick.currency);
    out.name(tick.unit);
    out.optional_name(tick.version);
    out.optional_int64(tick.interval_end);
    quality_flags(tick.quality_flags, out);
    out.optional_int64(tick.sequence);
    out.time(tick.appended_at);
}

#[inline]
fn transport<T: AsRef<[u8]> + Copy>(tick: &TickOf<'_, T>, out: &mut Row<'_>) {
    out.optional_decimal(tick.bid);
    out.optional_decimal(tick.ask);
    for value in [tick.symbol, tick.node, tick.zone, tick.hub, tick.market_status] {
        out.optional_name(value);
    }
    out.name(tick.source_system);
    out.text(tick.source_event_id);
    out.text(tick.correlation_id);
    out.optional_text(tick.causation_id);
    out.time(tick.normalized_at);
}

#[inline]
fn quality_flags(flags: QualityFlags, out: &mut Row<'_>) {
    // Few flags are set, so walking the set bits is faster than testing every flag.
    let mut bits = flags.bits();
    out.names(std::iter::from_fn(|| {
        let index = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        domain::QualityFlag::ALL.get(index).map(|flag| flag.name())
    }));
}
