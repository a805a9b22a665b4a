//! ERCOT's real-time settlement point prices of 15 minutes: `ercot.np6-905.csv`.
//!
//! The same name occurs with different types and prices (load zone, and load zone weighted by energy), so the type of an
//! energy-weighted price is part of its key.
//!
//! On the day with a repeated hour, some files print the end of the first pass, 02:00 daylight time, as 01:00 standard time with flag N:
//! the fourth quarter of hour 1 a second time. It is read as the fourth quarter of hour 2 if the quarters of its point between the two
//! rows ascend, and as printed if its point has that quarter, too. Otherwise both rows are ambiguous.

use std::cell::OnceCell;
use std::collections::HashMap;

use domain::QualityFlags;

use super::repeated::{self, Repeated, is_repeated};
use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, HOUR, Instants, MINUTE, Pass, Wall};
use crate::document::{Document, Names, Prices, Row, Spot};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::{ReadRow, Rowwise};
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

struct Settlement {
    columns: [Column; COLUMNS.len()],
    /// The rows of each point in and before a first pass. Known after the first row that may stand for its end.
    points: OnceCell<HashMap<Point, Printed>>,
    repeated: Repeated,
}

/// Name of a point, with its type and day.
type Point = (String, String, Wall);

/// How a point prints the quarters at the end of its first pass.
#[derive(Debug, Default)]
struct Printed {
    /// Rows of the quarter that may stand for the end.
    times: usize,
    /// The second one of them.
    second: Option<Spot>,
    /// The last quarter behind the first one of them, and whether those quarters ascend.
    between: Option<Wall>,
    ascends: bool,
    descends: bool,
    /// Whether the last quarter of the pass is printed as such.
    has_last: bool,
}

/// What the rows of the fourth quarter of hour 1 are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    AsPrinted,
    /// The row here is the end of the first pass.
    IsLater(Spot),
    Unknown,
}

impl Printed {
    /// Notes a row of the first pass, or of the hour before.
    fn note(&mut self, wall: Wall, spot: Spot) {
        if is_last_of_first_pass(wall) {
            self.has_last = true;
        } else if is_last_of_first_pass(wall + HOUR) {
            self.times += 1;
            if self.times == 2 {
                self.second = Some(spot);
            }
        } else if self.times == 1 && is_repeated(wall) {
            match self.between.replace(wall) {
                Some(earlier) if earlier < wall => self.ascends = true,
                Some(_) => self.descends = true,
                None => {}
            }
        }
    }

    fn reading(&self) -> Reading {
        match (self.times, self.second) {
            _ if self.has_last => Reading::AsPrinted,
            (0 | 1, _) => Reading::AsPrinted,
            (2, Some(second)) if self.ascends && !self.descends => Reading::IsLater(second),
            _ => Reading::Unknown,
        }
    }
}

pub(super) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (table, columns) = page::open(payload, &COLUMNS)?;
    let reader = Settlement {
        columns,
        points: OnceCell::new(),
        repeated: Repeated::default(),
    };
    Ok(Box::new(Rowwise { table, reader }))
}

impl Settlement {
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

    fn point(&self, record: &Record<'_>, wall: Wall) -> Point {
        let [_, _, _, node, kind, ..] = self.columns;
        let [node, kind] = [node, kind].map(|column| record.cell(column).to_owned());
        (node, kind, wall - wall.rem_euclid(clock::DAY))
    }

    fn reading(&self, table: &dyn Table, point: &Point) -> Reading {
        let points = self.points.get_or_init(|| {
            let mut points = HashMap::<Point, Printed>::new();
            // Rows that cannot be read are rejected when they are visited; so is the rest of a table that cannot be read.
            _ = table.for_each(&mut |_, record| {
                let Ok(record) = record else { return };
                if let Ok((wall, Some(Pass::First))) = self.quarter(&record)
                    && (is_repeated(wall) || is_last_of_first_pass(wall + HOUR))
                    && points.len() < POINTS
                {
                    points
                        .entry(self.point(&record, wall))
                        .or_default()
                        .note(wall, record.spot);
                }
            });
            points
        });
        points.get(point).map_or(Reading::Unknown, Printed::reading)
    }

    /// The beginning of a quarter that may be the end of the first pass, printed as the one before it.
    fn end_of_first_pass(&self, table: &dyn Table, record: &Record<'_>, wall: Wall) -> Result<Wall, Rejection> {
        match self.reading(table, &self.point(record, wall)) {
            Reading::IsLater(spot) if spot == record.spot => Ok(wall + HOUR),
            Reading::AsPrinted | Reading::IsLater(_) => Ok(wall),
            Reading::Unknown => Err(Rejection::new(
                RejectCode::AmbiguousTime,
                "the quarter before the repeated hour is there more than once, and the order of the rows does not tell which one ends that hour",
            )),
        }
    }

    /// Name and key of the point of a row.
    fn key<'r>(&self, record: &Record<'r>, key: &'r mut String) -> Result<(&'r str, &'r str), Rejection> {
        let [_, _, _, node, kind, ..] = self.columns;
        let (node, kind) = (record.node(node)?, record.text(kind)?);
        let is_weighted = kind.len().checked_sub(2).and_then(|at| kind.get(at..));
        if !is_weighted.is_some_and(|end| end.eq_ignore_ascii_case("EW")) {
            return Ok((node, node));
        }
        key.clear();
        key.extend([node, ".", kind]);
        key.get_mut(node.len()..).unwrap_or_default().make_ascii_uppercase();
        Ok((node, key.as_str()))
    }

    fn printed(&self, record: &Record<'_>, key: &mut String) -> Option<repeated::Printed> {
        let [.., price, _] = self.columns;
        let (wall, pass) = self.quarter(record).ok()?;
        let mut scratch = String::new();
        let (_, found) = self.key(record, &mut scratch).ok()?;
        key.clear();
        key.push_str(found);
        Some(repeated::Printed {
            wall,
            pass,
            price: record.price(price, &mut QualityFlags::default()).ok(),
        })
    }
}

impl ReadRow for Settlement {
    fn names(&self) -> Names {
        Names {
            time: "DeliveryDate",
            node: "SettlementPointName",
        }
    }

    fn row<'r>(&'r self, table: &dyn Table, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection> {
        let [.., price, _] = self.columns;
        let mut remarks = QualityFlags::NONE;
        let (node, key) = self.key(record, key)?;
        let (mut wall, pass) = self.quarter(record)?;
        if pass == Some(Pass::First) && is_last_of_first_pass(wall + HOUR) {
            wall = self.end_of_first_pass(table, record, wall)?;
        }
        let instants = CENTRAL.instants(wall);
        if let (Instants::Twice(..), Some(pass)) = (instants, pass) {
            let read = |record: &Record<'_>, key: &mut String| self.printed(record, key);
            self.repeated.check(table, (key, wall, pass), &read)?;
        }
        let start = instants.of(wall, pass)?;
        let price = record.price(price, &mut remarks)?;
        let (zone, hub) = place(node);
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
    wall.rem_euclid(HOUR) == 45 * MINUTE && is_repeated(wall) && !is_repeated(wall + 15 * MINUTE)
}
