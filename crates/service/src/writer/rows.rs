//! Messages → rows of one table: finds the record, and leaves the rest to the table's [`TableSpec`].

use codec::Wire;
use stores::clickhouse::Block;
use stream::Message;
use stream::table_writer::{Accept, BadRow, RowEncoder, RowError, RowOutcome};

use super::tables::TableSpec;

/// Dead-letter codes of a writer.
pub(super) const DEAD_LETTER_CODES: &[&str] = &[
    "missing_payload",
    "truncated",
    "unknown_schema",
    "invalid_utf8",
    "invalid_value",
    stream::FOREIGN_ORIGIN,
];

/// The rows of one table.
pub struct Rows {
    table: &'static TableSpec,
    wire: Wire,
}

impl Rows {
    /// Rows of this table from records in this wire format.
    pub fn new(table: &'static TableSpec, wire: Wire) -> Rows {
        Rows { table, wire }
    }
}

impl RowEncoder<Block> for Rows {
    fn empty(&self) -> Block {
        Block::new(self.table.layout)
    }

    fn encode(
        &mut self,
        message: &Message<'_>,
        accept: &mut Accept<'_>,
        block: &mut Block,
    ) -> Result<RowOutcome, RowError> {
        let Some(payload) = message.payload else {
            return Err(RowError::Bad(BadRow {
                code: "missing_payload",
                message: format!("a row of {} has a value; this message has none", self.table.name),
            }));
        };
        let payload = self.wire.current(self.table.record, payload);
        let before = block.bytes();
        Ok(
            match (self.table.encode)(&self.wire, payload.as_ref(), message, accept, block)? {
                Some(appended_at) => RowOutcome::Written {
                    appended_at,
                    bytes: block.bytes() - before,
                },
                None => RowOutcome::Repeated,
            },
        )
    }
}
