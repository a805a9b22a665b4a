//! The tables that ClickHouse writers fill: one [`TableSpec`] for each, and the only list of them.
//!
//! A new table is its rows in `stores::clickhouse::rows`, its migration, and one row here: the writer of its service then
//! fills it, and `dp` knows its position, its topic, how to recreate it, how its rows are named and which tables they are made of.
//! How `dp verify` compares it is one file and one row in `verify/comparisons` of `crates/reconcile`, which this crate cannot name.

use std::time::Duration;

use codec::{CodecError, Record, Wire};
use domain::{Classified, ErrorClass, Micros};
use stores::clickhouse::{Block, Layout, literal, rows};
use stream::table_writer::{Accept, BadRow, RowError};
use stream::{Message, StreamError};

use super::versioned::{Since, Uses, VersionKey, Versioned};
use crate::names::Names;

const DAY: Micros = 86_400_000_000;

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
    /// The tables of the ticks that its rows are made of: while one of them lacks rows, its own cannot be judged.
    pub made_of: &'static [&'static TableSpec],
    /// How it keeps versions of its rows; `None` if it has one row for each accepted tick.
    pub versions: Option<Versioned>,
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
    made_of: &[],
    versions: None,
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
    made_of: &[&MARKET_TICKS],
    versions: None,
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
    made_of: &[&ENRICHED_TICKS],
    versions: Some(Versioned {
        name: "instrument_id",
        span: Some("interval"),
        time: "window_start",
        keeps_all: false,
        of_record: |wire, payload| {
            let bar = wire.decode_bar(payload)?;
            let (interval, start) = (bar.window.interval.name(), bar.window.start);
            let key = VersionKey::new(bar.tenant_id, bar.instrument_id, interval, start);
            Ok((key, bar.version.as_u64()))
        },
        cure: "aggregation computes the bar again with the next late tick of its window",
        uses: None,
    }),
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
    made_of: &[&ENRICHED_TICKS],
    versions: None,
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
    made_of: &[&ENRICHED_TICKS, &MARKET_TICKS],
    versions: Some(Versioned {
        name: "series",
        span: None,
        time: "timestamp",
        keeps_all: true,
        of_record: |wire, payload| {
            let price = wire.decode_derived(payload)?;
            let key = VersionKey::new(price.tenant_id, price.series, "", price.event_time);
            Ok((key, price.version.unsigned_abs()))
        },
        cure: "`dp explain derived` shows which leg is at fault; a price of this leg that is published again computes the values again that it \
            changes",
        uses: Some(Uses {
            among: "",
            since: Since::Event,
            // A price counts in derived prices for a week at most.
            longest: 7 * DAY,
            is_used: |tick| {
                let origin = literal(tick);
                format!("first_origin = {origin} OR second_origin = {origin} OR cause_origin = {origin}")
            },
            note: "derived prices for each tick: those that use it, or that it caused; `dp explain derived` traces one of them",
        }),
    }),
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
    made_of: &[&ENRICHED_TICKS],
    versions: Some(Versioned {
        name: "curve_id",
        span: Some("horizon"),
        time: "as_of",
        keeps_all: true,
        of_record: |wire, payload| {
            let snapshot = wire.decode_curve(payload)?;
            let key = VersionKey::new(snapshot.tenant_id, snapshot.curve_id, snapshot.horizon, snapshot.as_of);
            Ok((key, snapshot.version.unsigned_abs()))
        },
        cure: "`dp explain curve` shows which quote is at fault; a settlement of it that is published again makes a new snapshot",
        uses: Some(Uses {
            among: " AND horizon = 'all'",
            since: Since::Append,
            // A quote counts in snapshots for eight days at most, and revises those of four days before.
            longest: 9 * DAY,
            is_used: |tick| format!("position(inputs, {}) > 0", literal(&format!("\"{tick}\""))),
            note: "snapshots for each tick that have it as a quote, to horizon all; `dp explain curve` traces one of them",
        }),
    }),
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

    /// The label `stage` of the latency that its writer reports.
    pub fn stage(&self) -> String {
        format!("clickhouse_{}", self.name)
    }

    /// The name of a row in a message, as SQL: its tick, or what it is about if it follows from many ticks.
    pub fn row_name(&self) -> String {
        let versions = self.versions.as_ref();
        versions.map_or_else(|| "tick_id".to_owned(), Versioned::row_name)
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

    #[test]
    fn the_columns_of_a_key_are_columns_of_the_table() {
        for table in TABLES {
            let Some(versions) = &table.versions else { continue };
            assert!(!table.made_of.is_empty(), "{}", table.name);
            for column in versions.key().split(", ").chain(["version"]) {
                let has = table.layout.fields().any(|(name, _)| name == column);
                assert!(has, "{} has no {column}", table.name);
            }
        }
    }
}
