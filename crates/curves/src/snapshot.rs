//! A snapshot: the part of a curve within a horizon, as it is shown and stored.
//!
//! Invariant: a function of the curve. Which quotes it is made from is decided by [`crate::snapshots`].
//! Failure: a delivery day is outside the calendar.

use std::str::FromStr;

use domain::Micros;
use jiff::Zoned;
use jiff::civil::Date;
use markets::contract::{Block, Month, Period};
use serde::Serialize;

use crate::curve::{Curve, Point};
use crate::layout::Basis;
use crate::method::Method;
use crate::quote::{Input, State};
use crate::{CurveError, DeliveryCalendar};

/// How far a snapshot reaches: the balance of the month and this many months after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Horizon {
    /// One month.
    #[serde(rename = "1m")]
    Month,
    /// Three months.
    #[serde(rename = "3m")]
    Quarter,
    /// Six months.
    #[serde(rename = "6m")]
    HalfYear,
    /// Twelve months.
    #[serde(rename = "1y")]
    Year,
    /// To the last month with a quote.
    #[serde(rename = "all")]
    All,
}

impl Horizon {
    /// Every horizon.
    pub const ALL: [Horizon; 5] = [
        Horizon::Month,
        Horizon::Quarter,
        Horizon::HalfYear,
        Horizon::Year,
        Horizon::All,
    ];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Horizon::Month => "1m",
            Horizon::Quarter => "3m",
            Horizon::HalfYear => "6m",
            Horizon::Year => "1y",
            Horizon::All => "all",
        }
    }

    /// The month after its last on a day; `None` for all.
    pub fn until(self, as_of: Date) -> Option<Month> {
        let months = match self {
            Horizon::Month => 1,
            Horizon::Quarter => 3,
            Horizon::HalfYear => 6,
            Horizon::Year => 12,
            Horizon::All => return None,
        };
        Some(Month::of(as_of).plus(months + 1))
    }
}

impl FromStr for Horizon {
    type Err = CurveError;

    fn from_str(text: &str) -> Result<Horizon, CurveError> {
        let known = Horizon::ALL.into_iter().find(|horizon| horizon.name() == text);
        known.ok_or_else(|| CurveError::UnknownHorizon(text.to_owned()))
    }
}

/// A curve at a time of the log, to a horizon.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurveSnapshot {
    /// The curve.
    pub curve_id: String,
    /// The market whose hours it counts.
    pub market: String,
    /// The quotes are those that were known before this time of the log's clock, in microseconds.
    pub as_of: Micros,
    /// The day of the curve in the market's zone; contracts begin after it.
    pub day: Date,
    /// How far it reaches.
    pub horizon: Horizon,
    /// The method of the curve.
    pub method: Method,
    /// Larger for a later one. Equal versions have equal content.
    pub version: u64,
    /// In order of delivery.
    pub points: Vec<SnapshotPoint>,
    /// Every quote that was known.
    pub inputs: Vec<SnapshotInput>,
}

/// A point of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SnapshotPoint {
    /// The tenor: a month, or `BALMO`.
    pub contract: String,
    /// Its hours.
    pub block: Block,
    /// RFC 3339 with the offset of the market.
    pub delivery_start: String,
    /// The first moment after delivery.
    pub delivery_end: String,
    /// Rounded to eight decimals.
    pub price: f64,
    /// Volume of the quote of this contract.
    pub volume: Option<f64>,
    /// From 0 to 1, see [`Basis::confidence`].
    pub confidence: f64,
    /// How it got its price.
    pub method: Basis,
    /// Whether it lies before the first or after the last quote.
    pub extrapolated: bool,
    /// Origins of the quotes that it is made from.
    pub sources: Vec<String>,
}

/// A quote of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct SnapshotInput {
    pub contract: String,
    pub block: Block,
    pub price: f64,
    pub curve_price: Option<f64>,
    /// `price - curve_price`.
    pub residual: Option<f64>,
    pub state: State,
    /// The contracts that imply another price, or the same.
    pub implied_by: Vec<String>,
    /// The origin of the tick, or the line of the file.
    pub source: String,
    pub known_at: Micros,
}

impl CurveSnapshot {
    /// The part of a curve within a horizon. `as_of` and `version` say when.
    ///
    /// # Errors
    /// A delivery day is outside the calendar.
    pub fn of(
        curve: &Curve,
        calendar: &DeliveryCalendar,
        (curve_id, method): (&str, Method),
        (as_of, version, day): (Micros, u64, Date),
        horizon: Horizon,
    ) -> Result<CurveSnapshot, CurveError> {
        let until = horizon.until(day).or_else(|| curve.quoted_until());
        let inside = |point: &&Point| until.is_none_or(|until| point.contract.period.first_month() < until);
        let points = curve.points.iter().filter(inside);
        Ok(CurveSnapshot {
            curve_id: curve_id.to_owned(),
            market: calendar.market().to_owned(),
            as_of,
            day,
            horizon,
            method,
            version,
            points: points
                .map(|point| SnapshotPoint::of(point, curve, calendar))
                .collect::<Result<_, _>>()?,
            inputs: curve.inputs.iter().map(SnapshotInput::of).collect(),
        })
    }
}

impl SnapshotPoint {
    fn of(point: &Point, curve: &Curve, calendar: &DeliveryCalendar) -> Result<SnapshotPoint, CurveError> {
        let source = |at: &usize| curve.inputs.get(*at).map(|input| input.quote.source.clone());
        let delivery = Delivery::of(point.contract.period, calendar)?;
        Ok(SnapshotPoint {
            contract: delivery.contract,
            block: point.contract.block,
            delivery_start: delivery.start,
            delivery_end: delivery.end,
            price: rounded(point.price),
            volume: point.volume,
            confidence: point.basis.confidence(),
            method: point.basis,
            extrapolated: point.basis == Basis::Extrapolated,
            sources: point.sources.iter().filter_map(source).collect(),
        })
    }
}

/// The texts of a period.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// As a point is called.
    pub contract: String,
    /// RFC 3339 with the offset of the market.
    pub start: String,
    /// The first moment after it.
    pub end: String,
}

impl Delivery {
    pub(crate) fn of(period: Period, calendar: &DeliveryCalendar) -> Result<Delivery, CurveError> {
        Ok(Delivery {
            contract: period.to_string(),
            start: rfc3339(&calendar.start_of(period.first)?),
            end: rfc3339(&calendar.start_of(period.end)?),
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Delivery>() + self.contract.len() + self.start.len() + self.end.len()
    }
}

impl SnapshotInput {
    fn of(input: &Input) -> SnapshotInput {
        SnapshotInput {
            contract: input.quote.contract.period.to_string(),
            block: input.quote.contract.block,
            price: input.quote.price,
            curve_price: input.curve_price.map(rounded),
            residual: input.residual().map(rounded),
            state: input.state,
            implied_by: input.implied_by.iter().map(ToString::to_string).collect(),
            source: input.quote.source.clone(),
            known_at: input.quote.known_at,
        }
    }
}

fn rfc3339(time: &Zoned) -> String {
    time.timestamp().display_with_offset(time.offset()).to_string()
}

/// To eight decimals, the scale of prices; sums that cancel give no negative zero.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e8).round() / 1e8 + 0.0
}
