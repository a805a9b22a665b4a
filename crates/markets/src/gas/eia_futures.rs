//! EIA's series of gas futures: `gas.eia_futures.json`, a page of its API.
//!
//! `{"response": {"total", "data": [{"period", "series", "value", "units", …}, …]}}`. The series `RNGC1` to `RNGC4` are the first to
//! fourth nearby contract on Henry Hub, `period` is the trade date, so the contract is `M1` to `M4` on that day. Prices are in USD per
//! MMBtu. A page that says that its prices are not of days, but means of weeks, months or years, is refused.

use domain::QualityFlags;

use crate::contract::{Block, Tenor};
use crate::document::{Document, Names};
use crate::encoding::json_text;
use crate::format::Head;
use crate::json::{Key, Read, Reader, Slot};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::Rowwise;
use crate::settlements::{Dated, Quote, ReadSettlement, as_of};
use crate::table::{Column, Known, Objects, Page, Record, columns, optional, required};

const DATA: &str = "/response/data";
const CURVE: &str = "GAS.HENRY_HUB";
const UNIT: &str = "$/MMBTU";
const SERIES: &str = "RNGC";
const DAILY: &str = "daily";

const COLUMNS: [Known; 11] = [
    required(&["period"]),
    required(&["series"]),
    required(&["value"]),
    optional(&["units"]),
    optional(&["duoarea"]),
    optional(&["area-name"]),
    optional(&["product"]),
    optional(&["product-name"]),
    optional(&["process"]),
    optional(&["process-name"]),
    optional(&["series-description"]),
];

pub(crate) struct Futures {
    columns: [Column; COLUMNS.len()],
}

#[derive(Default)]
struct Frame<'a> {
    total: Slot<'a>,
    /// That of the answer, and of the request that it repeats.
    frequencies: [Slot<'a>; 2],
    data: Option<Objects<'a>>,
}

impl<'a> Frame<'a> {
    fn read(&mut self, reader: &mut Reader<'a>, key: &Key<'_>) -> Read<()> {
        let [answered, asked] = &mut self.frequencies;
        match key.name().as_str() {
            "request" if reader.is_at_object() => reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                if key.name() != "params" || !reader.is_at_object() {
                    return reader.skip();
                }
                reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                    reader.put((key.name() == "frequency").then_some(&mut *asked))
                })
            }),
            "response" if reader.is_at_object() => reader.object(&mut |reader: &mut Reader<'a>, key: Key<'_>| {
                match key.name().as_str() {
                    "total" => reader.put(Some(&mut self.total))?,
                    "frequency" => reader.put(Some(answered))?,
                    "data" if self.data.is_some() => return Err(reader.twice()),
                    "data" => self.data = Some(Objects::read(reader)?),
                    _ => reader.skip()?,
                }
                Ok(())
            }),
            _ => reader.skip(),
        }
    }
}

pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.is_json() && head.holds(SERIES) && head.holds("\"period\"")
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    Ok(Box::new(read(payload)?))
}

pub(crate) fn read<'a>(payload: &'a [u8]) -> Result<Rowwise<Page<'a>, Dated<Futures>>, Rejection> {
    let mut frame = Frame::default();
    Reader::whole_object(json_text(payload)?, &mut |reader: &mut Reader<'a>, key: Key<'_>| {
        frame.read(reader, &key)
    })
    .map_err(|error| error.rejection(""))?;
    let mut frequencies = frame.frequencies.into_iter().filter_map(Slot::get);
    if let Some(other) = frequencies.find(|token| !token.raw.eq_ignore_ascii_case(DAILY)) {
        let message = format!(
            "the frequency is {}: ask for {DAILY} settlements, since a mean of days is no price of a day",
            other.shown()
        );
        return Err(Rejection::new(RejectCode::SchemaViolation, message));
    }
    let data = frame.data.ok_or_else(|| Rejection::missing(DATA))?;
    if data.rows == 0 {
        return Err(Rejection::new(RejectCode::NoData, format!("{DATA} is empty")));
    }
    let total = frame.total.get().and_then(|total| total.raw.parse::<usize>().ok());
    let columns = columns(&data.names, &COLUMNS)?;
    Ok(Rowwise {
        table: Page::of_objects(DATA, &data, total.is_some_and(|total| total > data.rows)),
        reader: Dated::new(Futures { columns }),
    })
}

impl ReadSettlement for Futures {
    fn names(&self) -> Names {
        Names {
            time: "period",
            node: "series",
        }
    }

    fn quote<'r>(&self, record: &Record<'r>, remarks: &mut QualityFlags) -> Result<Quote<'r>, Rejection> {
        let [period, series, value, units, ..] = self.columns;
        let written = record.text(series)?;
        let nearby = written.strip_prefix(SERIES).and_then(|number| number.parse().ok());
        let Some(nearby @ 1..=4) = nearby else {
            let message = format!("series is \"{}\": RNGC1 to RNGC4 are known", excerpt(written));
            return Err(Rejection::new(RejectCode::MissingInstrument, message));
        };
        let unit = record.cell(units);
        if !unit.is_empty() && !unit.eq_ignore_ascii_case(UNIT) {
            let message = format!("units is \"{}\": {UNIT} is expected", excerpt(unit));
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        let (as_of, time) = as_of(record.cell(period), period.name)?;
        Ok(Quote {
            as_of,
            time,
            curve_id: CURVE,
            tenor: Tenor::Relative(nearby),
            block: Block::Flat,
            price: record.price(value, remarks)?,
            volume: None,
        })
    }
}
