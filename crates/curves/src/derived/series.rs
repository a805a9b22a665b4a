//! The prices of the legs of one series, and the values that follow.
//!
//! The times of a series are those at which a leg has a price. At such a time t the price of a leg is the newest one that counts at t: that
//! of a delivery interval inside `[start, end)`, a trade or quote from its time until the maximum age has passed. Of several prices of
//! one time the best vintage counts, then the producer's sequence, then the last origin. If each leg has a price, there is a value.
//! Invariants: whatever order prices come in, the last value sent for a time is that of the set. A value is sent when it is new or differs
//! from the last one in a leg or in its number. What is sent for a time, revisions included, follows from the prices that count at this time
//! alone, in their order; [`super::read_back`] covers all of them, so that a state read back from the log continues as the lost one would have.
//! Its log clock is the largest so far, so that no value is known before a price that it follows from was appended.
//! A rolling statistic is computed from the values in its window; a value that changes changes the windows that hold it as well.
//! A price changes the values of the hold time before its append, wherever the other legs have been read to ([`super::sources`]).
//! Failure: values of times before that are left as they are; a price that counts only there is too late.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Decimal, DerivedCause, DerivedLeg, DerivedPrice, Kind, LegPrice, Micros};

use super::limits::{Counts, Limits, Rule, Taken, last_time};
use super::price::{Price, Prices};
use super::sources::Sources;
use super::windows::Windows;
use super::{Definition, MOST_LEGS, Reason, Units};
use crate::place::Place;
use crate::texts::Texts;

/// What was sent last for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    value: Option<Decimal>,
    /// Versions of the prices used.
    used: [Option<i64>; MOST_LEGS],
    times: i32,
}

/// The prices at one time, and their value.
struct Found<'a> {
    prices: [Option<(Micros, &'a Price)>; MOST_LEGS],
    value: Result<Decimal, Reason>,
}

impl<'a> Found<'a> {
    fn used(&self) -> [Option<i64>; MOST_LEGS] {
        self.each(|price| price.version)
    }

    fn units(&self) -> Units<'a> {
        self.each(|price| (&*price.currency, &*price.unit))
    }

    fn each<T>(&self, of: impl Fn(&'a Price) -> T) -> [Option<T>; MOST_LEGS] {
        self.prices.map(|price| price.map(|(_, price)| of(price)))
    }
}

/// A series of one tenant, and the prices that it knows.
#[derive(Debug, Clone)]
pub struct Series {
    definition: Arc<Definition>,
    /// As shown.
    kind: String,
    limits: Limits,
    legs: [Prices; MOST_LEGS],
    sources: [Sources; MOST_LEGS],
    sent: BTreeMap<Micros, Sent>,
    /// Of a rolling statistic.
    windows: Option<Windows>,
    /// The largest log clock of its prices.
    clock: Micros,
    /// The largest log clock of its partition.
    newest: Micros,
    /// The oldest time that may be revised.
    floor: Micros,
    texts: Texts,
    /// The unit that was written last; its memory is used again.
    unit: String,
    counts: Counts,
}

impl Series {
    /// A series without prices; the definition has passed [`Definition::check`].
    pub fn new(definition: Arc<Definition>, limits: Limits) -> Series {
        Series {
            kind: definition.kind(),
            windows: definition.rolling.map(Windows::new),
            definition,
            limits,
            legs: Default::default(),
            sources: Default::default(),
            sent: BTreeMap::new(),
            clock: Micros::MIN,
            newest: Micros::MIN,
            floor: Micros::MIN,
            texts: Texts::default(),
            unit: String::new(),
            counts: Counts::default(),
        }
    }

    /// The counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Number of prices in memory.
    pub fn len(&self) -> usize {
        self.legs.iter().map(Prices::len).sum()
    }

    /// Whether it knows no price.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of texts in memory.
    #[cfg(test)]
    pub(super) fn texts(&self) -> usize {
        self.texts.len()
    }

    /// The log clock of the partition, which legs of other series move as well.
    pub fn reached(&mut self, clock: Micros) {
        self.newest = self.newest.max(clock);
    }

    /// Takes the next price of a leg, in the order of the log, whose place in the topic of legs is `version`. Passes each value that is
    /// new or has changed to `show`, in the order of time.
    pub fn take(&mut self, leg: &LegPrice<'_>, version: i64, show: &mut dyn FnMut(&DerivedPrice<'_>)) -> Taken {
        match self.insert(leg, version) {
            Ok(Some((from, last, replaced))) => {
                self.revise(leg, version, (from, last, replaced), show);
                self.bound();
                Taken::Used
            }
            Ok(None) => Taken::Superseded,
            Err(reason) => {
                self.skip(reason);
                Taken::Skipped(reason)
            }
        }
    }

    fn skip(&mut self, reason: Reason) {
        if let Some(count) = self.counts.skipped.get_mut(reason as usize) {
            *count += 1;
        }
    }

    /// Keeps the price if it is the best of its time. Returns the times that it may change, and whether it replaces another price.
    fn insert(&mut self, leg: &LegPrice<'_>, version: i64) -> Result<Option<(Micros, Micros, bool)>, Reason> {
        let at = self.definition.leg(leg.role, leg.instrument_id);
        let at = at.ok_or(Reason::UnknownLeg)?;
        self.clock = self.clock.max(leg.log_clock);
        self.reached(leg.log_clock);
        let feed = self.texts.kept(leg.origin.feed);
        if let Some(sources) = self.sources.get_mut(at) {
            sources.observe((&feed, leg.origin.partition), leg.appended());
        }
        let time = leg.event_time;
        let last = last_time(leg, self.definition.max_age).ok_or(Reason::OutOfReach);
        let mut since = time;
        if self.limits.holds(Rule::HoldTime) {
            let floor = self.needed_from();
            self.forget(floor);
            since = since.max(leg.appended().saturating_sub(self.limits.hold));
        }
        let last = last?;
        if last < since.max(self.floor) {
            return Err(Reason::TooLate);
        }
        let figure = self.definition.formula.figure(leg)?;
        let prices = self.legs.get_mut(at).ok_or(Reason::UnknownLeg)?;
        let Ok(joined) = prices.joined_by(leg, since, &self.limits) else {
            return Ok(None);
        };
        let before = joined.filter(|_| self.limits.holds(Rule::ReviseReplaced));
        let price = Price {
            last,
            is_interval: leg.kind == Kind::Interval,
            rank: (leg.vintage(), leg.sequence, Place::of(&leg.origin, &mut self.texts)),
            figure,
            currency: self.texts.kept(leg.currency),
            unit: self.texts.kept(leg.unit),
            version,
        };
        prices.insert((time, since), price);
        Ok(Some((
            since,
            before.map_or(last, |before| before.max(last)),
            joined.is_some(),
        )))
    }

    /// Times before this one follow from prices that have all been read, or are given up for a leg that is too far behind.
    fn needed_from(&mut self) -> Micros {
        let legs = self.sources.iter_mut().take(self.definition.formula.legs().len());
        let slowest = legs.map(|sources| sources.reached(self.newest, &self.limits)).min();
        let reached = match self.limits.holds(Rule::WaitForSlowest) {
            true => slowest.unwrap_or(self.newest),
            false => self.newest,
        };
        reached.saturating_sub(self.limits.hold)
    }

    /// Sends what the price changes.
    fn revise(
        &mut self,
        leg: &LegPrice<'_>,
        version: i64,
        (from, last, replaced): (Micros, Micros, bool),
        show: &mut dyn FnMut(&DerivedPrice<'_>),
    ) {
        let from = from.max(self.floor);
        let last = match self.limits.holds(Rule::ReviseLater) {
            true => last,
            false => from,
        };
        let prices = self.legs.iter();
        let mut times: Vec<Micros> = prices.flat_map(|prices| prices.times(from, last.max(from))).collect();
        times.sort_unstable();
        times.dedup();
        let times = self.roll(times);
        let mut unit = std::mem::take(&mut self.unit);
        for time in times {
            let statistic = self.windows.as_mut().map(|windows| windows.at(time));
            let mut found = self.at(time);
            if let (Ok(_), Some(statistic)) = (found.value, statistic) {
                found.value = statistic;
            }
            let (used, value, reason) = (found.used(), found.value.ok(), found.value.err());
            let before = self.sent.get(&time).copied();
            // A formula that is undefined for its prices has a row that says so; without its prices it has none.
            let is_complete = matches!(reason, None | Some(Reason::Undefined | Reason::TooLarge));
            let is_wanted = is_complete || (before.is_some() && self.limits.holds(Rule::TakeBack));
            let is_same = before.is_some_and(|before| before.used == used && before.value == value);
            if is_wanted && !(is_same && self.limits.holds(Rule::SendChanges)) {
                let cause = match (before, replaced) {
                    (None, _) => DerivedCause::First,
                    (Some(_), true) => DerivedCause::Correction,
                    (Some(_), false) => DerivedCause::Late,
                };
                let times = before.map_or(0, |before| before.times);
                unit.clear();
                self.definition.write_unit(found.units(), &mut unit);
                show(&DerivedPrice {
                    version,
                    revision: times,
                    cause,
                    ..self.price(leg, time, &found, &unit)
                });
                if let Some(sent) = self.counts.sent.get_mut(cause as usize) {
                    *sent += 1;
                }
                let times = times.saturating_add(i32::from(self.limits.holds(Rule::CountRevisions)));
                self.sent.insert(time, Sent { value, used, times });
            }
            if let Some(reason) = reason {
                self.skip(reason);
            }
        }
        self.unit = unit;
    }

    /// Brings the values of these times into the windows of a rolling statistic. Returns the times that change by it, these included.
    fn roll(&mut self, times: Vec<Micros>) -> Vec<Micros> {
        let Some(mut windows) = self.windows.take() else {
            return times;
        };
        let (mut changed, mut unit) = (Vec::new(), std::mem::take(&mut self.unit));
        for time in &times {
            let found = self.at(*time);
            unit.clear();
            self.definition.formula.write_unit(found.units(), &mut unit);
            if windows.set(*time, found.value.ok().map(|value| (value, &*unit))) {
                changed.push(*time);
            }
        }
        self.unit = unit;
        changed.retain(|_| self.limits.holds(Rule::ReviseWindows));
        let times = windows.affected(times, &changed);
        self.windows = Some(windows);
        times
    }

    /// The prices that count at this time.
    fn at(&self, time: Micros) -> Found<'_> {
        let formula = self.definition.formula;
        let mut prices = [None; MOST_LEGS];
        let mut missing = None;
        let count = formula.legs().len();
        for (slot, known) in prices.iter_mut().zip(self.legs.iter().take(count)) {
            *slot = known.at(time, &self.limits);
            if slot.is_none() {
                missing.get_or_insert(match known.begins_by(time) {
                    true => Reason::Stale,
                    false => Reason::Waiting,
                });
            }
        }
        let value = missing.map_or(Ok(Decimal::ZERO), Err);
        let mut found = Found { prices, value };
        if missing.is_none() {
            found.value = match formula.fits(found.units()) || !self.limits.holds(Rule::SameUnits) {
                true => formula.value(found.each(|price| price.figure), &self.limits),
                false => Err(Reason::UnitMismatch),
            };
        }
        found
    }

    /// What is found at this time, as the first value that the leg causes.
    fn price<'a>(&'a self, leg: &'a LegPrice<'_>, time: Micros, found: &Found<'a>, unit: &'a str) -> DerivedPrice<'a> {
        let Definition { formula, legs, .. } = &*self.definition;
        let names = formula.legs().iter().zip(legs).zip(found.prices);
        let legs = names.filter_map(|((role, instrument_id), price)| {
            let (event_time, price) = price?;
            Some(DerivedLeg {
                role,
                instrument_id,
                price: price.figure,
                event_time,
                age: if price.is_interval { 0 } else { time - event_time },
                origin: price.rank.2.origin(),
            })
        });
        DerivedPrice {
            tenant_id: leg.tenant_id,
            series: &self.definition.series,
            kind: &self.kind,
            event_time: time,
            value: found.value.ok(),
            unit,
            legs: legs.collect(),
            log_clock: match self.limits.holds(Rule::LargestClock) {
                true => self.clock,
                false => leg.log_clock,
            },
            version: 0,
            revision: 0,
            cause: DerivedCause::First,
            cause_origin: leg.origin,
        }
    }

    /// Forgets what counts only before this time.
    fn forget(&mut self, floor: Micros) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        for prices in &mut self.legs {
            prices.forget(floor);
        }
        while self.sent.first_key_value().is_some_and(|(time, _)| *time < floor) {
            self.sent.pop_first();
        }
        if let Some(windows) = &mut self.windows {
            windows.forget(floor);
        }
    }

    /// Forgets prices before their time if there are too many: first the one that is replaced by a later price of its leg first, so that the
    /// times without it are over soon, and values of later times go on.
    fn bound(&mut self) {
        while self.len() > self.limits.prices {
            let first = self.legs.iter().enumerate();
            let first = first.filter_map(|(leg, prices)| Some((prices.needed_until()?, leg)));
            let Some((floor, leg)) = first.min() else {
                return;
            };
            let before = self.len();
            if let Some(prices) = self.legs.get_mut(leg) {
                prices.pop_first();
            }
            self.forget(floor);
            self.counts.evicted += (before - self.len()) as u64;
        }
    }
}
