//! ERCOT's prices of one run of its dispatch (SCED): `ercot.np6-788.csv` and `ercot.np6-787.csv`.
//!
//! The stamp is the instant of the run, not on a grid. Runs follow each other after five minutes at most, so the end of the
//! interval is nominal. Buses have prices under `LMP`, or since 2026-08-27 under `CappedLMP`, which continues the series.

use domain::{Interval, QualityFlags};

use super::repeated;
use super::runs::Runs;
use super::{REPEATED, page, pass, place};
use crate::clock::{self, CENTRAL, Instants};
use crate::document::{Document, Names, Prices, Row};
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Column, Known, Record, Table, optional, required};

pub(super) const SETTLEMENT_POINTS: &str = "ercot.np6-788.csv";
pub(super) const BUSES: &str = "ercot.np6-787.csv";

const STAMP: Known = required(&["SCEDTimestamp", "SCED Time Stamp"]);
const OF_POINTS: [Known; 4] = [
    STAMP,
    REPEATED,
    required(&["SettlementPoint", "SettlementPointName"]),
    required(&["LMP"]),
];
const OF_BUSES: [Known; 6] = [
    STAMP,
    REPEATED,
    required(&["ElectricalBus", "ElectricBusName", "ElectricalBusName", "ElectricBus"]),
    optional(&["LMP"]),
    optional(&["CappedLMP"]),
    optional(&["UncappedLMP"]),
];

pub(super) fn recognise(head: &Head<'_>, format: &str) -> bool {
    let has_buses = |name: &str| name.contains("electricalbus") || name.contains("electricbus");
    let has_points = |name: &str| name.contains("settlementpoint");
    let has = |is: &dyn Fn(&str) -> bool| {
        if head.is_json() {
            let fields = crate::table::plain(head.text.split("\"data\"").next().unwrap_or_default());
            fields.contains("scedtimestamp") && is(&fields)
        } else {
            head.has_columns(&["scedtimestamp"]) && is(&crate::table::plain(head.first_line))
        }
    };
    if format == BUSES {
        has(&has_buses)
    } else {
        has(&has_points) && !has(&has_buses)
    }
}

struct Run {
    stamp: Column,
    repeated: Column,
    node: Column,
    price: Column,
    /// Whether nodes are buses, whose names may be those of settlement points.
    is_of_buses: bool,
    runs: Runs,
}

impl Run {
    fn printed(&self, record: &Record<'_>, key: &mut String) -> Option<repeated::Printed> {
        let wall = clock::local(record.cell(self.stamp), self.stamp.name).ok()?;
        key.clear();
        key.push_str(record.node(self.node).ok()?);
        Some(repeated::Printed {
            wall,
            pass: pass(record, self.repeated).ok()?,
            price: record.price(self.price, &mut QualityFlags::default()).ok(),
        })
    }
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    if format == BUSES {
        let (table, [stamp, repeated, node, lmp, capped, uncapped]) = page::open(payload, &OF_BUSES)?;
        let price = match (lmp.at, capped.at, uncapped.at) {
            (Some(_), None, None) => lmp,
            (None, Some(_), _) => capped,
            _ => {
                let message = "the header has neither LMP alone nor CappedLMP, with or without UncappedLMP";
                return Err(Rejection::new(RejectCode::SchemaViolation, message));
            }
        };
        let reader = Run {
            stamp,
            repeated,
            node,
            price,
            is_of_buses: true,
            runs: Runs::default(),
        };
        return Ok(Box::new(Rowwise { table, reader }));
    }
    let (table, [stamp, repeated, node, price]) = page::open(payload, &OF_POINTS)?;
    let reader = Run {
        stamp,
        repeated,
        node,
        price,
        is_of_buses: false,
        runs: Runs::default(),
    };
    Ok(Box::new(Rowwise { table, reader }))
}

impl ReadRow for Run {
    fn names(&self) -> Names {
        Names {
            time: self.stamp.name,
            node: self.node.name,
        }
    }

    fn row<'r>(&'r self, table: &dyn Table, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection> {
        let mut remarks = QualityFlags::NONE;
        let node = record.node(self.node)?;
        let wall = clock::local(record.cell(self.stamp), self.stamp.name)?;
        let pass = pass(record, self.repeated)?;
        let instants = CENTRAL.instants(wall);
        if let (Instants::Twice(..), Some(pass)) = (instants, pass) {
            let read = |record: &Record<'_>, key: &mut String| self.printed(record, key);
            self.runs.check(table, (node, wall, pass), &read)?;
        }
        let start = instants.of(wall, pass)?;
        let price = record.price(self.price, &mut remarks)?;
        let ((zone, hub), key) = if self.is_of_buses {
            key.clear();
            key.extend([node, ".BUS"]);
            ((None, None), key.as_str())
        } else {
            (place(node), node)
        };
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key,
            zone,
            hub,
            product: "rt5",
            start,
            end: start + Interval::FiveMinutes.micros(),
            prices: Prices::alone(price),
            volume: None,
            version: None,
            remarks,
        })
    }
}
