//! The quotes of one instrument of a curve.
//!
//! Invariant: by the ends of their intervals, the quotes have ascending ranks. A quote whose rank is not above that of an earlier one can
//! never be the newest of any time, so it is not kept. What is kept follows from the set of quotes, in whatever order they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Decimal, LegPrice, Micros, Origin, Vintage};

use crate::PricedContract;

/// Where a quote comes from; ordered as [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    feed: Arc<str>,
    partition: i32,
    offset: i64,
    index: i32,
}

impl Place {
    pub(super) fn of(origin: &Origin<'_>) -> Place {
        Place {
            feed: origin.feed.into(),
            partition: origin.partition,
            offset: origin.offset,
            index: origin.index,
        }
    }

    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            feed: &self.feed,
            partition: self.partition,
            offset: self.offset,
            index: self.index,
        }
    }
}

/// A quote.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub clock: Micros,
    event_time: Micros,
    rank: (Vintage, Option<i64>, Place),
    price: Decimal,
    volume: Option<Decimal>,
    pub market: Arc<str>,
}

impl Known {
    pub(super) fn of(leg: &LegPrice<'_>, market: &Arc<str>, place: &Place) -> Known {
        Known {
            clock: leg.log_clock,
            event_time: leg.event_time,
            rank: (leg.vintage(), leg.sequence, place.clone()),
            price: leg.price,
            volume: leg.volume,
            market: Arc::clone(market),
        }
    }

    pub(super) fn priced(&self, instrument_id: &str) -> PricedContract {
        PricedContract {
            instrument_id: instrument_id.to_owned(),
            event_time: self.event_time,
            price: self.price,
            volume: self.volume,
            origin: self.rank.2.origin().to_string(),
        }
    }

    fn is_above(&self, other: &Known) -> bool {
        (self.event_time, &self.rank) > (other.event_time, &other.rank)
    }
}

/// The quotes of an instrument, by the end of their interval.
#[derive(Debug, Default)]
pub(super) struct Instrument {
    quotes: BTreeMap<Micros, Known>,
}

impl Instrument {
    /// Takes a quote; whether it is the newest of any time.
    pub(super) fn insert(&mut self, end: Micros, quote: Known) -> bool {
        if self.at(end).is_some_and(|known| !quote.is_above(known)) {
            return false;
        }
        let below: Vec<Micros> = self
            .quotes
            .range(end..)
            .take_while(|(_, later)| !later.is_above(&quote))
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

    /// Whether a quote of this event time is known.
    pub(super) fn has_quote_of(&self, event_time: Micros) -> bool {
        self.quotes.values().any(|known| known.event_time == event_time)
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
