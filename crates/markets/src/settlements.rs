//! Settlements: prices of contracts, as `curve.settlements.csv` and as EIA's series of gas futures.
//!
//! Role: what the two formats have in common. A format reads a row into a [`Settlement`]; the row then becomes a tick of the absolute
//! contract, or a quote of `dp curve build`.
//! Invariants: a relative tenor becomes an absolute month by the expiry calendar and its own trade date, so that history does not
//! change its meaning. The event time is the stated time, or the start of the trade date where the contract delivers, so that a corrected
//! price has the time of the first one and replaces it.
//! Failure: a row that cannot be read is rejected alone, with its line and the reason.

use std::cell::Cell;

use domain::{Decimal, Micros, QualityFlags};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::check;
use crate::contract::{Block, Contract, ContractError, SETTLEMENT, Tenor};
use crate::document::{Names, Prices, Row};
use crate::gas::eia_futures;
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Record, Table, is_json};

pub(crate) mod csv;
mod known;

use known::{Known, Trade};

/// The column, or field, that names the curve.
pub(crate) const CURVE: &str = "curve_id";

/// One settlement, as its source writes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// Where it is in its document, such as `line 3`.
    pub place: String,
    /// The day of the price, which decides what a relative tenor means.
    pub as_of: Date,
    /// The time of the price, if the source states one.
    pub time: Option<Micros>,
    /// The curve that it belongs to: `MARKET.<hub>`.
    pub curve_id: String,
    /// As quoted.
    pub tenor: Tenor,
    /// The hours that it prices.
    pub block: Block,
    /// In the unit of the market.
    pub price: Decimal,
    /// Traded volume.
    pub volume: Option<Decimal>,
}

/// The rows of a document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settlements {
    /// Those that can be read, in the order of the document.
    pub rows: Vec<Settlement>,
    /// Where each other row is, and what is wrong with it.
    pub rejected: Vec<String>,
}

impl Settlements {
    /// Reads a document: JSON of EIA if it begins like JSON, otherwise CSV.
    ///
    /// # Errors
    /// The header or the JSON as a whole cannot be read.
    pub fn parse(payload: &[u8]) -> Result<Settlements, Rejection> {
        match is_json(payload) {
            true => Settlements::of(&eia_futures::read(payload)?),
            false => Settlements::of(&csv::read(payload)?),
        }
    }

    fn of<T: Table, R: ReadSettlement>(document: &Rowwise<T, Dated<R>>) -> Result<Settlements, Rejection> {
        let mut found = Settlements::default();
        document.table.for_each(&mut |_, record| {
            let read = record.and_then(|record| {
                let mut remarks = QualityFlags::NONE;
                let read = document.reader.format.quote(&record, &mut remarks);
                read.map(|quote| quote.settlement(&record))
                    .map_err(|rejection| record.locate(rejection))
            });
            match read {
                Ok(settlement) => found.rows.push(settlement),
                Err(rejection) => found.rejected.push(rejection.message),
            }
        })?;
        Ok(found)
    }
}

/// A [`Settlement`] with the texts of its row.
pub(crate) struct Quote<'r> {
    pub as_of: Date,
    pub time: Option<Micros>,
    pub curve_id: &'r str,
    pub tenor: Tenor,
    pub block: Block,
    pub price: Decimal,
    pub volume: Option<Decimal>,
}

impl Quote<'_> {
    fn settlement(self, record: &Record<'_>) -> Settlement {
        Settlement {
            place: record.spot.to_string(),
            as_of: self.as_of,
            time: self.time,
            curve_id: self.curve_id.to_owned(),
            tenor: self.tenor,
            block: self.block,
            price: self.price,
            volume: self.volume,
        }
    }
}

/// Reads one row of a format.
pub(crate) trait ReadSettlement {
    /// The columns of time and instrument.
    fn names(&self) -> Names;

    /// The settlement of a row.
    fn quote<'r>(&self, record: &Record<'r>, remarks: &mut QualityFlags) -> Result<Quote<'r>, Rejection>;
}

/// A format whose settlements become prices of contracts.
pub(crate) struct Dated<R> {
    format: R,
    known: Cell<Known>,
}

impl<R> Dated<R> {
    pub(crate) fn new(format: R) -> Dated<R> {
        Dated {
            format,
            known: Cell::default(),
        }
    }
}

impl<R: ReadSettlement> ReadRow for Dated<R> {
    fn names(&self) -> Names {
        self.format.names()
    }

    fn row<'r>(&'r self, _: &dyn Table, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection> {
        let mut remarks = QualityFlags::NONE;
        let quote = self.format.quote(record, &mut remarks)?;
        let mut known = self.known.take();
        let row = row(&mut known, record, (&quote, remarks), key);
        self.known.set(known);
        row
    }
}

fn row<'r>(
    known: &mut Known,
    record: &Record<'r>,
    (quote, remarks): (&Quote<'r>, QualityFlags),
    key: &'r mut String,
) -> Result<Row<'r>, Rejection> {
    let (market, hub) = known.place(quote.curve_id)?;
    let Trade { day, start, end } = known.trade(quote.as_of, quote.time, market)?;
    let refused = |error: ContractError| Rejection::new(RejectCode::SchemaViolation, error.to_string());
    let contract = Contract {
        period: known.period(quote.tenor, day, market).map_err(refused)?,
        block: quote.block,
    };
    if quote.block != Block::Flat && market.peak.is_none() {
        let message = format!("{} has no on-peak block: quote its contracts as flat", market.name);
        return Err(Rejection::new(RejectCode::SchemaViolation, message));
    }
    check::volume(quote.price, quote.volume, "volume")?;
    contract.write_key(hub, key);
    let key: &'r str = key;
    // The key begins with the hub, also where the table has no cell for it.
    let node = key.get(..hub.len()).unwrap_or_default();
    Ok(Row {
        spot: record.spot,
        market: Some(market.name),
        node,
        key,
        zone: None,
        hub: Some(node),
        product: SETTLEMENT,
        start,
        end,
        prices: Prices::alone(quote.price),
        volume: quote.volume,
        version: None,
        remarks,
    })
}

/// Reads the day, or the time with its offset, of a settlement. The day of a time is the one that the source wrote.
pub(crate) fn as_of(text: &str, column: &str) -> Result<(Date, Option<Micros>), Rejection> {
    let refused = || {
        let message = format!(
            "{column} is \"{}\": a date (2026-11-25) or a time (2026-11-25T17:30:00Z) is expected",
            excerpt(text)
        );
        let code = if text.is_empty() {
            RejectCode::MissingTime
        } else {
            RejectCode::InvalidTime
        };
        Rejection::new(code, message)
    };
    if let Some(day) = plain_date(text) {
        return Ok((day, None));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        let day: Date = text.get(..10).and_then(|day| day.parse().ok()).ok_or_else(refused)?;
        return Ok((day, Some(time.as_microsecond())));
    }
    let is_date = text.len() == 10;
    let day = is_date.then(|| text.parse().ok()).flatten().ok_or_else(refused)?;
    Ok((day, None))
}

// Nearly every date is `2026-11-25`.
fn plain_date(text: &str) -> Option<Date> {
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *text.as_bytes() else {
        return None;
    };
    let digits = [y0, y1, y2, y3, m0, m1, d0, d1];
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let [y0, y1, y2, y3, m0, m1, d0, d1] = digits.map(|digit| (digit & 0x0F).cast_signed());
    let year = [y0, y1, y2, y3]
        .iter()
        .fold(0, |year, digit| year * 10 + i16::from(*digit));
    Date::new(year, m0 * 10 + m1, d0 * 10 + d1).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_date_is_the_one_that_the_calendar_reads(text in "([0-9]{4}|2026)-[01][0-9]-[0-3][0-9]") {
            prop_assert_eq!(plain_date(&text), text.parse::<Date>().ok(), "{}", text);
            prop_assert!(text.parse::<Timestamp>().is_err());
        }
    }

    #[test]
    fn other_forms_of_a_date_are_no_plain_ones() {
        for text in [
            "2026-1-012",
            "2026/11/25",
            "2026-11-2",
            "2026-11-255",
            "-026-11-25",
            "２026-11-2",
            "",
        ] {
            assert_eq!(plain_date(text), None, "{text}");
        }
    }
}
