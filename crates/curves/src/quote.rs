//! Quotes, and what became of each of them in a curve.

use domain::{Decimal, Micros};
use jiff::tz::TimeZone;
use markets::Settlement;
use markets::contract::{Commodity, Contract, ContractError};

use crate::CurveError;

/// Largest size of a price that is a quote, per unit: ten times the highest cap of a market, which no contract of a month reaches. Beyond it,
/// binary numbers would not keep the means to eight decimals, and one wrong price would spoil the curve.
pub const MOST_PRICE: i64 = 100_000;

/// Whether a price can be a quote.
pub fn is_plausible(price: Decimal) -> bool {
    price.unscaled().unsigned_abs() <= MOST_PRICE.unsigned_abs() * 100_000_000
}

/// The same for a binary number; one that is not finite cannot be a quote.
pub(crate) fn is_plausible_number(price: f64) -> bool {
    price.abs() <= MOST_PRICE as f64
}

/// Why a price that is too large is no quote.
pub fn too_large(price: Decimal) -> String {
    format!("its price {price} is beyond {MOST_PRICE} per unit in size, which no contract reaches: check its unit")
}

/// One price of one contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Quote {
    /// What it prices.
    pub contract: Contract,
    /// In the unit of the curve.
    pub price: f64,
    /// Traded volume, if the source states one.
    pub volume: Option<f64>,
    /// When it was known; of two quotes of a contract the newest counts.
    pub known_at: Micros,
    /// The origin of the tick, or the line of the file.
    pub source: String,
}

impl Quote {
    /// The quote of a row of a document. It was known at its time, or at the start of its day in UTC.
    ///
    /// # Errors
    /// The tenor means no days.
    pub fn of_settlement(settlement: &Settlement, commodity: Commodity) -> Result<Quote, CurveError> {
        let Settlement { as_of, time, .. } = *settlement;
        let start = as_of
            .to_zoned(TimeZone::UTC)
            .map(|start| start.timestamp().as_microsecond());
        let outside = |_| ContractError::OutOfCalendar(as_of.to_string());
        Ok(Quote {
            contract: Contract {
                period: settlement.tenor.resolve(as_of, commodity)?,
                block: settlement.block,
            },
            price: number(settlement.price),
            volume: settlement.volume.map(number),
            known_at: time.map_or_else(|| start.map_err(outside), Ok)?,
            source: settlement.place.clone(),
        })
    }
}

/// The nearest binary number.
pub(crate) fn number(decimal: Decimal) -> f64 {
    decimal.unscaled() as f64 / 1e8
}

/// What became of a quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The mean of its points is its price.
    Repriced,
    /// Other quotes imply its price, up to the tolerance.
    Consistent,
    /// Other quotes imply another price.
    Contradictory,
    /// A newer quote of the same contract counts.
    Superseded,
    /// Its delivery has begun, or a balance of the month is of another day.
    InDelivery,
    /// It delivers no hour of its block.
    NoDelivery,
    /// Its price is not a finite number.
    NotANumber,
    /// Its price is so large that the others would lose their decimals.
    TooLarge,
}

impl State {
    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            State::Repriced => "repriced",
            State::Consistent => "consistent",
            State::Contradictory => "contradictory",
            State::Superseded => "superseded",
            State::InDelivery => "in_delivery",
            State::NoDelivery => "no_delivery",
            State::NotANumber => "not_a_number",
            State::TooLarge => "too_large",
        }
    }
}

/// A quote beside the price that the curve gives to its contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The quote.
    pub quote: Quote,
    /// What became of it.
    pub state: State,
    /// The mean of the points of its contract; `None` if it was not used.
    pub curve_price: Option<f64>,
    /// For a quote that others imply: their contracts.
    pub implied_by: Vec<Contract>,
}

impl Input {
    /// Quoted price less the curve's.
    pub fn residual(&self) -> Option<f64> {
        Some(self.quote.price - self.curve_price?)
    }
}
