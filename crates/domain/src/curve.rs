//! Snapshots of forward curves, as they are in the log: what a curve was at the end of an interval, to one horizon.

use crate::{DerivedCause, Micros, Origin};

/// A price of a curve.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct CurvePoint<'a> {
    /// A month, or `BALMO`.
    pub contract: &'a str,
    /// `flat`, `peak` or `off_peak`.
    pub block: &'a str,
    /// RFC 3339 with the offset of the market.
    pub delivery_start: &'a str,
    /// The first moment after delivery.
    pub delivery_end: &'a str,
    /// In the unit of the quotes, rounded to eight decimals.
    pub price: f64,
    /// Volume of the quote of this very contract.
    pub volume: Option<f64>,
    /// From 0 to 1.
    pub confidence: f64,
    /// How it got its price: `quoted`, `implied`, `shaped`, `interpolated` or `extrapolated`.
    pub method: &'a str,
    pub extrapolated: bool,
    /// Ticks of the quotes that it is made from.
    pub sources: Vec<&'a str>,
}

/// A quote of a curve, and what became of it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct CurveInput<'a> {
    pub contract: &'a str,
    pub block: &'a str,
    pub price: f64,
    /// The mean of the points of its contract; `None` if it was not used.
    pub curve_price: Option<f64>,
    /// `price - curve_price`.
    pub residual: Option<f64>,
    /// `repriced`, `consistent`, `contradictory`, …
    pub state: &'a str,
    /// The contracts that imply its price, or another one.
    pub implied_by: Vec<&'a str>,
    /// Its tick.
    pub source: &'a str,
    /// Event time of the tick.
    pub known_at: Micros,
}

/// A curve at a time of the log's clock, to a horizon.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct CurveSnapshot<'a> {
    /// Of the newest leg in the interval.
    pub origin: Origin<'a>,
    pub tenant_id: &'a str,
    pub curve_id: &'a str,
    pub market: &'a str,
    /// `1m`, `3m`, `6m`, `1y` or `all`.
    pub horizon: &'a str,
    /// End of the interval; the quotes are those of the log before it.
    pub as_of: Micros,
    /// Last trade date of the quotes, in days since 1970-01-01.
    pub day: i32,
    /// `flat`, `linear`, `monotone` or `smooth`.
    pub method: &'a str,
    /// Definition of the curve as the ticks carried it.
    pub definition: &'a str,
    /// Since when its content is known: `as_of`, or the largest log clock that was read when a quote came that is late for it.
    pub log_clock: Micros,
    /// Offset in the topic of legs of the record that made it be sent: larger replaces smaller.
    pub version: i64,
    /// How often the snapshot of this time was sent before.
    pub revision: i32,
    pub cause: DerivedCause,
    /// In order of delivery, then block.
    pub points: Vec<CurvePoint<'a>>,
    pub inputs: Vec<CurveInput<'a>>,
}
