//! The last prices and volumes of recent instruments, and the last rows, in bounded memory.
//!
//! Invariants: each raw partition has a history of its own, which depends on nothing but its messages since it began, in their order.
//! A median follows one outlier only if it stays. A price older than the newest one is neither compared nor remembered.
//!
//! A history that began later than another one, because its worker restarted, has the same prices of an instrument after five of them that
//! are newer than all before (five intervals, or five trades), and the same volumes after five of those; until then, a spike may be missing
//! or one too many. Of rows it lacks only those before its beginning: it never takes a row for a duplicate that the other one does
//! not. A test restarts it at any place.

use domain::{Decimal, Kind, Micros, Tick};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::new_instruments::NewInstruments;
use super::recent_rows::RecentRows;

const SLOTS: usize = 1 << 15;
/// Values of a history. The median of five ignores two.
const LENGTH: usize = 5;

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    event_time: Micros,
    prices: Recent,
    volumes: Recent,
}

/// The last values, in a ring.
#[derive(Debug, Clone, Copy, Default)]
struct Recent {
    values: [Decimal; LENGTH],
    count: usize,
    next: usize,
}

impl Recent {
    fn push(&mut self, value: Decimal) {
        if let Some(place) = self.values.get_mut(self.next) {
            *place = value;
        }
        self.next = (self.next + 1) % LENGTH;
        self.count = (self.count + 1).min(LENGTH);
    }

    /// Removes the newest value.
    fn pop(&mut self) {
        if self.count > 0 {
            self.next = (self.next + LENGTH - 1) % LENGTH;
            self.count -= 1;
        }
    }

    /// Both values in the middle; equal for an odd number of values.
    fn middle(&self) -> Option<(Decimal, Decimal)> {
        let mut sorted = [Decimal::ZERO; LENGTH];
        for (age, place) in sorted.iter_mut().take(self.count).enumerate() {
            *place = *self.values.get((self.next + LENGTH - 1 - age) % LENGTH)?;
        }
        let known = sorted.get_mut(..self.count)?;
        known.sort_unstable();
        Some((*known.get(self.count.checked_sub(1)? / 2)?, *known.get(self.count / 2)?))
    }
}

/// The values in the middle of a history.
pub(crate) type Middle = Option<(Decimal, Decimal)>;

/// The state before a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// The middle of the instrument's earlier prices and volumes.
    Known(Middle, Middle),
    /// A newer tick of the instrument.
    Younger,
    /// No tick of the instrument, because it is new or its slot was overwritten.
    Unknown,
}

/// What is known of the raw partitions of a worker; there are few.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    known: Vec<OfPartition>,
    new_instruments: NewInstruments,
}

#[derive(Debug)]
struct OfPartition {
    feed: Box<str>,
    partition: i32,
    history: History,
}

/// What a tick is compared with.
pub(crate) struct Earlier<'h> {
    pub history: &'h mut History,
    /// Of all partitions. Asked only if the history does not contain the instrument.
    pub new_instruments: &'h mut NewInstruments,
}

impl Histories {
    /// What the messages of this partition are compared with. Always there: what is missing begins here.
    pub(crate) fn of(&mut self, feed: &str, partition: i32) -> Option<Earlier<'_>> {
        let mut all = self.known.iter();
        let known = all.position(|one| one.partition == partition && *one.feed == *feed);
        let at = known.unwrap_or_else(|| {
            self.known.push(OfPartition {
                feed: feed.into(),
                partition,
                history: History::new(),
            });
            self.known.len() - 1
        });
        let history = &mut self.known.get_mut(at)?.history;
        let new_instruments = &mut self.new_instruments;
        Some(Earlier {
            history,
            new_instruments,
        })
    }

    /// Drops what is known of a partition that another worker reads from now on.
    pub(crate) fn forget(&mut self, feed: &str, partition: i32) {
        self.known
            .retain(|one| one.partition != partition || *one.feed != *feed);
    }
}

/// One slot per hash: an instrument overwrites the slot of another one with the same hash. This costs a quality flag, never
/// a tick.
#[derive(Debug)]
pub(crate) struct History {
    /// For each hash, the number of its slot from 1; 0 if it has none yet. So memory grows with the instruments, not with the partitions.
    numbers: Vec<u32>,
    slots: Vec<Slot>,
    pub(crate) recent_rows: RecentRows,
}

impl History {
    fn new() -> History {
        History {
            numbers: vec![0; SLOTS],
            slots: Vec::new(),
            recent_rows: RecentRows::default(),
        }
    }

    /// Stores the tick unless its instrument, whose [`key`] this is, has a newer one; returns the state before.
    pub(crate) fn replace(&mut self, tick: &Tick<'_>, key: u64) -> Before {
        let Some(number) = self.numbers.get_mut(key as usize % SLOTS) else {
            return Before::Unknown;
        };
        let slot = (*number as usize).checked_sub(1).and_then(|at| self.slots.get_mut(at));
        let known = match slot {
            Some(slot) if slot.key == key => slot,
            slot => {
                let mut first = Slot {
                    key,
                    event_time: tick.event_time,
                    prices: Recent::default(),
                    volumes: Recent::default(),
                };
                first.push(tick);
                match slot {
                    Some(slot) => *slot = first,
                    None => {
                        self.slots.push(first);
                        // At most as many as there are numbers.
                        *number = self.slots.len() as u32;
                    }
                }
                return Before::Unknown;
            }
        };
        if known.event_time > tick.event_time {
            return Before::Younger;
        }
        // The price of an interval replaces the earlier one; it is no neighbour of itself.
        if known.event_time == tick.event_time && tick.kind == Kind::Interval {
            known.prices.pop();
        }
        let before = Before::Known(known.prices.middle(), known.volumes.middle());
        known.event_time = tick.event_time;
        known.push(tick);
        before
    }
}

impl Slot {
    fn push(&mut self, tick: &Tick<'_>) {
        self.prices.push(tick.price);
        if let Some(volume) = tick.volume {
            self.volumes.push(volume);
        }
    }
}

/// The hash of tenant and instrument.
pub(super) fn key(tick: &Tick<'_>) -> u64 {
    xxh3_64_with_seed(
        tick.instrument_id.as_bytes(),
        xxh3_64_with_seed(tick.tenant_id.as_bytes(), 0),
    )
}
