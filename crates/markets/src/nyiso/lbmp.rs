//! NYISO's prices: `nyiso.realtime_zone.csv`, `nyiso.damlbmp_zone.csv` and `nyiso.rtlbmp_zone.csv`.
//!
//! A five-minute stamp is the end of its interval, an hourly one the start. Additional dispatch runs have stamps between those
//! of the grid; an interval begins at the stamp before it, or at the last mark of the grid.

use std::cell::OnceCell;
use std::collections::HashMap;

use domain::{Decimal, Micros, QualityFlags};

use super::passes::{Counts, NAMES, Passes};
use crate::clock::{self, EASTERN, HOUR, Instants, MINUTE};
use crate::document::{Document, Names, Prices, Row, Visit};
use crate::encoding::csv_text;
use crate::energies::Energies;
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection};
use crate::table::{Column, Csv, Known, Record, Table, columns, optional, required};

pub(super) const REAL_TIME: &str = "nyiso.realtime_zone.csv";
pub(super) const DAY_AHEAD: &str = "nyiso.damlbmp_zone.csv";
pub(super) const HOURLY: &str = "nyiso.rtlbmp_zone.csv";
/// Distance of the regular stamps.
const GRID: Micros = 5 * MINUTE;

const COLUMNS: [Known; 6] = [
    required(&["Time Stamp"]),
    required(&["Name"]),
    optional(&["PTID"]),
    required(&["LBMP ($/MWHr)", "LBMP ($/MWH", "LBMP"]),
    required(&[
        "Marginal Cost Losses ($/MWHr)",
        "Marginal Cost Losses ($/MWH",
        "Marginal Cost Losses",
    ]),
    // Cut to a length until 2016.
    required(&[
        "Marginal Cost Congestion ($/MWHr)",
        "Marginal Cost Congestion ($/MWH",
        "Marginal Cost Congestion",
    ]),
];

// The three have the same columns. Without a telling name, only real-time stamps have seconds.
pub(super) fn recognise(head: &Head<'_>) -> Option<&'static str> {
    if !head.has_columns(&["timestamp", "name"]) || !head.has_column_like("lbmp") {
        return None;
    }
    let named = [("damlbmp", DAY_AHEAD), ("rtlbmp", HOURLY), ("realtime", REAL_TIME)];
    if let Some((_, format)) = named.into_iter().find(|(part, _)| head.file_name.contains(part)) {
        return Some(format);
    }
    let row = head.text.lines().filter(|line| !line.trim().is_empty()).nth(1)?;
    match row.split(',').next()?.matches(':').count() {
        1 => Some(DAY_AHEAD),
        2 => Some(REAL_TIME),
        _ => None,
    }
}

struct Lbmp<'a> {
    csv: Csv<'a>,
    columns: [Column; COLUMNS.len()],
    product: &'static str,
    /// Known after the first row in a repeated hour; few documents have one.
    passes: OnceCell<Passes>,
}

pub(super) fn open<'a>(payload: &'a [u8], format: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    let csv = csv.guarded(columns.get(3..).unwrap_or_default());
    let product = match format {
        DAY_AHEAD => "da",
        HOURLY => "rth",
        _ => "rt5",
    };
    Ok(Box::new(Lbmp {
        csv,
        columns,
        product,
        passes: OnceCell::new(),
    }))
}

/// What the rows before a row tell about it.
#[derive(Default)]
struct Before {
    counts: Counts,
    /// The last stamp of each name.
    ends: HashMap<String, Micros>,
    energies: Energies,
}

impl Lbmp<'_> {
    fn passes(&self) -> &Passes {
        self.passes.get_or_init(|| {
            let mut passes = Passes::default();
            let [stamp, name, ..] = self.columns;
            self.csv.for_each_line(&mut |_, _, record| {
                // Rows that cannot be read are rejected when they are visited.
                let Ok(record) = record else { return };
                if let Ok(wall) = clock::local(record.cell(stamp), stamp.name) {
                    passes.note(record.cell(name), wall);
                }
            });
            passes.decide(self.product != "rt5");
            passes
        })
    }

    fn row<'r>(&self, record: &Record<'r>, tolerance: Decimal, before: &mut Before) -> Result<Row<'r>, Rejection> {
        let [stamp, name, _, price, loss, congestion] = self.columns;
        let wall = clock::local(record.cell(stamp), stamp.name)?;
        // Counts every row whose stamp can be read, as the pass over the whole document does.
        let pass = match EASTERN.instants(wall) {
            Instants::Twice(..) => self.passes().next(&mut before.counts, record.cell(name), wall),
            _ => None,
        };
        let node = record.node(name)?;
        let instant = EASTERN.utc(wall, pass)?;
        let (start, end) = if self.product == "rt5" {
            (self.start(node, instant, before), instant)
        } else {
            (instant, instant + HOUR)
        };
        let mut remarks = QualityFlags::NONE;
        let price = record.price(price, &mut remarks)?;
        let mut component = |column: Column| {
            record
                .component(column, &mut remarks)?
                .ok_or_else(|| Rejection::new(RejectCode::InvalidNumber, format!("{} is empty", column.name)))
        };
        let (loss, published) = (component(loss)?, component(congestion)?);
        let out_of_range = |error| Rejection::new(RejectCode::InvalidNumber, format!("{}: {error}", congestion.name));
        let prices = Prices::without_energy(price, Decimal::ZERO.checked_sub(published).map_err(out_of_range)?, loss)?;
        before
            .energies
            .compare(instant, prices.energy.unwrap_or_default(), tolerance, &mut remarks);
        Ok(Row {
            spot: record.spot,
            market: None,
            node,
            key: node,
            zone: Some(node),
            hub: None,
            product: self.product,
            start,
            end,
            prices,
            volume: None,
            version: None,
            remarks,
        })
    }

    // The stamp before this one if it lies after the last mark of the grid, else that mark.
    fn start(&self, node: &str, end: Micros, before: &mut Before) -> Micros {
        let mark = end - 1 - (end - 1).rem_euclid(GRID);
        let is_full = before.ends.len() >= NAMES;
        let previous = match before.ends.get_mut(node) {
            Some(slot) => Some(std::mem::replace(slot, end)),
            None if !is_full => before.ends.insert(node.to_owned(), end),
            None => None,
        };
        previous
            .filter(|previous| (mark..end).contains(previous))
            .unwrap_or(mark)
    }
}

impl Document for Lbmp<'_> {
    fn names(&self) -> Names {
        Names {
            time: "Time Stamp",
            node: "Name",
        }
    }

    fn rows(&self) -> usize {
        self.csv.rows()
    }

    fn for_each(&self, tolerance: Decimal, visit: &mut Visit<'_>) -> Result<(), Rejection> {
        let mut before = Before::default();
        self.csv.for_each(&mut |index, record| match record {
            Ok(record) => {
                let row = self.row(&record, tolerance, &mut before);
                visit(index, row.map_err(|rejection| record.locate(rejection)));
            }
            Err(rejection) => visit(index, Err(rejection)),
        })
    }
}
