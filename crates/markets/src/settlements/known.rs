//! What the rows of a document have in common.
//!
//! Role: rows of settlements follow each other by curve and day, so what a row's curve, day and expiry mean is kept for the next one.
//! Invariant: what is remembered depends on the same texts and days only, so a row is read as if it were alone.
//! Failure: as the functions that are remembered; errors are not.

use domain::Micros;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::CURVE;
use crate::contract::{Commodity, ContractError, Expiries, Period, Tenor};
use crate::registry::{self, Market};
use crate::rejection::{RejectCode, Rejection, excerpt};
use crate::table::{is_plain, plain};

/// The last curve, day and expiry.
#[derive(Default)]
pub(super) struct Known {
    place: Option<Place>,
    zone: Option<(&'static str, TimeZone)>,
    trade: Option<(Date, Option<Micros>, &'static str, Trade)>,
    expiries: Expiries,
}

/// A curve.
struct Place {
    curve_id: String,
    market: &'static Market,
    /// As the registry has it; `None` for a hub that it does not have.
    hub: Option<&'static str>,
}

impl Known {
    /// The market and the hub of a curve. A hub of the registry has its name there, apart from case and separators.
    pub(super) fn place<'r>(&mut self, curve_id: &'r str) -> Result<(&'static Market, &'r str), Rejection> {
        let known = self.place.take().filter(|place| place.curve_id == curve_id);
        let place = match known {
            Some(place) => place,
            None => place_of(curve_id)?,
        };
        let (_, written) = curve_id.split_once('.').unwrap_or_default();
        let found = (place.market, place.hub.unwrap_or(written));
        self.place = Some(place);
        Ok(found)
    }

    /// When a settlement of a market was made.
    pub(super) fn trade(&mut self, as_of: Date, time: Option<Micros>, market: &Market) -> Result<Trade, Rejection> {
        let name = market.peak.map_or(market.zone, |peak| peak.zone);
        if let Some((day, at, zone, trade)) = self.trade
            && (day, at, zone) == (as_of, time, name)
        {
            return Ok(trade);
        }
        let zone = self.zone.take().filter(|(zone, _)| *zone == name);
        let zone = match zone {
            Some((_, zone)) => zone,
            None => zone_of(name)?,
        };
        let trade = trade(as_of, time, &zone)?;
        self.zone = Some((name, zone));
        self.trade = Some((as_of, time, name, trade));
        Ok(trade)
    }

    /// The days that a tenor of this market means.
    pub(super) fn period(&mut self, tenor: Tenor, day: Date, market: &Market) -> Result<Period, ContractError> {
        let commodity = match market.peak {
            Some(_) => Commodity::Power,
            None => Commodity::Gas,
        };
        tenor.resolve_by(&mut self.expiries, day, commodity)
    }
}

fn place_of(curve_id: &str) -> Result<Place, Rejection> {
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
    Ok(Place {
        curve_id: curve_id.to_owned(),
        market,
        hub: known.find(|name| is_plain(name, &written)).copied(),
    })
}

/// The zone in which the contracts of a market deliver: prevailing time, also where its data are in standard time.
fn zone_of(name: &str) -> Result<TimeZone, Rejection> {
    let unknown = |error| Rejection::new(RejectCode::InvalidTime, format!("time zone {name}: {error}"));
    TimeZoneDatabase::bundled().get(name).map_err(unknown)
}

/// When a settlement was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trade {
    pub day: Date,
    pub start: Micros,
    /// End of the day.
    pub end: Micros,
}

fn trade(as_of: Date, time: Option<Micros>, zone: &TimeZone) -> Result<Trade, Rejection> {
    let outside = |error: jiff::Error| {
        let message = format!("as_of {as_of} is outside the calendar: {error}");
        Rejection::new(RejectCode::InvalidTime, message)
    };
    let day = match time {
        Some(time) => zone
            .to_datetime(Timestamp::from_microsecond(time).map_err(outside)?)
            .date(),
        None => as_of,
    };
    let midnight = |day: Date| {
        day.to_zoned(zone.clone())
            .map(|start| start.timestamp().as_microsecond())
    };
    let next = day.tomorrow().and_then(midnight).map_err(outside)?;
    Ok(Trade {
        day,
        start: time.map_or_else(|| midnight(day), Ok).map_err(outside)?,
        end: next,
    })
}
