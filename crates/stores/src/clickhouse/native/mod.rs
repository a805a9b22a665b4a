//! Blocks in ClickHouse's Native format: rows are appended value by value, and stored column by column.
//!
//! Role: [`Block`] is what an insert sends. The server reads a column with one copy, where a row format costs it a dispatch for
//! every value (docs/performance.md). Blocks concatenate, so one insert may carry the blocks of several partitions.
//! The `clickhouse` crate (0.15.3) also builds such blocks, but it writes every value through a dynamically checked tree of types,
//! has no decimals, and sends names without dictionaries.
//! Invariants: values are appended in the order of the [`Layout`]; a row is appended whole ([`Row`]). The layout of the bytes is that of
//! revision 0, which HTTP uses: columns, rows, then name, type and values of each column
//! (<https://clickhouse.com/docs/reference/formats/Native>).
//! Failure: none. A value that does not belong to its column leaves columns of different lengths, and the server refuses the
//! block; `tests/servers/rows.rs` sends rows of every table.

mod column;
mod dictionary;

use std::sync::Arc;

use domain::{Decimal, Micros};
use parking_lot::Mutex;

use super::Layout;
use column::Column;
use dictionary::Growth;

/// Rows of one table that are not sent yet. A dropped block leaves its memory to the next copy of an empty one: fresh memory for
/// every batch costs a page fault for each 4 KiB, more than all the rest of a row.
#[derive(Debug)]
pub struct Block {
    layout: &'static Layout,
    columns: Vec<Column>,
    size: Size,
    /// Empty columns with the memory of a dropped copy, or none. Shared by all copies.
    spare: Arc<Mutex<Vec<Column>>>,
}

/// A piece ends with the column that makes it this large.
const PIECE: usize = 256 << 10;
/// A buffer doubles when it grows, and a batch may be smaller than the one before.
const SPARE: usize = 6;

/// How large a block is.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    rows: usize,
    /// Bytes that every row has.
    each: usize,
    /// Bytes beside these: texts, and the keys of dictionaries.
    rest: usize,
}

impl Size {
    fn bytes(self) -> usize {
        self.rows * self.each + self.rest
    }
}

impl Block {
    /// A block without rows.
    pub fn new(layout: &'static Layout) -> Block {
        Block::with(layout, empty(layout), Arc::default())
    }

    fn with(layout: &'static Layout, columns: Vec<Column>, spare: Arc<Mutex<Vec<Column>>>) -> Block {
        let mut block = Block {
            layout,
            columns,
            size: Size::default(),
            spare,
        };
        block.clear();
        block
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.size.rows
    }

    /// Bytes of its values as they are sent. A name counts once, and its number in each row.
    pub fn bytes(&self) -> usize {
        self.size.bytes()
    }

    /// Removes all rows, and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.columns.iter_mut().for_each(Column::clear);
        let kinds = self.layout.fields().map(|(_, kind)| kind);
        self.size = Size {
            each: self
                .columns
                .iter()
                .zip(kinds)
                .map(|(column, kind)| column.row_size(kind))
                .sum(),
            ..Size::default()
        };
    }

    /// The bytes of the block, in pieces of several columns: an insert needs the memory of a piece, not that of the block again.
    pub fn pieces(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut columns = self.layout.fields().zip(&self.columns);
        let mut start = Some((self.columns.len(), self.size.rows));
        std::iter::from_fn(move || {
            let mut piece = Vec::with_capacity(PIECE.min(self.bytes() + 96 * self.columns.len()));
            if let Some((columns, rows)) = start.take() {
                varint(columns, &mut piece);
                varint(rows, &mut piece);
            }
            while piece.len() < PIECE {
                let Some(((name, kind), column)) = columns.next() else {
                    break;
                };
                text(name.as_bytes(), &mut piece);
                text(kind.as_bytes(), &mut piece);
                column.write(self.size.rows, &mut piece);
            }
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Whether a next batch of this size would use the memory. After a backlog it would not.
    fn is_worth_keeping(&self) -> bool {
        let capacity: usize = self.columns.iter().map(Column::capacity).sum();
        self.size.rows > 0 && capacity <= SPARE * self.bytes()
    }

    /// Begins a row. It counts when [`Row::end`] is called, after the values of all columns.
    #[inline]
    pub(crate) fn row(&mut self) -> Row<'_> {
        Row {
            columns: self.columns.iter_mut(),
            size: &mut self.size,
        }
    }
}

impl Clone for Block {
    fn clone(&self) -> Block {
        if self.size.rows > 0 {
            return Block {
                layout: self.layout,
                columns: self.columns.clone(),
                size: self.size,
                spare: Arc::clone(&self.spare),
            };
        }
        let columns = match std::mem::take(&mut *self.spare.lock()) {
            none if none.is_empty() => empty(self.layout),
            columns => columns,
        };
        Block::with(self.layout, columns, Arc::clone(&self.spare))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.is_worth_keeping() {
            *self.spare.lock() = std::mem::take(&mut self.columns);
        }
    }
}

fn empty(layout: &Layout) -> Vec<Column> {
    layout.fields().map(|(_, kind)| Column::of(kind)).collect()
}

/// The values of one row, in the order of the columns. Texts are copied, so their bytes are enough.
pub(crate) struct Row<'b> {
    columns: std::slice::IterMut<'b, Column>,
    size: &'b mut Size,
}

impl Row<'_> {
    /// Ends the row.
    #[inline]
    pub fn end(self) {
        self.size.rows += 1;
    }

    /// A value of a `LowCardinality` column.
    #[inline]
    pub fn name(&mut self, value: impl AsRef<[u8]>) {
        self.optional_name(Some(value));
    }

    #[inline]
    pub fn optional_name(&mut self, value: Option<impl AsRef<[u8]>>) {
        let (column, value) = (self.columns.next(), value.as_ref().map(AsRef::as_ref));
        if let Some(Growth { key, each }) = column.and_then(|column| column.name(value, self.size.rows)) {
            self.size.rest += key;
            self.size.each += each;
        }
    }

    #[inline]
    pub fn names<'v>(&mut self, values: impl Iterator<Item = &'v str>) {
        if let Some(column) = self.columns.next() {
            self.size.rest += column.names(values);
        }
    }

    /// A value of a `String` column.
    #[inline]
    pub fn text(&mut self, value: impl AsRef<[u8]>) {
        if let Some(column) = self.columns.next() {
            self.size.rest += column.text(value.as_ref());
        }
    }

    #[inline]
    pub fn optional_text(&mut self, value: Option<impl AsRef<[u8]>>) {
        if let (Some(column), Some(value)) = (self.columns.next(), value) {
            self.size.rest += column.optional_text(value.as_ref(), self.size.rows);
        }
    }

    #[inline]
    pub fn fixed<const N: usize>(&mut self, value: [u8; N]) {
        if let Some(column) = self.columns.next() {
            column.fixed(value);
        }
    }

    #[inline]
    pub fn byte(&mut self, value: u8) {
        self.fixed([value]);
    }

    #[inline]
    pub fn int32(&mut self, value: i32) {
        self.fixed(value.to_le_bytes());
    }

    #[inline]
    pub fn int64(&mut self, value: i64) {
        self.fixed(value.to_le_bytes());
    }

    #[inline]
    pub fn optional_int64(&mut self, value: Option<i64>) {
        if let (Some(column), Some(value)) = (self.columns.next(), value) {
            column.optional_fixed(value.to_le_bytes(), self.size.rows);
        }
    }

    #[inline]
    pub fn time(&mut self, value: Micros) {
        self.int64(value);
    }

    #[inline]
    pub fn decimal(&mut self, value: Decimal) {
        self.int64(value.unscaled());
    }

    #[inline]
    pub fn optional_decimal(&mut self, value: Option<Decimal>) {
        self.optional_int64(value.map(Decimal::unscaled));
    }
}

/// LEB128, as in every format of ClickHouse.
#[inline]
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

/// Bytes of a text of this length.
#[inline]
fn text_size(length: usize) -> usize {
    length + 1 + length.max(1).ilog2() as usize / 7
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: Layout = Layout {
        table: "kinds",
        columns: &[&[
            ("name", "LowCardinality(String)"),
            ("optional_name", "LowCardinality(Nullable(String))"),
            ("names", "Array(LowCardinality(String))"),
            ("text", "String"),
            ("optional_text", "Nullable(String)"),
            ("number", "Int32"),
            ("optional_number", "Nullable(Int64)"),
            ("amount", "Decimal(38, 8)"),
        ]],
        has_origin: false,
    };

    fn bytes(block: &Block) -> Vec<u8> {
        block.pieces().flatten().collect()
    }

    fn fill(block: &mut Block, rows: usize) {
        for number in 0..rows {
            let text = "t".repeat(number % 300);
            let mut row = block.row();
            row.name(number.to_string());
            row.optional_name(number.is_multiple_of(3).then_some(&text));
            row.names(["a", "b"].into_iter().take(number % 3));
            row.text(&text);
            row.optional_text(number.is_multiple_of(5).then_some(&text));
            row.int32(1);
            row.optional_int64(number.is_multiple_of(7).then_some(2));
            row.fixed([0; 16]);
            row.end();
        }
    }

    #[test]
    fn the_size_is_that_of_the_bytes_sent_whatever_the_width_of_the_numbers() {
        for rows in [1, 2, 7, 256, 257, 600, 66_000] {
            let mut block = Block::new(&KINDS);
            fill(&mut block, rows);
            let mut frame = bytes(&Block::new(&KINDS)).len();
            // The number of rows is longer, and a list with names has a dictionary.
            frame += text_size(rows) - rows - 1 + if rows > 1 { 24 } else { 0 };
            assert_eq!(bytes(&block).len(), frame + block.bytes(), "{rows} rows");
            let pieces = block.pieces().count();
            assert!(
                pieces <= 1 + block.bytes() / PIECE && (rows < 66_000 || pieces > 2),
                "{pieces} pieces"
            );
        }
    }

    #[test]
    fn a_copy_of_an_empty_block_gets_the_memory_of_a_dropped_one_of_its_size() {
        let empty = Block::new(&KINDS);
        let capacity = |block: &Block| block.columns.iter().map(Column::capacity).sum::<usize>();
        let mut first = empty.clone();
        fill(&mut first, 2_000);
        let (mut rest, memory) = (first.clone(), capacity(&first));
        assert_eq!(bytes(&rest), bytes(&first));
        drop(first);
        let mut second = empty.clone();
        assert_eq!((second.rows(), second.bytes(), capacity(&second)), (0, 0, memory));
        fill(&mut second, 2_000);
        assert_eq!(bytes(&second), bytes(&rest));
        // A batch of an ordinary day does not keep the memory of a backlog.
        second.clear();
        fill(&mut second, 5);
        drop(second);
        assert_eq!(capacity(&empty.clone()), capacity(&empty));
        rest.clear();
    }

    #[test]
    fn a_cleared_block_is_like_a_new_one() {
        let (mut cleared, mut new) = (Block::new(&KINDS), Block::new(&KINDS));
        fill(&mut cleared, 300);
        cleared.clear();
        assert_eq!((cleared.rows(), cleared.bytes()), (0, 0));
        fill(&mut cleared, 5);
        fill(&mut new, 5);
        assert_eq!(cleared.bytes(), new.bytes());
        assert_eq!(bytes(&cleared), bytes(&new));
    }
}
