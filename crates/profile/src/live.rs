//! Which sampled allocations are still in use: their pointers, in a table of fixed size.
//!
//! Invariants: no lock and no allocation, so the allocator may call it. A pointer is inserted by its allocation and removed before it is freed, so no
//! two threads ever work on the same one. A place never becomes empty again, so a search may end at an empty one.

use std::sync::atomic::{AtomicUsize, Ordering};

const EMPTY: usize = 0;
/// No pointer of an allocator is odd.
const REMOVED: usize = 1;
/// Places that are looked at for a pointer.
const REACH: usize = 32;

pub(crate) struct Live {
    places: Box<[Place]>,
}

struct Place {
    pointer: AtomicUsize,
    record: AtomicUsize,
}

impl Live {
    /// Room for 2 to the power of `bits`.
    pub(crate) fn with_bits(bits: u32) -> Live {
        let place = || Place {
            pointer: AtomicUsize::new(EMPTY),
            record: AtomicUsize::new(0),
        };
        Live {
            places: std::iter::repeat_with(place).take(1 << bits).collect(),
        }
    }

    /// The places where a pointer may be.
    fn places(&self, pointer: usize) -> impl Iterator<Item = &Place> {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the pointer.
        let hash = pointer.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
        let last = self.places.len().wrapping_sub(1);
        (0..REACH).filter_map(move |step| self.places.get(hash.wrapping_add(step) & last))
    }

    /// Notes that `record` belongs to `pointer`; false if there is no room near its place.
    pub(crate) fn insert(&self, pointer: usize, record: usize) -> bool {
        for place in self.places(pointer) {
            let found = place.pointer.load(Ordering::Relaxed);
            let is_free = found == EMPTY || found == REMOVED;
            let claimed = is_free
                && place
                    .pointer
                    .compare_exchange(found, pointer, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            if claimed {
                place.record.store(record, Ordering::Release);
                return true;
            }
        }
        false
    }

    /// Forgets a pointer and returns its record, if it has one.
    pub(crate) fn remove(&self, pointer: usize) -> Option<usize> {
        for place in self.places(pointer) {
            match place.pointer.load(Ordering::Relaxed) {
                EMPTY => return None,
                found if found == pointer => {
                    let record = place.record.load(Ordering::Acquire);
                    place.pointer.store(REMOVED, Ordering::Release);
                    return Some(record);
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_found_until_it_is_removed_and_its_place_is_used_again() {
        let live = Live::with_bits(6);
        assert_eq!(live.remove(0x1000), None);
        for round in 0..1_000 {
            assert!(live.insert(0x1000, round));
            assert!(live.insert(0x2000, round + 1));
            assert_eq!(live.remove(0x1000), Some(round));
            assert_eq!(live.remove(0x1000), None);
            assert_eq!(live.remove(0x2000), Some(round + 1));
        }
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let live = Live::with_bits(5);
        let pointers: Vec<usize> = (1..=40).map(|number| number * 16).collect();
        let kept: Vec<usize> = pointers
            .iter()
            .copied()
            .filter(|pointer| live.insert(*pointer, pointer * 2))
            .collect();
        assert_eq!(kept.len(), 32);
        for pointer in pointers {
            let expected = kept.contains(&pointer).then_some(pointer * 2);
            assert_eq!(live.remove(pointer), expected, "{pointer}");
        }
    }
}
