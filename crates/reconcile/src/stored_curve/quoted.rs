//! The prices of a curve's instruments, as far as they are quotes.
//!
//! Failure: instruments of two markets are an error. A price that is no quote is left out with its reason.

use anyhow::{Context as _, bail};
use curves::{DeliveryCalendar, PricedContract};
use domain::instrument::market_of;
use domain::{Decimal, Micros};
use ops::rows::{number, text};
use serde_json::{Map, Value};

/// The prices of a curve's instruments.
pub(super) struct Quoted {
    /// Of all of them; none without a price.
    pub(super) market: Option<String>,
    prices: Vec<PricedContract>,
    /// Of each price.
    units: Vec<Unit>,
    /// What is no quote, whatever the others are.
    pub(super) left_out: Vec<String>,
}

/// Currency and unit of a price, and when it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    name: String,
    appended: Micros,
}

impl Quoted {
    pub(super) fn of(rows: &[Map<String, Value>]) -> anyhow::Result<Quoted> {
        let mut quoted = Quoted {
            market: None,
            prices: Vec::with_capacity(rows.len()),
            units: Vec::with_capacity(rows.len()),
            left_out: Vec::new(),
        };
        for row in rows {
            let (market, instrument_id) = (text(row, "market")?, text(row, "instrument_id")?);
            let price = decimal(number(row, "unscaled")?)?;
            if let Some(why) = no_quote(instrument_id, market, price) {
                quoted
                    .left_out
                    .push(format!("{instrument_id}: {why} (tick {})", text(row, "origin")?));
                continue;
            }
            let first = quoted.market.get_or_insert_with(|| market.to_owned());
            if *first != market {
                bail!(
                    "the instruments of the curve are of {first} and {market}, whose hours differ: correct column instruments of \
                     curve_metadata, or curve_id of instruments with a tenor in taxonomy_instruments"
                );
            }
            quoted.units.push(Unit {
                name: format!("{}/{}", text(row, "currency_")?, text(row, "unit_")?),
                appended: number(row, "appended")?,
            });
            quoted.prices.push(PricedContract {
                instrument_id: instrument_id.to_owned(),
                event_time: number(row, "event_time")?,
                price,
                volume: Some(number(row, "traded")?)
                    .filter(|traded: &i64| *traded >= 0)
                    .map(decimal)
                    .transpose()?,
                origin: text(row, "origin")?.to_owned(),
            });
        }
        Ok(quoted)
    }

    /// The prices in the unit of the last one, and what is left out.
    pub(super) fn of_one_unit(&self, calendar: &DeliveryCalendar) -> (Vec<PricedContract>, Vec<String>) {
        let day = |priced: &PricedContract| calendar.day_at(priced.event_time);
        let all = || self.prices.iter().zip(&self.units);
        let last = all().max_by_key(|(priced, unit)| (day(priced), unit.appended, &priced.origin));
        let (mut prices, mut left_out) = (Vec::with_capacity(self.prices.len()), self.left_out.clone());
        for (priced, unit) in all() {
            match last {
                Some((_, last)) if last.name != unit.name => left_out.push(format!(
                    "{}: its price is in {}, the last one of the curve in {}",
                    priced.instrument_id, unit.name, last.name
                )),
                _ => prices.push(priced.clone()),
            }
        }
        (prices, left_out)
    }
}

/// Why a tick is no quote, if it is none.
fn no_quote(instrument_id: &str, market: &str, price: Decimal) -> Option<String> {
    let named = market_of(instrument_id).unwrap_or_default();
    if !named.eq_ignore_ascii_case(market) && DeliveryCalendar::of(named).is_ok() {
        return Some(format!(
            "its tick is of market {market}, its id of {named}: send it again with the right market"
        ));
    }
    (!curves::is_plausible(price)).then(|| curves::too_large(price))
}

pub(super) fn decimal(unscaled: i64) -> anyhow::Result<Decimal> {
    Decimal::from_unscaled(unscaled).context("ClickHouse returned a number out of range")
}
