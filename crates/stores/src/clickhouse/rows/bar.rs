//! A row of `bars`: one version of one bar.

use domain::{Bar, BarCause};

use super::{Block, DECIMAL, Layout, NAME, OPTIONAL_DECIMAL, TIME, origin, source};

/// Rows of `bars`.
pub const LAYOUT: Layout = Layout {
    table: "bars",
    columns: &[&[
        ("tenant_id", NAME),
        ("instrument_id", NAME),
        ("interval", NAME),
        ("window_start", TIME),
        ("window_end", TIME),
        ("market", NAME),
        ("open", DECIMAL),
        ("high", DECIMAL),
        ("low", DECIMAL),
        ("close", DECIMAL),
        ("volume", "Decimal(38, 8)"),
        ("turnover", "Decimal(38, 16)"),
        ("vwap", OPTIONAL_DECIMAL),
        ("twap", OPTIONAL_DECIMAL),
        ("price_seconds", "Decimal(38, 8)"),
        ("priced_seconds", "Int64"),
        ("trade_count", "Int64"),
        ("open_time", TIME),
        ("first_feed", NAME),
        ("first_partition", "Int32"),
        ("first_offset", "Int64"),
        ("first_index", "Int32"),
        ("close_time", TIME),
        ("last_feed", NAME),
        ("last_partition", "Int32"),
        ("last_offset", "Int64"),
        ("last_index", "Int32"),
        ("revision", "Int32"),
        ("cause", NAME),
        ("closed", "Bool"),
        ("version", "UInt64"),
        ("last_appended_at", TIME),
        ("src_partition", "Int32"),
        ("src_offset", "Int64"),
    ]],
    has_origin: false,
};

/// Appends the row of a bar that was read from this position of the bars topic.
pub fn encode(bar: &Bar<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    let mut row = out.row();
    row.name(bar.tenant_id);
    row.name(bar.instrument_id);
    row.name(bar.window.interval.name());
    row.time(bar.window.start);
    row.time(bar.window.end());
    row.name(bar.market);
    for price in [bar.open, bar.high, bar.low, bar.close] {
        row.decimal(price);
    }
    row.fixed(bar.volume.to_le_bytes());
    row.fixed(bar.turnover.0.to_le_bytes());
    row.optional_decimal(bar.vwap);
    row.optional_decimal(bar.time_weighted.twap());
    row.fixed(bar.time_weighted.price_seconds.to_le_bytes());
    row.int64(bar.time_weighted.seconds);
    row.int64(bar.trade_count);
    row.time(bar.open_time);
    origin(&bar.first_origin, &mut row);
    row.time(bar.close_time);
    origin(&bar.last_origin, &mut row);
    row.int32(bar.revision);
    row.name(bar.cause.map_or("", BarCause::name));
    row.byte(u8::from(bar.version.closed));
    row.fixed(bar.version.as_u64().to_le_bytes());
    row.time(bar.last_appended_at);
    source(src_partition, src_offset, &mut row);
    row.end();
}
