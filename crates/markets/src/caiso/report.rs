//! OASIS reports as CSV: `caiso.prc_lmp.csv`, `caiso.prc_rtpd_lmp.csv` and `caiso.prc_intvl_lmp.csv`.
//!
//! The three have the same columns, in another order and with another name of the price (`MW`, `PRC`, `VALUE`). An error comes
//! as XML in the same archive, and is refused with its code.

use domain::{Micros, QualityFlag, QualityFlags};
use xxhash_rust::xxh3::xxh3_64;

use super::assemble::{Assembled, Part, RUNS, Run, check_hour, component};
use super::oasis_xml;
use crate::clock;
use crate::document::Document;
use crate::encoding::{csv_text, document_text};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, Csv, Known, Record, Table, columns, optional, required};

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
    let (mut assembled, mut intervals) = (Assembled::default(), Intervals::new());
    let mut ends_inside = false;
    csv.guarded(columns.get(7..8).unwrap_or_default())
        .for_each(&mut |_, record| {
            ends_inside = record.is_err();
            match record {
                Ok(record) => add(&mut assembled, &mut intervals, &record, &columns, run),
                Err(rejection) => assembled.refuse(rejection),
            }
        })?;
    if ends_inside && csv_is_open(payload) {
        assembled.end_inside();
    }
    Ok(Box::new(assembled))
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
pub(super) fn run_of(format: &str) -> Option<Run> {
    let product = match format {
        "caiso.prc_lmp.csv" => "da",
        "caiso.prc_rtpd_lmp.csv" => "rt15",
        "caiso.prc_intvl_lmp.csv" => "rt5",
        _ => return None,
    };
    RUNS.into_iter().find(|run| run.product == product)
}

/// Intervals by the texts that name them. A report names the same ones for each node and component, so a row nearly always has
/// those of an earlier one. Only intervals that have been checked are kept; another one with the same hash takes the place.
struct Intervals(Vec<Option<Named>>);

struct Named {
    texts: [String; 4],
    start: Micros,
    end: Micros,
}

impl Intervals {
    /// A day has 300 intervals of five minutes.
    const PLACES: usize = 512;

    fn new() -> Intervals {
        Intervals(std::iter::repeat_with(|| None).take(Intervals::PLACES).collect())
    }

    /// Start and end of the interval of a row: start, end, operating day and operating hour.
    fn read(&mut self, record: &Record<'_>, columns: [Column; 4]) -> Result<(Micros, Micros), Rejection> {
        let texts = columns.map(|column| record.cell(column));
        let [start, end, day, hour] = texts;
        let place = self.0.get_mut(xxh3_64(start.as_bytes()) as usize % Intervals::PLACES);
        if let Some(Some(known)) = &place
            && known.texts == texts
        {
            return Ok((known.start, known.end));
        }
        let [start_column, end_column, day_column, _] = columns;
        let start = clock::utc(start, start_column.name)?;
        let end = clock::utc(end, end_column.name)?;
        check_hour(start, clock::date(day, day_column.name)?, hour)?;
        if let Some(place) = place {
            let texts = texts.map(str::to_owned);
            *place = Some(Named { texts, start, end });
        }
        Ok((start, end))
    }
}

fn add(
    assembled: &mut Assembled,
    intervals: &mut Intervals,
    record: &Record<'_>,
    columns: &[Column; COLUMNS.len()],
    run: Run,
) {
    let [start, end, day, hour, node, market, kind, price, ..] = *columns;
    let mut read = || {
        let name = record.node(node)?;
        let found = record.text(market)?;
        if !run.names.iter().any(|name| name.eq_ignore_ascii_case(found)) {
            let message = format!(
                "MARKET_RUN_ID is \"{}\", but the format is one of {}",
                excerpt(found),
                run.names.join(" or ")
            );
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        let written = record.text(kind)?;
        let component = component(written).ok_or_else(|| {
            let message = format!("LMP_TYPE is \"{}\", which is not known", excerpt(written));
            Rejection::new(RejectCode::SchemaViolation, message)
        })?;
        let (start, end) = intervals.read(record, [start, end, day, hour])?;
        Ok((name, component, start, end))
    };
    match read() {
        Ok((node, component, start, end)) => {
            let mut remarks = QualityFlags::NONE;
            let value = record
                .price(price, &mut remarks)
                .map(|value| (value, remarks.contains(QualityFlag::Rounded)));
            assembled.add(Part {
                spot: record.spot,
                node,
                component,
                run,
                start,
                end,
                value: &value,
            });
        }
        Err(rejection) => assembled.refuse(record.locate(rejection)),
    }
}
