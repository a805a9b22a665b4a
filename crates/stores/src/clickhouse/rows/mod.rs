//! Rows as ClickHouse reads them from `input()`: appended to a [`Block`] straight from the borrowed domain values.
//!
//! Invariants: the order of the fields is that of [`Layout::columns`]. A field has the type of its column in the table, so the
//! server converts nothing. `ingested_at` is not a field: the insert statement adds one value for the whole batch.
//! Failure: none; every domain value has a row.

pub mod bar;
pub mod curve;
pub mod derived;
pub mod enriched;
pub mod late;
pub mod tick;

use domain::Origin;

use super::native::{Block, Row};

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

impl Layout {
    /// `tenant_id String, instrument_id String, …`
    pub fn structure(&self) -> String {
        let fields: Vec<String> = self.fields().map(|(name, kind)| format!("{name} {kind}")).collect();
        fields.join(", ")
    }

    /// `tenant_id, instrument_id, …`
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.fields().map(|(name, _)| name).collect();
        names.join(", ")
    }

    /// Names and types of the fields, in the order of a row.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.columns.iter().copied().flatten().copied()
    }
}

pub(crate) const DECIMAL: &str = "Decimal(18, 8)";
pub(crate) const OPTIONAL_DECIMAL: &str = "Nullable(Decimal(18, 8))";
pub(crate) const TIME: &str = "DateTime64(6, 'UTC')";
pub(crate) const OPTIONAL_TIME: &str = "Nullable(DateTime64(6, 'UTC'))";
pub(crate) const NAME: &str = "LowCardinality(String)";
pub(crate) const OPTIONAL_NAME: &str = "LowCardinality(Nullable(String))";
pub(crate) const DAY: &str = "Date32";
pub(crate) const NAMES: &str = "Array(LowCardinality(String))";
pub(crate) const OPTIONAL_TEXT: &str = "Nullable(String)";

/// The columns of [`origin`] and [`source`].
pub(crate) const ORIGIN: Columns = &[
    ("feed", NAME),
    ("raw_partition", "Int32"),
    ("raw_offset", "Int64"),
    ("raw_index", "Int32"),
    ("src_partition", "Int32"),
    ("src_offset", "Int64"),
];

#[inline]
pub(crate) fn origin(value: &Origin<'_>, out: &mut Row<'_>) {
    out.name(value.feed);
    out.int32(value.partition);
    out.int64(value.offset);
    out.int32(value.index);
}

#[inline]
pub(crate) fn source(partition: i32, offset: i64, out: &mut Row<'_>) {
    out.int32(partition);
    out.int64(offset);
}
