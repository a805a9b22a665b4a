//! Legs and derived prices: the price of an instrument on its way to where legs meet, and the value that follows from them.

use crate::{Decimal, Kind, Micros, Origin, Product, Tick, Vintage};

/// What a leg is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LegPurpose {
    /// A leg of a derived series.
    Series,
    /// A quote of a curve.
    Curve,
    /// No leg: it tells the readers of the topic that the log clock of an enriched partition has come this far.
    Clock,
}

impl LegPurpose {
    /// Every purpose, in the order of the schema.
    pub const ALL: [LegPurpose; 3] = [LegPurpose::Series, LegPurpose::Curve, LegPurpose::Clock];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            LegPurpose::Series => "series",
            LegPurpose::Curve => "curve",
            LegPurpose::Clock => "clock",
        }
    }
}

/// The price of an instrument that is a leg of a series or a quote of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LegPrice<'a> {
    pub origin: Origin<'a>,
    pub tenant_id: &'a str,
    pub purpose: LegPurpose,
    /// Name of the derived series, or id of the curve; empty for a clock.
    pub series: &'a str,
    /// Name of the leg in the series; market of a quote of a curve; empty for a clock.
    pub role: &'a str,
    /// Definition of the curve, as the enriched tick carries it.
    pub definition: Option<&'a str>,
    pub instrument_id: &'a str,
    pub kind: Kind,
    /// Time of the trade, or start of the delivery interval.
    pub event_time: Micros,
    pub interval_end: Option<Micros>,
    pub price: Decimal,
    pub volume: Option<Decimal>,
    pub bid: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub congestion: Option<Decimal>,
    pub loss: Option<Decimal>,
    pub currency: &'a str,
    pub unit: &'a str,
    /// Version or vintage of a restated price.
    pub version: Option<&'a str>,
    pub sequence: Option<i64>,
    /// When its raw message was appended; `None` in records of builds that did not write it.
    pub appended_at: Option<Micros>,
    /// The log clock of the enriched partition when the tick was read, itself included.
    pub log_clock: Micros,
    pub enriched_partition: i32,
    pub enriched_offset: i64,
    /// Index among the legs of the tick, from 0.
    pub index: i32,
}

/// Where a leg is sent, and where its tick was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LegPlace<'a> {
    pub purpose: LegPurpose,
    pub series: &'a str,
    pub role: &'a str,
    pub definition: Option<&'a str>,
    /// Unit of the price, with the reference data.
    pub unit: &'a str,
    pub log_clock: Micros,
    pub enriched_partition: i32,
    pub enriched_offset: i64,
    pub index: i32,
}

impl<'a> LegPrice<'a> {
    /// The leg of this tick.
    pub fn of(tick: &Tick<'a>, place: LegPlace<'a>) -> LegPrice<'a> {
        LegPrice {
            origin: tick.origin,
            tenant_id: tick.tenant_id,
            purpose: place.purpose,
            series: place.series,
            role: place.role,
            definition: place.definition,
            instrument_id: tick.instrument_id,
            kind: tick.kind,
            event_time: tick.event_time,
            interval_end: tick.interval_end.or_else(|| nominal_end(tick)),
            price: tick.price,
            volume: tick.volume,
            bid: tick.bid,
            ask: tick.ask,
            congestion: tick.congestion,
            loss: tick.loss,
            currency: tick.currency,
            unit: place.unit,
            version: tick.version,
            sequence: tick.sequence,
            appended_at: Some(tick.appended_at),
            log_clock: place.log_clock,
            enriched_partition: place.enriched_partition,
            enriched_offset: place.enriched_offset,
            index: place.index,
        }
    }

    /// When its raw message was appended. Where the record does not say it, the log clock is as close as it gets, and never before it.
    pub fn appended(&self) -> Micros {
        self.appended_at.unwrap_or(self.log_clock)
    }

    /// How certain its price is.
    pub fn vintage(&self) -> Vintage {
        Vintage::of(self.version, self.kind)
    }
}

/// The end of a delivery interval whose price names none: its product has a nominal length.
fn nominal_end(tick: &Tick<'_>) -> Option<Micros> {
    let length = Product::of(tick.product, tick.kind).nominal()?;
    tick.event_time.checked_add(length.micros())
}

/// Why a derived price was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DerivedCause {
    /// The first value of its time.
    First,
    /// Another value, after a price of a leg that came late.
    Late,
    /// Another value, after another price of the same leg at the same time.
    Correction,
}

impl DerivedCause {
    /// Every cause, in the order of the schema.
    pub const ALL: [DerivedCause; 3] = [DerivedCause::First, DerivedCause::Late, DerivedCause::Correction];

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            DerivedCause::First => "first",
            DerivedCause::Late => "late",
            DerivedCause::Correction => "correction",
        }
    }
}

/// A leg as a value used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DerivedLeg<'a> {
    pub role: &'a str,
    pub instrument_id: &'a str,
    /// What it contributes to the formula.
    pub price: Decimal,
    pub event_time: Micros,
    /// By how much it is older than the value; 0 inside its delivery interval.
    pub age: Micros,
    pub origin: Origin<'a>,
}

/// The value of a series at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DerivedPrice<'a> {
    pub tenant_id: &'a str,
    pub series: &'a str,
    /// How it follows from the legs: `spark_spread`, …
    pub kind: &'a str,
    pub event_time: Micros,
    /// `None`: undefined for these prices, or no longer computable.
    pub value: Option<Decimal>,
    pub unit: &'a str,
    /// Those that have a price at this time, in the order of the formula.
    pub legs: Vec<DerivedLeg<'a>>,
    /// The largest log clock of the legs so far: its prices, and the values that it follows from, were appended by then.
    pub log_clock: Micros,
    /// Offset of this leg in the topic of legs: larger replaces smaller.
    pub version: i64,
    /// How often the value of this time was sent before.
    pub revision: i32,
    pub cause: DerivedCause,
    pub cause_origin: Origin<'a>,
}
