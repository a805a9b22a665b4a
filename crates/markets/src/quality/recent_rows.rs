//! Recent rows of documents, to recognise the same row in another document.
//!
//! Invariants: a row is a repetition only of a row with a smaller place in the raw partition, whose rows alone are here. Memory is bounded: a row overwrites another one with the same hash, and the
//! other one is then forgotten. Both cost a flag, never a tick.

use domain::{Decimal, Kind, Tick};
use xxhash_rust::xxh3::xxh3_64;

/// 0.8 MB.
const ROWS: usize = 1 << 15;

#[derive(Debug, Clone, Copy)]
struct Known {
    row: u64,
    offset: i64,
    index: i32,
}

/// The rows of a raw partition that were read last.
#[derive(Debug, Default)]
pub(crate) struct RecentRows {
    /// Empty until the first row of a document.
    rows: Vec<Option<Known>>,
}

impl RecentRows {
    /// Whether an earlier row had the same facts; `instrument` is the hash of tenant and instrument. Each trade counts, so a trade
    /// never repeats another.
    pub(crate) fn is_repeated(&mut self, tick: &Tick<'_>, instrument: u64) -> bool {
        if tick.kind != Kind::Interval {
            return false;
        }
        if self.rows.is_empty() {
            self.rows.resize(ROWS, None);
        }
        let (row, origin) = (facts(tick, instrument), tick.origin);
        let Some(place) = self.rows.get_mut(row as usize % ROWS) else {
            return false;
        };
        let known = place.filter(|known| known.row == row);
        if known.is_some_and(|known| (known.offset, known.index) < (origin.offset, origin.index)) {
            return true;
        }
        *place = Some(Known {
            row,
            offset: origin.offset,
            index: origin.index,
        });
        false
    }
}

fn facts(tick: &Tick<'_>, instrument: u64) -> u64 {
    // No price has this value.
    let number = |value: Option<Decimal>| value.map_or(i64::MIN, Decimal::unscaled);
    let words = [
        instrument as i64,
        tick.event_time,
        tick.interval_end.unwrap_or(i64::MIN),
        tick.price.unscaled(),
        number(tick.energy),
        number(tick.congestion),
        number(tick.loss),
        number(tick.ghg),
        tick.version.map_or(0, |version| xxh3_64(version.as_bytes()) as i64),
    ];
    let mut bytes = [0; 72];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    xxh3_64(&bytes)
}
