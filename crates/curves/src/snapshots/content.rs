//! From the quotes of a time to the records of its snapshots.
//!
//! Invariant: a function of the newest quote of the interval and of the quotes that count, up to the last bit: [`Builder`] gives the same
//! bits for the same quotes. [`crate::Definition::select`], which `dp curve show` uses, takes the quotes from the prices by the same code.

use std::hash::{DefaultHasher, Hash, Hasher};

use domain::{CurveInput, CurvePoint, CurveSnapshot as Record, DerivedCause, Micros, Origin};
use jiff::Timestamp;
use jiff::civil::date;
use markets::contract::Month;

use super::{Newest, Reason, Snapshots};
use crate::curve::Builder;
use crate::definition::Choice;
use crate::quote::State;
use crate::snapshot::{SnapshotInput, SnapshotPoint};
use crate::{CurveError, CurveSnapshot, Horizon, PricedContract, Selected};

/// Largest difference of a quote that others imply, in the unit of the prices. It is that of `dp curve show`.
const TOLERANCE: f64 = 0.005;

/// What the records of one time have in common besides the curve.
pub(super) struct Head<'a> {
    pub tenant_id: &'a str,
    pub origin: Origin<'a>,
    pub definition: &'a str,
    pub log_clock: Micros,
    pub version: i64,
    pub revision: i32,
    pub cause: DerivedCause,
}

impl Snapshots {
    /// The quotes of a time.
    pub(super) fn content(&self, newest: &Newest, prices: &[PricedContract]) -> Result<Selected, Reason> {
        let interpolation = self.definitions.get(&newest.definition).ok_or(Reason::Undefined)?;
        let calendar = self.calendars.get(&newest.market).ok_or(Reason::UnknownMarket)?;
        let prices: Vec<&PricedContract> = prices.iter().collect();
        let choice = Choice {
            curve_id: &self.curve_id,
            contract_months: &interpolation.contract_months,
            max_age: self.limits.max_age,
        };
        let selected = choice.select(calendar, &prices);
        selected.map_err(|error| reason_of(&error))
    }

    /// The snapshots of these quotes, one for each horizon.
    pub(super) fn snapshots(
        &mut self,
        at: Micros,
        newest: &Newest,
        selected: &Selected,
    ) -> Result<Vec<CurveSnapshot>, Reason> {
        let interpolation = self.definitions.get(&newest.definition).ok_or(Reason::Undefined)?;
        let (method, shape) = (interpolation.method, interpolation.shape);
        let calendar = self.calendars.get(&newest.market).ok_or(Reason::UnknownMarket)?;
        let fits = |builder: &Builder| {
            let is_of_market = builder.calendar().market() == calendar.market();
            is_of_market && builder.method() == method && *builder.shape() == shape
        };
        if !self.builder.as_ref().is_some_and(fits) {
            self.builder = Some(Builder::new(calendar.clone(), method, shape, TOLERANCE));
        }
        let builder = self.builder.as_mut().ok_or(Reason::NotBuilt)?;
        let day = selected.day;
        let until = Horizon::ALL.iter().filter_map(|horizon| horizon.until(day)).max();
        let curve = builder.build(day, until.unwrap_or(Month::of(day)), &selected.quotes);
        let curve = curve.map_err(|error| reason_of(&error))?;
        let of = |horizon| {
            CurveSnapshot::of(
                &curve,
                calendar,
                (self.curve_id.as_str(), method),
                (at, 0, day),
                horizon,
            )
        };
        let snapshots: Result<_, CurveError> = Horizon::ALL.into_iter().map(of).collect();
        snapshots.map_err(|error| reason_of(&error))
    }

    /// Snapshots without points, which take back those that were sent.
    pub(super) fn withdrawn(&self, at: Micros, newest: &Newest) -> Vec<CurveSnapshot> {
        let (Some(interpolation), Some(calendar), Ok(time)) = (
            self.definitions.get(&newest.definition),
            self.calendars.get(&newest.market),
            Timestamp::from_microsecond(at),
        ) else {
            return Vec::new();
        };
        let empty = |horizon| CurveSnapshot {
            curve_id: self.curve_id.clone(),
            market: calendar.market().to_owned(),
            as_of: at,
            day: calendar.date_at(time),
            horizon,
            method: interpolation.method,
            version: 0,
            points: Vec::new(),
            inputs: Vec::new(),
        };
        Horizon::ALL.into_iter().map(empty).collect()
    }
}

fn reason_of(error: &CurveError) -> Reason {
    match error {
        CurveError::NoQuotes(_) => Reason::NoQuotes,
        _ => Reason::NotBuilt,
    }
}

/// Equal for equal content. It is compared within one process only.
pub(super) fn fingerprint(newest: &Newest, made: &Result<Selected, Reason>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&newest.place, &newest.market, &newest.definition).hash(&mut hasher);
    match made {
        Ok(selected) => {
            selected.day.hash(&mut hasher);
            for quote in &selected.quotes {
                let contract = quote.contract.to_string();
                let (price, volume) = (quote.price.to_bits(), quote.volume.map(f64::to_bits));
                (contract, price, volume, quote.known_at, &quote.source).hash(&mut hasher);
            }
        }
        Err(reason) => (*reason as usize).hash(&mut hasher),
    }
    hasher.finish()
}

/// The largest residual of the quotes that contradict others, as a part of the larger one of quoted and implied price; 0 if none does.
/// Prices near zero have no small denominator by that: it is at most 2, for prices of opposite sign.
pub(super) fn residual_ratio(inputs: &[SnapshotInput]) -> f64 {
    let contradictory = inputs.iter().filter(|input| input.state == State::Contradictory);
    let ratios = contradictory.filter_map(|input| {
        let size = input.price.abs().max(input.curve_price?.abs());
        Some(input.residual?.abs() / size).filter(|ratio| ratio.is_finite())
    });
    ratios.fold(0.0, f64::max)
}

/// Passes the record of a snapshot to `send`.
pub(super) fn with_record(snapshot: &CurveSnapshot, head: &Head<'_>, send: &mut dyn FnMut(&Record<'_>)) {
    send(&Record {
        origin: head.origin,
        tenant_id: head.tenant_id,
        curve_id: &snapshot.curve_id,
        market: &snapshot.market,
        horizon: snapshot.horizon.name(),
        as_of: snapshot.as_of,
        day: (snapshot.day - date(1970, 1, 1)).get_days(),
        method: snapshot.method.name(),
        definition: head.definition,
        log_clock: head.log_clock,
        version: head.version,
        revision: head.revision,
        cause: head.cause,
        points: snapshot.points.iter().map(point).collect(),
        inputs: snapshot.inputs.iter().map(input).collect(),
    });
}

fn point(point: &SnapshotPoint) -> CurvePoint<'_> {
    CurvePoint {
        contract: &point.contract,
        block: point.block.name(),
        delivery_start: &point.delivery_start,
        delivery_end: &point.delivery_end,
        price: point.price,
        volume: point.volume,
        confidence: point.confidence,
        method: point.method.name(),
        extrapolated: point.extrapolated,
        sources: point.sources.iter().map(String::as_str).collect(),
    }
}

fn input(input: &SnapshotInput) -> CurveInput<'_> {
    CurveInput {
        contract: &input.contract,
        block: input.block.name(),
        price: input.price,
        curve_price: input.curve_price,
        residual: input.residual,
        state: input.state.name(),
        implied_by: input.implied_by.iter().map(String::as_str).collect(),
        source: &input.source,
        known_at: input.known_at,
    }
}
