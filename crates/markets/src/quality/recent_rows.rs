//! The price that counts in each recent interval, to recognise a row that repeats it.
//!
//! Invariants: a row is a repetition only of the price that counts in its interval among the rows of its raw partition with a smaller place,
//! and only if nothing that a bar, a price or a curve shows differs. So a table without the repetitions has the same price in each
//! interval: origins are ordered by partition first, and no row of another partition lies between two rows of one. A test compares them.
//! Memory is bounded: an interval overwrites another one with the same hash, and the other one is then forgotten. This costs a flag, never
//! a tick. A forgotten price of a better vintage lets a repeated row below it pass for the one that counts, which changes no price either.

use domain::{Decimal, Kind, Micros, Tick, Vintage};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// 1.3 MB.
const INTERVALS: usize = 1 << 15;

#[derive(Debug, Clone, Copy)]
struct Counts {
    interval: u64,
    vintage: Vintage,
    facts: u64,
    offset: i64,
    index: i32,
}

/// The intervals of a raw partition that were read last.
#[derive(Debug, Default)]
pub(crate) struct RecentRows {
    /// Empty until the first row of a document.
    intervals: Vec<Option<Counts>>,
}

impl RecentRows {
    /// Whether the row repeats the price that counts in its interval; `instrument` is the hash of tenant and instrument. Each trade counts,
    /// so a trade never repeats another.
    pub(crate) fn is_repeated(&mut self, tick: &Tick<'_>, instrument: u64) -> bool {
        if self.intervals.is_empty() {
            if tick.kind != Kind::Interval {
                return false;
            }
            self.intervals.resize(INTERVALS, None);
        }
        let interval = interval(tick.event_time, instrument);
        let Some(place) = self.intervals.get_mut(interval as usize % INTERVALS) else {
            return false;
        };
        let known = place.filter(|known| known.interval == interval);
        if tick.kind != Kind::Interval {
            // As the latest price, it may replace the interval's.
            if known.is_some() {
                *place = None;
            }
            return false;
        }
        let row = Counts {
            interval,
            vintage: tick.vintage(),
            facts: facts(tick),
            offset: tick.origin.offset,
            index: tick.origin.index,
        };
        // A row that is not after the known one is read again: what was known came later.
        if let Some(counts) = known.filter(|counts| (counts.offset, counts.index) < (row.offset, row.index)) {
            if row.vintage < counts.vintage {
                return false;
            }
            if row.facts == counts.facts {
                return true;
            }
        }
        *place = Some(row);
        false
    }
}

/// Without the end: as an instrument's latest price, one of another length replaces it too.
fn interval(event_time: Micros, instrument: u64) -> u64 {
    xxh3_64_with_seed(&event_time.to_le_bytes(), instrument)
}

/// The hash of all that is shown of a price, and of all that ranks it but its origin.
fn facts(tick: &Tick<'_>) -> u64 {
    // No price has this value.
    let number = |value: Option<Decimal>| value.map_or(i64::MIN, Decimal::unscaled);
    let words = [
        tick.interval_end.unwrap_or(i64::MIN),
        tick.price.unscaled(),
        number(tick.volume),
        number(tick.bid),
        number(tick.ask),
        number(tick.energy),
        number(tick.congestion),
        number(tick.loss),
        number(tick.ghg),
        i64::from(tick.sequence.is_some()),
        tick.sequence.unwrap_or_default(),
    ];
    let mut bytes = [0; 88];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let texts = [
        tick.version,
        tick.symbol,
        tick.node,
        tick.zone,
        tick.hub,
        tick.market_status,
        Some(tick.market),
        Some(tick.product),
        Some(tick.currency),
        Some(tick.unit),
    ];
    texts.iter().fold(xxh3_64(&bytes), |hash, text| match text {
        Some(text) => xxh3_64_with_seed(text.as_bytes(), hash),
        None => hash.wrapping_add(1),
    })
}
