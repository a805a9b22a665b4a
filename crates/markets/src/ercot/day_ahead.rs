//! ERCOT's day-ahead settlement point prices: `ercot.np4-190.csv` and `ercot.np4-190.json`.

use domain::QualityFlags;

use super::repeated::{Printed, Repeated};
use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, HOUR, Instants, Pass, Wall};
use crate::document::{Document, Names, Prices, Row};
use crate::format::Head;
use crate::rejection::Rejection;
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Known, Record, Table, plain, required};

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
    repeated: Repeated,
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (table, columns) = page::open(payload, &COLUMNS)?;
    let reader = DayAhead {
        columns,
        repeated: Repeated::default(),
    };
    Ok(Box::new(Rowwise { table, reader }))
}

impl DayAhead {
    /// The local beginning of the hour of a row, and its pass.
    fn hour(&self, record: &Record<'_>) -> Result<(Wall, Option<Pass>), Rejection> {
        let [date, hour, _, _, repeated] = self.columns;
        let day = clock::date(record.cell(date), date.name)?;
        let hour = clock::hour_ending(record.cell(hour), hour.name)?;
        Ok((day + (hour - 1) * HOUR, pass(record, repeated)?))
    }

    fn printed(&self, record: &Record<'_>, key: &mut String) -> Option<Printed> {
        let [_, _, node, price, _] = self.columns;
        let (wall, pass) = self.hour(record).ok()?;
        key.clear();
        key.push_str(record.node(node).ok()?);
        Some(Printed {
            wall,
            pass,
            price: record.price(price, &mut QualityFlags::default()).ok(),
        })
    }
}

impl ReadRow for DayAhead {
    fn names(&self) -> Names {
        Names {
            time: "DeliveryDate",
            node: "SettlementPoint",
        }
    }

    fn row<'r>(&'r self, table: &dyn Table, record: &Record<'r>, _: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [_, _, node, price, _] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(node)?;
        let (wall, pass) = self.hour(record)?;
        let instants = CENTRAL.instants(wall);
        if let (Instants::Twice(..), Some(pass)) = (instants, pass) {
            let read = |record: &Record<'_>, key: &mut String| self.printed(record, key);
            self.repeated.check(table, (node, wall, pass), &read)?;
        }
        let start = instants.of(wall, pass)?;
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
