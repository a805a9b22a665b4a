//! SPP's day-ahead prices by settlement location: `spp.da_lmp_sl.csv`.
//!
//! Since 2026 a location may occur in two balancing authority areas with two prices, so an area other than SPP's own is part of
//! the key.

use domain::QualityFlags;

use crate::cadence;
use crate::clock::{self, CENTRAL, HOUR};
use crate::document::{Document, Names, Row, check_hour};
use crate::encoding::csv_text;
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Csv, Known, Record, Table, columns, optional, required};

const COLUMNS: [Known; 9] = [
    required(&["Interval"]),
    required(&["GMTIntervalEnd", "GMT Interval"]),
    required(&["Settlement Location", "Settlement Location Name"]),
    optional(&["Pnode", "Pnode Name"]),
    required(&["LMP"]),
    required(&["MLC"]),
    required(&["MCC"]),
    required(&["MEC"]),
    optional(&["BAA"]),
];

/// The area that had all locations until 2026.
const OWN_AREA: &str = "SPP";

// Five-minute files have the same columns.
pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.has_columns(&["interval", "gmtintervalend", "mec"])
        && head.has_column_like("settlementlocation")
        && !head.file_name.contains("rtbm")
}

struct DayAhead {
    columns: [Column; COLUMNS.len()],
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    let prices: Vec<Column> = columns.iter().copied().skip(4).take(4).collect();
    let [_, gmt, ..] = columns;
    let stamps = csv.stamps(gmt, |cell| clock::utc(cell, gmt.name).ok());
    cadence::check(&stamps, HOUR, format)?;
    Ok(Box::new(Rowwise {
        table: csv.guarded(&prices, &[]),
        reader: DayAhead { columns },
    }))
}

impl ReadRow for DayAhead {
    fn names(&self) -> Names {
        Names {
            time: "GMTIntervalEnd",
            node: "Settlement Location",
        }
    }

    fn row<'r>(&'r self, _: &dyn Table, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [local, gmt, node, _, lmp, loss, congestion, energy, area] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(node)?;
        let end = clock::utc(record.cell(gmt), gmt.name)?;
        // The first pass of the repeated hour is printed with the end that its clock would have shown.
        let printed = clock::local(record.cell(local), local.name)?;
        if printed != CENTRAL.wall(end) && printed != CENTRAL.wall(end - HOUR) + HOUR {
            let message = format!(
                "{} is {}, but {} is {} in Central prevailing time",
                local.name,
                excerpt(record.cell(local)),
                gmt.name,
                clock::shown(CENTRAL.wall(end))
            );
            return Err(Rejection::new(RejectCode::InvalidTime, message));
        }
        check_hour(end, gmt.name)?;
        let prices = record.prices([lmp, energy, congestion, loss], &mut remarks)?;
        // The area is a part of the key, so without it nothing tells which of two prices of a location this is.
        let area = match area.at {
            Some(_) => record.text(area)?,
            None => "",
        };
        let key = if area.is_empty() || area.eq_ignore_ascii_case(OWN_AREA) {
            node
        } else {
            key.clear();
            key.extend([node, ".", area]);
            key.as_str()
        };
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key,
            zone: Some(area).filter(|area| !area.is_empty()),
            hub: node.ends_with("_HUB").then_some(node),
            product: "da",
            start: end - HOUR,
            end,
            prices,
            volume: None,
            version: None,
            remarks,
        })
    }
}
