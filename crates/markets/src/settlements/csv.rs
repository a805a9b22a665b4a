//! Settlements of contracts of any market: `curve.settlements.csv`.
//!
//! Columns `as_of` (a date, or a time with its offset), `curve_id` (`MARKET.<hub>`), `contract`, `block`, `price` and optionally
//! `volume`, in any order.

use domain::QualityFlags;

use super::{CURVE, Dated, Quote, ReadSettlement, as_of};
use crate::contract::{ContractError, check_meaning};
use crate::document::{Document, Names};
use crate::encoding::csv_text;
use crate::format::Head;
use crate::rejection::{RejectCode, Rejection};
use crate::rowwise::Rowwise;
use crate::table::{Column, Csv, Known, Record, columns, optional, required};

const COLUMNS: [Known; 6] = [
    required(&["as_of"]),
    required(&[CURVE]),
    required(&["contract"]),
    required(&["block"]),
    required(&["price"]),
    optional(&["volume"]),
];

pub(crate) struct Rows {
    columns: [Column; COLUMNS.len()],
}

pub(crate) fn recognise(head: &Head<'_>) -> bool {
    !head.is_json() && !head.is_xml() && head.has_columns(&["asof", "curveid", "contract", "block", "price"])
}

pub(crate) fn open<'a>(payload: &'a [u8], _: &'static str) -> Result<Box<dyn Document + 'a>, Rejection> {
    Ok(Box::new(read(payload)?))
}

pub(super) fn read(payload: &[u8]) -> Result<Rowwise<Csv<'_>, Dated<Rows>>, Rejection> {
    let (csv, names) = Csv::open(csv_text(payload)?)?;
    let columns = columns(&names, &COLUMNS)?;
    // A contract, a date or a curve may be whole without its last letters, and a number without its last digits: each source has its own
    // scale, or none. So a line that is open is refused.
    let [.., price, volume] = columns;
    Ok(Rowwise {
        table: csv.guarded_by_line_end(&[price, volume]),
        reader: Dated::new(Rows { columns }),
    })
}

impl ReadSettlement for Rows {
    fn names(&self) -> Names {
        Names {
            time: "as_of",
            node: CURVE,
        }
    }

    fn quote<'r>(&self, record: &Record<'r>, remarks: &mut QualityFlags) -> Result<Quote<'r>, Rejection> {
        let [day, curve, contract, block, price, volume] = self.columns;
        let refused = |error: ContractError| Rejection::new(RejectCode::SchemaViolation, error.to_string());
        let (as_of, time) = as_of(record.cell(day), day.name)?;
        let written = record.text(contract)?;
        check_meaning(written, as_of).map_err(refused)?;
        Ok(Quote {
            as_of,
            time,
            curve_id: record.node(curve)?,
            tenor: written.parse().map_err(refused)?,
            block: record.text(block)?.parse().map_err(refused)?,
            price: record.price(price, remarks)?,
            volume: record.component(volume, remarks)?,
        })
    }
}
