//! A price of a leg, as a series keeps it.
//!
//! Invariant: of several prices of one leg and time, the one with the highest rank is kept, in whatever order they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Decimal, LegPrice, Micros, Vintage};

use super::limits::{Limits, Rule};
use crate::place::Place;

/// The best price of a leg at one time.
#[derive(Debug, Clone)]
pub(super) struct Price {
    /// The last microsecond at which it may count.
    pub last: Micros,
    pub is_interval: bool,
    pub rank: (Vintage, Option<i64>, Place),
    pub figure: Decimal,
    pub currency: Arc<str>,
    pub unit: Arc<str>,
    /// Offset of its leg, by which values name it.
    pub version: i64,
}

impl Price {
    /// Whether this price of a leg of the same time is better.
    pub fn is_below(&self, leg: &LegPrice<'_>, limits: &Limits) -> bool {
        let (vintage, sequence, place) = &self.rank;
        match limits.holds(Rule::BestVintage) {
            true => (*vintage, *sequence, place.origin()) < (leg.vintage(), leg.sequence, leg.origin),
            false => place.origin() < leg.origin,
        }
    }
}

/// The prices of one leg.
///
/// Invariant: of two prices of one time, the one that counts later is the better one: otherwise it never counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Prices {
    /// By their time, and the first time at which they count. These differ if a price came after the hold time for a part of its times.
    known: BTreeMap<(Micros, Micros), Price>,
    /// How long a price counts at most.
    reach: Micros,
}

impl Prices {
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Until when the prices of its time count that it joins, if there are any; `Err` if a better one counts since then or before.
    pub fn joined_by(&self, leg: &LegPrice<'_>, since: Micros, limits: &Limits) -> Result<Option<Micros>, Superseded> {
        let time = leg.event_time;
        if self.are_before(time) {
            return Ok(None);
        }
        let until = self.known.range((time, Micros::MIN)..=(time, since)).next_back();
        if until.is_some_and(|(_, known)| !known.is_below(leg, limits)) {
            return Err(Superseded);
        }
        Ok(self.later(time, Micros::MIN).map(|(_, known)| known.last).max())
    }

    /// Whether no price is known of this time or a later one, as for most prices. Searching a range would cost several times as much.
    fn are_before(&self, time: Micros) -> bool {
        self.known.last_key_value().is_none_or(|((last, _), _)| *last < time)
    }

    fn later(&self, time: Micros, since: Micros) -> impl Iterator<Item = (&(Micros, Micros), &Price)> {
        self.known.range((time, since)..=(time, Micros::MAX))
    }

    /// Adds the price of a time, which counts since then. It is better than those that count before.
    pub fn insert(&mut self, (time, since): (Micros, Micros), price: Price) {
        self.reach = self.reach.max(price.last.saturating_sub(time));
        if self.are_before(time) {
            self.known.insert((time, since), price);
            return;
        }
        let worse = |(_, known): &(&(Micros, Micros), &Price)| known.rank < price.rank;
        let worse: Vec<(Micros, Micros)> = self.later(time, since).filter(worse).map(|(key, _)| *key).collect();
        for key in worse {
            self.known.remove(&key);
        }
        self.known.insert((time, since), price);
    }

    /// The price that counts at a time, with its own time.
    pub fn at(&self, time: Micros, limits: &Limits) -> Option<(Micros, &Price)> {
        // The newest price of all is the first one that the search below would find.
        if let Some(((at, since), price)) = self.known.last_key_value()
            && *at <= time
            && *since <= time
            && price.last >= time
        {
            return Some((*at, price));
        }
        let within = (time.saturating_sub(self.reach), Micros::MIN)..=(time, time);
        let mut over = None;
        for ((at, since), price) in self.known.range(within).rev() {
            // Of several of one time, the first one found is the best.
            if over == Some(*at) || (*since > time && limits.holds(Rule::CountSince)) {
                continue;
            }
            if price.last >= time || !limits.holds(Rule::LeaveOutStale) {
                return Some((*at, price));
            }
            over = Some(*at);
        }
        None
    }

    /// Whether a price is known whose time is not later.
    pub fn begins_by(&self, time: Micros) -> bool {
        self.known.keys().next().is_some_and(|(first, _)| *first <= time)
    }

    /// The times at which a price begins to count when it should.
    pub fn times(&self, from: Micros, last: Micros) -> impl Iterator<Item = Micros> {
        let is_searched = !self.are_before(from);
        let within = is_searched.then(|| self.known.range((from, Micros::MIN)..=(last, Micros::MAX)));
        within
            .into_iter()
            .flatten()
            .filter(|((at, since), _)| at == since)
            .map(|((at, _), _)| *at)
    }

    /// Forgets what counts only before this time, from the oldest price on.
    pub fn forget(&mut self, floor: Micros) {
        while self
            .known
            .first_key_value()
            .is_some_and(|(_, price)| price.last < floor)
        {
            self.known.pop_first();
        }
    }

    /// Forgets the oldest price.
    pub fn pop_first(&mut self) {
        self.known.pop_first();
    }

    /// The first time at which the oldest price cannot count: it is over, or a later one counts for as long.
    pub fn needed_until(&self) -> Option<Micros> {
        let mut prices = self.known.iter();
        let (_, oldest) = prices.next()?;
        let over = oldest.last.saturating_add(1);
        let next = prices.find(|(_, later)| later.last >= oldest.last);
        Some(next.map_or(over, |((_, since), _)| over.min(*since)))
    }
}

/// A better price of its time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Superseded;
