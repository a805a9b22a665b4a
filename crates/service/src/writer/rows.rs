//! Messages → rows: decodes Avro in place, consults the sequencer, appends RowBinary.

use codec::{CodecError, Record, Wire};
use domain::{Classified, ErrorClass};
use stores::clickhouse::rows;
use stream::table_writer::{Accept, BadRow, RowEncoder, RowError, RowOutcome};
use stream::{Message, StreamError};

use super::Table;

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
    table: Table,
    wire: Wire,
}

impl Rows {
    /// Rows of this table from records in this wire format.
    pub fn new(table: Table, wire: Wire) -> Rows {
        Rows { table, wire }
    }
}

impl RowEncoder for Rows {
    fn encode(
        &mut self,
        message: &Message<'_>,
        accept: &mut Accept<'_>,
        out: &mut Vec<u8>,
    ) -> Result<RowOutcome, RowError> {
        let Some(payload) = message.payload else {
            return Err(RowError::Bad(BadRow {
                code: "missing_payload",
                message: format!("a row of {} has a value; this message has none", self.table.base_name()),
            }));
        };
        let payload = self.wire.current(record(self.table), payload);
        let payload = payload.as_ref();
        let (partition, offset) = (message.partition, message.offset);
        let appended_at = match self.table {
            Table::MarketTicks => {
                let tick = self.wire.decode_tick(payload).map_err(bad)?;
                if !accept(&tick.origin)? {
                    return Ok(RowOutcome::Repeated);
                }
                rows::tick::encode(&tick, partition, offset, out);
                tick.appended_at
            }
            Table::EnrichedTicks => {
                let enriched = self.wire.decode_enriched(payload).map_err(bad)?;
                if !accept(&enriched.tick.origin)? {
                    return Ok(RowOutcome::Repeated);
                }
                rows::enriched::encode(&enriched, partition, offset, out);
                enriched.tick.appended_at
            }
            // A bar is a version of a window: the table keeps the newest version, so every version may be written.
            Table::Bars => {
                let bar = self.wire.decode_bar(payload).map_err(bad)?;
                rows::bar::encode(&bar, partition, offset, out);
                bar.last_appended_at
            }
            Table::LateTicks => {
                let late = self.wire.decode_late(payload).map_err(bad)?;
                if !accept(&late.origin)? {
                    return Ok(RowOutcome::Repeated);
                }
                rows::late::encode(&late, partition, offset, out);
                message.timestamp
            }
        };
        Ok(RowOutcome::Written { appended_at })
    }
}

/// Which input a table's rows come from.
fn record(table: Table) -> Record {
    match table {
        Table::MarketTicks => Record::Tick,
        Table::EnrichedTicks => Record::EnrichedTick,
        Table::Bars => Record::Bar,
        Table::LateTicks => Record::LateTick,
    }
}

fn bad(error: CodecError) -> RowError {
    let (code, message) = (error.code(), error.to_string());
    match error.class() {
        ErrorClass::Poison => RowError::Bad(BadRow { code, message }),
        _ => RowError::Later(StreamError::transient(code, format!("read a record: {message}"))),
    }
}
