//! A page of ERCOT's API, or a CSV report.
//!
//! `{"_meta": {"totalRecords", "totalPages", "currentPage", …}, "fields": [{"name", …}, …], "data": [[…], …]}`.

use crate::encoding::{csv_text, json_text};
use crate::json::{Key, Read, Reader, Token};
use crate::rejection::Rejection;
use crate::table::{Column, Csv, Known, Page, Table, columns};

const DATA: &str = "/data";

/// What a page says about itself.
#[derive(Default)]
struct Frame<'a> {
    pages: Option<Token<'a>>,
    records: Option<Token<'a>>,
    fields: Option<Vec<String>>,
    data: Option<(&'a str, usize)>,
}

impl<'a> Frame<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &Key<'_>) -> Read<()> {
        match key.name().as_str() {
            "_meta" if reader.is_at_object() => reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                match key.name().as_str() {
                    "totalPages" => self.pages = Some(reader.value()?),
                    "totalRecords" => self.records = Some(reader.value()?),
                    _ => reader.skip()?,
                }
                Ok(())
            }),
            "fields" if self.fields.is_none() => {
                let mut fields = Vec::new();
                reader.elements(|reader| {
                    let mut name = String::new();
                    reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                        if key.name() == "name" {
                            name = reader.value()?.text().unwrap_or_default().into_owned();
                            return Ok(());
                        }
                        reader.skip()
                    })?;
                    fields.push(name);
                    Ok(())
                })?;
                self.fields = Some(fields);
                Ok(())
            }
            "data" if self.data.is_none() => {
                let mut rows = 0;
                let data = reader.elements(|reader| {
                    rows += 1;
                    reader.skip()
                })?;
                self.data = Some((data, rows));
                Ok(())
            }
            "fields" | "data" => Err(reader.twice()),
            _ => reader.skip(),
        }
    }
}

/// The table of a report, and its columns. `numbers` are the columns whose last number may be cut.
pub(super) fn open<'a, const N: usize>(
    payload: &'a [u8],
    known: &[Known; N],
) -> Result<(Box<dyn Table + 'a>, [Column; N]), Rejection> {
    if crate::table::is_json(payload) {
        return page(payload, known);
    }
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, known)?;
    // A flag at the end of a line has one character.
    let prices: Vec<Column> = columns.iter().copied().filter(|column| is_price(column.name)).collect();
    Ok((Box::new(csv.guarded(&prices)), columns))
}

fn is_price(name: &str) -> bool {
    name.ends_with("LMP") || name.ends_with("Price")
}

fn page<'a, const N: usize>(
    payload: &'a [u8],
    known: &[Known; N],
) -> Result<(Box<dyn Table + 'a>, [Column; N]), Rejection> {
    let mut frame = Frame::default();
    Reader::whole_object(json_text(payload)?, &mut |reader: &mut Reader<'a>, key: Key<'_>| {
        frame.read(reader, &key)
    })
    .map_err(|error| error.rejection(""))?;
    let names = frame.fields.ok_or_else(|| Rejection::missing("/fields"))?;
    let (data, rows) = frame.data.ok_or_else(|| Rejection::missing(DATA))?;
    let number = |token: Option<Token<'a>>| token.and_then(|token| token.raw.parse::<usize>().ok());
    let is_part =
        number(frame.pages).is_some_and(|pages| pages > 1) || number(frame.records).is_some_and(|all| all != rows);
    let columns = columns(&names, known)?;
    Ok((
        Box::new(Page::of_arrays(DATA, data, rows, names.len(), is_part)),
        columns,
    ))
}
