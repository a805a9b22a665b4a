//! Which prices are the quotes of a curve.
//!
//! Role: from the newest price of each instrument to the quotes of a curve on a day. The day is the last trade date of these prices.
//! Invariants: a function of the definition and the prices; an id is matched by the same patterns as at enrichment.
//! Failure: a price that cannot be a quote is left out with the reason.

use domain::instrument::IdPattern;
use domain::{Decimal, Micros};
use jiff::Timestamp;
use jiff::civil::Date;
use markets::contract::{Contract, prompt};

use crate::method::Method;
use crate::quote::{Quote, number};
use crate::{CurveError, DeliveryCalendar};

/// A curve of reference data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The curve.
    pub curve_id: String,
    /// How its months are priced.
    pub method: Method,
    /// The ids of the instruments that are its quotes.
    pub instruments: Vec<IdPattern>,
    /// Which monthly contracts count, as months from the prompt, which is 1; none means all. Other contracts always count.
    pub contract_months: Vec<i32>,
}

/// The price of an instrument on its trade date.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct PricedContract {
    pub instrument_id: String,
    /// The start of the trade date, or a time in it.
    pub event_time: Micros,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    /// Of its tick.
    pub origin: String,
}

/// The quotes of a curve on a day.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The last trade date.
    pub day: Date,
    /// In the order of the prices. Contracts whose delivery is over are not among them.
    pub quotes: Vec<Quote>,
    /// Instruments that cannot be quotes, with the reason.
    pub left_out: Vec<String>,
}

impl Definition {
    /// The quotes among these prices, of which there is one for each instrument.
    ///
    /// # Errors
    /// No price is of an instrument of this curve, or a time is outside the calendar.
    pub fn select(&self, calendar: &DeliveryCalendar, prices: &[PricedContract]) -> Result<Selected, CurveError> {
        let fits = |priced: &&PricedContract| {
            let mut patterns = self.instruments.iter();
            patterns.any(|pattern| pattern.matches(&priced.instrument_id))
        };
        let fitting: Vec<&PricedContract> = prices.iter().filter(fits).collect();
        select(&self.curve_id, &self.contract_months, calendar, &fitting)
    }
}

/// The quotes among the prices of the instruments of a curve, of which there is one for each instrument.
pub(crate) fn select(
    curve_id: &str,
    contract_months: &[i32],
    calendar: &DeliveryCalendar,
    prices: &[&PricedContract],
) -> Result<Selected, CurveError> {
    let mut dated = Vec::new();
    for priced in prices {
        let time = Timestamp::from_microsecond(priced.event_time);
        let outside = |_| markets::contract::ContractError::OutOfCalendar(priced.event_time.to_string());
        dated.push((calendar.date_at(time.map_err(outside)?), *priced));
    }
    let Some(day) = dated.iter().map(|(day, _)| *day).max() else {
        let message = format!("curve {curve_id} has no price of its instruments");
        return Err(CurveError::NoQuotes(message));
    };
    let first = prompt(day, calendar.commodity())?;
    let (mut quotes, mut left_out) = (Vec::new(), Vec::new());
    for (traded, priced) in dated {
        let contract = match Contract::of_instrument(&priced.instrument_id, traded, calendar.commodity()) {
            Ok(contract) => contract,
            Err(error) => {
                left_out.push(format!("{}: {error}", priced.instrument_id));
                continue;
            }
        };
        let period = contract.period;
        let ahead = period.first_month().since(first) + 1;
        let counts = contract_months.is_empty() || !period.is_month() || contract_months.contains(&ahead);
        if counts && period.end > day {
            quotes.push(Quote {
                contract,
                price: number(priced.price),
                volume: priced.volume.map(number),
                known_at: priced.event_time,
                source: priced.origin.clone(),
            });
        }
    }
    Ok(Selected { day, quotes, left_out })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// Midnight of 24 November 2026 in Chicago.
    const TUESDAY: Micros = 1_795_500_000_000_000;
    const DAY: Micros = 86_400_000_000;

    fn priced(instrument_id: &str, event_time: Micros, price: &str) -> PricedContract {
        PricedContract {
            instrument_id: instrument_id.to_owned(),
            event_time,
            price: price.parse().unwrap(),
            volume: None,
            origin: format!("raw/0/{price}/0"),
        }
    }

    fn definition(contract_months: &[i32]) -> Definition {
        Definition {
            curve_id: "G".to_owned(),
            method: Method::Flat,
            instruments: vec![IdPattern::new("GAS.HENRY_HUB.*.SETTLEMENT")],
            contract_months: contract_months.to_vec(),
        }
    }

    fn names(selected: &Selected) -> Vec<String> {
        let named = |quote: &Quote| format!("{} {}", quote.contract, quote.price);
        selected.quotes.iter().map(named).collect()
    }

    #[test]
    fn the_quotes_of_a_curve_are_those_of_its_instruments_that_still_deliver() {
        let gas = DeliveryCalendar::of("GAS").unwrap();
        let prices = [
            priced("GAS.HENRY_HUB.2026-12.FLAT.SETTLEMENT", TUESDAY, "3"),
            priced("GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT", TUESDAY + DAY, "4"),
            priced("GAS.HENRY_HUB.2027-03.FLAT.SETTLEMENT", TUESDAY, "5"),
            priced("GAS.HENRY_HUB.WIN-27.FLAT.SETTLEMENT", TUESDAY, "6"),
            priced("GAS.HENRY_HUB.BALMO-2026-11.FLAT.SETTLEMENT", TUESDAY, "2"),
            priced("GAS.HENRY_HUB.2026-10.FLAT.SETTLEMENT", TUESDAY - 40 * DAY, "1"),
            priced("GAS.HENRY_HUB.NEXT.FLAT.SETTLEMENT", TUESDAY, "1"),
            priced("GAS.WAHA.2027-01.FLAT.SETTLEMENT", TUESDAY + 9 * DAY, "9"),
        ];
        let all = definition(&[]).select(&gas, &prices).unwrap();
        assert_eq!(all.day, date(2026, 11, 25));
        let expected = [
            "2026-12 flat 3",
            "2027-01 flat 4",
            "2027-03 flat 5",
            "WIN-27 flat 6",
            "BALMO flat 2",
        ];
        assert_eq!(names(&all), expected);
        assert_eq!(
            (all.quotes[1].known_at, &*all.quotes[1].source),
            (TUESDAY + DAY, "raw/0/4/0")
        );
        assert_eq!(all.left_out.len(), 1);
        assert!(all.left_out[0].starts_with("GAS.HENRY_HUB.NEXT.FLAT.SETTLEMENT: \"NEXT\" is no contract"));
        // On 25 November December is still the prompt.
        let near = definition(&[1, 2]).select(&gas, &prices).unwrap();
        let expected = ["2026-12 flat 3", "2027-01 flat 4", "WIN-27 flat 6", "BALMO flat 2"];
        assert_eq!(names(&near), expected);
        assert!(definition(&[]).select(&gas, &prices[7..]).is_err());
    }
}
