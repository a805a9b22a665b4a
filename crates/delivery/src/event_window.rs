//! The event window of one raw partition.
//!
//! A message repeats an event iff an earlier message of the partition carried the same event (the same id and the same
//! facts) within the last `micros` of append time and the last `max_ids` offsets. Repetitions count as earlier messages;
//! dead-lettered messages are never shown to the window, except those that are valid and held because their tenant was paused. The same id with other facts is another event: [`Seen::IdReused`].
//! So every result is a function of the log (INV-1). A window that was rebuilt from far enough back returns the same results
//! as one that never stopped.
//!
//! Data structure: a ring with one slot per offset, chained by hash bucket from newest to oldest. Chains need no deletion: a
//! chain ends at the first slot that is too old. Ring and buckets start small and double when more offsets are within the
//! window, up to the largest number of ids. Id and facts are stored as 64 bits of hash each. A message is mistaken for a
//! repetition with a probability below 10^-32 for each event in the window, and for a reused id below 10^-13 in all.
//! Memory: 20 bytes a slot, and 4 to 8 a slot for buckets, for the largest number of offsets that were ever within the window
//! at once: 24 MB at 1,000,000. If more messages than that arrive within `micros`, the oldest offsets leave early;
//! [`EventWindow::take_forgotten_early`] counts them.

use std::collections::VecDeque;

use domain::{EventKey, Micros, QualityFlag, QualityFlags};

/// Limits of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Length in append time.
    pub micros: Micros,
    /// Largest number of offsets looked back.
    pub max_ids: u32,
}

/// The result of the window for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// No earlier message in the window has its id.
    New,
    /// An earlier message in the window carried the same event.
    Repeated,
    /// Earlier messages in the window have its id, but none has its facts.
    IdReused,
}

impl Seen {
    /// The quality flags for the ticks of the message.
    pub fn remarks(self) -> QualityFlags {
        match self {
            Seen::IdReused => QualityFlags::of(QualityFlag::EventIdReused),
            Seen::New | Seen::Repeated => QualityFlags::NONE,
        }
    }
}

/// Initial number of slots and of buckets.
const FEWEST_SLOTS: u32 = 1 << 16;

/// Offsets are stored modulo this (not 2^32), so that 0 can mean "none".
const OFFSET_MODULUS: i64 = u32::MAX as i64;

/// The window of one raw partition. Offsets must increase. If messages have no offsets, any other increasing number works.
#[derive(Debug)]
pub struct EventWindow {
    limits: WindowLimits,
    keys: Vec<EventKey>,
    older: Vec<u32>,
    /// Their number is a power of two.
    buckets: Vec<u32>,
    /// (first offset, append time) of each run of equal append times, oldest first.
    times: VecDeque<(i64, Micros)>,
    first_offset: Option<i64>,
    last_offset: i64,
    newest_time: Micros,
    forgotten_early: u64,
}

impl EventWindow {
    /// An empty window.
    pub fn new(limits: WindowLimits) -> EventWindow {
        EventWindow::of_slots(limits, FEWEST_SLOTS)
    }

    fn of_slots(limits: WindowLimits, slots: u32) -> EventWindow {
        let slots = slots.min(limits.max_ids).max(1) as usize;
        EventWindow {
            limits,
            keys: vec![EventKey::default(); slots],
            older: vec![0; slots],
            buckets: vec![0; slots.next_power_of_two()],
            times: VecDeque::new(),
            first_offset: None,
            last_offset: 0,
            newest_time: Micros::MIN,
            forgotten_early: 0,
        }
    }

    /// Remembers the event of this message; returns what earlier messages in the window say about it.
    pub fn observe(&mut self, offset: i64, appended_at: Micros, key: EventKey) -> Seen {
        if self.first_offset.is_none() {
            (self.first_offset, self.last_offset) = (Some(offset), offset);
        }
        // If the broker's clock steps back, an expired id must not become valid again.
        self.newest_time = self.newest_time.max(appended_at);
        self.remember_time(offset);
        let oldest = self.oldest_live(offset);
        self.count_forgotten(offset);
        let live = usize::try_from(offset - oldest).unwrap_or(0) + 1;
        while self.keys.len() < live.min(self.limits.max_ids as usize) {
            self.grow(offset, oldest);
        }

        let mut seen = Seen::New;
        for (_, known) in self.chain(self.bucket(key), offset, oldest) {
            if known == key {
                seen = Seen::Repeated;
                break;
            }
            if known.id == key.id {
                seen = Seen::IdReused;
            }
        }
        self.link(key, offset);
        seen
    }

    /// How many offsets have left the window early since the last call: more messages than `max_ids` arrived within `micros`,
    /// so repetitions of these offsets are no longer detected.
    pub fn take_forgotten_early(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten_early)
    }

    /// How far the window reaches back now, in append time.
    pub fn covered(&self) -> Micros {
        let by_count = self.last_offset - i64::from(self.limits.max_ids) + 1;
        let after = self.times.partition_point(|(first, _)| *first <= by_count);
        let oldest = self.times.get(after.saturating_sub(1));
        oldest.map_or(0, |(_, time)| self.newest_time - time)
    }

    fn count_forgotten(&mut self, offset: i64) {
        let max_ids = i64::from(self.limits.max_ids);
        let in_time = self.by_time(offset).max(self.last_offset - max_ids + 1);
        self.forgotten_early += u64::try_from(offset - max_ids + 1 - in_time).unwrap_or(0);
        self.last_offset = offset;
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

    /// The oldest offset that is not too old by its append time.
    fn by_time(&self, offset: i64) -> i64 {
        let in_time = self.times.front().map_or(offset, |(first, _)| *first);
        in_time.max(self.first_offset.unwrap_or(offset))
    }

    fn oldest_live(&self, offset: i64) -> i64 {
        self.by_time(offset).max(offset - i64::from(self.limits.max_ids) + 1)
    }

    /// Offsets and events of a bucket that are not older than `oldest`, newest first, as seen from `offset`.
    fn chain(&self, bucket: usize, offset: i64, oldest: i64) -> impl Iterator<Item = (i64, EventKey)> {
        let (mut link, mut from) = (self.buckets.get(bucket).copied().unwrap_or(0), offset);
        std::iter::from_fn(move || {
            let at = if link == 0 { return None } else { long(link, from) };
            if at < oldest || at >= from {
                return None;
            }
            let slot = self.slot(at);
            (link, from) = (self.older.get(slot).copied().unwrap_or(0), at);
            Some((at, self.keys.get(slot).copied().unwrap_or_default()))
        })
    }

    /// Makes this offset the newest of its bucket.
    fn link(&mut self, key: EventKey, offset: i64) {
        let (bucket, slot) = (self.bucket(key), self.slot(offset));
        if let (Some(k), Some(o), Some(b)) = (
            self.keys.get_mut(slot),
            self.older.get_mut(slot),
            self.buckets.get_mut(bucket),
        ) {
            (*k, *o, *b) = (key, *b, short(offset));
        }
    }

    /// Doubles slots and buckets; keeps the events that are not older than `oldest`, as seen from `offset`.
    fn grow(&mut self, offset: i64, oldest: i64) {
        let slots = (self.keys.len() * 2).min(self.limits.max_ids as usize);
        let mut grown = EventWindow {
            keys: vec![EventKey::default(); slots],
            older: vec![0; slots],
            buckets: vec![0; slots.next_power_of_two()],
            times: std::mem::take(&mut self.times),
            ..*self
        };
        let mut chain = Vec::new();
        for bucket in 0..self.buckets.len() {
            chain.extend(self.chain(bucket, offset, oldest));
            // Each bucket of the larger window receives events from this bucket only, so their order is preserved.
            for (at, key) in chain.drain(..).rev() {
                grown.link(key, at);
            }
        }
        *self = grown;
    }

    fn bucket(&self, key: EventKey) -> usize {
        key.id as usize & (self.buckets.len() - 1)
    }

    fn slot(&self, offset: i64) -> usize {
        offset.rem_euclid(self.keys.len() as i64) as usize
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

    fn key(id: u64, facts: u64) -> EventKey {
        EventKey {
            // Few buckets on purpose, so that chains are long.
            id: (id << 32) | (id % 3),
            facts,
        }
    }

    /// The definition: (offset, append time, id, facts) in order.
    type Log = Vec<(i64, Micros, u64, u64)>;

    fn naive(log: &Log, at: usize, limits: WindowLimits) -> Seen {
        let (offset, time, id, facts) = log[at];
        let earlier: Vec<u64> = log[..at]
            .iter()
            .filter(|(o, t, i, _)| *i == id && *o > offset - i64::from(limits.max_ids) && *t >= time - limits.micros)
            .map(|(_, _, _, facts)| *facts)
            .collect();
        match (earlier.is_empty(), earlier.contains(&facts)) {
            (true, _) => Seen::New,
            (false, true) => Seen::Repeated,
            (false, false) => Seen::IdReused,
        }
    }

    prop_compose! {
        fn logs()(steps in proptest::collection::vec((1i64..3, 0i64..40, 0u64..8, 0u64..3), 1..300), start in 0i64..5_000_000_000) -> Log {
            let (mut offset, mut time) = (start, 1_000);
            steps.into_iter().map(|(gap, wait, id, facts)| {
                offset += gap;
                time += wait / 10 * 10;
                (offset, time, id, facts)
            }).collect()
        }
    }

    #[test]
    fn its_size_follows_the_events_within_the_window_not_the_traffic() {
        let limits = WindowLimits {
            micros: 100,
            max_ids: 1_000,
        };
        let mut window = EventWindow::of_slots(limits, 16);
        // One message a microsecond: 101 are within the window.
        for offset in 0..100_000 {
            let event = key(offset as u64, 0);
            assert_eq!(window.observe(offset, offset, event), Seen::New);
        }
        assert_eq!((window.keys.len(), window.buckets.len()), (128, 128));
        assert_eq!((window.take_forgotten_early(), window.covered()), (0, 100));
    }

    #[test]
    fn known_facts_are_repeated_even_if_the_id_was_reused_in_between() {
        let limits = WindowLimits {
            micros: 100,
            max_ids: 1_000,
        };
        let mut window = EventWindow::new(limits);
        let answers: Vec<Seen> = [1, 2, 1, 2, 3]
            .into_iter()
            .zip(0..)
            .map(|(facts, offset)| window.observe(offset, offset, key(7, facts)))
            .collect();
        let expected = [
            Seen::New,
            Seen::IdReused,
            Seen::Repeated,
            Seen::Repeated,
            Seen::IdReused,
        ];
        assert_eq!(answers, expected);
    }

    #[test]
    fn a_flood_shortens_the_window_and_early_departures_are_counted() {
        let limits = WindowLimits {
            micros: 1_000,
            max_ids: 10,
        };
        let mut window = EventWindow::new(limits);
        for offset in 0..25 {
            window.observe(offset, offset, key(offset as u64, 0));
        }
        assert_eq!((window.take_forgotten_early(), window.covered()), (15, 9));
        assert_eq!(window.observe(25, 25, key(10, 0)), Seen::New, "forgotten early");
        // After a quiet period offsets leave by age, and are not counted.
        window.take_forgotten_early();
        for offset in 26..40 {
            window.observe(offset, 5_000, key(offset as u64, 0));
        }
        assert_eq!((window.take_forgotten_early(), window.covered()), (4, 0));
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(log in logs(), max_ids in 1u32..40, slots in 1u32..40) {
            let limits = WindowLimits { micros: 100, max_ids };
            let mut window = EventWindow::of_slots(limits, slots);
            for (at, (offset, time, id, facts)) in log.iter().copied().enumerate() {
                prop_assert_eq!(window.observe(offset, time, key(id, facts)), naive(&log, at, limits), "at {}", at);
            }
        }

        /// Every offset within `micros` that `max_ids` pushes out is counted once.
        #[test]
        fn offsets_that_leave_early_are_counted(waits in proptest::collection::vec(0i64..40, 1..300), max_ids in 1u32..40) {
            let limits = WindowLimits { micros: 100, max_ids };
            let mut window = EventWindow::of_slots(limits, 4);
            let (mut time, mut times, mut forgotten) = (1_000, Vec::new(), 0);
            for (offset, wait) in (0_i64..).zip(waits) {
                time += wait / 10;
                times.push(time);
                window.observe(offset, time, key(offset as u64, 0));
                let pushed = usize::try_from(offset - i64::from(max_ids)).ok().and_then(|leaves| times.get(leaves));
                forgotten += u64::from(pushed.is_some_and(|appended_at| *appended_at >= time - limits.micros));
            }
            prop_assert_eq!(window.take_forgotten_early(), forgotten);
        }

        /// A rebuilt window returns the same results as one that never stopped.
        #[test]
        fn a_window_is_restored_by_reading_back(log in logs(), cut in 0usize..300, max_ids in 1u32..40, slots in 1u32..40) {
            let limits = WindowLimits { micros: 100, max_ids };
            let cut = cut.min(log.len() - 1);
            let (cut_offset, cut_time, ..) = log[cut];
            let back = log.iter().position(|(o, t, ..)| *o > cut_offset - i64::from(max_ids) && *t >= cut_time - limits.micros).unwrap_or(cut);
            let mut whole = EventWindow::of_slots(limits, slots);
            let mut rebuilt = EventWindow::of_slots(limits, slots);
            for (at, (offset, time, id, facts)) in log.iter().copied().enumerate() {
                let expected = whole.observe(offset, time, key(id, facts));
                if at >= back {
                    let answer = rebuilt.observe(offset, time, key(id, facts));
                    if at >= cut {
                        prop_assert_eq!(answer, expected, "at {}", at);
                    }
                }
            }
        }
    }
}
