//! The rows that the queries return: prices of legs, and stored values.
//!
//! Failure: a number that cannot be read is an error; an origin that cannot be read equals none.

use domain::{Decimal, Micros};
use serde::Deserialize;

use super::super::cut::Arrived;
use super::super::versions::{Origin, place};
use super::rules::{Price, Used, figure};

/// A price as it is asked for.
#[derive(Deserialize)]
pub(super) struct PriceRow {
    leg: String,
    time: String,
    ends: Option<String>,
    appended: String,
    vintage: String,
    sequence_: Option<String>,
    feed_: String,
    partition: String,
    offset_: String,
    index_: String,
    first: Option<String>,
    second: Option<String>,
    currency_: String,
    unit_: String,
}

impl PriceRow {
    /// The leg, from 0, and its price. `None` if the price lacks what the kind needs.
    pub(super) fn price(self, kind: &str) -> anyhow::Result<Option<(usize, Price)>> {
        let [first, second] = [&self.first, &self.second].map(|text| text.as_deref().map(unscaled).transpose());
        let Some(figure) = figure(kind, first?, second?) else {
            return Ok(None);
        };
        let leg: usize = self.leg.parse()?;
        let price = Price {
            time: self.time.parse()?,
            ends: self.ends.map(|ends| ends.parse()).transpose()?,
            appended: self.appended.parse()?,
            vintage: self.vintage.parse()?,
            sequence: self.sequence_.map(|sequence| sequence.parse()).transpose()?,
            origin: (
                self.feed_,
                self.partition.parse()?,
                self.offset_.parse()?,
                self.index_.parse()?,
            ),
            figure,
            currency: self.currency_,
            unit: self.unit_,
            is_doubtful: false,
        };
        Ok(leg.checked_sub(1).map(|leg| (leg, price)))
    }
}

fn unscaled(text: &str) -> anyhow::Result<i64> {
    Ok(Decimal::parse(text.as_bytes())?.unscaled())
}

/// A value as it is asked for.
#[derive(Deserialize)]
pub(super) struct StoredRow {
    time: String,
    kind_: String,
    value_: Option<String>,
    unit_: String,
    first_role_: Option<String>,
    first_instrument_: Option<String>,
    first_price_: Option<String>,
    first_time_: Option<String>,
    first_age_: Option<String>,
    first_origin_: Option<String>,
    second_role_: Option<String>,
    second_instrument_: Option<String>,
    second_price_: Option<String>,
    second_time_: Option<String>,
    second_age_: Option<String>,
    second_origin_: Option<String>,
    known_: Option<String>,
    cause_: String,
}

/// A value of which an earlier version is gone, as it is asked for.
#[derive(Deserialize)]
pub(super) struct GoneRow {
    pub time: String,
    pub origin_: String,
    pub found: String,
    pub sent: String,
    /// Of all such values.
    pub total: String,
}

/// A leg of a stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredLeg {
    pub role: String,
    pub instrument: String,
    pub used: Used,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub time: Micros,
    pub kind: String,
    pub value: Option<i64>,
    pub unit: String,
    pub legs: Vec<StoredLeg>,
    /// Since when it is known, by the log clock. `None` of a release that stored the clock of one leg.
    pub known: Option<Micros>,
    /// The tick that caused this version, as text.
    pub cause: String,
}

impl Stored {
    /// Whether one of these ticks has made it what it is.
    pub(super) fn has_changed(&self, arrived: &Arrived) -> bool {
        let is_new = |leg: &StoredLeg| arrived.has(&place(&leg.used.origin));
        arrived.has(&self.cause) || self.legs.iter().any(is_new)
    }
}

/// Role, instrument, price, time, age and origin of a leg.
type Columns = [Option<String>; 6];

impl StoredRow {
    pub(super) fn stored(self) -> anyhow::Result<Stored> {
        let first: Columns = [
            self.first_role_,
            self.first_instrument_,
            self.first_price_,
            self.first_time_,
            self.first_age_,
            self.first_origin_,
        ];
        let second: Columns = [
            self.second_role_,
            self.second_instrument_,
            self.second_price_,
            self.second_time_,
            self.second_age_,
            self.second_origin_,
        ];
        let mut legs = Vec::new();
        for columns in [first, second] {
            legs.extend(leg(columns)?);
        }
        Ok(Stored {
            time: self.time.parse()?,
            kind: self.kind_,
            value: self.value_.as_deref().map(unscaled).transpose()?,
            unit: self.unit_,
            legs,
            known: self.known_.map(|known| known.parse()).transpose()?,
            cause: self.cause_,
        })
    }
}

fn leg(columns: Columns) -> anyhow::Result<Option<StoredLeg>> {
    let [
        Some(role),
        Some(instrument),
        Some(price),
        Some(time),
        Some(age),
        Some(origin),
    ] = columns
    else {
        return Ok(None);
    };
    Ok(Some(StoredLeg {
        role,
        instrument,
        used: Used {
            figure: unscaled(&price)?,
            time: time.parse()?,
            age: age.parse()?,
            // An origin that cannot be read equals none.
            origin: origin_of(&origin).unwrap_or((origin, -1, -1, -1)),
        },
    }))
}

fn origin_of(text: &str) -> Option<Origin> {
    let mut parts = text.rsplitn(4, '/');
    let index = parts.next()?.parse().ok()?;
    let offset = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    Some((parts.next()?.to_owned(), partition, offset, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_from_the_end_of_its_text() {
        assert_eq!(origin_of("a/b/1/2/3"), Some(("a/b".to_owned(), 1, 2, 3)));
        assert_eq!(origin_of("1/2/3"), None);
    }
}
