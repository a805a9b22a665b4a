//! ERCOT's real-time settlement point prices of 15 minutes: `ercot.np6-905.csv`.
//!
//! The same name occurs with different types and prices (load zone, and load zone weighted by energy), so the type of an
//! energy-weighted price is part of its key.

use domain::QualityFlags;

use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, HOUR, MINUTE};
use crate::document::{Document, Names, Prices, Row};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Known, Record, plain, required};

const COLUMNS: [Known; 7] = [
    required(&["DeliveryDate"]),
    required(&["DeliveryHour"]),
    required(&["DeliveryInterval"]),
    required(&["SettlementPointName", "SettlementPoint"]),
    required(&["SettlementPointType"]),
    required(&["SettlementPointPrice"]),
    REPEATED,
];

pub(super) fn recognise(head: &Head<'_>) -> bool {
    if head.is_json() {
        let fields = plain(head.text.split("\"data\"").next().unwrap_or_default());
        return fields.contains("deliveryinterval") && fields.contains("settlementpointprice");
    }
    head.has_columns(&[
        "deliverydate",
        "deliveryhour",
        "deliveryinterval",
        "settlementpointprice",
    ])
}

struct Settlement {
    columns: [Column; COLUMNS.len()],
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (table, columns) = page::open(payload, &COLUMNS)?;
    let reader = Settlement { columns };
    Ok(Box::new(Rowwise { table, reader }))
}

impl ReadRow for Settlement {
    fn names(&self) -> Names {
        Names {
            time: "DeliveryDate",
            node: "SettlementPointName",
        }
    }

    fn row<'r>(&'r self, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [date, hour, interval, node, kind, price, repeated] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(node)?;
        let kind = record.text(kind)?;
        let day = clock::date(record.cell(date), date.name)?;
        let hour = clock::hour_ending(record.cell(hour), hour.name)?;
        let quarter = match record.cell(interval).trim_start_matches('0') {
            "1" => 0,
            "2" => 1,
            "3" => 2,
            "4" => 3,
            other => {
                let message = format!("{} is \"{}\": 1 to 4 is expected", interval.name, excerpt(other));
                return Err(Rejection::new(RejectCode::InvalidTime, message));
            }
        };
        let wall = day + (hour - 1) * HOUR + quarter * 15 * MINUTE;
        let start = CENTRAL.utc(wall, pass(record, repeated)?)?;
        let price = record.price(price, &mut remarks)?;
        let (zone, hub) = place(node);
        let is_weighted = kind.len().checked_sub(2).and_then(|at| kind.get(at..));
        let key = if is_weighted.is_some_and(|end| end.eq_ignore_ascii_case("EW")) {
            key.clear();
            key.extend([node, ".", kind]);
            key.get_mut(node.len()..).unwrap_or_default().make_ascii_uppercase();
            key.as_str()
        } else {
            node
        };
        Ok(Row {
            spot: record.spot,
            node,
            key,
            zone,
            hub,
            product: "rt15",
            start,
            end: start + 15 * MINUTE,
            prices: Prices::alone(price),
            version: None,
            remarks,
        })
    }
}
