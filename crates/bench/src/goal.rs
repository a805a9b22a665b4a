//! A limit of a measurement, compared with its result. Pure.

use serde::Serialize;

/// A limit, and the result to be compared with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Goal {
    /// With its unit.
    pub name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    pub result: f64,
    pub is_met: bool,
}

impl Goal {
    pub(super) fn at_most(name: &'static str, limit: f64, result: f64) -> Goal {
        Goal {
            name,
            at_most: Some(limit),
            at_least: None,
            result,
            is_met: result <= limit,
        }
    }

    pub(super) fn at_least(name: &'static str, limit: f64, result: f64) -> Goal {
        Goal {
            name,
            at_most: None,
            at_least: Some(limit),
            result,
            is_met: result >= limit,
        }
    }

    /// The limit as a person reads it.
    pub fn limit(&self) -> String {
        let of = |sign: &str, limit: Option<f64>| limit.map(|limit| format!("{sign} {limit}"));
        let limit = of("≤", self.at_most).or_else(|| of("≥", self.at_least));
        limit.unwrap_or_default()
    }
}
