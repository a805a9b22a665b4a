//! The newest row of each key, of one partition of curve snapshots or derived prices.
//!
//! Invariant: of a key, only a row of a higher rank than every row before it waits to be written ([`stores::served::Rank`]), so order and
//! repetition of the records do not matter. Only ranks are kept for good; contents wait until they are stored.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use stores::served::Rank;
use stores::{ServedKey, ServedRow};

/// Rows that may wait before they are written, whatever the interval.
const MOST_ROWS: usize = 1_000;
/// Bytes of these rows: a snapshot of a long curve with its quotes has some ten kilobytes.
const MOST_BYTES: usize = 8 << 20;

/// Ranks of all keys, and the rows that wait.
#[derive(Debug, Default)]
pub struct Newest {
    ranks: FxHashMap<ServedKey, Rank>,
    waiting: BTreeMap<ServedKey, ServedRow>,
    bytes: usize,
}

impl Newest {
    /// Adds a key that is stored with this rank.
    pub fn restore(&mut self, key: ServedKey, rank: Rank) {
        self.ranks.insert(key, rank);
    }

    /// Takes the row that `make` returns if it is newer than what is known of its key; returns whether it is.
    pub fn take_in(&mut self, key: &ServedKey, rank: Rank, make: impl FnOnce() -> ServedRow) -> bool {
        match self.ranks.get_mut(key) {
            Some(known) if *known >= rank => return false,
            Some(known) => *known = rank,
            None => {
                self.ranks.insert(key.clone(), rank);
            }
        }
        let row = make();
        self.bytes += row.body.len();
        if let Some(older) = self.waiting.insert(key.clone(), row) {
            self.bytes -= older.body.len();
        }
        true
    }

    /// The rows that wait, which no longer do.
    pub fn take_waiting(&mut self) -> Vec<ServedRow> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Whether so much waits that it must be written first.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_ROWS || self.bytes >= MOST_BYTES
    }

    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.ranks.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn key(name: &str) -> ServedKey {
        ServedKey {
            tenant_id: "t".into(),
            name: name.into(),
            horizon: "1m".into(),
        }
    }

    fn row(name: &str, (time, version): Rank, size: usize) -> ServedRow {
        ServedRow {
            key: key(name),
            time,
            version,
            src_partition: 0,
            body: "x".repeat(size),
        }
    }

    #[test]
    fn a_row_waits_only_if_its_time_or_at_the_same_time_its_version_is_larger() {
        let mut newest = Newest::default();
        newest.restore(key("a"), (10, 5));
        for (rank, is_newer) in [
            ((10, 5), false),
            ((10, 4), false),
            ((9, 99), false),
            ((10, 6), true),
            ((10, 6), false),
            ((11, 1), true),
            ((10, 100), false),
        ] {
            assert_eq!(
                newest.take_in(&key("a"), rank, || row("a", rank, 1)),
                is_newer,
                "{rank:?}"
            );
        }
        // An older one costs nothing.
        assert!(!newest.take_in(&key("a"), (0, 0), || unreachable!("an older row is not made")));
        assert!(newest.take_in(&key("b"), (0, 0), || row("b", (0, 0), 1)));
        let waiting: Vec<_> = newest.take_waiting().iter().map(ServedRow::rank).collect();
        assert_eq!(waiting, [(11, 1), (0, 0)]);
        assert!(newest.take_waiting().is_empty());
        assert_eq!(newest.keys(), 2);
    }

    #[test]
    fn many_rows_or_many_bytes_are_written_first_and_a_replaced_row_does_not_count() {
        let mut newest = Newest::default();
        for version in 0..20 {
            let rank = (1, version);
            newest.take_in(&key("a"), rank, || row("a", rank, MOST_BYTES / 2));
            assert!(!newest.is_full());
        }
        newest.take_in(&key("b"), (1, 1), || row("b", (1, 1), MOST_BYTES / 2));
        assert!(newest.is_full());
        newest.take_waiting();
        assert!(!newest.is_full());
        for number in 0..MOST_ROWS {
            assert!(!newest.is_full(), "{number}");
            let name = number.to_string();
            newest.take_in(&key(&name), (1, 1), || row(&name, (1, 1), 1));
        }
        assert!(newest.is_full());
    }
}
