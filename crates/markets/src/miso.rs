//! MISO's real-time five-minute ex-post prices: `miso.rt5.expost.json`.
//!
//! `{"headers": ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"], "data": [[…], …]}`, all values are strings. `headers` gives the
//! order of the columns. `INTERVAL` is the end of the interval in EST all year, so the row stamped 00:00 is the last
//! interval of the day before. The energy component is not sent: it is LMP - MLC - MCC. It must be the same for every node
//! of an interval, which is checked.

use std::collections::HashMap;

use domain::instrument::write_instrument_id;
use domain::{Decimal, Interval, Micros, QualityFlag, QualityFlags};

use crate::encoding::json_text;
use crate::json::{Key, Kind, Read, Reader, Token, word};
use crate::number;
use crate::rejection::{RejectCode, Rejection};
use crate::text::Text;
use crate::time;

/// The columns, in the order that this module uses.
const COLUMNS: [&str; 5] = ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"];
const HEADERS: u128 = word("headers");
const DATA: u128 = word("data");
/// Added to EST to get UTC, all year.
const EST_TO_UTC: Micros = 5 * 3_600 * 1_000_000;

/// Maximum number of intervals of one document whose energy prices are compared. A day has 288.
const INTERVALS: usize = 4096;

/// A document whose frame has been read: it is valid JSON to its end, and its rows are counted. The rows themselves are read
/// one by one when they are emitted, so memory does not grow with their number.
pub(crate) struct Document<'a> {
    columns: [usize; COLUMNS.len()],
    /// The array of rows as written.
    data: &'a str,
    rows: usize,
}

/// One row.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub node: Text<'a>,
    pub interval_end: Micros,
    pub price: Decimal,
    pub energy: Decimal,
    pub loss: Decimal,
    pub congestion: Decimal,
    /// Quality flags found while reading.
    pub remarks: QualityFlags,
}

impl Row<'_> {
    /// The start of the interval, under which the price is stored.
    pub(crate) fn event_time(&self) -> Micros {
        self.interval_end - Interval::FiveMinutes.micros()
    }
}

impl<'a> Document<'a> {
    pub(crate) fn read(payload: &'a [u8]) -> Result<Document<'a>, Rejection> {
        let (mut headers, mut data) = (None, None);
        let mut into = |reader: &mut Reader<'a>, key: Key<'_>| match key.word {
            HEADERS => read_headers(reader, &mut headers),
            DATA => count_rows(reader, &mut data),
            _ => reader.skip(),
        };
        Reader::whole_object(json_text(payload)?, &mut into).map_err(|error| error.rejection(""))?;
        let headers = headers.ok_or_else(|| Rejection::missing("/headers"))?;
        let (data, rows) = data.ok_or_else(|| Rejection::missing("/data"))?;
        Ok(Document {
            columns: columns(&headers)?,
            data,
            rows,
        })
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Calls `visit` with every row and its index, in order.
    ///
    /// # Errors
    /// If the rows are not valid JSON, which `read` has already checked.
    pub(crate) fn for_each_row(
        &self,
        mut visit: impl FnMut(usize, Result<Row<'a>, Rejection>),
    ) -> Result<(), Rejection> {
        let mut index = 0;
        let read = Reader::new(self.data).elements(|reader| {
            let row = if reader.is_at_array() {
                let (mut cells, mut count) = ([None; COLUMNS.len()], 0);
                reader.array(|cell| {
                    if let Some(slot) = cells.get_mut(count) {
                        *slot = Some(cell);
                    }
                    count += 1;
                })?;
                self.row(index, cells, count)
            } else {
                let message = format!("/data/{index} must be an array, got {}", reader.value()?.shown());
                Err(Rejection::new(RejectCode::SchemaViolation, message))
            };
            visit(index, row);
            index += 1;
            Ok(())
        });
        read.map(|_| ()).map_err(|error| error.rejection("/data"))
    }

    fn row(&self, index: usize, cells: [Option<Token<'a>>; COLUMNS.len()], count: usize) -> Result<Row<'a>, Rejection> {
        if count != COLUMNS.len() {
            let message = format!("/data/{index} has {count} cells, but /headers has {}", COLUMNS.len());
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        let cell = |at: usize| -> Result<Token<'a>, Rejection> {
            let column = self.columns.get(at).copied().unwrap_or(at);
            cells
                .get(column)
                .copied()
                .flatten()
                .ok_or_else(|| Rejection::missing("the cell"))
        };
        let mut remarks = QualityFlags::NONE;
        let mut number = |at: usize, code| {
            let column = COLUMNS.get(at).copied().unwrap_or_default();
            number::decimal(cell(at)?, code, column, &mut remarks)
        };
        let price = number(2, RejectCode::InvalidPrice)?;
        let loss = number(3, RejectCode::InvalidNumber)?;
        let congestion = number(4, RejectCode::InvalidNumber)?;
        let energy = price
            .checked_sub(loss)
            .and_then(|rest| rest.checked_sub(congestion))
            .map_err(|error| Rejection::new(RejectCode::InvalidPrice, format!("LMP - MLC - MCC: {error}")))?;
        Ok(Row {
            node: node(cell(1)?)?,
            interval_end: interval_end(cell(0)?)?,
            price,
            energy,
            loss,
            congestion,
            remarks,
        })
    }
}

/// The first columns of the header, and the number of all its columns.
type Headers<'a> = ([Option<Token<'a>>; COLUMNS.len()], usize);

fn read_headers<'a>(reader: &mut Reader<'a>, slot: &mut Option<Headers<'a>>) -> Read<()> {
    if slot.is_some() {
        return Err(reader.twice());
    }
    let (mut first, mut count) = ([None; COLUMNS.len()], 0);
    reader.array(|header| {
        if let Some(slot) = first.get_mut(count) {
            *slot = Some(header);
        }
        count += 1;
    })?;
    *slot = Some((first, count));
    Ok(())
}

fn count_rows<'a>(reader: &mut Reader<'a>, slot: &mut Option<(&'a str, usize)>) -> Read<()> {
    if slot.is_some() {
        return Err(reader.twice());
    }
    let mut rows = 0;
    let data = reader.elements(|reader| {
        rows += 1;
        reader.skip()
    })?;
    *slot = Some((data, rows));
    Ok(())
}

/// The position of each of [`COLUMNS`].
fn columns((headers, count): &Headers<'_>) -> Result<[usize; COLUMNS.len()], Rejection> {
    // An additional or duplicate column may change the meaning of the others.
    if *count > COLUMNS.len() {
        let message = format!(
            "/headers has {count} columns, but only {} are known: {}",
            COLUMNS.len(),
            COLUMNS.join(", ")
        );
        return Err(Rejection::new(RejectCode::SchemaViolation, message));
    }
    let mut columns = [0; COLUMNS.len()];
    for (column, name) in columns.iter_mut().zip(COLUMNS) {
        *column = headers
            .iter()
            .position(|header| header.is_some_and(|header| header.is_text() && header.raw == name))
            .ok_or_else(|| Rejection::new(RejectCode::SchemaViolation, format!("/headers has no column {name}")))?;
    }
    Ok(columns)
}

fn node(token: Token<'_>) -> Result<Text<'_>, Rejection> {
    let missing = || Rejection::new(RejectCode::MissingInstrument, "CPNODE is empty");
    if token.kind == Kind::Null {
        return Err(missing());
    }
    Text::optional(Some(token), "CPNODE")?.ok_or_else(missing)
}

fn interval_end(token: Token<'_>) -> Result<Micros, Rejection> {
    match time::iso(token.raw.as_bytes().trim_ascii()) {
        Some(stamp) if stamp.offset.is_none() => Ok(stamp.wall + EST_TO_UTC),
        _ => {
            let message = format!(
                "INTERVAL is {}: a date and time without a zone is expected (it is EST by definition)",
                token.shown()
            );
            Err(Rejection::new(RejectCode::InvalidTime, message))
        }
    }
}

/// The energy price in the first row of each interval of one document, for the first [`INTERVALS`] intervals.
#[derive(Debug, Default)]
pub(crate) struct Energies {
    first: HashMap<Micros, Decimal>,
}

impl Energies {
    /// Quality flags of this row compared with the earlier rows.
    pub(crate) fn remarks(&mut self, row: &Row<'_>, tolerance: Decimal) -> QualityFlags {
        let mut flags = row.remarks;
        if row.interval_end.rem_euclid(Interval::FiveMinutes.micros()) != 0 {
            flags.insert(QualityFlag::OffGrid);
        }
        let first = match self.first.get(&row.interval_end) {
            Some(first) => *first,
            None => {
                if self.first.len() < INTERVALS {
                    self.first.insert(row.interval_end, row.energy);
                }
                row.energy
            }
        };
        if (row.energy.unscaled() - first.unscaled()).unsigned_abs() > tolerance.unscaled().unsigned_abs() {
            flags.insert(QualityFlag::ComponentMismatch);
        }
        flags
    }
}

/// Writes the instrument id of a node.
pub(crate) fn instrument_id(node: &str, out: &mut String) {
    write_instrument_id("MISO", node, "RT5", out);
}
