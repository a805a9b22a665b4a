//! Settlements: prices of contracts, as `curve.settlements.csv` and as EIA's series of gas futures.
//!
//! Role: what the two formats have in common. A format reads a row into a [`Settlement`]; the row then becomes a tick of the absolute
//! contract, or a quote of `dp curve build`.
//! Invariants: a relative tenor becomes an absolute month by the expiry calendar and its own trade date, so that history does not
//! change its meaning. The event time is the stated time, or the start of the trade date where the contract delivers, so that a corrected
//! price has the time of the first one and replaces it.
//! Failure: a row that cannot be read is rejected alone, with its line and the reason.

use domain::{Decimal, Micros, QualityFlags};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::check;
use crate::contract::{Block, Commodity, Contract, ContractError, SETTLEMENT, Tenor};
use crate::document::{Names, Prices, Row};
use crate::gas::eia_futures;
use crate::registry::{self, Market};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::rowwise::{ReadRow, Rowwise};
use crate::table::{Record, Table, is_json, is_plain, plain};

pub(crate) mod csv;

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
                let read = document.reader.0.settlement(&record, &mut remarks);
                read.map_err(|rejection| record.locate(rejection))
            });
            match read {
                Ok(settlement) => found.rows.push(settlement),
                Err(rejection) => found.rejected.push(rejection.message),
            }
        })?;
        Ok(found)
    }
}

/// Reads one row of a format.
pub(crate) trait ReadSettlement {
    /// The columns of time and instrument.
    fn names(&self) -> Names;

    /// The settlement of a row.
    fn settlement(&self, record: &Record<'_>, remarks: &mut QualityFlags) -> Result<Settlement, Rejection>;
}

/// A format whose settlements become prices of contracts.
pub(crate) struct Dated<R>(pub R);

impl<R: ReadSettlement> ReadRow for Dated<R> {
    fn names(&self) -> Names {
        self.0.names()
    }

    fn row<'r>(&'r self, record: &Record<'r>, key: &'r mut String) -> Result<Row<'r>, Rejection> {
        let mut remarks = QualityFlags::NONE;
        let settlement = self.0.settlement(record, &mut remarks)?;
        let (market, hub) = place_of(&settlement.curve_id)?;
        let zone = zone_of(market)?;
        let Trade { day, start, end } = trade(&settlement, &zone)?;
        let refused = |error: ContractError| Rejection::new(RejectCode::SchemaViolation, error.to_string());
        let contract = Contract {
            period: settlement.tenor.resolve(day, commodity_of(market)).map_err(refused)?,
            block: settlement.block,
        };
        if settlement.block != Block::Flat && market.peak.is_none() {
            let message = format!("{} has no on-peak block: quote its contracts as flat", market.name);
            return Err(Rejection::new(RejectCode::SchemaViolation, message));
        }
        check::volume(settlement.price, settlement.volume, "volume")?;
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
            prices: Prices::alone(settlement.price),
            volume: settlement.volume,
            version: None,
            remarks,
        })
    }
}

/// The market and the hub of a curve. A hub of the registry has its name there, apart from case and separators.
fn place_of(curve_id: &str) -> Result<(&'static Market, &str), Rejection> {
    let (name, hub) = curve_id.split_once('.').unwrap_or((curve_id, ""));
    let market = registry::MARKETS
        .iter()
        .find(|market| market.name.eq_ignore_ascii_case(name))
        .ok_or_else(|| {
            let known: Vec<&str> = registry::MARKETS.iter().map(|market| market.name).collect();
            let message = format!(
                "{CURVE} \"{}\" begins with no market: MARKET.<hub> is expected, with one of {}",
                excerpt(curve_id),
                known.join(", ")
            );
            Rejection::new(RejectCode::UnknownMarket, message)
        })?;
    if hub.trim().is_empty() {
        let message = format!(
            "{CURVE} \"{}\" names no hub: MARKET.<hub> is expected",
            excerpt(curve_id)
        );
        return Err(Rejection::new(RejectCode::MissingInstrument, message));
    }
    let written = plain(hub);
    let mut known = market.places.iter().flat_map(|places| places.names);
    let hub = known.find(|name| is_plain(name, &written)).copied().unwrap_or(hub);
    Ok((market, hub))
}

fn commodity_of(market: &Market) -> Commodity {
    match market.peak {
        Some(_) => Commodity::Power,
        None => Commodity::Gas,
    }
}

/// The zone in which the contracts of a market deliver: prevailing time, also where its data are in standard time.
fn zone_of(market: &Market) -> Result<TimeZone, Rejection> {
    let name = market.peak.map_or(market.zone, |peak| peak.zone);
    let unknown = |error| Rejection::new(RejectCode::InvalidTime, format!("time zone {name}: {error}"));
    TimeZoneDatabase::bundled().get(name).map_err(unknown)
}

/// When a settlement was made.
struct Trade {
    day: Date,
    start: Micros,
    /// End of the day.
    end: Micros,
}

fn trade(settlement: &Settlement, zone: &TimeZone) -> Result<Trade, Rejection> {
    let outside = |error: jiff::Error| {
        let message = format!("as_of {} is outside the calendar: {error}", settlement.as_of);
        Rejection::new(RejectCode::InvalidTime, message)
    };
    let day = match settlement.time {
        Some(time) => zone
            .to_datetime(Timestamp::from_microsecond(time).map_err(outside)?)
            .date(),
        None => settlement.as_of,
    };
    let midnight = |day: Date| {
        day.to_zoned(zone.clone())
            .map(|start| start.timestamp().as_microsecond())
    };
    let next = day.tomorrow().and_then(midnight).map_err(outside)?;
    Ok(Trade {
        day,
        start: settlement.time.map_or_else(|| midnight(day), Ok).map_err(outside)?,
        end: next,
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
    if let Ok(time) = text.parse::<Timestamp>() {
        let day: Date = text.get(..10).and_then(|day| day.parse().ok()).ok_or_else(refused)?;
        return Ok((day, Some(time.as_microsecond())));
    }
    let is_date = text.len() == 10;
    let day = is_date.then(|| text.parse().ok()).flatten().ok_or_else(refused)?;
    Ok((day, None))
}
