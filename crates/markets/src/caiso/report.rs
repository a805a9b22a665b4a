//! OASIS reports as CSV: `caiso.prc_lmp.csv`, `caiso.prc_rtpd_lmp.csv` and `caiso.prc_intvl_lmp.csv`.
//!
//! The three have the same columns, in another order and with another name of the price (`MW`, `PRC`, `VALUE`). An error comes
//! as XML in the same archive, and is refused with its code.

use domain::{Micros, QualityFlag, QualityFlags};

use super::assemble::{Assembled, Part, RUNS, Run, check_hour};
use super::components::{PRICE, component};
use super::intervals::Intervals;
use super::oasis_xml;
use crate::clock::{self, HOUR};
use crate::document::Document;
use crate::encoding::{csv_text, document_text};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, Csv, Known, Record, columns, is_nothing, optional, required};

const COLUMNS: [Known; 16] = [
    required(&["INTERVALSTARTTIME_GMT"]),
    required(&["INTERVALENDTIME_GMT"]),
    required(&["OPR_DT"]),
    required(&["OPR_HR"]),
    required(&["NODE"]),
    required(&["MARKET_RUN_ID"]),
    required(&["LMP_TYPE"]),
    required(&["MW", "PRC", "VALUE"]),
    optional(&["OPR_INTERVAL"]),
    optional(&["NODE_ID_XML"]),
    optional(&["NODE_ID"]),
    optional(&["XML_DATA_ITEM"]),
    optional(&["PNODE_RESMRID"]),
    optional(&["GRP_TYPE"]),
    optional(&["POS"]),
    optional(&["GROUP"]),
];

pub(super) fn recognise(head: &Head<'_>, run: &str) -> bool {
    head.has_columns(&["intervalstarttimegmt", "lmptype"]) && head.text.to_ascii_uppercase().contains(run)
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    if is_xml(payload) {
        return oasis_xml::open(payload, format);
    }
    let run = run_of(format).ok_or_else(|| Rejection::missing("the market run of the format"))?;
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    let mut report = Report {
        assembled: Assembled::default(),
        stamps: Stamps::new(&columns),
        intervals: Intervals::new(),
        columns,
        run,
        component: 0,
    };
    let mut ends_inside = false;
    // No price depends on the columns that may be absent.
    let (price, others) = (columns.get(7..8), columns.get(8..));
    csv.guarded(price.unwrap_or_default(), others.unwrap_or_default())
        .for_each_line(&mut |_, _, record| {
            ends_inside = record.is_err();
            match record {
                Ok(record) => report.add(&record),
                Err(rejection) => report.assembled.refuse(rejection),
            }
        });
    if ends_inside && csv_is_open(payload) {
        report.assembled.end_inside();
    }
    Ok(Box::new(report.assembled))
}

fn is_xml(payload: &[u8]) -> bool {
    // The first bytes are enough: another encoding is refused by either reader.
    let text = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    text.trim_ascii_start().starts_with(b"<") && document_text(payload).is_ok()
}

fn csv_is_open(payload: &[u8]) -> bool {
    !matches!(payload.last(), Some(b'\n' | b'\r'))
}

/// The run of a format; `None` for XML, which names it itself.
pub(super) fn run_of(format: &str) -> Option<&'static Run> {
    let product = match format {
        "caiso.prc_lmp.csv" => "da",
        "caiso.prc_rtpd_lmp.csv" => "rt15",
        "caiso.prc_intvl_lmp.csv" => "rt5",
        _ => return None,
    };
    RUNS.iter().find(|run| run.product == product)
}

/// The columns that name an interval.
struct Stamps {
    columns: [Column; 4],
    /// Whether the four are next to each other, so that they are one text.
    are_together: bool,
    joined: String,
}

impl Stamps {
    fn new([start, end, day, hour, ..]: &[Column; COLUMNS.len()]) -> Stamps {
        let columns = [*start, *end, *day, *hour];
        let places = columns.map(|column| column.at);
        Stamps {
            columns,
            are_together: places.is_sorted_by(|one, other| one.map(|at| at + 1) == *other),
            joined: String::new(),
        }
    }

    /// Start and end of the interval of a row.
    fn read(&mut self, record: &Record<'_>, intervals: &mut Intervals) -> Result<(Micros, Micros), Rejection> {
        let [first, .., last] = self.columns;
        let written = if self.are_together {
            record.between(first, last)
        } else {
            None
        };
        let text = match written {
            Some(text) => text,
            None => {
                self.joined.clear();
                // No cell has an end of line.
                let cells = self.columns.map(|column| record.cell(column));
                cells.iter().for_each(|cell| self.joined.extend([*cell, "\n"]));
                self.joined.as_str()
            }
        };
        intervals.read(text, || self.checked(record))
    }

    fn checked(&self, record: &Record<'_>) -> Result<(Micros, Micros), Rejection> {
        let [start_column, end_column, day, hour] = self.columns;
        let start = clock::utc(record.cell(start_column), start_column.name)?;
        let end = clock::utc(record.cell(end_column), end_column.name)?;
        let date = clock::date(record.cell(day), day.name)?;
        check_hour(start, date, record.cell(hour), [day.name, hour.name])?;
        Ok((start, end))
    }
}

/// Reads the rows of a report.
struct Report {
    assembled: Assembled,
    stamps: Stamps,
    intervals: Intervals,
    columns: [Column; COLUMNS.len()],
    run: &'static Run,
    /// The component of the last row.
    component: usize,
}

impl Report {
    fn add(&mut self, record: &Record<'_>) {
        let [_, _, _, _, _, _, _, price, ..] = self.columns;
        match self.read(record) {
            Ok((node, component, start, end)) => {
                self.component = component;
                let mut remarks = QualityFlags::NONE;
                let read = if component != PRICE && is_nothing(record.cell(price)) {
                    Ok(None)
                } else {
                    record.price(price, &mut remarks).map(Some)
                };
                let value = read.map(|value| (value, remarks.contains(QualityFlag::Rounded)));
                self.assembled.add(Part {
                    spot: record.spot,
                    node,
                    component,
                    run: self.run,
                    start,
                    end,
                    value: &value,
                });
            }
            Err(rejection) => self.assembled.refuse(record.locate(rejection)),
        }
    }

    /// Node, component, start and end of a row.
    fn read<'r>(&mut self, record: &Record<'r>) -> Result<(&'r str, usize, Micros, Micros), Rejection> {
        let [_, _, _, _, node, market, lmp_type, _, interval, _, _, item, ..] = self.columns;
        let name = record.node(node)?;
        let found = record.text(market)?;
        if !self.run.names.iter().any(|name| name.eq_ignore_ascii_case(found)) {
            let message = format!(
                "MARKET_RUN_ID is \"{}\", but the format is one of {}",
                excerpt(found),
                self.run.names.join(" or ")
            );
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        let written = record.text(lmp_type)?;
        let kind = component(written, self.component).ok_or_else(|| {
            let message = format!("LMP_TYPE is \"{}\", which is not known", excerpt(written));
            Rejection::new(RejectCode::SchemaViolation, message)
        })?;
        // The price depends on one of them, so the other one must not say that it is another component.
        let found = record.cell(item);
        if component(found, kind).is_some_and(|other| other != kind) {
            let message = format!(
                "LMP_TYPE is \"{}\", but {} is \"{}\"",
                excerpt(written),
                item.name,
                excerpt(found)
            );
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        let (start, end) = self.stamps.read(record, &mut self.intervals)?;
        self.check_interval(record.cell(interval), start)?;
        Ok((name, kind, start, end))
    }

    /// Checks the number of an interval in its hour; that of an hour itself is zero.
    fn check_interval(&self, number: &str, start: Micros) -> Result<(), Rejection> {
        let is_right = match number {
            "" => true,
            "0" => self.run.interval == HOUR,
            _ => number.parse() == Ok(start.rem_euclid(HOUR) / self.run.interval + 1),
        };
        if is_right {
            return Ok(());
        }
        let message = format!(
            "OPR_INTERVAL is \"{}\", which is not that of the GMT interval",
            excerpt(number)
        );
        Err(Rejection::new(RejectCode::InvalidTime, message))
    }
}
