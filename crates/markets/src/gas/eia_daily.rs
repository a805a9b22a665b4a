//! EIA's daily spot prices of Henry Hub: `gas.eia_daily.csv`.
//!
//! `Date,Price`, or the price under EIA's own title, in USD per MMBtu. Lines before the header (title, source, link) are
//! skipped. A price is that of a gas day, 09:00 to 09:00 Central prevailing time, so that the days on which clocks change
//! have 23 and 25 hours.

use domain::QualityFlags;

use crate::clock::{self, CENTRAL, DAY, HOUR};
use crate::document::{Document, Names, Prices, Row};
use crate::encoding::csv_text;
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Csv, Known, Lines, Record, Table, columns, is_plain, plain, required};

const COLUMNS: [Known; 2] = [
    required(&["Date", "Day"]),
    required(&[
        "Price",
        "Value",
        "Henry Hub Natural Gas Spot Price",
        "Henry Hub Natural Gas Spot Price (Dollars per Million Btu)",
        "Henry Hub Natural Gas Spot Price Dollars per Million Btu",
    ]),
];
const NODE: &str = "HENRY_HUB";
/// Lines before the header.
const PREAMBLE: usize = 10;

struct Daily {
    columns: [Column; COLUMNS.len()],
}

pub(super) fn recognise(head: &Head<'_>) -> bool {
    !head.is_json() && !head.is_xml() && Lines::new(head.text).take(PREAMBLE).any(|line| is_header(line.text))
}

// The columns may be in either order.
fn is_header(line: &str) -> bool {
    let of_day = |cell: &str| is_plain(cell, "date") || is_plain(cell, "day");
    let line = match line.split_once(',') {
        Some((price, day)) if of_day(day) => format!("{}{}", plain(day), plain(price)),
        _ => plain(line),
    };
    line == "dateprice"
        || ["date", "day"]
            .iter()
            .any(|first| line.starts_with(&format!("{first}henryhub")))
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let mut lines = Lines::new(csv_text(payload)?);
    let place = lines.clone().take(PREAMBLE).position(|line| is_header(line.text));
    // Without a header, the columns of the first line tell why it is refused.
    let Some(header) = lines.nth(place.unwrap_or(0)) else {
        return Err(Rejection::new(
            RejectCode::SchemaViolation,
            "the document has no line with text",
        ));
    };
    let (csv, names) = Csv::below(lines, header)?;
    let columns = columns(&names, &COLUMNS)?;
    Ok(Box::new(Rowwise {
        // EIA writes no zeros at the end of a price.
        table: csv.guarded_by_line_end(columns.get(1..).unwrap_or_default()),
        reader: Daily { columns },
    }))
}

impl ReadRow for Daily {
    fn names(&self) -> Names {
        Names {
            time: "Date",
            node: "the hub",
        }
    }

    fn row<'r>(&'r self, _: &dyn Table, record: &Record<'r>, _: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [date, price] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let day = clock::date(record.cell(date), date.name)?;
        Ok(Row {
            spot: record.spot,
            market: None,
            node: NODE,
            key: NODE,
            zone: None,
            hub: Some(NODE),
            product: "spot",
            start: CENTRAL.utc(day + 9 * HOUR, None)?,
            end: CENTRAL.utc(day + DAY + 9 * HOUR, None)?,
            prices: Prices::alone(record.price(price, &mut remarks)?),
            volume: None,
            version: None,
            remarks,
        })
    }
}
