//! Stacks as they are noted: addresses with a tag, in memory that is set aside before.
//!
//! Invariants: [`Records::add`] takes no lock, allocates nothing and cannot panic, so a signal handler and the allocator may call it. A
//! record that has no room is counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Words of all records: 8 MB, some 30,000 stacks.
pub(crate) const ROOM: usize = 1 << 20;

/// Each record is its number of addresses, its tag and the addresses.
pub(crate) struct Records {
    words: Box<[AtomicUsize]>,
    next: AtomicUsize,
    lost: AtomicU64,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) tag: usize,
    /// Innermost first.
    pub(crate) addresses: Vec<usize>,
}

impl Records {
    pub(crate) fn with_room(words: usize) -> Records {
        Records {
            words: std::iter::repeat_with(|| AtomicUsize::new(0)).take(words).collect(),
            next: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Adds a record and returns its place; `None` if there is no room. `addresses` must not be empty.
    pub(crate) fn add(&self, tag: usize, addresses: &[usize]) -> Option<usize> {
        let length = addresses.len().wrapping_add(2);
        let place = self.next.fetch_add(length, Ordering::Relaxed);
        let Some(words) = self.words.get(place..place.wrapping_add(length)) else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let values = [addresses.len(), tag].into_iter().chain(addresses.iter().copied());
        for (word, value) in words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        Some(place)
    }

    /// Sets bits in the tag of the record at this place.
    pub(crate) fn mark(&self, place: usize, bits: usize) {
        if let Some(tag) = self.words.get(place.wrapping_add(1)) {
            tag.fetch_or(bits, Ordering::Relaxed);
        }
    }

    /// Number of records that had no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// All records, in their order. Nobody may be adding one.
    pub(crate) fn all(&self) -> impl Iterator<Item = Record> {
        let word = |place: usize| self.words.get(place).map(|word| word.load(Ordering::Relaxed));
        let mut place = 0;
        std::iter::from_fn(move || {
            // What follows the last record is zero, also where a record had no room.
            let length = word(place).filter(|length| *length > 0)?;
            let tag = word(place + 1)?;
            let first = place + 2;
            place = first + length;
            Some(Record {
                tag,
                addresses: (first..place).map_while(word).collect(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_added_and_what_has_no_room_is_counted() {
        let records = Records::with_room(12);
        assert_eq!(records.add(7, &[10, 11]), Some(0));
        assert_eq!(records.add(8, &[20]), Some(4));
        assert_eq!(records.add(9, &[1, 2, 3, 4]), None);
        // Shorter, but the end has been reached.
        assert_eq!(records.add(9, &[1]), None);
        records.mark(4, 1 << 20);
        let all: Vec<Record> = records.all().collect();
        let record = |tag, addresses: &[usize]| Record {
            tag,
            addresses: addresses.to_vec(),
        };
        assert_eq!(all, [record(7, &[10, 11]), record(8 | 1 << 20, &[20])]);
        assert_eq!(records.lost(), 2);
    }

    #[test]
    fn records_that_fill_the_room_exactly_are_all_read() {
        let records = Records::with_room(6);
        assert!(records.add(1, &[5]).is_some() && records.add(2, &[6]).is_some());
        assert_eq!(records.all().count(), 2);
        assert_eq!(records.add(3, &[7]), None);
        assert_eq!(records.all().count(), 2);
    }

    #[test]
    fn threads_add_records_at_once() {
        let records = Records::with_room(4 * 100 * 4);
        std::thread::scope(|scope| {
            for thread in 1..=4 {
                let records = &records;
                scope.spawn(move || {
                    for _ in 0..100 {
                        records.add(thread, &[thread, thread]);
                    }
                });
            }
        });
        let all: Vec<Record> = records.all().collect();
        assert_eq!((all.len(), records.lost()), (400, 0));
        assert!(all.iter().all(|record| record.addresses == [record.tag, record.tag]));
    }
}
