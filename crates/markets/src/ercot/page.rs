//! A page of ERCOT's API, or a CSV report.
//!
//! `{"_meta": {"totalRecords", "totalPages", "currentPage", …}, "fields": [{"name", …}, …], "data": [[…], …]}`.

use super::REPEATED;
use crate::encoding::{csv_text, json_text};
use crate::json::{Key, Read, Reader, Slot, Token};
use crate::rejection::Rejection;
use crate::table::{Column, Csv, Known, Page, Table, columns};

const DATA: &str = "/data";

/// What a page says about itself.
#[derive(Default)]
struct Frame<'a> {
    pages: Slot<'a>,
    records: Slot<'a>,
    fields: Option<Vec<String>>,
    data: Option<(&'a str, usize)>,
}

impl<'a> Frame<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &Key<'_>) -> Read<()> {
        match key.name().as_str() {
            "_meta" if reader.is_at_object() => {
                reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| match key.name().as_str() {
                    "totalPages" => reader.put(Some(&mut self.pages)),
                    "totalRecords" => reader.put(Some(&mut self.records)),
                    _ => reader.skip(),
                })
            }
            "fields" if self.fields.is_none() => {
                let mut fields = Vec::new();
                reader.elements(|reader| {
                    let mut name = Slot::default();
                    reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                        reader.put((key.name() == "name").then_some(&mut name))
                    })?;
                    let name = name.get().and_then(Token::text);
                    fields.push(name.unwrap_or_default().into_owned());
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
    let prices: Vec<Column> = columns.iter().copied().filter(|column| is_price(column.name)).collect();
    // A flag has one character, or is a word that means the same as its first one.
    let is_flag = |column: &Column| REPEATED.names.contains(&column.name);
    let flags: Vec<Column> = columns.iter().copied().filter(is_flag).collect();
    Ok((Box::new(csv.guarded(&prices, &flags)), columns))
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
    let number = |slot: Slot<'a>| slot.get().and_then(|token| token.raw.parse::<usize>().ok());
    let is_part =
        number(frame.pages).is_some_and(|pages| pages > 1) || number(frame.records).is_some_and(|all| all != rows);
    let columns = columns(&names, known)?;
    Ok((
        Box::new(Page::of_arrays(DATA, data, rows, names.len(), is_part)),
        columns,
    ))
}
