//! Documents in which each row of a table is one price.

use domain::Decimal;

use crate::document::{Document, Names, Row, Visit};
use crate::rejection::Rejection;
use crate::table::{Record, Table};

/// Reads one row of a table.
pub(crate) trait ReadRow {
    /// See [`Document::names`].
    fn names(&self) -> Names;

    /// The price of a row of the table, whose other rows may have to be looked at. `key` may hold the key of the instrument if it is not a
    /// cell.
    fn row<'r>(&'r self, table: &dyn Table, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection>;
}

/// A table and how its rows are read.
pub(crate) struct Rowwise<T, R> {
    pub table: T,
    pub reader: R,
}

impl<T: Table, R: ReadRow> Document for Rowwise<T, R> {
    fn names(&self) -> Names {
        self.reader.names()
    }

    fn rows(&self) -> usize {
        self.table.rows()
    }

    fn is_part(&self) -> bool {
        self.table.is_part()
    }

    fn is_bare(&self) -> bool {
        self.table.is_bare()
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut key = String::new();
        self.table.for_each(&mut |index, record| match record {
            Ok(record) => {
                let row = self.reader.row(&self.table, &record, &mut key);
                visit(index, row.map_err(|rejection| record.locate(rejection)));
            }
            Err(rejection) => visit(index, Err(rejection)),
        })
    }
}
