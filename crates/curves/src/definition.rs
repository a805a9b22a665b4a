//! Which prices are the quotes of a curve.
//!
//! Role: from the newest price of each instrument to the quotes of a curve on a day. The day is the last trade date of these prices; a price
//! whose trade date is further before it than the maximum age is stale, however it came: an archive of old settlements that is ingested
//! today changes no curve of today, and gives its own curve where it is all there is.
//! Invariants: a function of the definition and the prices; an id is matched by the same patterns as at enrichment, and by its whole hub.
//! Failure: a price that cannot be a quote is left out with the reason.

use domain::instrument::IdPattern;
use domain::{Decimal, Micros};
use jiff::civil::Date;
use jiff::{Span, Timestamp};
use markets::contract::{Contract, prompt};

use crate::interpolation::Fit;
use crate::method::{Method, Shape};
use crate::quote::{Quote, is_plausible, number, too_large};
use crate::snapshots::Reason;
use crate::{CurveError, DeliveryCalendar};

const DAY: Micros = 86_400_000_000;
/// A contract must end within so many years of its trade date: what comes later is no quote of any market, and a curve has its months.
const MOST_YEARS: i16 = 20;
/// Most quotes of a curve: more than the contracts of a market in twenty years. It bounds what one curve costs.
const MOST_QUOTES: usize = 1_000;

/// A curve of reference data.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The curve.
    pub curve_id: String,
    /// How its months are priced.
    pub method: Method,
    /// How the months of a year differ.
    pub shape: Shape,
    /// The ids of the instruments that are its quotes.
    pub instruments: Vec<IdPattern>,
    /// Which monthly contracts count, as months from the prompt, which is 1; none means all. Other contracts always count.
    pub contract_months: Vec<i32>,
    /// How far before the day of the curve a trade date may lie, in microseconds; parts of a day count as a day.
    pub max_age: Micros,
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
    /// Instruments that cannot be quotes.
    pub left_out: Vec<LeftOut>,
}

/// An instrument that is no quote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its id.
    pub instrument_id: String,
    /// The kind of the reason.
    pub reason: Reason,
    /// The reason.
    pub why: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.instrument_id, self.why)
    }
}

impl Definition {
    /// The quotes among these prices, of which there is one for each instrument.
    ///
    /// # Errors
    /// No price is of an instrument of this curve, or a time is outside the calendar.
    pub fn select(&self, calendar: &DeliveryCalendar, prices: &[PricedContract]) -> Result<Selected, CurveError> {
        let is_fit = |priced: &&PricedContract, fit: Fit| Fit::of(&priced.instrument_id, &self.instruments) == fit;
        let fitting: Vec<&PricedContract> = prices.iter().filter(|priced| is_fit(priced, Fit::Member)).collect();
        let choice = Choice {
            curve_id: &self.curve_id,
            contract_months: &self.contract_months,
            max_age: self.max_age,
        };
        let mut selected = choice.select(calendar, &fitting)?;
        let others = prices.iter().filter(|priced| is_fit(priced, Fit::OtherHub));
        selected.left_out.extend(others.map(|priced| LeftOut {
            instrument_id: priced.instrument_id.clone(),
            reason: Reason::NotAContract,
            why: "it is of another hub than that of the pattern".to_owned(),
        }));
        Ok(selected)
    }
}

/// What decides which prices of the instruments of a curve are its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'c> {
    pub curve_id: &'c str,
    pub contract_months: &'c [i32],
    pub max_age: Micros,
}

impl Choice<'_> {
    /// The quotes among the prices, of which there is one for each instrument.
    pub fn select(self, calendar: &DeliveryCalendar, prices: &[&PricedContract]) -> Result<Selected, CurveError> {
        let mut dated = Vec::with_capacity(prices.len());
        for priced in prices {
            let time = Timestamp::from_microsecond(priced.event_time);
            let outside = |_| markets::contract::ContractError::OutOfCalendar(priced.event_time.to_string());
            dated.push((calendar.date_at(time.map_err(outside)?), *priced));
        }
        let Some(day) = dated.iter().map(|(day, _)| *day).max() else {
            let message = format!("curve {} has no price of its instruments", self.curve_id);
            return Err(CurveError::NoQuotes(message));
        };
        let first = prompt(day, calendar.commodity())?;
        let oldest = self.oldest(day);
        let (mut quotes, mut left_out) = (Vec::new(), Vec::new());
        for (traded, priced) in dated {
            let contract = match () {
                () if traded < oldest => Err(stale(traded, day)),
                () if !is_plausible(priced.price) => Err((Reason::TooLarge, too_large(priced.price))),
                () => contract_of(&priced.instrument_id, traded, calendar),
            };
            let contract = match contract {
                Ok(contract) => contract,
                Err((reason, why)) => {
                    left_out.push(LeftOut {
                        instrument_id: priced.instrument_id.clone(),
                        reason,
                        why,
                    });
                    continue;
                }
            };
            let period = contract.period;
            let ahead = period.first_month().since(first) + 1;
            let counts = self.contract_months.is_empty() || !period.is_month() || self.contract_months.contains(&ahead);
            if counts && period.end > day {
                quotes.push((quote(contract, priced), priced.instrument_id.as_str()));
            }
        }
        left_out.extend(bound(&mut quotes));
        let quotes = quotes.into_iter().map(|(quote, _)| quote).collect();
        Ok(Selected { day, quotes, left_out })
    }

    /// The first trade date that is not stale on a day.
    fn oldest(self, day: Date) -> Date {
        let days = self.max_age.max(0) / DAY + i64::from(self.max_age % DAY > 0);
        let span = Span::new().try_days(days);
        span.and_then(|span| day.checked_sub(span)).unwrap_or(Date::MIN)
    }
}

fn stale(traded: Date, day: Date) -> (Reason, String) {
    let why = format!("its trade date {traded} is too long before {day}, the day of the curve");
    (Reason::Stale, why)
}

fn quote(contract: Contract, priced: &PricedContract) -> Quote {
    Quote {
        contract,
        price: number(priced.price),
        volume: priced.volume.map(number),
        known_at: priced.event_time,
        source: priced.origin.clone(),
    }
}

/// The contract of an instrument with a price of this trade date.
pub(crate) fn contract_of(
    instrument_id: &str,
    traded: Date,
    calendar: &DeliveryCalendar,
) -> Result<Contract, (Reason, String)> {
    let contract = Contract::of_instrument(instrument_id, traded, calendar.commodity());
    let contract = contract.map_err(|error| (Reason::NotAContract, error.to_string()))?;
    let last = traded.checked_add(Span::new().years(MOST_YEARS)).unwrap_or(Date::MAX);
    match contract.period.end > last {
        true => {
            let why = format!("it delivers more than {MOST_YEARS} years after its trade date {traded}");
            Err((Reason::TooFar, why))
        }
        false => Ok(contract),
    }
}

/// Leaves those out that deliver last if there are too many.
fn bound(quotes: &mut Vec<(Quote, &str)>) -> Vec<LeftOut> {
    if quotes.len() <= MOST_QUOTES {
        return Vec::new();
    }
    let key = |(quote, instrument_id): &(Quote, &str)| (quote.contract.period.end, (*instrument_id).to_owned());
    let mut keys: Vec<(Date, String)> = quotes.iter().map(key).collect();
    keys.sort_unstable();
    let Some(first) = keys.get(MOST_QUOTES).cloned() else {
        return Vec::new();
    };
    let out = quotes.extract_if(.., |quote| key(quote) >= first);
    let left = out.map(|(_, instrument_id)| LeftOut {
        instrument_id: instrument_id.to_owned(),
        reason: Reason::TooMany,
        why: format!("the curve has more than {MOST_QUOTES} quotes, and this one is among those that deliver last"),
    });
    left.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// Midnight of 24 November 2026 in Chicago.
    const TUESDAY: Micros = 1_795_500_000_000_000;

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
            shape: Shape::None,
            instruments: vec![IdPattern::new("GAS.HENRY_HUB.*.SETTLEMENT")],
            contract_months: contract_months.to_vec(),
            max_age: 7 * DAY,
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
            // Its delivery is over.
            priced("GAS.HENRY_HUB.2026-10.FLAT.SETTLEMENT", TUESDAY - 2 * DAY, "1"),
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
        let left_out = all.left_out[0].to_string();
        assert!(left_out.starts_with("GAS.HENRY_HUB.NEXT.FLAT.SETTLEMENT: \"NEXT\" is no contract"));
        // On 25 November December is still the prompt.
        let near = definition(&[1, 2]).select(&gas, &prices).unwrap();
        let expected = ["2026-12 flat 3", "2027-01 flat 4", "WIN-27 flat 6", "BALMO flat 2"];
        assert_eq!(names(&near), expected);
        assert!(definition(&[]).select(&gas, &prices[7..]).is_err());
    }

    #[test]
    fn an_archive_of_old_settlements_leaves_the_curve_as_it_is_and_alone_gives_its_own() {
        let gas = DeliveryCalendar::of("GAS").unwrap();
        // A document of last year, ingested today.
        let archive = priced("GAS.HENRY_HUB.CAL-27.FLAT.SETTLEMENT", TUESDAY - 386 * DAY, "9");
        let prices = [
            priced("GAS.HENRY_HUB.2027-01.FLAT.SETTLEMENT", TUESDAY, "4"),
            priced("GAS.HENRY_HUB.2027-02.FLAT.SETTLEMENT", TUESDAY - 7 * DAY, "5"),
            priced("GAS.HENRY_HUB.2027-03.FLAT.SETTLEMENT", TUESDAY - 8 * DAY, "6"),
            archive.clone(),
        ];
        let selected = definition(&[]).select(&gas, &prices).unwrap();
        assert_eq!(names(&selected), ["2027-01 flat 4", "2027-02 flat 5"]);
        let reasons: Vec<Reason> = selected.left_out.iter().map(|left| left.reason).collect();
        assert_eq!(reasons, [Reason::Stale, Reason::Stale]);
        let alone = definition(&[]).select(&gas, &[archive]).unwrap();
        assert_eq!((alone.day, names(&alone).len()), (date(2025, 11, 3), 1));
    }

    #[test]
    fn contracts_far_ahead_and_ids_with_more_parts_than_a_contract_has_are_left_out() {
        let gas = DeliveryCalendar::of("GAS").unwrap();
        let prices = [
            priced("GAS.HENRY_HUB.CAL-45.FLAT.SETTLEMENT", TUESDAY, "4"),
            priced("GAS.HENRY_HUB.CAL-46.FLAT.SETTLEMENT", TUESDAY, "5"),
            priced("GAS.HENRY_HUB.x1.CAL-27.FLAT.SETTLEMENT", TUESDAY, "6"),
        ];
        let selected = definition(&[]).select(&gas, &prices).unwrap();
        assert_eq!(names(&selected), ["CAL-45 flat 4"]);
        let reasons: Vec<Reason> = selected.left_out.iter().map(|left| left.reason).collect();
        assert_eq!(reasons, [Reason::TooFar, Reason::NotAContract]);
    }

    #[test]
    fn a_curve_has_at_most_a_thousand_quotes_and_those_that_deliver_first() {
        let gas = DeliveryCalendar::of("GAS").unwrap();
        // The block may be written in any case.
        let blocks = (0..16u8).map(|upper| {
            let letters = "flat".bytes().enumerate();
            let of = |(at, letter): (usize, u8)| {
                if upper >> at & 1 == 1 {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            };
            String::from_utf8(letters.map(of).collect()).unwrap()
        });
        let blocks: Vec<String> = blocks.collect();
        let ids = (2027..=2032).flat_map(|year| (1..=12).map(move |month| (year, month)));
        let ids = ids.flat_map(|(year, month)| blocks.iter().map(move |block| (year, month, block)));
        let prices: Vec<PricedContract> = ids
            .map(|(year, month, block)| {
                priced(
                    &format!("GAS.HENRY_HUB.{year}-{month:02}.{block}.SETTLEMENT"),
                    TUESDAY,
                    "4",
                )
            })
            .collect();
        let selected = definition(&[]).select(&gas, &prices).unwrap();
        assert_eq!(selected.quotes.len(), MOST_QUOTES);
        assert_eq!(selected.left_out.len(), prices.len() - MOST_QUOTES);
        assert!(selected.left_out.iter().all(|left| left.reason == Reason::TooMany));
        // A month has 16 of them: 62 and a half months count.
        let last = selected.quotes.iter().map(|quote| quote.contract.period.first).max();
        assert_eq!(last, Some(date(2032, 3, 1)));
    }
}
