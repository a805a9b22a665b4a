//! The newest price of each instrument of one partition, and which of them are not written to each store yet.
//!
//! Invariant: an instrument costs less than 500 bytes, however many there are. Its id is stored once; names that
//! instruments share (feed, market, product, currency, unit) are stored once for all of them; prices are written in parts
//! of bounded size.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use domain::{Decimal, EnrichedTick, LatestRank, Micros, Origin, QualityFlags, Vintage};
use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use stores::{LatestPrice, OwnedOrigin};

use super::ages::Ages;
use super::expiry::Expiries;
use super::names::{Names, SharedNames};
use super::rules::{MAX_AGE, Notice, Rule, fired};

/// A store of the prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The copy for readers, written within milliseconds.
    Redis,
    /// The prices with the position.
    Postgres,
}

/// One instrument. Only the id owns its string.
#[derive(Debug)]
struct Entry {
    /// Tenant and instrument, concatenated.
    id: Box<str>,
    tenant_bytes: u32,
    names: Arc<Names>,
    price: Decimal,
    volume: Option<Decimal>,
    event_time: Micros,
    vintage: Vintage,
    sequence: Option<i64>,
    raw_partition: i32,
    raw_offset: i64,
    raw_index: i32,
    quality_flags: QualityFlags,
    appended_at: Micros,
    /// Whether it waits to be written, by [`Target`].
    waiting: [bool; 2],
    /// The first rule that fired since it was written to Redis.
    rule: Option<Rule>,
    /// Whether it is in the queue of prices that become too old.
    is_queued: bool,
}

/// Newest prices by the tenant and instrument of the ticks, whatever the keys of their messages are.
#[derive(Debug, Default)]
pub struct Book {
    src_partition: i32,
    places: HashTable<u32>,
    entries: Vec<Entry>,
    names: SharedNames,
    /// Waiting entries, by [`Target`], the oldest first.
    waiting: [VecDeque<u32>; 2],
    /// Of the prices that were taken for Redis, and of those that have become too old.
    notices: Vec<Notice>,
    expiries: Expiries,
    /// When too old prices were looked for the last time.
    looked_at: Option<Micros>,
}

impl Book {
    /// An empty book of this partition of the enriched topic.
    pub fn new(src_partition: i32) -> Book {
        Book {
            src_partition,
            ..Book::default()
        }
    }

    /// How long the instruments have had no tick, by the append of its raw message.
    pub fn ages(&self, now: Micros) -> Ages {
        let mut ages = Ages::default();
        self.entries
            .iter()
            .for_each(|entry| ages.count(now - entry.appended_at));
        ages
    }

    /// Adds a price that was read from Postgres.
    pub fn restore(&mut self, price: &LatestPrice) {
        if self.find(&price.tenant_id, &price.instrument_id).is_some() {
            return;
        }
        let OwnedOrigin {
            feed,
            partition,
            offset,
            index,
        } = &price.origin;
        let names = self
            .names
            .share([feed, &price.market, &price.product, &price.currency, &price.unit]);
        self.insert(&price.tenant_id, &price.instrument_id, |id, tenant_bytes| Entry {
            id,
            tenant_bytes,
            names,
            price: price.price,
            volume: price.volume,
            event_time: price.event_time,
            vintage: price.vintage,
            sequence: price.sequence,
            raw_partition: *partition,
            raw_offset: *offset,
            raw_index: *index,
            quality_flags: price.quality_flags,
            appended_at: price.appended_at,
            waiting: [false; 2],
            rule: None,
            is_queued: false,
        });
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a tick; true if it is its instrument's newest.
    pub fn take_in(&mut self, enriched: &EnrichedTick<'_>) -> bool {
        let tick = &enriched.tick;
        let names = [
            tick.origin.feed,
            tick.market,
            tick.product,
            tick.currency,
            enriched.unit(),
        ];
        let place = match self.find(tick.tenant_id, tick.instrument_id) {
            None => {
                let names = self.names.share(names);
                self.insert(tick.tenant_id, tick.instrument_id, |id, tenant_bytes| Entry {
                    id,
                    tenant_bytes,
                    names,
                    price: tick.price,
                    volume: tick.volume,
                    event_time: tick.event_time,
                    vintage: tick.vintage(),
                    sequence: tick.sequence,
                    raw_partition: tick.origin.partition,
                    raw_offset: tick.origin.offset,
                    raw_index: tick.origin.index,
                    quality_flags: tick.quality_flags,
                    appended_at: tick.appended_at,
                    waiting: [false; 2],
                    rule: None,
                    is_queued: false,
                })
            }
            Some(place) => {
                let Some(entry) = self.entries.get_mut(place as usize) else {
                    return false;
                };
                if tick.latest_rank() <= entry.rank() {
                    return false;
                }
                let rule = fired((entry.price, entry.appended_at), (tick.price, tick.appended_at));
                entry.rule = entry.rule.or(rule);
                if !entry.names.are(&names) {
                    entry.names = self.names.share(names);
                }
                entry.update(enriched);
                place
            }
        };
        self.wait(Target::Redis, place);
        self.wait(Target::Postgres, place);
        self.queue(place);
        true
    }

    /// Looks for prices that have become too old since the last look, in at most `most` steps, for [`Book::take_notices`]. The first look
    /// finds none: what is too old by then was told by the owner before, or is told when it is replaced.
    pub fn expire(&mut self, now: Micros, most: usize) {
        if self.looked_at.replace(now).is_none() {
            // Places are u32, so the number of entries fits.
            (0..self.entries.len() as u32).for_each(|place| self.queue(place));
        }
        let Book {
            entries,
            expiries,
            notices,
            ..
        } = self;
        let due_of = |place: u32| entries.get(place as usize).map_or(Micros::MAX, Entry::expires_at);
        for place in expiries.take(now, most, due_of) {
            if let Some(entry) = entries.get_mut(place as usize) {
                entry.is_queued = false;
                notices.push(entry.notice(Rule::Age));
            }
        }
    }

    /// Takes up to `most` prices that wait for this store.
    pub fn take_waiting(&mut self, target: Target, most: usize) -> Vec<LatestPrice> {
        let Book {
            entries,
            waiting,
            src_partition,
            notices,
            ..
        } = self;
        let Some(queue) = waiting.get_mut(target as usize) else {
            return Vec::new();
        };
        let places = queue.drain(..most.min(queue.len()));
        let taken = places.filter_map(|place| {
            let entry = entries.get_mut(place as usize)?;
            *entry.waiting.get_mut(target as usize)? = false;
            if target == Target::Redis {
                notices.extend(entry.take_notice());
            }
            Some(entry.to_price(*src_partition))
        });
        let taken = taken.collect();
        if queue.is_empty() {
            // After a refill its capacity is that of the whole book.
            queue.shrink_to(QUEUE);
        }
        taken
    }

    /// The notices of the prices that were taken for Redis, one for each price: they are published after these prices are written. And those
    /// of prices that have become too old.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Number of prices that wait for this store.
    pub fn waiting(&self, target: Target) -> usize {
        self.waiting.get(target as usize).map_or(0, VecDeque::len)
    }

    /// These prices did not reach the store: the newest prices of their instruments wait again.
    pub fn give_back(&mut self, target: Target, prices: &[LatestPrice]) {
        for price in prices {
            if let Some(place) = self.find(&price.tenant_id, &price.instrument_id) {
                self.wait(target, place);
            }
        }
    }

    /// All prices wait again: the store was emptied.
    pub fn wait_again(&mut self, target: Target) {
        // Places are u32, so the number of entries fits.
        (0..self.entries.len() as u32).for_each(|place| self.wait(target, place));
    }

    fn find(&self, tenant_id: &str, instrument_id: &str) -> Option<u32> {
        let is_it = |place: &u32| {
            self.entries
                .get(*place as usize)
                .is_some_and(|entry| entry.id() == (tenant_id, instrument_id))
        };
        self.places.find(hash(tenant_id, instrument_id), is_it).copied()
    }

    fn insert(&mut self, tenant_id: &str, instrument_id: &str, entry: impl FnOnce(Box<str>, u32) -> Entry) -> u32 {
        let Book { places, entries, .. } = self;
        let place = entries.len() as u32;
        let mut id = String::with_capacity(tenant_id.len() + instrument_id.len());
        id.push_str(tenant_id);
        id.push_str(instrument_id);
        entries.push(entry(id.into_boxed_str(), tenant_id.len() as u32));
        places.insert_unique(hash(tenant_id, instrument_id), place, |place| {
            entries.get(*place as usize).map_or(0, |entry| {
                let (tenant_id, instrument_id) = entry.id();
                hash(tenant_id, instrument_id)
            })
        });
        place
    }

    /// Queues a price that will become too old. One that is too old already gets no notice: in a backlog, each would get one.
    fn queue(&mut self, place: u32) {
        let (Some(looked_at), Some(entry)) = (self.looked_at, self.entries.get_mut(place as usize)) else {
            return;
        };
        let due = entry.expires_at();
        if !entry.is_queued && due >= looked_at {
            entry.is_queued = true;
            self.expiries.add(due, place);
        }
    }

    fn wait(&mut self, target: Target, place: u32) {
        let waits = self
            .entries
            .get_mut(place as usize)
            .and_then(|entry| entry.waiting.get_mut(target as usize));
        if let (Some(waits @ false), Some(queue)) = (waits, self.waiting.get_mut(target as usize)) {
            *waits = true;
            queue.push_back(place);
        }
    }
}

/// Capacity that an empty queue keeps.
const QUEUE: usize = 1024;

impl Entry {
    fn id(&self) -> (&str, &str) {
        self.id.split_at(self.tenant_bytes as usize)
    }

    fn rank(&self) -> LatestRank<'_> {
        let origin = Origin {
            feed: self.names.feed(),
            partition: self.raw_partition,
            offset: self.raw_offset,
            index: self.raw_index,
        };
        (self.event_time, self.vintage, self.sequence, origin)
    }

    fn update(&mut self, enriched: &EnrichedTick<'_>) {
        let tick = &enriched.tick;
        self.price = tick.price;
        self.volume = tick.volume;
        self.event_time = tick.event_time;
        self.vintage = tick.vintage();
        self.sequence = tick.sequence;
        self.raw_partition = tick.origin.partition;
        self.raw_offset = tick.origin.offset;
        self.raw_index = tick.origin.index;
        self.quality_flags = tick.quality_flags;
        self.appended_at = tick.appended_at;
    }

    /// After this time it is too old.
    fn expires_at(&self) -> Micros {
        self.appended_at.saturating_add(MAX_AGE)
    }

    fn take_notice(&mut self) -> Option<Notice> {
        let rule = self.rule.take()?;
        Some(self.notice(rule))
    }

    fn notice(&self, rule: Rule) -> Notice {
        let (tenant_id, instrument_id) = self.id();
        Notice {
            tenant_id: tenant_id.to_owned(),
            instrument_id: instrument_id.to_owned(),
            rule,
        }
    }

    fn to_price(&self, src_partition: i32) -> LatestPrice {
        let (tenant_id, instrument_id) = self.id();
        let [feed, market, product, currency, unit] = self.names.all().map(str::to_owned);
        LatestPrice {
            tenant_id: tenant_id.to_owned(),
            instrument_id: instrument_id.to_owned(),
            price: self.price,
            volume: self.volume,
            event_time: self.event_time,
            vintage: self.vintage,
            sequence: self.sequence,
            origin: OwnedOrigin {
                feed,
                partition: self.raw_partition,
                offset: self.raw_offset,
                index: self.raw_index,
            },
            src_partition,
            market,
            product,
            currency,
            unit,
            quality_flags: self.quality_flags,
            appended_at: self.appended_at,
        }
    }
}

fn hash(tenant_id: &str, instrument_id: &str) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(tenant_id.as_bytes());
    hasher.write_u8(0);
    hasher.write(instrument_id.as_bytes());
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use domain::Tick;

    use super::super::model::fixtures::enrichment;
    use super::*;

    #[test]
    fn an_instrument_is_small_and_ids_are_two_values() {
        assert!(size_of::<Entry>() <= 128, "{} bytes", size_of::<Entry>());
        let price = |tenant: &str, instrument: &str| LatestPrice {
            tenant_id: tenant.into(),
            instrument_id: instrument.into(),
            price: Decimal::ZERO,
            volume: None,
            event_time: 1,
            vintage: Vintage::default(),
            sequence: None,
            origin: OwnedOrigin {
                feed: "f".into(),
                partition: 1,
                offset: 2,
                index: 3,
            },
            src_partition: 7,
            market: "m".into(),
            product: "p".into(),
            currency: "c".into(),
            unit: "u".into(),
            quality_flags: QualityFlags::NONE,
            appended_at: 4,
        };
        let prices = [price("a", "bc"), price("ab", "c"), price("", "abc")];
        let mut book = Book::new(7);
        prices.iter().chain(&prices).for_each(|price| book.restore(price));
        assert_eq!(book.len(), 3);
        assert_eq!(book.waiting(Target::Redis), 0);
        book.wait_again(Target::Redis);
        assert_eq!(book.take_waiting(Target::Redis, 2), prices[..2]);
        assert_eq!(book.take_waiting(Target::Redis, 2), prices[2..]);
        book.give_back(Target::Redis, &prices[1..2]);
        assert_eq!(book.take_waiting(Target::Redis, 2), prices[1..2]);
        // What was read from Postgres replaces nothing.
        assert_eq!(book.take_notices(), []);
    }

    #[test]
    fn a_rule_gives_one_notice_with_the_price_that_is_written() {
        let mut book = Book::new(0);
        let take = |book: &mut Book, time: Micros, price: i64| {
            let enriched = EnrichedTick {
                tick: Tick {
                    price: Decimal::from_integer(price).unwrap(),
                    event_time: time,
                    appended_at: time,
                    ..domain::fixtures::tick()
                },
                enrichment: enrichment(),
            };
            assert!(book.take_in(&enriched));
        };
        take(&mut book, 1, 1000);
        assert_eq!(book.take_waiting(Target::Redis, 9).len(), 1);
        assert_eq!(book.take_notices(), [], "it replaces no price");
        take(&mut book, 2, 1009);
        assert_eq!(book.take_waiting(Target::Redis, 9).len(), 1);
        assert_eq!(book.take_notices(), [], "less than 1 %");
        take(&mut book, 3, 1100);
        take(&mut book, 4, 1101);
        assert_eq!(book.take_waiting(Target::Postgres, 9).len(), 1);
        assert_eq!(book.take_notices(), [], "not written to Redis yet");
        let written = book.take_waiting(Target::Redis, 9);
        let expected = Notice {
            tenant_id: written[0].tenant_id.clone(),
            instrument_id: written[0].instrument_id.clone(),
            rule: Rule::PriceChange,
        };
        assert_eq!(written.len(), 1);
        assert_eq!(book.take_notices(), [expected]);
        book.wait_again(Target::Redis);
        assert_eq!(book.take_waiting(Target::Redis, 9).len(), 1);
        assert_eq!(book.take_notices(), [], "a refill changes no price");
    }

    #[test]
    fn a_price_that_becomes_too_old_is_told_once() {
        let mut book = Book::new(0);
        let take = |book: &mut Book, instrument_id: &str, time: Micros| {
            let enriched = EnrichedTick {
                tick: Tick {
                    instrument_id,
                    price: Decimal::from_integer(5).unwrap(),
                    event_time: time,
                    appended_at: time,
                    ..domain::fixtures::tick()
                },
                enrichment: enrichment(),
            };
            assert!(book.take_in(&enriched));
        };
        let told = |book: &mut Book, now: Micros| -> Vec<String> {
            book.expire(now, 2);
            let notices = book.take_notices();
            assert!(notices.iter().all(|notice| notice.rule == Rule::Age), "{notices:?}");
            notices.into_iter().map(|notice| notice.instrument_id).collect()
        };
        take(&mut book, "old", 1);
        let start = 2 + MAX_AGE;
        assert_eq!(told(&mut book, start), [""; 0], "it was too old before the first look");
        take(&mut book, "backlog", 1);
        assert_eq!(told(&mut book, start), [""; 0], "it is too old when it comes");
        for instrument in ["a", "b", "c"] {
            take(&mut book, instrument, start);
        }
        assert_eq!(told(&mut book, start + MAX_AGE), [""; 0]);
        take(&mut book, "b", start + 9);
        let late = start + MAX_AGE + 1;
        let mut all = told(&mut book, late);
        all.extend(told(&mut book, late));
        all.sort();
        assert_eq!(all, ["a", "c"], "b is newer, and two steps a look suffice");
        assert_eq!(told(&mut book, start + MAX_AGE + 10), ["b"]);
        assert_eq!(told(&mut book, start + MAX_AGE + 11), [""; 0]);
        // A new price waits again.
        take(&mut book, "a", late);
        assert_eq!(told(&mut book, late + MAX_AGE), [""; 0]);
        assert_eq!(told(&mut book, late + MAX_AGE + 1), ["a"]);
    }
}
