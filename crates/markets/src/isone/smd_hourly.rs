//! ISO-NE's hourly SMD workbook, a sheet of it as CSV: `isone.smd_hourly.csv`.
//!
//! One line for each hour, with the day-ahead and the real-time price of one location. A sheet is named by its location, which
//! is lost in CSV, so a column must tell it. Rows of the document are numbered by line: first its day-ahead price, then its
//! real-time price.

use domain::{Decimal, QualityFlags};

use super::hour_start;
use crate::clock::{self, HOUR};
use crate::document::{Document, Names, Row, Visit};
use crate::encoding::csv_text;
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection};
use crate::table::{Column, Csv, Known, Record, Table, columns, optional, required};

const COLUMNS: [Known; 27] = [
    required(&["Date"]),
    required(&["Hr_End", "Hour Ending", "Hour", "HE"]),
    optional(&["Location", "Location Name", "Zone", "Load Zone", "Hub", "Sheet"]),
    required(&["DA_LMP"]),
    required(&["DA_EC"]),
    required(&["DA_CC"]),
    required(&["DA_MLC"]),
    required(&["RT_LMP"]),
    required(&["RT_EC"]),
    required(&["RT_CC"]),
    required(&["RT_MLC"]),
    optional(&["DA_Demand"]),
    optional(&["RT_Demand"]),
    optional(&["Dry_Bulb", "DryBulb"]),
    optional(&["Dew_Point", "DewPnt", "Dew_Pnt"]),
    optional(&["System_Load", "SYSLoad"]),
    optional(&["Reg_Service_Price", "RegSP"]),
    optional(&["Reg_Capacity_Price", "RegCP"]),
    optional(&["Min_5min_RSP"]),
    optional(&["Max_5min_RSP"]),
    optional(&["Min_5min_RCP"]),
    optional(&["Max_5min_RCP"]),
    optional(&["DA_CO2"]),
    optional(&["Marginal_Fuel"]),
    optional(&["Location ID"]),
    optional(&["DEMAND"]),
    optional(&["DA_DEMD"]),
];

pub(super) fn recognise(head: &Head<'_>) -> bool {
    head.has_columns(&["date", "dalmp", "rtlmp"])
}

struct Sheet<'a> {
    csv: Csv<'a>,
    columns: [Column; COLUMNS.len()],
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    if columns.get(2).is_none_or(|location| location.at.is_none()) {
        let message =
            "no column tells the location (Location, Zone or Hub): the name of the sheet is not part of the document";
        return Err(Rejection::new(RejectCode::MissingInstrument, message));
    }
    Ok(Box::new(Sheet {
        csv: csv.guarded(columns.get(3..).unwrap_or_default(), &[]),
        columns,
    }))
}

impl Sheet<'_> {
    fn row<'r>(&self, record: &Record<'r>, is_day_ahead: bool) -> Result<Row<'r>, Rejection> {
        let [
            date,
            hour,
            location,
            da,
            da_energy,
            da_congestion,
            da_loss,
            rt,
            rt_energy,
            rt_congestion,
            rt_loss,
            ..,
        ] = self.columns;
        let (product, lmp, energy, congestion, loss) = if is_day_ahead {
            ("da", da, da_energy, da_congestion, da_loss)
        } else {
            ("rth", rt, rt_energy, rt_congestion, rt_loss)
        };
        let mut remarks = QualityFlags::NONE;
        let node = record.node(location)?;
        let day = clock::date(record.cell(date), date.name)?;
        let start = hour_start(day, record.cell(hour), hour.name)?;
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: node,
            zone: node.starts_with(".Z.").then_some(node),
            hub: node.starts_with(".H.").then_some(node),
            product,
            start,
            end: start + HOUR,
            prices: record.prices([lmp, energy, congestion, loss], &mut remarks)?,
            volume: None,
            version: None,
            remarks,
        })
    }
}

impl Document for Sheet<'_> {
    fn names(&self) -> Names {
        Names {
            time: "Hr_End",
            node: "Location",
        }
    }

    fn rows(&self) -> usize {
        self.csv.rows() * 2
    }

    fn is_bare(&self) -> bool {
        self.csv.is_bare()
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        self.csv.for_each(&mut |index, record| {
            for (at, is_day_ahead) in [(index * 2, true), (index * 2 + 1, false)] {
                let row = match &record {
                    Ok(record) => self
                        .row(record, is_day_ahead)
                        .map_err(|rejection| record.locate(rejection)),
                    Err(rejection) => Err(rejection.clone()),
                };
                visit(at, row);
            }
        })
    }
}
