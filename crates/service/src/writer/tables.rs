//! The tables that ClickHouse writers fill: one [`TableSpec`] for each, and the only list of them.
//!
//! A new table is its rows in `stores::clickhouse::rows`, its migration, and one row here: the writer of its service then
//! fills it, and `dp` knows its position, its topic and how to recreate it.

use std::time::Duration;

use codec::{CodecError, Record, Wire};
use domain::{Classified, ErrorClass, Micros};
use stores::clickhouse::{Block, Layout, rows};
use stream::table_writer::{Accept, BadRow, RowError};
use stream::{Message, StreamError};

use crate::names::Names;

/// Appends the row of a message with this value, if `accept` accepts its origin. Returns the append time of the raw message.
pub(super) type Encode =
    fn(&Wire, &[u8], &Message<'_>, &mut Accept<'_>, &mut Block) -> Result<Option<Micros>, RowError>;

/// A table that a writer fills.
pub struct TableSpec {
    /// The name without the suffix of a generation.
    pub name: &'static str,
    /// The service whose writer fills it.
    pub service: &'static str,
    /// The topic whose messages become its rows.
    pub topic: fn(&Names) -> &String,
    /// Its columns.
    pub layout: &'static Layout,
    /// How long rows may wait to be inserted together.
    pub freshness: Duration,
    /// The schema of those messages.
    pub record: Record,
    pub(super) encode: Encode,
}

/// Every table, in the order of the data flow.
pub static TABLES: [&TableSpec; 6] = [
    &MARKET_TICKS,
    &ENRICHED_TICKS,
    &BARS,
    &LATE_TICKS,
    &DERIVED_PRICES,
    &CURVE_SNAPSHOTS,
];

/// Every accepted tick.
pub static MARKET_TICKS: TableSpec = TableSpec {
    name: "market_ticks",
    service: "normalization",
    topic: |names| &names.normalized,
    layout: &rows::tick::LAYOUT,
    freshness: Duration::from_secs(5),
    record: Record::Tick,
    encode: |wire, payload, message, accept, out| {
        let tick = wire.view_tick(payload).map_err(bad)?;
        if !accept(&tick.origin)? {
            return Ok(None);
        }
        rows::tick::encode(&tick, message.partition, message.offset, out);
        Ok(Some(tick.appended_at))
    },
};

/// Ticks with reference data. A late tick is restated only when its row can be read, so rows wait less here.
pub static ENRICHED_TICKS: TableSpec = TableSpec {
    name: "enriched_ticks",
    service: "enrichment",
    topic: |names| &names.enriched,
    layout: &rows::enriched::LAYOUT,
    freshness: Duration::from_secs(2),
    record: Record::EnrichedTick,
    encode: |wire, payload, message, accept, out| {
        let enriched = wire.view_enriched(payload).map_err(bad)?;
        if !accept(&enriched.tick.origin)? {
            return Ok(None);
        }
        rows::enriched::encode(&enriched, message.partition, message.offset, out);
        Ok(Some(enriched.tick.appended_at))
    },
};

/// Versions of bars: the table keeps the newest version of a window, so every version may be written.
pub static BARS: TableSpec = TableSpec {
    name: "bars",
    service: "aggregation",
    topic: |names| &names.bars,
    layout: &rows::bar::LAYOUT,
    freshness: Duration::from_secs(2),
    record: Record::Bar,
    encode: |wire, payload, message, _, out| {
        let bar = wire.decode_bar(payload).map_err(bad)?;
        rows::bar::encode(&bar, message.partition, message.offset, out);
        Ok(Some(bar.last_appended_at))
    },
};

/// Ticks that came too late for a window in memory.
pub static LATE_TICKS: TableSpec = TableSpec {
    name: "late_ticks",
    service: "aggregation",
    topic: |names| &names.late,
    layout: &rows::late::LAYOUT,
    freshness: Duration::from_secs(2),
    record: Record::LateTick,
    encode: |wire, payload, message, accept, out| {
        let late = wire.decode_late(payload).map_err(bad)?;
        if !accept(&late.origin)? {
            return Ok(None);
        }
        rows::late::encode(&late, message.partition, message.offset, out);
        Ok(Some(message.timestamp))
    },
};

/// Versions of derived prices: the table keeps all of them.
pub static DERIVED_PRICES: TableSpec = TableSpec {
    name: "derived_prices",
    service: "aggregation",
    topic: |names| &names.derived,
    layout: &rows::derived::LAYOUT,
    freshness: Duration::from_secs(2),
    record: Record::DerivedPrice,
    encode: |wire, payload, message, _, out| {
        let price = wire.decode_derived(payload).map_err(bad)?;
        rows::derived::encode(&price, message.partition, message.offset, out);
        Ok(Some(price.log_clock))
    },
};

/// Versions of snapshots of curves: the table keeps all of them.
pub static CURVE_SNAPSHOTS: TableSpec = TableSpec {
    name: "curve_snapshots",
    service: "aggregation",
    topic: |names| &names.curves,
    layout: &rows::curve::LAYOUT,
    freshness: Duration::from_secs(2),
    record: Record::CurveSnapshot,
    encode: |wire, payload, message, _, out| {
        let snapshot = wire.decode_curve(payload).map_err(bad)?;
        rows::curve::encode(&snapshot, message.partition, message.offset, out);
        Ok(Some(snapshot.as_of))
    },
};

impl TableSpec {
    /// The table of this name without the suffix of a generation.
    pub fn named(name: &str) -> Option<&'static TableSpec> {
        TABLES.into_iter().find(|table| table.name == name)
    }

    /// The tables that this service's writer fills.
    pub fn of(service: &str) -> impl Iterator<Item = &'static TableSpec> {
        TABLES.into_iter().filter(move |table| table.service == service)
    }
}

fn bad(error: CodecError) -> RowError {
    let (code, message) = (error.code(), error.to_string());
    match error.class() {
        ErrorClass::Poison => RowError::Bad(BadRow { code, message }),
        _ => RowError::Later(StreamError::transient(code, format!("read a record: {message}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_found_by_the_name_of_its_layout_and_has_a_writer() {
        for table in TABLES {
            assert_eq!(table.name, table.layout.table);
            assert!(TableSpec::named(table.name).is_some_and(|found| std::ptr::eq(found, table)));
            assert!(TableSpec::of(table.service).any(|of| std::ptr::eq(of, table)));
        }
    }
}
