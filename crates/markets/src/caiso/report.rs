//! OASIS reports as CSV: `caiso.prc_lmp.csv`, `caiso.prc_rtpd_lmp.csv` and `caiso.prc_intvl_lmp.csv`.
//!
//! The three have the same columns, in another order and with another name of the price (`MW`, `PRC`, `VALUE`). An error comes
//! as XML in the same archive, and is refused with its code.

use domain::{QualityFlag, QualityFlags};

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
    if document_text(payload).is_ok_and(|text| text.trim_ascii_start().starts_with('<')) {
        return oasis_xml::open(payload, format);
    }
    let run = run_of(format).ok_or_else(|| Rejection::missing("the market run of the format"))?;
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    let mut assembled = Assembled::default();
    let mut ends_inside = false;
    csv.guarded(columns.get(7..8).unwrap_or_default())
        .for_each(&mut |_, record| {
            ends_inside = record.is_err();
            match record {
                Ok(record) => add(&mut assembled, &record, &columns, run),
                Err(rejection) => assembled.refuse(rejection),
            }
        })?;
    if ends_inside && csv_is_open(payload) {
        assembled.end_inside();
    }
    Ok(Box::new(assembled))
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

fn add(assembled: &mut Assembled, record: &Record<'_>, columns: &[Column; COLUMNS.len()], run: Run) {
    let [start, end, day, hour, node, market, kind, price, ..] = *columns;
    let read = || {
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
        let (start, end) = (
            clock::utc(record.cell(start), start.name)?,
            clock::utc(record.cell(end), end.name)?,
        );
        check_hour(start, clock::date(record.cell(day), day.name)?, record.cell(hour))?;
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
