//! The choices of a curve: its method and its seasonal shape.

use std::ops::RangeInclusive;
use std::str::FromStr;

use markets::contract::Month;
use serde::Serialize;

use crate::CurveError;
use crate::quote::is_plausible_number;

/// Ratios that a season can have. With 0.01 or 100 beside each other, too few digits are left to reprice a quote within 1e-8.
const RATIOS: RangeInclusive<f64> = 0.1..=10.0;

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
    /// The shape of the lists of reference data, of which an empty one is not set.
    ///
    /// # Errors
    /// Both are set, a list has not twelve values, or a value cannot be used.
    pub fn of_lists(ratios: &[f64], spreads: &[f64]) -> Result<Shape, CurveError> {
        let shape = match (ratios, spreads) {
            ([], []) => Shape::None,
            (ratios, []) => Shape::Ratio(twelve("ratios", ratios)?),
            ([], spreads) => Shape::Spread(twelve("spreads", spreads)?),
            _ => return Err(CurveError::TwoShapes),
        };
        (1..=12).try_for_each(|month| shape.of_month(month).map(|_| ()))?;
        Ok(shape)
    }

    /// The name of its kind and its values.
    pub(crate) fn listed(&self) -> Option<(&'static str, &[f64; 12])> {
        match self {
            Shape::None => None,
            Shape::Spread(values) => Some(("spreads", values)),
            Shape::Ratio(values) => Some(("ratios", values)),
        }
    }

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
        self.of_month(month.of_year())
    }

    fn of_month(&self, month: u8) -> Result<(f64, f64), CurveError> {
        let at = |values: &[f64; 12], is_usable: fn(f64) -> bool| {
            let value = values.get(usize::from(month).wrapping_sub(1)).copied();
            value
                .filter(|value| is_usable(*value))
                .ok_or(CurveError::BadShape(month))
        };
        match self {
            Shape::None => Ok((1.0, 0.0)),
            Shape::Spread(values) => at(values, is_plausible_number).map(|spread| (1.0, spread)),
            Shape::Ratio(values) => at(values, |ratio| RATIOS.contains(&ratio)).map(|ratio| (ratio, 0.0)),
        }
    }
}

fn twelve(list: &'static str, values: &[f64]) -> Result<[f64; 12], CurveError> {
    let given = values.len();
    values.try_into().map_err(|_| CurveError::ShapeLength { list, given })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_twelve_usable_values_of_one_kind() {
        assert_eq!(Shape::of_lists(&[], &[]), Ok(Shape::None));
        assert_eq!(Shape::of_lists(&[], &[-2.5; 12]), Ok(Shape::Spread([-2.5; 12])));
        assert_eq!(Shape::of_lists(&[0.1; 12], &[]), Ok(Shape::Ratio([0.1; 12])));
        for (ratios, spreads, refused) in [
            (&[1.0; 12][..], &[1.0; 12][..], "seasonal_ratios and seasonal_spreads"),
            (&[1.0; 11], &[], "ratios has 11 values"),
            (&[], &[1.0; 13], "spreads has 13 values"),
        ] {
            let error = Shape::of_lists(ratios, spreads).unwrap_err().to_string();
            assert!(error.contains(refused), "{error}");
        }
        let with = |value: f64| {
            let mut values = [1.0; 12];
            values[8] = value;
            values
        };
        for value in [0.0, -1.0, 0.09, 10.5, f64::NAN, f64::INFINITY] {
            assert_eq!(
                Shape::of_lists(&with(value), &[]),
                Err(CurveError::BadShape(9)),
                "{value}"
            );
        }
        for value in [100_001.0, -100_001.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(
                Shape::of_lists(&[], &with(value)),
                Err(CurveError::BadShape(9)),
                "{value}"
            );
        }
    }
}
