//! The newest price of every instrument of one partition, and which of them each store has not seen.

use domain::EnrichedTick;
use domain::instrument::KEY_SEPARATOR;
use rustc_hash::FxHashMap;
use stores::{LatestPrice, OwnedOrigin};

/// A store that keeps a copy of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// For readers, within milliseconds.
    Redis,
    /// With the position.
    Postgres,
}

#[derive(Debug)]
struct Entry {
    price: LatestPrice,
    /// Waits for its store: by [`enum@Copy`].
    waiting: [bool; 2],
}

/// Newest prices by `tenant|instrument` as the ticks themselves say, whatever the key of their message is.
#[derive(Debug, Default)]
pub struct Book {
    places: FxHashMap<Box<str>, usize>,
    entries: Vec<Entry>,
    /// Entries that wait, by [`enum@Copy`]; may hold one twice only if it was taken in between.
    waiting: [Vec<usize>; 2],
    key: String,
}

impl Book {
    /// A book with these prices, which Postgres has and Redis may not have.
    pub fn restore(prices: Vec<LatestPrice>) -> Book {
        let mut book = Book::default();
        for price in prices {
            book.name(&price.tenant_id, &price.instrument_id);
            book.insert(price);
        }
        book.wait_again(Copy::Redis);
        book
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes a tick in; true where it is its instrument's newest.
    pub fn take_in(&mut self, enriched: &EnrichedTick<'_>, src_partition: i32) -> bool {
        let tick = &enriched.tick;
        self.name(tick.tenant_id, tick.instrument_id);
        let place = match self.places.get(self.key.as_str()).copied() {
            None => self.insert(owned(enriched, src_partition)),
            Some(place) => {
                let Some(entry) = self.entries.get_mut(place) else {
                    return false;
                };
                if tick.rank() <= entry.price.rank() {
                    return false;
                }
                update(&mut entry.price, enriched);
                place
            }
        };
        self.wait(Copy::Redis, place);
        self.wait(Copy::Postgres, place);
        true
    }

    /// What waits for this store; it waits no longer.
    pub fn take_waiting(&mut self, copy: Copy) -> Vec<LatestPrice> {
        let places = self
            .waiting
            .get_mut(copy as usize)
            .map(std::mem::take)
            .unwrap_or_default();
        places
            .into_iter()
            .filter_map(|place| {
                let entry = self.entries.get_mut(place)?;
                *entry.waiting.get_mut(copy as usize)? = false;
                Some(entry.price.clone())
            })
            .collect()
    }

    /// Whether something waits for this store.
    pub fn is_waiting(&self, copy: Copy) -> bool {
        self.waiting.get(copy as usize).is_some_and(|places| !places.is_empty())
    }

    /// These prices did not reach the store: what is newest of their instruments waits again.
    pub fn give_back(&mut self, copy: Copy, prices: &[LatestPrice]) {
        for price in prices {
            self.name(&price.tenant_id, &price.instrument_id);
            if let Some(place) = self.places.get(self.key.as_str()).copied() {
                self.wait(copy, place);
            }
        }
    }

    /// Everything waits again: the store was emptied.
    pub fn wait_again(&mut self, copy: Copy) {
        (0..self.entries.len()).for_each(|place| self.wait(copy, place));
    }

    /// Writes the name of a pair into `key`.
    fn name(&mut self, tenant_id: &str, instrument_id: &str) {
        self.key.clear();
        self.key.push_str(tenant_id);
        self.key.push(KEY_SEPARATOR);
        self.key.push_str(instrument_id);
    }

    /// Enters a price under the name that `key` holds.
    fn insert(&mut self, price: LatestPrice) -> usize {
        let place = self.entries.len();
        self.places.insert(self.key.as_str().into(), place);
        self.entries.push(Entry {
            price,
            waiting: [false; 2],
        });
        place
    }

    fn wait(&mut self, copy: Copy, place: usize) {
        let waits = self
            .entries
            .get_mut(place)
            .and_then(|entry| entry.waiting.get_mut(copy as usize));
        if let (Some(waits @ false), Some(places)) = (waits, self.waiting.get_mut(copy as usize)) {
            *waits = true;
            places.push(place);
        }
    }
}

fn owned(enriched: &EnrichedTick<'_>, src_partition: i32) -> LatestPrice {
    let tick = &enriched.tick;
    LatestPrice {
        tenant_id: tick.tenant_id.to_owned(),
        instrument_id: tick.instrument_id.to_owned(),
        price: tick.price,
        volume: tick.volume,
        event_time: tick.event_time,
        sequence: tick.sequence,
        origin: OwnedOrigin::from(tick.origin),
        src_partition,
        market: tick.market.to_owned(),
        product: tick.product.to_owned(),
        currency: tick.currency.to_owned(),
        unit: enriched.unit().to_owned(),
        quality_flags: tick.quality_flags,
        appended_at: tick.appended_at,
    }
}

/// Changes in place: instruments keep their texts, so the hot path allocates nothing.
fn update(price: &mut LatestPrice, enriched: &EnrichedTick<'_>) {
    let tick = &enriched.tick;
    price.price = tick.price;
    price.volume = tick.volume;
    price.event_time = tick.event_time;
    price.sequence = tick.sequence;
    tick.origin.feed.clone_into(&mut price.origin.feed);
    price.origin.partition = tick.origin.partition;
    price.origin.offset = tick.origin.offset;
    price.origin.index = tick.origin.index;
    tick.market.clone_into(&mut price.market);
    tick.product.clone_into(&mut price.product);
    tick.currency.clone_into(&mut price.currency);
    enriched.unit().clone_into(&mut price.unit);
    price.quality_flags = tick.quality_flags;
    price.appended_at = tick.appended_at;
}
