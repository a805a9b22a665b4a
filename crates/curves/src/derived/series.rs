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
//! Failure: values of times before the log clock less the hold time are left as they are; a price that counts only there is too late.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Decimal, DerivedCause, DerivedLeg, DerivedPrice, Kind, LegPrice, Micros, Origin, Vintage};

use super::limits::{Counts, Limits, Rule, Taken, last_time};
use super::windows::Windows;
use super::{Definition, MOST_LEGS, Reason};

/// Where a price comes from; ordered as [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    feed: Arc<str>,
    partition: i32,
    offset: i64,
    index: i32,
}

impl Place {
    fn origin(&self) -> Origin<'_> {
        Origin {
            feed: &self.feed,
            partition: self.partition,
            offset: self.offset,
            index: self.index,
        }
    }
}

/// The best price of a leg at one time.
#[derive(Debug, Clone)]
struct Price {
    /// The last microsecond at which it may count.
    last: Micros,
    is_interval: bool,
    rank: (Vintage, Option<i64>, Place),
    figure: Decimal,
    currency: Arc<str>,
    unit: Arc<str>,
    /// Offset of its leg, by which values name it.
    version: i64,
}

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
    fn known(&self) -> Vec<&'a Price> {
        self.prices.iter().flatten().map(|(_, price)| *price).collect()
    }

    fn used(&self) -> [Option<i64>; MOST_LEGS] {
        self.prices.map(|price| price.map(|(_, price)| price.version))
    }
}

/// A series of one tenant, and the prices that it knows.
#[derive(Debug, Clone)]
pub struct Series {
    definition: Arc<Definition>,
    /// As shown.
    kind: String,
    limits: Limits,
    /// By leg and time.
    legs: [BTreeMap<Micros, Price>; MOST_LEGS],
    /// How long the prices of a leg count at most.
    reach: [Micros; MOST_LEGS],
    sent: BTreeMap<Micros, Sent>,
    /// Of a rolling statistic.
    windows: Option<Windows>,
    /// The largest log clock of its prices.
    clock: Micros,
    /// The oldest time that may be revised.
    floor: Micros,
    texts: Vec<Arc<str>>,
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
            legs: [const { BTreeMap::new() }; MOST_LEGS],
            reach: [0; MOST_LEGS],
            sent: BTreeMap::new(),
            clock: Micros::MIN,
            floor: Micros::MIN,
            texts: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Number of prices in memory.
    pub fn len(&self) -> usize {
        self.legs.iter().map(BTreeMap::len).sum()
    }

    /// Whether it knows no price.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        if self.limits.holds(Rule::HoldTime) {
            self.forget(self.clock.saturating_sub(self.limits.hold));
        }
        let time = leg.event_time;
        let last = last_time(leg, self.definition.max_age).ok_or(Reason::OutOfReach)?;
        if last < self.floor {
            return Err(Reason::TooLate);
        }
        let figure = self.definition.formula.figure(leg)?;
        let place = Place {
            feed: self.text(leg.origin.feed),
            partition: leg.origin.partition,
            offset: leg.origin.offset,
            index: leg.origin.index,
        };
        let price = Price {
            last,
            is_interval: leg.kind == Kind::Interval,
            rank: (leg.vintage(), leg.sequence, place),
            figure,
            currency: self.text(leg.currency),
            unit: self.text(leg.unit),
            version,
        };
        let (Some(prices), Some(reach)) = (self.legs.get_mut(at), self.reach.get_mut(at)) else {
            return Err(Reason::UnknownLeg);
        };
        let known = prices.get(&time);
        let is_better = |known: &Price| match self.limits.holds(Rule::BestVintage) {
            true => known.rank >= price.rank,
            false => known.rank.2 >= price.rank.2,
        };
        if known.is_some_and(is_better) {
            return Ok(None);
        }
        let replaced = known.is_some();
        let before = known.filter(|_| self.limits.holds(Rule::ReviseReplaced));
        let before = before.map_or(last, |known| known.last);
        *reach = (*reach).max(last - time);
        prices.insert(time, price);
        Ok(Some((time, last.max(before), replaced)))
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
        let mut times: Vec<Micros> = prices
            .flat_map(|prices| prices.range(from..=last.max(from)))
            .map(|(time, _)| *time)
            .collect();
        times.sort_unstable();
        times.dedup();
        for time in self.roll(times) {
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
                let unit = self.definition.unit(&units(&found.known()));
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
    }

    /// Brings the values of these times into the windows of a rolling statistic. Returns the times that change by it, these included.
    fn roll(&mut self, times: Vec<Micros>) -> Vec<Micros> {
        let Some(mut windows) = self.windows.take() else {
            return times;
        };
        let mut changed = Vec::new();
        for time in &times {
            let found = self.at(*time);
            let unit = || self.definition.formula.unit(&units(&found.known()));
            if windows.set(*time, found.value.ok().map(|value| (value, unit()))) {
                changed.push(*time);
            }
        }
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
        let legs = self.legs.iter().zip(&self.reach).take(count);
        for (slot, (known, reach)) in prices.iter_mut().zip(legs) {
            let within = known.range(time.saturating_sub(*reach)..=time);
            *slot = within
                .rev()
                .find(|(_, price)| price.last >= time || !self.limits.holds(Rule::LeaveOutStale))
                .map(|(at, price)| (*at, price));
            if slot.is_none() {
                let is_known = known.range(..=time).next_back().is_some();
                missing.get_or_insert(if is_known { Reason::Stale } else { Reason::Waiting });
            }
        }
        let value = missing.map_or(Ok(Decimal::ZERO), Err);
        let mut found = Found { prices, value };
        if missing.is_none() {
            let used = found.known();
            let figures: Vec<Decimal> = used.iter().map(|price| price.figure).collect();
            found.value = match formula.fits(&units(&used)) || !self.limits.holds(Rule::SameUnits) {
                true => formula.value(&figures, &self.limits),
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
            while prices.first_key_value().is_some_and(|(_, price)| price.last < floor) {
                prices.pop_first();
            }
        }
        self.sent = self.sent.split_off(&floor);
        if let Some(windows) = &mut self.windows {
            windows.forget(floor);
        }
    }

    /// Forgets the oldest prices if there are too many.
    fn bound(&mut self) {
        while self.len() > self.limits.prices {
            let first =
                |prices: &BTreeMap<Micros, Price>| prices.first_key_value().map(|(time, price)| (*time, price.last));
            let Some((_, last)) = self.legs.iter().filter_map(first).min() else {
                return;
            };
            let before = self.len();
            self.forget(last.saturating_add(1));
            self.counts.evicted += (before - self.len()) as u64;
        }
    }

    /// The text, stored once: there are few.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.iter().find(|known| &***known == text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = text.into();
        self.texts.push(Arc::clone(&new));
        new
    }
}

fn units<'a>(prices: &[&'a Price]) -> Vec<(&'a str, &'a str)> {
    prices.iter().map(|price| (&*price.currency, &*price.unit)).collect()
}
