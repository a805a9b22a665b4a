//! MISO's real-time five-minute ex-post prices: `miso.rt5.expost.json`.
//!
//! `{"headers": ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"], "data": [[…], …]}`, all values are strings. `headers` gives the
//! order of the columns. `INTERVAL` is the end of the interval in EST all year, so the row stamped 00:00 is the last
//! interval of the day before. The energy component is not sent: it is LMP - MLC - MCC. It must be the same for every node
//! of an interval, which is checked.

use domain::{Decimal, Interval, Micros, QualityFlags};

use super::EST_TO_UTC;
use crate::cadence;
use crate::document::{self, Names, Prices, Row, Spot, Visit, check_grid};
use crate::encoding::json_text;
use crate::energies::{Ahead, Energies, NEXT};
use crate::json::{Key, Kind, Read, Reader, Token, word};
use crate::number;
use crate::rejection::{RejectCode, Rejection};
use crate::table::is_nothing;
use crate::text::Text;
use crate::time;

/// The columns, in the order that this module uses.
const COLUMNS: [&str; 5] = ["INTERVAL", "CPNODE", "LMP", "MLC", "MCC"];
const HEADERS: u128 = word("headers");
const DATA: u128 = word("data");
const PRODUCT: &str = "rt5";

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn document::Document + 'a>, Rejection> {
    Ok(Box::new(Document::read(payload, format)?))
}

/// A document whose frame has been read: it is valid JSON to its end, and its rows are counted. The rows themselves are read
/// one by one when they are emitted, so memory does not grow with their number.
struct Document<'a> {
    columns: [usize; COLUMNS.len()],
    /// The array of rows as written.
    data: &'a str,
    rows: usize,
}

/// The values of one row.
struct Values<'a> {
    node: Text<'a>,
    end: Micros,
    prices: Prices,
    remarks: QualityFlags,
}

impl<'a> Document<'a> {
    fn read(payload: &'a [u8], format: &str) -> Result<Document<'a>, Rejection> {
        let (mut headers, mut data) = (None, None);
        let mut into = |reader: &mut Reader<'a>, key: Key<'_>| match key.word {
            HEADERS => read_headers(reader, &mut headers),
            DATA => count_rows(reader, &mut data),
            _ => reader.skip(),
        };
        Reader::whole_object(json_text(payload)?, &mut into).map_err(|error| error.rejection(""))?;
        let headers = headers.ok_or_else(|| Rejection::missing("/headers"))?;
        let (data, rows) = data.ok_or_else(|| Rejection::missing("/data"))?;
        let columns = columns(&headers)?;
        cadence::check(&stamps(data, columns[0]), Interval::FiveMinutes.micros(), format)?;
        Ok(Document { columns, data, rows })
    }

    /// Reads the row at which the reader is.
    #[inline]
    fn read_row(&self, reader: &mut Reader<'a>, index: usize) -> Read<Result<Values<'a>, Rejection>> {
        if !reader.is_at_array() {
            let message = format!("/data/{index} must be an array, got {}", reader.value()?.shown());
            return Ok(Err(Rejection::new(RejectCode::SchemaViolation, message)));
        }
        let (mut cells, mut count) = ([None; COLUMNS.len()], 0);
        reader.array(|cell| {
            if let Some(slot) = cells.get_mut(count) {
                *slot = Some(cell);
            }
            count += 1;
        })?;
        Ok(self.row(index, cells, count))
    }

    fn row(
        &self,
        index: usize,
        cells: [Option<Token<'a>>; COLUMNS.len()],
        count: usize,
    ) -> Result<Values<'a>, Rejection> {
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
            let (token, column) = (cell(at)?, COLUMNS.get(at).copied().unwrap_or_default());
            match number::decimal(token, code, column, &mut remarks) {
                Ok(value) => Ok(Some(value)),
                Err(_) if token.kind == Kind::Null || is_nothing(token.raw.trim()) => Ok(None),
                Err(rejection) => Err(rejection),
            }
        };
        let price = number(2, RejectCode::InvalidPrice)?
            .ok_or_else(|| Rejection::new(RejectCode::MissingPrice, "LMP says that there is no price"))?;
        let loss = number(3, RejectCode::InvalidNumber)?;
        let congestion = number(4, RejectCode::InvalidNumber)?;
        let prices = Prices::without_energy(price, congestion, loss)?;
        Ok(Values {
            node: node(cell(1)?)?,
            end: interval_end(cell(0)?)?,
            prices,
            remarks,
        })
    }
}

impl document::Document for Document<'_> {
    fn names(&self) -> Names {
        Names {
            time: "INTERVAL",
            node: "CPNODE",
        }
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn for_each(&self, tolerance: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut energies = Energies::default();
        let mut index = 0;
        let read = Reader::new(self.data).elements(|reader| {
            match self.read_row(reader, index)? {
                Ok(mut values) => {
                    check_grid(values.end, Interval::FiveMinutes.micros(), &mut values.remarks);
                    if let Some(energy) = values.prices.energy {
                        let ahead = AheadOf {
                            document: self,
                            reader: *reader,
                            end: values.end,
                        };
                        energies.compare(values.end, energy, tolerance, &mut values.remarks, &ahead);
                    }
                    visit(index, Ok(values.row(index)));
                }
                Err(rejection) => visit(index, Err(rejection)),
            }
            index += 1;
            Ok(())
        });
        read.map(|_| ()).map_err(|error| error.rejection("/data"))
    }
}

/// The energies of the rows behind one of them.
struct AheadOf<'d, 'a> {
    document: &'d Document<'a>,
    /// Behind the row.
    reader: Reader<'a>,
    end: Micros,
}

impl Ahead for AheadOf<'_, '_> {
    fn next(&self, visit: &mut dyn FnMut(Decimal)) {
        let mut left = NEXT;
        // A page that cannot be read is refused when it is opened.
        _ = self.reader.further(|reader| {
            let values = self.document.read_row(reader, 0)?.ok();
            let energy = values
                .filter(|values| values.end == self.end)
                .and_then(|values| values.prices.energy);
            energy.into_iter().for_each(&mut *visit);
            left -= 1;
            Ok(left > 0)
        });
    }

    fn all(&self, visit: &mut dyn FnMut(Micros, Decimal)) {
        _ = Reader::new(self.document.data).elements(|reader| {
            if let Ok(values) = self.document.read_row(reader, 0)?
                && let Some(energy) = values.prices.energy
            {
                visit(values.end, energy);
            }
            Ok(())
        });
    }
}

impl Values<'_> {
    fn row(&self, index: usize) -> Row<'_> {
        Row {
            spot: Spot::Item("/data", index),
            market: None,
            node: self.node.as_str(),
            key: self.node.as_str(),
            zone: None,
            hub: None,
            product: PRODUCT,
            // The stamp is the end of the interval; prices are stored under the start.
            start: self.end - Interval::FiveMinutes.micros(),
            end: self.end,
            prices: self.prices,
            volume: None,
            version: None,
            remarks: self.remarks,
        }
    }
}

/// The stamps of some rows.
fn stamps(data: &str, column: usize) -> cadence::Stamps {
    cadence::stamps(data, |text, _| {
        // Not that of all rows.
        let is_of_row = |(at, _): &(usize, &str)| {
            text.get(at + 1..)
                .is_some_and(|rest| rest.trim_start().starts_with('"'))
        };
        let (at, _) = text.match_indices('[').find(is_of_row)?;
        let (mut stamp, mut count) = (None, 0);
        let read = Reader::new(text.get(at..)?).array(|token| {
            if count == column {
                stamp = interval_end(token).ok();
            }
            count += 1;
        });
        Some((stamp.filter(|_| read.is_ok()), at + 1))
    })
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
