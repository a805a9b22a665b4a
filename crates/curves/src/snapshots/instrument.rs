//! The quotes of one instrument of a curve.
//!
//! Invariant: by the ends of their intervals, the quotes have ascending ranks: by trade date, vintage, stated time, the producer's
//! sequence and origin. A quote whose rank is not above that of an earlier one can never be the newest of any time, so it is not kept. What is
//! kept follows from the set of quotes, in whatever order they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Decimal, LegPrice, Micros, Vintage};
use jiff::civil::Date;

use super::Newest;
use super::limits::{Limits, Rule};
use crate::PricedContract;
use crate::place::Place;

/// A quote.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub clock: Micros,
    /// The trade date.
    pub day: Date,
    event_time: Micros,
    /// Vintage, stated time, the producer's sequence, origin.
    rank: (Vintage, Micros, Option<i64>, Place),
    price: Decimal,
    volume: Option<Decimal>,
    pub market: Arc<str>,
    /// Currency and unit.
    pub unit: (Arc<str>, Arc<str>),
    pub definition: Arc<str>,
}

impl Known {
    pub(super) fn of(leg: &LegPrice<'_>, newest: &Newest, unit: (Arc<str>, Arc<str>)) -> Known {
        Known {
            clock: leg.log_clock,
            day: newest.day,
            event_time: leg.event_time,
            rank: (leg.vintage(), newest.stated, leg.sequence, newest.place.clone()),
            price: leg.price,
            volume: leg.volume,
            market: Arc::clone(&newest.market),
            unit,
            definition: Arc::clone(&newest.definition),
        }
    }

    pub(super) fn priced(&self, instrument_id: &str) -> PricedContract {
        PricedContract {
            instrument_id: instrument_id.to_owned(),
            event_time: self.event_time,
            price: self.price,
            volume: self.volume,
            origin: self.rank.3.origin().to_string(),
        }
    }

    /// Larger for the quote of a later trade date, and of one date for the one that came last.
    pub(super) fn newness(&self) -> (Date, Micros, &Place) {
        (self.day, self.clock, &self.rank.3)
    }

    fn is_above(&self, other: &Known, limits: &Limits) -> bool {
        match limits.holds(Rule::RankByDay) {
            true => (self.day, &self.rank) > (other.day, &other.rank),
            false => (self.event_time, &self.rank) > (other.event_time, &other.rank),
        }
    }
}

/// The quotes of an instrument, by the end of their interval.
#[derive(Debug, Default)]
pub(super) struct Instrument {
    quotes: BTreeMap<Micros, Known>,
}

impl Instrument {
    /// Takes a quote; whether it is the newest of any time.
    pub(super) fn insert(&mut self, end: Micros, quote: Known, limits: &Limits) -> bool {
        if self.at(end).is_some_and(|known| !quote.is_above(known, limits)) {
            return false;
        }
        let below: Vec<Micros> = self
            .quotes
            .range(end..)
            .take_while(|(_, later)| !later.is_above(&quote, limits))
            .map(|(end, _)| *end)
            .collect();
        for end in below {
            self.quotes.remove(&end);
        }
        self.quotes.insert(end, quote);
        true
    }

    /// The newest quote among those with a clock before this end of an interval.
    pub(super) fn at(&self, end: Micros) -> Option<&Known> {
        self.quotes.range(..=end).next_back().map(|(_, known)| known)
    }

    /// Whether a quote of this trade date is known.
    pub(super) fn has_quote_of(&self, day: Date) -> bool {
        self.quotes.values().any(|known| known.day == day)
    }

    /// Forgets all quotes but the newest before `floor`, and this one too if its clock is before `oldest`. Whether any quote is left.
    pub(super) fn prune(&mut self, floor: Micros, oldest: Micros) -> bool {
        if let Some((last, known)) = self.quotes.range(..floor).next_back() {
            let (last, is_over) = (*last, known.clock < oldest);
            self.quotes = self.quotes.split_off(&last);
            if is_over {
                self.quotes.remove(&last);
            }
        }
        !self.quotes.is_empty()
    }

    /// End of the interval of the oldest quote.
    pub(super) fn first(&self) -> Option<Micros> {
        self.quotes.keys().next().copied()
    }

    pub(super) fn forget_first(&mut self) {
        self.quotes.pop_first();
    }

    pub(super) fn len(&self) -> usize {
        self.quotes.len()
    }
}
