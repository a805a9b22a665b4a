//! The snapshots of one curve of one tenant, from the quotes in the log.
//!
//! The axis of the log clock is divided into intervals from the epoch. An interval with a quote has a snapshot, whose time T is its end: of
//! each instrument, the newest quote among those with a clock before T, by (trade date, vintage, stated time, the producer's
//! sequence, origin); a price that states only its date is the settlement of the day, and ranks above those that state a time. It is
//! stale, and does not count, if it came into the log more than the maximum age before T, or if its trade date is further before the last
//! one: so documents of old trade dates give snapshots when they are ingested, and change none of a later day. Definition, market and origin
//! are those of the newest quote of the interval, by (clock, origin). A price whose market is not that of its instrument id is no quote. Quotes
//! of another market than the newest one, instruments that the definition leaves out,
//! and quotes in another unit than the newest one of the last trade date do not count.
//! Invariants: what a snapshot contains follows from the set of quotes, and never from the order in which they came. A snapshot is sent when
//! the clock of the reader has reached T, and again when a quote that came late has changed it: exactly then. It is known since T; one that a
//! late quote has made or changed is known since the clock of the reader when this quote came, so the snapshots that were known at a time hold
//! no quote of later. [`read_back`] covers every quote that the snapshots of the hold time need, so a state that was read back from the log
//! continues as the lost one would have.
//! Failure: snapshots of times before the clock less the hold time stay as they are. A quote that cannot be placed is counted with a
//! [`Reason`], and the others still count. A curve without a usable quote has no snapshot; one that was sent before is sent without points.

mod advance;
mod content;
mod instrument;
mod limits;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::instrument::market_of;
use domain::{DerivedCause, LegPrice, Micros};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::curve::Builder;
use crate::definition::contract_of;
use crate::interpolation::Fit;
use crate::layouts::Layouts;
use crate::place::Place;
use crate::quote::is_plausible;
use crate::texts::Texts;
use crate::{CurveError, DeliveryCalendar, Interpolation, PricedContract};
use instrument::{Instrument, Known};
use limits::{AHEAD, Rule};

pub use limits::{Counts, Limits, Reason, read_back};

/// The newest quote of an interval.
#[derive(Debug, Clone)]
struct Newest {
    clock: Micros,
    /// The trade date.
    day: Date,
    /// The stated time; of a price that states only its date, after all times of that day.
    stated: Micros,
    place: Place,
    market: Arc<str>,
    definition: Arc<str>,
}

/// What was sent last for a time.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Of everything that the snapshot is made from.
    content: u64,
    times: i32,
    has_points: bool,
    /// The largest one of its contradictory quotes; see [`content::Made::residual_ratio`].
    residual: f64,
}

/// Why a time must be computed.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// Why a snapshot of it is sent again.
    cause: DerivedCause,
    /// Since when the content is known.
    known_at: Micros,
}

#[derive(Debug)]
struct Time {
    newest: Newest,
    sent: Option<Sent>,
}

/// A curve of one tenant, and the quotes that it knows.
#[derive(Debug)]
pub struct Snapshots {
    tenant_id: String,
    curve_id: String,
    limits: Limits,
    instruments: BTreeMap<Arc<str>, Instrument>,
    /// By the end of the interval.
    times: BTreeMap<Micros, Time>,
    /// Times that must be computed.
    due: BTreeMap<Micros, Due>,
    calendars: BTreeMap<Arc<str>, DeliveryCalendar>,
    definitions: BTreeMap<Arc<str>, Interpolation>,
    /// Currencies and units.
    texts: Texts,
    builder: Option<Builder>,
    /// Of a curve that shares none.
    layouts: Layouts,
    pruned: Micros,
    counts: Counts,
}

impl Snapshots {
    /// A curve without quotes.
    pub fn new(tenant_id: &str, curve_id: &str, limits: Limits) -> Snapshots {
        Snapshots {
            tenant_id: tenant_id.to_owned(),
            curve_id: curve_id.to_owned(),
            limits,
            instruments: BTreeMap::new(),
            times: BTreeMap::new(),
            due: BTreeMap::new(),
            calendars: BTreeMap::new(),
            definitions: BTreeMap::new(),
            texts: Texts::default(),
            builder: None,
            layouts: Layouts::default(),
            pruned: Micros::MIN,
            counts: Counts::default(),
        }
    }

    /// The counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Number of quotes in memory.
    pub fn len(&self) -> usize {
        self.instruments.values().map(Instrument::len).sum()
    }

    /// Whether it knows no quote.
    pub fn is_empty(&self) -> bool {
        self.instruments.is_empty()
    }

    /// How much the quotes of the newest snapshot contradict each other: the largest residual as a part of the price, 0 if none does. A
    /// snapshot that was sent longer ago than the hold time says nothing any more.
    pub fn contradiction(&self, clock: Micros) -> f64 {
        let mut held = self.times.range(clock.saturating_sub(self.limits.hold)..).rev();
        let newest = held.find_map(|(_, time)| time.sent.filter(|sent| sent.times > 0));
        newest.map_or(0.0, |sent| sent.residual)
    }

    /// The first time that must be computed; [`Snapshots::advance`] does it when the clock has reached it.
    pub fn next_due(&self) -> Option<Micros> {
        self.due.keys().next().copied()
    }

    /// Takes a quote. `clock` is that of the reader, this quote included. Returns why it does not count, or not for its own time.
    pub fn take(&mut self, leg: &LegPrice<'_>, clock: Micros) -> Option<Reason> {
        // A quiet curve is not advanced: what a state that is read back would not know must not count here either.
        if self.due.is_empty() {
            self.prune(clock);
        }
        let skipped = match self.place(leg) {
            Ok((end, newest)) => self.insert(leg, (end, newest), clock),
            Err(reason) => Some(reason),
        };
        if let Some(reason) = skipped {
            self.counts.skip(reason);
        }
        skipped
    }

    /// The end of the interval of a quote, and what the interval takes from it if it is the newest one.
    fn place(&mut self, leg: &LegPrice<'_>) -> Result<(Micros, Newest), Reason> {
        let interval = self.limits.interval.max(1);
        let end = leg.log_clock.div_euclid(interval).checked_add(1);
        let end = end
            .and_then(|end| end.checked_mul(interval))
            .ok_or(Reason::OutOfReach)?;
        if leg.event_time > leg.log_clock.saturating_add(AHEAD) {
            return Err(Reason::OutOfReach);
        }
        let definition = self.definition(leg.definition.ok_or(Reason::Undefined)?)?;
        let (market, calendar) = self.calendar(leg.role)?;
        // Otherwise one producer's error would give a whole curve the hours of another market. Some ids name no market.
        let named = market_of(leg.instrument_id).unwrap_or_default();
        if !named.eq_ignore_ascii_case(&market) && DeliveryCalendar::of(named).is_ok() {
            return Err(Reason::OtherMarket);
        }
        if !is_plausible(leg.price) {
            return Err(Reason::TooLarge);
        }
        let traded = Timestamp::from_microsecond(leg.event_time).map_err(|_| Reason::OutOfReach)?;
        let day = calendar.date_at(traded);
        let contract = contract_of(leg.instrument_id, day, calendar).map_err(|(reason, _)| reason)?;
        // One quote of a block that the market does not have would make the whole curve fail.
        if !calendar.can_count(contract.period, contract.block) {
            return Err(Reason::NotAContract);
        }
        let stated = match calendar.is_date(traded) {
            true => Micros::MAX,
            false => leg.event_time,
        };
        if self.fit(&definition, leg.instrument_id) == Fit::OtherHub {
            return Err(Reason::NotAContract);
        }
        let newest = Newest {
            clock: leg.log_clock,
            day,
            stated,
            place: Place::of(&leg.origin, &mut self.texts),
            market,
            definition,
        };
        Ok((end, newest))
    }

    /// Keeps the quote, and marks the times that it may change.
    fn insert(&mut self, leg: &LegPrice<'_>, (end, newest): (Micros, Newest), clock: Micros) -> Option<Reason> {
        let floor = clock.saturating_sub(self.limits.hold);
        let instrument = match self.instruments.get_mut(leg.instrument_id) {
            Some(instrument) => instrument,
            None => self.instruments.entry(leg.instrument_id.into()).or_default(),
        };
        let unit = (self.texts.kept(leg.currency), self.texts.kept(leg.unit));
        let known = Known::of(leg, &newest, unit);
        let cause = match instrument.has_quote_of(newest.day) {
            true => DerivedCause::Correction,
            false => DerivedCause::Late,
        };
        let is_better = instrument.insert(end, known, &self.limits);
        let limits = self.limits;
        let due = |time: Micros| Due {
            cause,
            known_at: match limits.holds(Rule::KnownSinceLateQuote) {
                true => time.max(clock),
                false => time,
            },
        };
        if self.is_over_limit() {
            self.evict();
        }
        let is_held = end >= floor;
        if is_held {
            let is_newer = match self.times.get_mut(&end) {
                Some(time) if (time.newest.clock, &time.newest.place) >= (newest.clock, &newest.place) => false,
                Some(time) => {
                    time.newest = newest;
                    true
                }
                None => {
                    self.times.insert(end, Time { newest, sent: None });
                    true
                }
            };
            if is_newer || is_better {
                self.due.insert(end, due(end));
            }
        }
        if is_better && self.limits.holds(Rule::ReviseLater) {
            let later = self.times.range(end.max(floor)..).map(|(time, _)| (*time, due(*time)));
            self.due.extend(later);
        }
        (!is_held).then_some(Reason::TooLate)
    }

    /// The quotes that count at a time, one for each instrument.
    fn quotes_at(&mut self, at: Micros, newest: &Newest) -> Vec<PricedContract> {
        let oldest = at.saturating_sub(self.limits.max_age);
        let mut found = Vec::with_capacity(self.instruments.len());
        for (instrument_id, instrument) in &self.instruments {
            let Some(known) = instrument.at(at) else {
                continue;
            };
            if known.clock < oldest && self.limits.holds(Rule::LeaveOutStale) {
                self.counts.skip(Reason::Stale);
            } else if known.market != newest.market {
                self.counts.skip(Reason::OtherMarket);
            } else if !self.is_member(instrument_id, known, newest) && self.limits.holds(Rule::Members) {
                self.counts.skip(Reason::NotAMember);
            } else {
                found.push((instrument_id, known));
            }
        }
        let last = found.iter().max_by_key(|(_, known)| known.newness());
        let unit = last.map(|(_, known)| &known.unit);
        let mut prices = Vec::with_capacity(found.len());
        for (instrument_id, known) in &found {
            match Some(&known.unit) == unit || !self.limits.holds(Rule::SameUnits) {
                true => prices.push(known.priced(instrument_id)),
                false => self.counts.skip(Reason::UnitMismatch),
            }
        }
        prices
    }

    fn fit(&self, definition: &str, instrument_id: &str) -> Fit {
        let known = self.definitions.get(definition);
        known.map_or(Fit::No, |interpolation| interpolation.fit(instrument_id))
    }

    /// Whether the definition of the newest quote has this instrument. One that no pattern fits is on the curve by its own row of reference
    /// data, which its quotes of the same definition say.
    fn is_member(&self, instrument_id: &str, known: &Known, newest: &Newest) -> bool {
        // What its own definition does not have was not kept.
        known.definition == newest.definition || self.fit(&newest.definition, instrument_id) == Fit::Member
    }

    /// Forgets what no snapshot of the hold time needs.
    fn prune(&mut self, clock: Micros) {
        let floor = clock.saturating_sub(self.limits.hold);
        if floor < self.pruned.saturating_add(self.limits.interval) {
            return;
        }
        self.pruned = floor;
        self.times = self.times.split_off(&floor);
        self.due = self.due.split_off(&floor);
        let oldest = floor.saturating_sub(self.limits.max_age);
        self.instruments.retain(|_, instrument| instrument.prune(floor, oldest));
        // Times and quotes hold those that are used.
        self.definitions
            .retain(|definition, _| Arc::strong_count(definition) > 1);
    }

    fn is_over_limit(&self) -> bool {
        // Each instrument has at least one; most curves have far fewer than the limit.
        self.len() > self.limits.quotes
    }

    /// Forgets the oldest quote.
    fn evict(&mut self) {
        let oldest = self
            .instruments
            .iter()
            .filter_map(|(id, instrument)| Some((instrument.first()?, id)));
        let Some((_, instrument_id)) = oldest.min() else {
            return;
        };
        let instrument_id = Arc::clone(instrument_id);
        if let Some(instrument) = self.instruments.get_mut(&instrument_id) {
            instrument.forget_first();
            if instrument.len() == 0 {
                self.instruments.remove(&instrument_id);
            }
            self.counts.evicted += 1;
        }
    }

    /// The text as it is kept, if it is a definition.
    fn definition(&mut self, text: &str) -> Result<Arc<str>, Reason> {
        if let Some((known, _)) = self.definitions.get_key_value(text) {
            return Ok(Arc::clone(known));
        }
        let interpolation: Interpolation = text.parse().map_err(|_: CurveError| Reason::Undefined)?;
        let text: Arc<str> = text.into();
        self.definitions.insert(Arc::clone(&text), interpolation);
        Ok(text)
    }

    fn calendar(&mut self, market: &str) -> Result<(Arc<str>, &DeliveryCalendar), Reason> {
        if !self.calendars.contains_key(market) {
            let calendar = DeliveryCalendar::of(market).map_err(|_| Reason::UnknownMarket)?;
            self.calendars.insert(market.into(), calendar);
        }
        let found = self.calendars.get_key_value(market).ok_or(Reason::UnknownMarket)?;
        Ok((Arc::clone(found.0), found.1))
    }
}
