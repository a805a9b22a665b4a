//! The last price and volume of the instruments seen lately, in bounded memory.

use domain::{Decimal, Micros, Tick};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const SLOTS: usize = 1 << 15;

#[derive(Debug, Clone, Copy)]
struct Slot {
    key: u64,
    event_time: Micros,
    price: Decimal,
    volume: Option<Decimal>,
}

/// One slot per hash: an instrument that meets another one's slot takes it over. Forgetting costs a remark, no tick.
#[derive(Debug)]
pub(crate) struct LastTicks {
    slots: Vec<Option<Slot>>,
}

impl LastTicks {
    pub(crate) fn new() -> LastTicks {
        LastTicks {
            slots: vec![None; SLOTS],
        }
    }

    /// Remembers the tick, and answers the one before of the same instrument, unless that is the younger one.
    pub(crate) fn replace(&mut self, tick: &Tick<'_>) -> Option<(Decimal, Option<Decimal>)> {
        let key = xxh3_64_with_seed(
            tick.instrument_id.as_bytes(),
            xxh3_64_with_seed(tick.tenant_id.as_bytes(), 0),
        );
        let slot = self.slots.get_mut(key as usize % SLOTS)?;
        let before = slot.filter(|slot| slot.key == key);
        if before.is_some_and(|before| before.event_time > tick.event_time) {
            return None;
        }
        *slot = Some(Slot {
            key,
            event_time: tick.event_time,
            price: tick.price,
            volume: tick.volume,
        });
        before.map(|before| (before.price, before.volume))
    }
}
