//! ERCOT's real-time settlement point prices of 15 minutes: `ercot.np6-905.csv`.
//!
//! The same name occurs with different types and prices (load zone, and load zone weighted by energy), so the type of an
//! energy-weighted price is part of its key.
//!
//! On the day with a repeated hour, some files print the end of the first pass, 02:00 daylight time, as 01:00 standard time with flag N:
//! the fourth quarter of hour 1 a second time. It is read as the fourth quarter of hour 2, unless its point has that quarter, too.

use std::cell::OnceCell;
use std::collections::HashSet;

use domain::{Decimal, QualityFlags};

use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, HOUR, Instants, MINUTE, Pass, Wall};
use crate::document::{Document, Names, Prices, Row, Visit};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{Column, Known, Record, Table, plain, required};

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

/// Most points that are followed, so that memory is bounded. The market has about 1,000.
const POINTS: usize = 65_536;

struct Settlement<'a> {
    table: Box<dyn Table + 'a>,
    columns: [Column; COLUMNS.len()],
    /// Points with a price of the last quarter of a first pass. Known after the first row that may stand for it.
    complete: OnceCell<Points>,
}

/// Names of points, with their types and days.
type Points = HashSet<(String, String, Wall)>;

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (table, columns) = page::open(payload, &COLUMNS)?;
    Ok(Box::new(Settlement {
        table,
        columns,
        complete: OnceCell::new(),
    }))
}

impl Settlement<'_> {
    /// The local beginning of the quarter of a row, as printed, and its pass.
    fn quarter(&self, record: &Record<'_>) -> Result<(Wall, Option<Pass>), Rejection> {
        let [date, hour, interval, .., repeated] = self.columns;
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
        Ok((wall, pass(record, repeated)?))
    }

    /// The key of a point and day in [`Points`].
    fn point(&self, record: &Record<'_>, wall: Wall) -> (String, String, Wall) {
        let [_, _, _, node, kind, ..] = self.columns;
        let [node, kind] = [node, kind].map(|column| record.cell(column).to_owned());
        (node, kind, wall - wall.rem_euclid(clock::DAY))
    }

    fn complete(&self) -> &Points {
        self.complete.get_or_init(|| {
            let mut complete = Points::new();
            // Rows that cannot be read are rejected when they are visited; so is the rest of a table that cannot be read.
            _ = self.table.for_each(&mut |_, record| {
                let Ok(record) = record else { return };
                if let Ok((wall, Some(Pass::First))) = self.quarter(&record)
                    && is_last_of_first_pass(wall)
                    && complete.len() < POINTS
                {
                    complete.insert(self.point(&record, wall));
                }
            });
            complete
        })
    }

    fn row<'r>(&self, record: &Record<'r>, key: &'r mut String, printed: &mut Points) -> Result<Row<'r>, Rejection> {
        let [_, _, _, node, kind, price, _] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let node = record.node(node)?;
        let kind = record.text(kind)?;
        let (mut wall, pass) = self.quarter(record)?;
        if pass == Some(Pass::First) && is_last_of_first_pass(wall + HOUR) {
            let point = self.point(record, wall);
            let is_second = printed.contains(&point);
            if is_second && !self.complete().contains(&point) {
                wall += HOUR;
            } else if printed.len() < POINTS {
                printed.insert(point);
            }
        }
        let start = CENTRAL.utc(wall, pass)?;
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
            market: None,
            node,
            key,
            zone,
            hub,
            product: "rt15",
            start,
            end: start + 15 * MINUTE,
            prices: Prices::alone(price),
            volume: None,
            version: None,
            remarks,
        })
    }
}

/// Whether a quarter ends with the first pass of a repeated hour.
fn is_last_of_first_pass(wall: Wall) -> bool {
    let is_repeated = |wall| matches!(CENTRAL.instants(wall), Instants::Twice(..));
    wall.rem_euclid(HOUR) == 45 * MINUTE && is_repeated(wall) && !is_repeated(wall + 15 * MINUTE)
}

impl Document for Settlement<'_> {
    fn names(&self) -> Names {
        Names {
            time: "DeliveryDate",
            node: "SettlementPointName",
        }
    }

    fn rows(&self) -> usize {
        self.table.rows()
    }

    fn is_part(&self) -> bool {
        self.table.is_part()
    }

    fn for_each(&self, _: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let (mut key, mut printed) = (String::new(), Points::new());
        self.table.for_each(&mut |index, record| match record {
            Ok(record) => {
                let row = self.row(&record, &mut key, &mut printed);
                visit(index, row.map_err(|rejection| record.locate(rejection)));
            }
            Err(rejection) => visit(index, Err(rejection)),
        })
    }
}
