//! Blocks in ClickHouse's Native format: rows are appended value by value, and stored column by column.
//!
//! Role: [`Block`] is what an insert sends. The server reads a column with one copy, where a row format costs it a dispatch for
//! every value (docs/performance.md). Blocks concatenate, so one insert may carry the blocks of several partitions.
//! The `clickhouse` crate (0.15.3) also builds such blocks, but it writes every value through a dynamically checked tree of types,
//! has no decimals, and sends names without dictionaries.
//! Invariants: values are appended in the order of the [`Layout`]; a row is appended whole. The layout of the bytes is that of
//! revision 0, which HTTP uses: columns, rows, then name, type and values of each column
//! (<https://clickhouse.com/docs/reference/formats/Native>).
//! Failure: none. A value that does not belong to its column leaves columns of different lengths, and the server refuses the
//! block; `tests/rows.rs` sends rows of every table.

mod column;
mod dictionary;

use domain::{Decimal, Micros};

use super::Layout;
use column::Column;

/// Rows of one table that are not sent yet.
#[derive(Debug, Clone)]
pub struct Block {
    layout: &'static Layout,
    columns: Vec<Column>,
    /// The column of the next value.
    next: usize,
    rows: usize,
    bytes: usize,
}

impl Block {
    /// A block without rows.
    pub fn new(layout: &'static Layout) -> Block {
        Block {
            layout,
            columns: layout.fields().map(|(_, kind)| Column::of(kind)).collect(),
            next: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Upper bound of the bytes of its values: dictionaries repeat no text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Removes all rows, and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.columns.iter_mut().for_each(Column::clear);
        (self.next, self.rows, self.bytes) = (0, 0, 0);
    }

    /// The bytes of the block.
    pub fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes + 64 * self.columns.len());
        varint(self.columns.len(), &mut out);
        varint(self.rows, &mut out);
        for ((name, kind), column) in self.layout.fields().zip(&self.columns) {
            text(name.as_bytes(), &mut out);
            text(kind.as_bytes(), &mut out);
            column.write(&mut out);
        }
        out
    }

    /// Ends the row that the values since the last call make up.
    pub fn end_row(&mut self) {
        self.next = 0;
        self.rows += 1;
    }

    fn put(&mut self, bytes: usize, put: impl FnOnce(&mut Column)) {
        if let Some(column) = self.columns.get_mut(self.next) {
            put(column);
        }
        self.next += 1;
        self.bytes += bytes;
    }

    #[inline]
    pub(crate) fn text(&mut self, value: &str) {
        self.put(value.len() + 1, |column| column.text(value));
    }

    #[inline]
    pub(crate) fn optional_text(&mut self, value: Option<&str>) {
        self.put(value.map_or(2, |value| value.len() + 2), |column| {
            column.optional_text(value)
        });
    }

    #[inline]
    pub(crate) fn texts<'v>(&mut self, values: impl Iterator<Item = &'v str>) {
        let mut bytes = 8;
        self.put(0, |column| bytes += column.texts(values));
        self.bytes += bytes;
    }

    #[inline]
    pub(crate) fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        self.put(N, |column| column.fixed(value));
    }

    #[inline]
    pub(crate) fn optional_fixed<const N: usize>(&mut self, value: Option<[u8; N]>) {
        self.put(N + 1, |column| column.optional_fixed(value));
    }

    #[inline]
    pub(crate) fn byte(&mut self, value: u8) {
        self.fixed([value]);
    }

    #[inline]
    pub(crate) fn int32(&mut self, value: i32) {
        self.fixed(value.to_le_bytes());
    }

    #[inline]
    pub(crate) fn int64(&mut self, value: i64) {
        self.fixed(value.to_le_bytes());
    }

    #[inline]
    pub(crate) fn optional_int64(&mut self, value: Option<i64>) {
        self.optional_fixed(value.map(i64::to_le_bytes));
    }

    #[inline]
    pub(crate) fn time(&mut self, value: Micros) {
        self.int64(value);
    }

    #[inline]
    pub(crate) fn decimal(&mut self, value: Decimal) {
        self.int64(value.unscaled());
    }

    #[inline]
    pub(crate) fn optional_decimal(&mut self, value: Option<Decimal>) {
        self.optional_int64(value.map(Decimal::unscaled));
    }
}

/// LEB128, as in every format of ClickHouse.
fn varint(value: usize, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Length, then bytes.
#[inline]
fn text(value: &[u8], out: &mut Vec<u8>) {
    varint(value.len(), out);
    out.extend_from_slice(value);
}
