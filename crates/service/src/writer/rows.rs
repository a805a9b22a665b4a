//! Messages → rows: decodes Avro where it lies, asks the sequencer, appends RowBinary.

use codec::{CodecError, Wire};
use domain::{Classified, Origin};
use stores::clickhouse::rows;
use stream::Message;
use stream::table_writer::{Accept, BadRow, RowEncoder, RowOutcome};

use super::Table;

/// Codes of the dead letters of a writer.
pub(super) const DEAD_LETTER_CODES: &[&str] = &[
    "missing_payload",
    "truncated",
    "unknown_schema",
    "invalid_utf8",
    "invalid_value",
];

/// The rows of one table.
pub struct Rows {
    table: Table,
    wire: Wire,
}

impl Rows {
    /// Rows of this table from records that `wire` reads.
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
    ) -> Result<RowOutcome, BadRow> {
        let Some(payload) = message.payload else {
            return Err(BadRow {
                code: "missing_payload",
                message: format!("a row of {} has a value; this message has none", self.table.base_name()),
            });
        };
        let (partition, offset) = (message.partition, message.offset);
        let mut is_new = |origin: &Origin<'_>| accept(origin.feed, origin.partition, origin.position());
        let appended_at = match self.table {
            Table::MarketTicks => {
                let tick = self.wire.decode_tick(payload).map_err(bad)?;
                if !is_new(&tick.origin) {
                    return Ok(RowOutcome::Repeated);
                }
                rows::tick::encode(&tick, partition, offset, out);
                tick.appended_at
            }
            Table::EnrichedTicks => {
                let enriched = self.wire.decode_enriched(payload).map_err(bad)?;
                if !is_new(&enriched.tick.origin) {
                    return Ok(RowOutcome::Repeated);
                }
                rows::enriched::encode(&enriched, partition, offset, out);
                enriched.tick.appended_at
            }
            // A bar is a version of a window: the table keeps the newest, so every version may be written.
            Table::Bars => {
                let bar = self.wire.decode_bar(payload).map_err(bad)?;
                rows::bar::encode(&bar, partition, offset, out);
                bar.last_appended_at
            }
            Table::LateTicks => {
                let late = self.wire.decode_late(payload).map_err(bad)?;
                if !is_new(&late.origin) {
                    return Ok(RowOutcome::Repeated);
                }
                rows::late::encode(&late, partition, offset, out);
                message.timestamp
            }
        };
        Ok(RowOutcome::Written { appended_at })
    }
}

fn bad(error: CodecError) -> BadRow {
    BadRow {
        code: error.code(),
        message: error.to_string(),
    }
}
