//! From the quotes of a time to the records of its snapshots.
//!
//! Invariant: a function of the newest quote of the interval and of the quotes that count, up to the last bit: [`Builder`] gives the same
//! bits for the same quotes. [`crate::Definition::select`], which `dp curve show` uses, takes the quotes from the prices by the same code.
//! The points of all horizons are those of the longest one, made once: a shorter horizon is the beginning of it, as of [`crate::CurveSnapshot`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use domain::{CurveInput, CurvePoint, CurveSnapshot as Record, DerivedCause, Micros, Origin};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use markets::contract::Month;

use super::{Newest, Reason, Snapshots};
use crate::curve::{Builder, Curve, Point};
use crate::definition::Choice;
use crate::layout::Basis;
use crate::layouts::{Layouts, Shared};
use crate::method::Method;
use crate::quote::{Input, State};
use crate::snapshot::{Delivery, rounded};
use crate::{CurveError, Horizon, PricedContract, Selected};

/// Largest difference of a quote that others imply, in the unit of the prices. It is that of `dp curve show`.
const TOLERANCE: f64 = 0.005;

/// What the records of one time have in common besides the curve.
pub(super) struct Head<'a> {
    pub tenant_id: &'a str,
    pub curve_id: &'a str,
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

    /// The curve of these quotes.
    pub(super) fn made(
        &mut self,
        layouts: &mut Layouts,
        at: Micros,
        newest: &Newest,
        selected: Selected,
    ) -> Result<Made, Reason> {
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
        let until = until.unwrap_or(Month::of(day));
        let curve = builder.build_with(layouts, (day, until), selected.quotes);
        let curve = curve.map_err(|error| reason_of(&error))?;
        Ok(Made {
            at,
            day,
            market: calendar.shared_market(),
            method,
            ends: ends(&curve, day),
            curve,
            layout: builder.last_layout().cloned(),
        })
    }

    /// A curve without points, which takes back what was sent.
    pub(super) fn withdrawn(&self, at: Micros, newest: &Newest) -> Option<Made> {
        let calendar = self.calendars.get(&newest.market)?;
        Some(Made {
            at,
            day: calendar.date_at(Timestamp::from_microsecond(at).ok()?),
            market: calendar.shared_market(),
            method: self.definitions.get(&newest.definition)?.method,
            ends: [0; Horizon::ALL.len()],
            curve: Curve {
                points: Vec::new(),
                inputs: Vec::new(),
            },
            layout: None,
        })
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
                let (price, volume) = (quote.price.to_bits(), quote.volume.map(f64::to_bits));
                (quote.contract, price, volume, quote.known_at, &quote.source).hash(&mut hasher);
            }
        }
        Err(reason) => (*reason as usize).hash(&mut hasher),
    }
    hasher.finish()
}

/// Number of points of each horizon; they are in order of delivery.
fn ends(curve: &Curve, day: Date) -> [usize; Horizon::ALL.len()] {
    Horizon::ALL.map(|horizon| match horizon.until(day).or_else(|| curve.quoted_until()) {
        Some(until) => {
            let is_inside = |point: &Point| point.contract.period.first_month() < until;
            curve.points.partition_point(is_inside)
        }
        None => curve.points.len(),
    })
}

/// The curve of a time, and what its records have in common.
pub(super) struct Made {
    at: Micros,
    day: Date,
    market: Arc<str>,
    method: Method,
    curve: Curve,
    /// Has the texts of the periods of its points.
    layout: Option<Arc<Shared>>,
    /// Number of points of each horizon.
    ends: [usize; Horizon::ALL.len()],
}

impl Made {
    pub(super) fn has_points(&self) -> bool {
        self.ends.iter().any(|end| *end > 0)
    }

    /// The largest residual of the quotes that contradict others, as a part of the larger one of quoted and implied price; 0 if none does.
    /// Prices near zero have no small denominator by that: it is at most 2, for prices of opposite sign.
    pub(super) fn residual_ratio(&self) -> f64 {
        let inputs = self.curve.inputs.iter();
        let ratios = inputs
            .filter(|input| input.state == State::Contradictory)
            .filter_map(|input| {
                let size = input.quote.price.abs().max(input.curve_price?.abs());
                Some(input.residual()?.abs() / size).filter(|ratio| ratio.is_finite())
            });
        ratios.fold(0.0, f64::max)
    }

    /// Passes the record of each horizon to `send`.
    pub(super) fn send(&self, head: &Head<'_>, send: &mut dyn FnMut(&Record<'_>)) {
        let name = |input: &Input| input.quote.contract.period.to_string();
        let names: Vec<String> = self.curve.inputs.iter().map(name).collect();
        let implied = |input: &Input| input.implied_by.iter().map(ToString::to_string).collect();
        let implied: Vec<Vec<String>> = self.curve.inputs.iter().map(implied).collect();
        let inputs = self.curve.inputs.iter().zip(&names).zip(&implied);
        let mut record = Record {
            origin: head.origin,
            tenant_id: head.tenant_id,
            curve_id: head.curve_id,
            market: &self.market,
            horizon: "",
            as_of: self.at,
            day: (self.day - date(1970, 1, 1)).get_days(),
            method: self.method.name(),
            definition: head.definition,
            log_clock: head.log_clock,
            version: head.version,
            revision: head.revision,
            cause: head.cause,
            points: Vec::new(),
            inputs: inputs
                .map(|((input, name), implied)| of_input(input, name, implied))
                .collect(),
        };
        let mut points = self.points();
        for (horizon, end) in Horizon::ALL.into_iter().zip(self.ends) {
            record.horizon = horizon.name();
            // What lies beyond waits for the next horizon.
            let beyond = points.split_off(end.min(points.len()));
            record.points = points;
            send(&record);
            points = std::mem::take(&mut record.points);
            points.extend(beyond);
        }
    }

    /// The points of the longest horizon.
    fn points(&self) -> Vec<CurvePoint<'_>> {
        let longest = self.ends.iter().max().copied().unwrap_or_default();
        let mut deliveries = self.layout.iter().flat_map(|layout| &layout.deliveries).peekable();
        let mut found = Vec::with_capacity(longest);
        for point in self.curve.points.iter().take(longest) {
            // Both are in order of time; a period has a point for each block.
            let period = point.contract.period;
            while deliveries.next_if(|(known, _)| *known != period).is_some() {}
            if let Some((_, delivery)) = deliveries.peek() {
                found.push(of_point(point, delivery, &self.curve.inputs));
            }
        }
        found
    }
}

fn of_point<'c>(point: &Point, delivery: &'c Delivery, inputs: &'c [Input]) -> CurvePoint<'c> {
    let source = |at: &usize| Some(&*inputs.get(*at)?.quote.source);
    CurvePoint {
        contract: &delivery.contract,
        block: point.contract.block.name(),
        delivery_start: &delivery.start,
        delivery_end: &delivery.end,
        price: rounded(point.price),
        volume: point.volume,
        confidence: point.basis.confidence(),
        method: point.basis.name(),
        extrapolated: point.basis == Basis::Extrapolated,
        sources: point.sources.iter().filter_map(source).collect(),
    }
}

fn of_input<'c>(input: &'c Input, name: &'c str, implied_by: &'c [String]) -> CurveInput<'c> {
    CurveInput {
        contract: name,
        block: input.quote.contract.block.name(),
        price: input.quote.price,
        curve_price: input.curve_price.map(rounded),
        residual: input.residual().map(rounded),
        state: input.state.name(),
        implied_by: implied_by.iter().map(String::as_str).collect(),
        source: &input.quote.source,
        known_at: input.quote.known_at,
    }
}
