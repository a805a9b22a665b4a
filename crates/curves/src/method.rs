//! The choices of a curve: its method and its seasonal shape.

use std::str::FromStr;

use markets::contract::Month;
use serde::Serialize;

use crate::CurveError;

/// How months inside a coarser contract, and between contracts, get their prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// One level for all months that the same quotes cover.
    #[default]
    Flat,
    /// A straight line between the middles of the levels, then each level's mean restored.
    Linear,
    /// A monotone cubic between the middles of the levels, then each level's mean restored.
    Monotone,
    /// The smoothest prices with the means of all quotes.
    Smooth,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 4] = [Method::Flat, Method::Linear, Method::Monotone, Method::Smooth];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Method::Flat => "flat",
            Method::Linear => "linear",
            Method::Monotone => "monotone",
            Method::Smooth => "smooth",
        }
    }
}

impl FromStr for Method {
    type Err = CurveError;

    fn from_str(text: &str) -> Result<Method, CurveError> {
        let known = Method::ALL.into_iter().find(|method| method.name() == text);
        known.ok_or_else(|| CurveError::UnknownMethod(text.to_owned()))
    }
}

/// The seasonal shape: twelve values from January to December.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Shape {
    /// All months alike.
    #[default]
    None,
    /// Added to the level of a contract, in the unit of the price.
    Spread([f64; 12]),
    /// The level of a contract is multiplied by it.
    Ratio([f64; 12]),
}

impl Shape {
    /// Equal for shapes that give every month the same bits.
    pub(crate) fn bits(&self) -> (u8, [u64; 12]) {
        match self {
            Shape::None => (0, [0; 12]),
            Shape::Spread(values) => (1, values.map(f64::to_bits)),
            Shape::Ratio(values) => (2, values.map(f64::to_bits)),
        }
    }

    /// Factor and summand of a month.
    pub(crate) fn of(&self, month: Month) -> Result<(f64, f64), CurveError> {
        let refused = || CurveError::BadShape(month.of_year());
        let at = |values: &[f64; 12]| {
            values
                .get(usize::from(month.of_year()) - 1)
                .copied()
                .ok_or_else(refused)
        };
        match self {
            Shape::None => Ok((1.0, 0.0)),
            Shape::Spread(values) => at(values).and_then(|spread| match spread.is_finite() {
                true => Ok((1.0, spread)),
                false => Err(refused()),
            }),
            Shape::Ratio(values) => at(values).and_then(|ratio| match ratio.is_finite() && ratio > 0.0 {
                true => Ok((ratio, 0.0)),
                false => Err(refused()),
            }),
        }
    }
}
