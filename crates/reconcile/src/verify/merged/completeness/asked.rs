//! What the check of completeness reads, for its parts.

use stores::ClickHouse;

use crate::verify::merged::calendar::Calendars;

/// The server, the calendars, and both sides of the comparison.
pub(super) struct Asked<'a> {
    pub(super) clickhouse: &'a ClickHouse,
    pub(super) calendars: &'a Calendars,
    /// `market_ticks` of the generation.
    pub(super) ticks: String,
    /// The view of the generation.
    pub(super) view: String,
}
