//! The event-id window of one raw partition (blueprint section 2, "Repeated events").
//!
//! A message is a duplicate iff an earlier message of the partition carried the same event id within the last
//! `micros` of append time and the last `max_ids` offsets. Duplicates count as earlier messages; dead-lettered ones are
//! never shown to the window. So the answer is a function of the log (INV-1), and a window that has read back far enough
//! answers like one that never stopped.
//!
//! Shape: a ring of one slot per offset, chained by hash bucket from newest to oldest. A chain needs no deletion: it ends
//! at the first slot that is too old. Ring and buckets start small and double whenever more offsets are within the window,
//! up to the largest number of ids. An id is known by 80 bits of its 128-bit hash, the tag and the bucket of the smallest
//! window: a false match then has a probability below 10^-18 a message.
//! Memory: 12 bytes a slot and 4 to 8 a slot for buckets, for the most offsets that ever were within the window at a time.

use std::collections::VecDeque;

use domain::Micros;

/// Limits of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Length in append time.
    pub micros: Micros,
    /// Largest number of offsets looked back.
    pub max_ids: u32,
}

/// Slots to begin with; as many buckets.
const FEWEST_SLOTS: u32 = 1 << 16;

/// Offsets are kept modulo this (not 2^32), so that 0 can stand for "none".
const OFFSET_MODULUS: i64 = u32::MAX as i64;

/// The window of one raw partition. Offsets must be shown in increasing order.
#[derive(Debug)]
pub struct EventWindow {
    limits: WindowLimits,
    tags: Vec<u64>,
    older: Vec<u32>,
    buckets: Vec<u32>,
    /// A power of two, as is the number of buckets.
    fewest_buckets: usize,
    /// (first offset, append time) of each run of equal append times, oldest first.
    times: VecDeque<(i64, Micros)>,
    first_offset: Option<i64>,
    newest_time: Micros,
}

impl EventWindow {
    /// An empty window.
    pub fn new(limits: WindowLimits) -> EventWindow {
        EventWindow::of_slots(limits, FEWEST_SLOTS)
    }

    fn of_slots(limits: WindowLimits, slots: u32) -> EventWindow {
        let slots = slots.min(limits.max_ids).max(1) as usize;
        let buckets = slots.next_power_of_two();
        EventWindow {
            limits,
            tags: vec![0; slots],
            older: vec![0; slots],
            buckets: vec![0; buckets],
            fewest_buckets: buckets,
            times: VecDeque::new(),
            first_offset: None,
            newest_time: Micros::MIN,
        }
    }

    /// Remembers the event of this message; true where an earlier one in the window had the same id.
    pub fn observe(&mut self, offset: i64, appended_at: Micros, key: u128) -> bool {
        self.first_offset.get_or_insert(offset);
        // A broker clock that steps back must not make an expired id live again.
        self.newest_time = self.newest_time.max(appended_at);
        self.remember_time(offset);
        let oldest = self.oldest_live(offset);
        let live = usize::try_from(offset - oldest).unwrap_or(0) + 1;
        while self.tags.len() < live.min(self.limits.max_ids as usize) {
            self.grow(offset, oldest);
        }

        let (base, tag) = ((key >> 64) as usize & (self.fewest_buckets - 1), key as u64);
        let duplicate = self
            .chain(self.bucket(base, tag), offset, oldest)
            .any(|(_, known)| known == tag);
        self.link(base, tag, offset);
        duplicate
    }

    fn remember_time(&mut self, offset: i64) {
        if self.times.back().is_none_or(|(_, time)| *time < self.newest_time) {
            self.times.push_back((offset, self.newest_time));
        }
        // The front run may go once the run after it starts at or before the oldest live offset.
        let expired = self.newest_time.saturating_sub(self.limits.micros);
        while let Some((_, time)) = self.times.front() {
            if *time >= expired {
                break;
            }
            self.times.pop_front();
        }
    }

    fn oldest_live(&self, offset: i64) -> i64 {
        let by_time = self.times.front().map_or(offset, |(first, _)| *first);
        let by_count = offset - i64::from(self.limits.max_ids) + 1;
        by_time.max(by_count).max(self.first_offset.unwrap_or(offset))
    }

    /// Offsets and tags of a bucket that are not older than `oldest`, newest first, as seen from `offset`.
    fn chain(&self, bucket: usize, offset: i64, oldest: i64) -> impl Iterator<Item = (i64, u64)> {
        let (mut link, mut from) = (self.buckets.get(bucket).copied().unwrap_or(0), offset);
        std::iter::from_fn(move || {
            let at = if link == 0 { return None } else { long(link, from) };
            if at < oldest || at >= from {
                return None;
            }
            let slot = self.slot(at);
            (link, from) = (self.older.get(slot).copied().unwrap_or(0), at);
            Some((at, self.tags.get(slot).copied().unwrap_or(0)))
        })
    }

    /// Makes this offset the newest of its bucket.
    fn link(&mut self, base: usize, tag: u64, offset: i64) {
        let (bucket, slot) = (self.bucket(base, tag), self.slot(offset));
        if let (Some(t), Some(o), Some(b)) = (
            self.tags.get_mut(slot),
            self.older.get_mut(slot),
            self.buckets.get_mut(bucket),
        ) {
            (*t, *o, *b) = (tag, *b, short(offset));
        }
    }

    /// Twice the slots and buckets, with everything that is not older than `oldest`, as seen from `offset`.
    fn grow(&mut self, offset: i64, oldest: i64) {
        let slots = (self.tags.len() * 2).min(self.limits.max_ids as usize);
        let mut grown = EventWindow {
            tags: vec![0; slots],
            older: vec![0; slots],
            buckets: vec![0; slots.next_power_of_two()],
            times: std::mem::take(&mut self.times),
            ..*self
        };
        let mut chain = Vec::new();
        for bucket in 0..self.buckets.len() {
            chain.extend(self.chain(bucket, offset, oldest));
            // A bucket of the larger window gets its ids from this one only, so their order stays.
            for (at, tag) in chain.drain(..).rev() {
                grown.link(bucket & (self.fewest_buckets - 1), tag, at);
            }
        }
        *self = grown;
    }

    /// The bucket of an id: the larger the window, the more bits of the tag are added to its base.
    fn bucket(&self, base: usize, tag: u64) -> usize {
        base | (tag as usize).wrapping_mul(self.fewest_buckets) & (self.buckets.len() - 1)
    }

    fn slot(&self, offset: i64) -> usize {
        offset.rem_euclid(self.tags.len() as i64) as usize
    }
}

fn short(offset: i64) -> u32 {
    (offset.rem_euclid(OFFSET_MODULUS) + 1) as u32
}

/// The largest offset at or before `from` that has this short form.
fn long(short: u32, from: i64) -> i64 {
    from - (from - (i64::from(short) - 1)).rem_euclid(OFFSET_MODULUS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: u64) -> u128 {
        // Few buckets on purpose, so that chains are long.
        (u128::from(id % 3) << 64) | u128::from(id)
    }

    fn naive(log: &[(i64, Micros, u64)], at: usize, limits: WindowLimits) -> bool {
        let (offset, time, id) = log[at];
        log[..at]
            .iter()
            .any(|(o, t, i)| *i == id && *o > offset - i64::from(limits.max_ids) && *t >= time - limits.micros)
    }

    prop_compose! {
        fn logs()(steps in proptest::collection::vec((1i64..3, 0i64..40, 0u64..12), 1..300), start in 0i64..5_000_000_000) -> Vec<(i64, Micros, u64)> {
            let (mut offset, mut time) = (start, 1_000);
            steps.into_iter().map(|(gap, wait, id)| {
                offset += gap;
                time += wait / 10 * 10;
                (offset, time, id)
            }).collect()
        }
    }

    #[test]
    fn it_is_as_large_as_what_is_within_the_window_and_not_as_the_traffic() {
        let limits = WindowLimits {
            micros: 100,
            max_ids: 1_000,
        };
        let mut window = EventWindow::of_slots(limits, 16);
        // One message a microsecond: 101 are within the window.
        for offset in 0..100_000 {
            assert!(!window.observe(offset, offset, u128::from(offset as u64)));
        }
        assert_eq!((window.tags.len(), window.buckets.len()), (128, 128));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(log in logs(), max_ids in 1u32..40, slots in 1u32..40) {
            let limits = WindowLimits { micros: 100, max_ids };
            let mut window = EventWindow::of_slots(limits, slots);
            for (at, (offset, time, id)) in log.iter().copied().enumerate() {
                prop_assert_eq!(window.observe(offset, time, key(id)), naive(&log, at, limits), "at {}", at);
            }
        }

        /// A window rebuilt by reading back answers like one that never stopped.
        #[test]
        fn reading_back_restores_it(log in logs(), cut in 0usize..300, max_ids in 1u32..40, slots in 1u32..40) {
            let limits = WindowLimits { micros: 100, max_ids };
            let cut = cut.min(log.len() - 1);
            let (cut_offset, cut_time, _) = log[cut];
            let back = log.iter().position(|(o, t, _)| *o > cut_offset - i64::from(max_ids) && *t >= cut_time - limits.micros).unwrap_or(cut);
            let mut whole = EventWindow::of_slots(limits, slots);
            let mut rebuilt = EventWindow::of_slots(limits, slots);
            for (at, (offset, time, id)) in log.iter().copied().enumerate() {
                let expected = whole.observe(offset, time, key(id));
                if at >= back {
                    let answer = rebuilt.observe(offset, time, key(id));
                    if at >= cut {
                        prop_assert_eq!(answer, expected, "at {}", at);
                    }
                }
            }
        }
    }
}
