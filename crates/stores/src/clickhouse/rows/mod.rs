//! Rows as ClickHouse reads them from `input()`: RowBinary, written straight from the borrowed domain values.
//!
//! Invariants: the order of the fields is that of [`Layout::structure`] and [`Layout::columns`]. Columns that are
//! `LowCardinality` in the table are declared as plain `String` here, which halves the server's cost per row. `ingested_at`
//! is not a field: the insert statement adds one value for the whole batch.
//! Failure: none; every domain value has a row.

pub mod bar;
pub mod enriched;
pub mod late;
pub mod tick;

use domain::{Decimal, Micros, Origin};

/// Names and types of columns.
pub type Columns = &'static [(&'static str, &'static str)];

/// The layout of a table's rows in `input()`.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Base name of the table, without the suffix of a generation.
    pub table: &'static str,
    /// The columns in the order of the row, in groups that tables share.
    pub columns: &'static [Columns],
    /// Whether rows have an origin, so that the sequencer state can be read back from the table.
    pub has_origin: bool,
}

/// Every layout.
pub const ALL: [&Layout; 4] = [&tick::LAYOUT, &enriched::LAYOUT, &bar::LAYOUT, &late::LAYOUT];

impl Layout {
    /// `tenant_id String, instrument_id String, …`
    pub fn structure(&self) -> String {
        let columns = self.columns.iter().copied().flatten();
        let fields: Vec<String> = columns.map(|(name, kind)| format!("{name} {kind}")).collect();
        fields.join(", ")
    }

    /// `tenant_id, instrument_id, …`
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().copied().flatten().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

pub(crate) const DECIMAL: &str = "Decimal(18, 8)";
pub(crate) const OPTIONAL_DECIMAL: &str = "Nullable(Decimal(18, 8))";
pub(crate) const TIME: &str = "DateTime64(6, \\'UTC\\')";
pub(crate) const OPTIONAL_TIME: &str = "Nullable(DateTime64(6, \\'UTC\\'))";
pub(crate) const OPTIONAL_TEXT: &str = "Nullable(String)";

#[inline]
pub(crate) fn length(value: usize, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
pub(crate) fn text(value: &str, out: &mut Vec<u8>) {
    length(value.len(), out);
    out.extend_from_slice(value.as_bytes());
}

#[inline]
pub(crate) fn optional_text(value: Option<&str>, out: &mut Vec<u8>) {
    match value {
        Some(value) => {
            out.push(0);
            text(value, out);
        }
        None => out.push(1),
    }
}

#[inline]
pub(crate) fn int32(value: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Also times (microseconds) and decimals (unscaled).
#[inline]
pub(crate) fn int64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(crate) fn optional_int64(value: Option<i64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            out.extend_from_slice(&[0, a, b, c, d, e, f, g, h]);
        }
        None => out.push(1),
    }
}

#[inline]
pub(crate) fn decimal(value: Decimal, out: &mut Vec<u8>) {
    int64(value.unscaled(), out);
}

#[inline]
pub(crate) fn optional_decimal(value: Option<Decimal>, out: &mut Vec<u8>) {
    optional_int64(value.map(Decimal::unscaled), out);
}

#[inline]
pub(crate) fn time(value: Micros, out: &mut Vec<u8>) {
    int64(value, out);
}

/// The columns of [`origin`] and [`source`].
pub(crate) const ORIGIN: Columns = &[
    ("feed", "String"),
    ("raw_partition", "Int32"),
    ("raw_offset", "Int64"),
    ("raw_index", "Int32"),
    ("src_partition", "Int32"),
    ("src_offset", "Int64"),
];

#[inline]
pub(crate) fn origin(value: &Origin<'_>, out: &mut Vec<u8>) {
    text(value.feed, out);
    int32(value.partition, out);
    int64(value.offset, out);
    int32(value.index, out);
}

#[inline]
pub(crate) fn source(partition: i32, offset: i64, out: &mut Vec<u8>) {
    int32(partition, out);
    int64(offset, out);
}
