//! ERCOT's day-ahead settlement point prices: `ercot.np4-190.csv` and `ercot.np4-190.json`.

use domain::QualityFlags;

use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, HOUR};
use crate::document::{Document, Names, Prices, Row};
use crate::format::Head;
use crate::rejection::Rejection;
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Known, Record, plain, required};

const COLUMNS: [Known; 5] = [
    required(&["DeliveryDate"]),
    required(&["HourEnding"]),
    required(&["SettlementPoint", "SettlementPointName"]),
    required(&["SettlementPointPrice"]),
    REPEATED,
];

pub(super) fn recognise(head: &Head<'_>) -> bool {
    if head.is_json() {
        let fields = plain(head.text.split("\"data\"").next().unwrap_or_default());
        return fields.contains("hourending") && fields.contains("settlementpointprice");
    }
    head.has_columns(&["deliverydate", "hourending", "settlementpointprice"])
}

struct DayAhead {
    columns: [Column; COLUMNS.len()],
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (table, columns) = page::open(payload, &COLUMNS)?;
    let reader = DayAhead { columns };
    Ok(Box::new(Rowwise { table, reader }))
}

impl ReadRow for DayAhead {
    fn names(&self) -> Names {
        Names {
            time: "DeliveryDate",
            node: "SettlementPoint",
        }
    }

    fn row<'r>(&'r self, record: &Record<'r>, _: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [date, hour, node, price, repeated] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(node)?;
        let day = clock::date(record.cell(date), date.name)?;
        let hour = clock::hour_ending(record.cell(hour), hour.name)?;
        let start = CENTRAL.utc(day + (hour - 1) * HOUR, pass(record, repeated)?)?;
        let price = record.price(price, &mut remarks)?;
        let (zone, hub) = place(node);
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: node,
            zone,
            hub,
            product: "da",
            start,
            end: start + HOUR,
            prices: Prices::alone(price),
            volume: None,
            version: None,
            remarks,
        })
    }
}
