//! The last price and volume of recent instruments, in bounded memory.

use domain::{Decimal, Micros, Tick};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::new_instruments::NewInstruments;

const SLOTS: usize = 1 << 15;

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    event_time: Micros,
    price: Decimal,
    volume: Option<Decimal>,
}

/// The state before a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Price and volume of the instrument's last tick.
    Last(Decimal, Option<Decimal>),
    /// A newer tick of the instrument.
    Younger,
    /// No tick of the instrument, because it is new or its slot was overwritten. Contains the hash of the instrument.
    Unknown(u64),
}

/// One slot per hash: an instrument overwrites the slot of another one with the same hash. This costs a quality flag, never
/// a tick.
#[derive(Debug)]
pub(crate) struct LastTicks {
    slots: Vec<Option<Slot>>,
    /// Used only if the slot does not contain the instrument.
    pub(crate) new_instruments: NewInstruments,
}

impl LastTicks {
    pub(crate) fn new() -> LastTicks {
        LastTicks {
            slots: vec![None; SLOTS],
            new_instruments: NewInstruments::default(),
        }
    }

    /// Stores the tick unless its instrument has a newer one; returns the state before.
    pub(crate) fn replace(&mut self, tick: &Tick<'_>) -> Before {
        let key = xxh3_64_with_seed(
            tick.instrument_id.as_bytes(),
            xxh3_64_with_seed(tick.tenant_id.as_bytes(), 0),
        );
        let Some(slot) = self.slots.get_mut(key as usize % SLOTS) else {
            return Before::Unknown(key);
        };
        let before = slot.filter(|slot| slot.key == key);
        if before.is_some_and(|before| before.event_time > tick.event_time) {
            return Before::Younger;
        }
        *slot = Some(Slot {
            key,
            event_time: tick.event_time,
            price: tick.price,
            volume: tick.volume,
        });
        before.map_or(Before::Unknown(key), |before| Before::Last(before.price, before.volume))
    }
}
