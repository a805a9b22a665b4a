//! ERCOT's day-ahead settlement point prices: `ercot.np4-190.csv` and `ercot.np4-190.json`.

use domain::{Decimal, QualityFlags};

use super::repeated::{Printed, Repeated};
use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, HOUR, Instants, Pass, Wall};
use crate::document::{Document, Names, Prices, Row, Visit};
use crate::format::Head;
use crate::rejection::Rejection;
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

struct DayAhead<'a> {
    table: Box<dyn Table + 'a>,
    columns: [Column; COLUMNS.len()],
    repeated: Repeated,
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (table, columns) = page::open(payload, &COLUMNS)?;
    Ok(Box::new(DayAhead {
        table,
        columns,
        repeated: Repeated::default(),
    }))
}

impl DayAhead<'_> {
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

    fn row<'r>(&self, record: &Record<'r>) -> Result<Row<'r>, Rejection> {
        let [_, _, node, price, _] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(node)?;
        let (wall, pass) = self.hour(record)?;
        let instants = CENTRAL.instants(wall);
        if let (Instants::Twice(..), Some(pass)) = (instants, pass) {
            let read = |record: &Record<'_>, key: &mut String| self.printed(record, key);
            self.repeated.check(&self.table, (node, wall, pass), &read)?;
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

impl Document for DayAhead<'_> {
    fn names(&self) -> Names {
        Names {
            time: "DeliveryDate",
            node: "SettlementPoint",
        }
    }

    fn rows(&self) -> usize {
        self.table.rows()
    }

    fn is_part(&self) -> bool {
        self.table.is_part()
    }

    fn is_bare(&self) -> bool {
        self.table.is_bare()
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        self.table.for_each(&mut |index, record| match record {
            Ok(record) => visit(index, self.row(&record).map_err(|rejection| record.locate(rejection))),
            Err(rejection) => visit(index, Err(rejection)),
        })
    }
}
