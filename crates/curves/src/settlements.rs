//! Settlements: rows of contracts and prices, from `curve.settlements.csv` and from EIA's series of futures.
//!
//! Role: text to rows; a row that cannot be read is rejected alone, with its line and the reason.
//! Invariants: columns are found by name; a header that lacks a column, or has an unknown one, refuses the document, because it may change
//! the meaning of the others. Prices are read digit by digit.

use std::fmt;

use domain::{Decimal, Micros};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::CurveError;
use crate::contract::{Block, Commodity, Contract, Tenor};
use crate::quote::Quote;

mod csv;
mod eia;

/// One settlement.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// Line of the CSV, or number of the element, from 1.
    pub line: u64,
    /// The day of the price, which decides what a relative tenor means.
    pub as_of: Date,
    /// When it was known: the time of `as_of`, or the start of its day in UTC.
    pub known_at: Micros,
    /// The curve that it belongs to.
    pub curve_id: String,
    /// As quoted.
    pub tenor: Tenor,
    /// The hours that it prices.
    pub block: Block,
    /// In the unit of the curve.
    pub price: Decimal,
    /// Traded volume.
    pub volume: Option<Decimal>,
}

impl Settlement {
    /// The quote of an absolute contract.
    ///
    /// # Errors
    /// The tenor means no days.
    pub fn quote(&self, commodity: Commodity) -> Result<Quote, CurveError> {
        let number = |decimal: Decimal| decimal.unscaled() as f64 / 1e8;
        Ok(Quote {
            contract: Contract {
                period: self.tenor.resolve(self.as_of, commodity)?,
                block: self.block,
            },
            price: number(self.price),
            volume: self.volume.map(number),
            known_at: self.known_at,
            source: format!("line {}", self.line),
        })
    }
}

/// A row that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Rejected {
    /// Line of the CSV, or number of the element, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// The rows of a document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settlements {
    /// Those that can be read, in the order of the document.
    pub rows: Vec<Settlement>,
    /// All others.
    pub rejected: Vec<Rejected>,
}

impl Settlements {
    /// Reads a document: JSON of EIA if it begins with a brace, otherwise CSV.
    ///
    /// # Errors
    /// The header or the JSON as a whole cannot be read.
    pub fn parse(text: &str) -> Result<Settlements, CurveError> {
        let text = text.trim_start_matches('\u{feff}');
        match text.trim_start().starts_with('{') {
            true => eia::parse(text),
            false => csv::parse(text),
        }
    }

    fn add(&mut self, line: u64, row: Result<Settlement, String>) {
        match row {
            Ok(row) => self.rows.push(row),
            Err(reason) => self.rejected.push(Rejected { line, reason }),
        }
    }
}

/// A date, or a time of RFC 3339 with its UTC date.
fn as_of(text: &str) -> Result<(Date, Micros), String> {
    let refused = || format!("as_of \"{text}\" is neither a date (2026-11-25) nor a time (2026-11-25T17:30:00Z)");
    if let Ok(time) = text.parse::<Timestamp>() {
        // The day that the source wrote, not that of UTC.
        let day: Date = text.get(..10).and_then(|day| day.parse().ok()).ok_or_else(refused)?;
        return Ok((day, time.as_microsecond()));
    }
    let day: Date = text.parse().map_err(|_| refused())?;
    let start = day.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| refused())?;
    Ok((day, start.timestamp().as_microsecond()))
}

fn decimal(name: &str, text: &str) -> Result<Decimal, String> {
    Decimal::parse(text.as_bytes()).map_err(|error| format!("{name} \"{text}\": {error}"))
}
