//! A row of `late_ticks`: a tick that some of its windows do not count.

use domain::{Interval, LateTick};

use super::{Block, DECIMAL, Layout, NAME, NAMES, OPTIONAL_DECIMAL, ORIGIN, TIME, origin, source};

/// Rows of `late_ticks`.
pub const LAYOUT: Layout = Layout {
    table: "late_ticks",
    columns: &[
        &[
            ("tenant_id", NAME),
            ("instrument_id", NAME),
            ("timestamp", TIME),
            ("price", DECIMAL),
            ("volume", OPTIONAL_DECIMAL),
            ("intervals", NAMES),
            ("watermark", TIME),
            ("enriched_offset", "Int64"),
        ],
        ORIGIN,
    ],
    has_origin: true,
};

/// Appends the row of a late tick that was read from this position of the late topic.
pub fn encode(late: &LateTick<'_>, src_partition: i32, src_offset: i64, out: &mut Block) {
    let mut row = out.row();
    row.name(late.tenant_id);
    row.name(late.instrument_id);
    row.time(late.event_time);
    row.decimal(late.price);
    row.optional_decimal(late.volume);
    let is_missed = |interval: &&Interval| late.missed_intervals & (1 << interval.index()) != 0;
    row.names(Interval::ALL.iter().filter(is_missed).map(|interval| interval.name()));
    row.time(late.watermark);
    row.int64(late.enriched_offset);
    origin(&late.origin, &mut row);
    source(src_partition, src_offset, &mut row);
    row.end();
}
