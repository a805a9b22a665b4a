//! Which code allocates memory, and which of it is still in use.
//!
//! Role: while a [`Recorder`] runs, the allocator of Rust counts what is allocated and freed, and notes the stack of one allocation in each
//! [`EVERY`] bytes. One recorder at a time.
//! Invariants: counts of bytes are exact, bytes by function are estimates whose expectation is right: each sample stands for
//! [`EVERY`] bytes, at distances that are drawn at random, so that a regular pattern of sizes does not favour a function.
//! Failure: a program without [`crate::Allocator`] has no counts. Samples without room are counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cpu::{names, symbols};
use crate::live::Live;
use crate::raw::{self, Current, Frames};
use crate::records::{ROOM, Record, Records};
use crate::stacks::{Folding, Stacks};

/// Bytes that a sample stands for.
pub const EVERY: u64 = 128 << 10;
/// Bits of the number of samples that are followed until they are freed.
const LIVE_BITS: u32 = 16;
/// Innermost functions of a stack among which those of the allocator are.
const MOST_OF_ALLOCATOR: usize = 32;
/// In the tag of a record: the allocation was freed.
const FREED: usize = 1 << (usize::BITS - 1);

static RECORDING: Current<Recording> = Current::none();

thread_local! {
    /// Bytes until the next sample of this thread.
    static LEFT: Cell<i64> = const { Cell::new(0) };
    /// State of its random numbers; 0 before the first.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

struct Recording {
    records: Records,
    live: Live,
    allocations: AtomicU64,
    allocated: AtomicU64,
    freed: AtomicU64,
    /// Samples that are not followed, for lack of room.
    unfollowed: AtomicU64,
}

/// Notes an allocation. Called by the allocator.
#[inline]
pub(crate) fn allocated(pointer: usize, size: usize) {
    if RECORDING.is_some() {
        RECORDING.with(|recording| recording.allocated(pointer, size));
    }
}

/// Notes that an allocation is about to be freed. Called by the allocator.
#[inline]
pub(crate) fn freed(pointer: usize, size: usize) {
    if RECORDING.is_some() {
        RECORDING.with(|recording| recording.freed(pointer, size));
    }
}

impl Recording {
    fn new() -> Recording {
        Recording {
            records: Records::with_room(ROOM),
            live: Live::with_bits(LIVE_BITS),
            allocations: AtomicU64::new(0),
            allocated: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            unfollowed: AtomicU64::new(0),
        }
    }

    #[cold]
    fn allocated(&self, pointer: usize, size: usize) {
        if pointer == 0 {
            return;
        }
        self.allocations.fetch_add(1, Ordering::Relaxed);
        self.allocated.fetch_add(size as u64, Ordering::Relaxed);
        let samples = samples(size as u64);
        if samples == 0 {
            return;
        }
        let frames = Frames::here();
        let noted = match frames.as_slice() {
            [] => None,
            stack => self.records.add(samples as usize & !FREED, stack),
        };
        if noted.is_some_and(|record| !self.live.insert(pointer, record)) {
            self.unfollowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[cold]
    fn freed(&self, pointer: usize, size: usize) {
        self.freed.fetch_add(size as u64, Ordering::Relaxed);
        if let Some(record) = self.live.remove(pointer) {
            self.records.mark(record, FREED);
        }
    }
}

/// How many samples fall into an allocation of this size by the calling thread.
fn samples(size: u64) -> u64 {
    RANDOM.with(|random| {
        LEFT.with(|left| {
            if random.get() == 0 {
                // Otherwise the first allocation of every thread would be a sample.
                left.set(distance(random) as i64);
            }
            let (samples, rest) = crossed(left.get(), size, || distance(random));
            left.set(rest);
            samples
        })
    })
}

/// How many points fall into `size` bytes if the next one is after `left`, and where the next one is then.
fn crossed(left: i64, size: u64, mut distance: impl FnMut() -> u64) -> (u64, i64) {
    let every = EVERY as i64;
    // No allocation is larger than this.
    let mut left = left.wrapping_sub(i64::try_from(size).unwrap_or(i64::MAX));
    if left >= 0 {
        return (0, left);
    }
    // Whole distances at once: an allocation may be as large as the memory.
    let many = left.unsigned_abs() / EVERY;
    left = left.wrapping_add((many as i64).wrapping_mul(every));
    let mut samples = many;
    while left < 0 {
        samples = samples.wrapping_add(1);
        left = left.wrapping_add(distance() as i64);
    }
    (samples, left)
}

/// The distance to the next sample: 1 to twice [`EVERY`] bytes, each equally likely.
fn distance(random: &Cell<u64>) -> u64 {
    let mut state = random.get();
    if state == 0 {
        // Where the variable is differs from thread to thread.
        state = (std::ptr::from_ref(random) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    }
    // xorshift64
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    random.set(state);
    (state >> 20) % (2 * EVERY) + 1
}

/// Notes allocations until it is finished or dropped.
pub struct Recorder {
    began: Instant,
    is_finished: bool,
}

/// What a recorder has noted, before its addresses have names.
pub struct Recorded {
    seconds: f64,
    records: Vec<Record>,
    allocations: u64,
    allocated: u64,
    freed: u64,
    lost: u64,
}

impl Recorder {
    /// Starts to note.
    ///
    /// # Errors
    /// What is missing: a newer glibc, or the end of another profile.
    pub fn start() -> Result<Recorder, String> {
        raw::prepare_unwinder()?;
        match RECORDING.put(Recording::new()) {
            true => Ok(Recorder {
                began: Instant::now(),
                is_finished: false,
            }),
            false => Err("another heap profile runs".to_owned()),
        }
    }

    /// Stops.
    pub fn finish(mut self) -> Recorded {
        let seconds = self.began.elapsed().as_secs_f64();
        let recording = RECORDING.take();
        self.is_finished = true;
        let count = |of: fn(&Recording) -> &AtomicU64| {
            recording
                .as_ref()
                .map_or(0, |recording| of(recording).load(Ordering::Relaxed))
        };
        Recorded {
            seconds,
            allocations: count(|recording| &recording.allocations),
            allocated: count(|recording| &recording.allocated),
            freed: count(|recording| &recording.freed),
            lost: recording.as_ref().map_or(0, |recording| recording.records.lost())
                + count(|recording| &recording.unfollowed),
            records: recording.iter().flat_map(|recording| recording.records.all()).collect(),
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // After `finish`, another one may run already.
        if !self.is_finished {
            drop(RECORDING.take());
        }
    }
}

/// What Rust code has allocated between two moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Allocated {
    /// Number of allocations.
    pub allocations: u64,
    /// Their bytes.
    pub allocated_bytes: u64,
    /// Bytes that were freed, also of what was allocated before.
    pub freed_bytes: u64,
    /// A function with fewer bytes may be missing.
    pub sample_bytes: u64,
    /// Samples that had no room; then the stacks are incomplete.
    pub lost: u64,
    /// What was allocated and is still in use, in bytes by stack.
    pub grown: Stacks,
    /// All that was allocated, in bytes by stack.
    pub all: Stacks,
}

impl Recorded {
    /// How long it took.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Gives the addresses names, as [`crate::cpu::Sampled::named`]. `None` if the program has another allocator.
    pub fn named(self) -> Option<Allocated> {
        let symbols = symbols(&self.records);
        self.folded(|record| callers(names(&symbols, record)))
    }

    fn folded(self, mut names: impl FnMut(&Record) -> Vec<String>) -> Option<Allocated> {
        if self.allocations == 0 {
            return None;
        }
        let (mut grown, mut all) = (Folding::default(), Folding::default());
        for record in &self.records {
            let bytes = ((record.tag & !FREED) as u64).saturating_mul(EVERY);
            let names = names(record);
            let frames = || names.iter().map(String::as_str);
            all.add(None, frames(), bytes);
            if record.tag & FREED == 0 {
                grown.add(None, frames(), bytes);
            }
        }
        Some(Allocated {
            allocations: self.allocations,
            allocated_bytes: self.allocated,
            freed_bytes: self.freed,
            sample_bytes: EVERY,
            lost: self.lost,
            grown: grown.done(),
            all: all.done(),
        })
    }
}

/// The functions that asked for memory, outermost first: without those of the allocator and, where others remain, of the library that asked
/// it for them.
fn callers(mut names: Vec<String>) -> Vec<String> {
    let last = names.iter().rev().take(MOST_OF_ALLOCATOR).enumerate();
    let of_allocator = last.filter(|(_, name)| is_of_allocator(name));
    if let Some(inner) = of_allocator.map(|(place, _)| place).max() {
        names.truncate(names.len().saturating_sub(inner + 1));
    }
    let rest = names
        .iter()
        .rposition(|name| !is_of_library(name))
        .map_or(names.len(), |place| place + 1);
    names.truncate(rest);
    names
}

fn is_of_allocator(name: &str) -> bool {
    let starts = ["profile::raw::", "profile::heap::", "__rust_", "__rustc", "__rg_"];
    starts
        .iter()
        .any(|start| name.trim_start_matches('<').starts_with(start))
}

fn is_of_library(name: &str) -> bool {
    let starts = ["alloc::", "core::", "std::", "hashbrown::"];
    starts
        .iter()
        .any(|start| name.trim_start_matches('<').starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_as_many_as_the_bytes_whatever_their_sizes() {
        let random = Cell::new(0);
        for size in [1, 24, 4_096, EVERY - 1, EVERY, 3 * EVERY + 5, 1 << 40] {
            let (mut left, mut samples) = (distance(&random) as i64, 0);
            let allocations = (400 * EVERY / size).max(10);
            for _ in 0..allocations {
                let (found, rest) = crossed(left, size, || distance(&random));
                samples += found;
                left = rest;
            }
            let share = (samples * EVERY) as f64 / (allocations * size) as f64;
            // 400 intervals, each with a standard deviation of 0.58: 3 % at one sigma.
            assert!((0.8..1.2).contains(&share), "{size}: {share}");
        }
    }

    #[test]
    fn what_was_freed_is_in_all_and_not_in_what_grew() {
        let record = |tag, address| Record {
            tag,
            addresses: vec![address],
        };
        let recorded = |allocations| Recorded {
            seconds: 1.0,
            records: vec![record(2, 1), record(1 | FREED, 2), record(1, 1)],
            allocations,
            allocated: 5 * EVERY,
            freed: 2 * EVERY,
            lost: 0,
        };
        let names = |record: &Record| vec![format!("f{}", record.addresses[0])];
        let allocated = recorded(9).folded(names).unwrap();
        assert_eq!(allocated.grown.folded(), format!("f1 {}\n", 3 * EVERY));
        assert_eq!(allocated.all.folded(), format!("f1 {}\nf2 {EVERY}\n", 3 * EVERY));
        assert!(recorded(0).folded(names).is_none());
    }

    #[test]
    fn a_recording_follows_what_is_freed() {
        let recording = Recording::new();
        let large = 64 * EVERY as usize;
        recording.allocated(0x1000, large);
        recording.allocated(0x2000, large);
        recording.allocated(0, large);
        recording.freed(0x1000, large);
        recording.freed(0x3000, 5);
        let records: Vec<Record> = recording.records.all().collect();
        let is_freed: Vec<bool> = records.iter().map(|record| record.tag & FREED != 0).collect();
        assert_eq!(is_freed, [true, false]);
        assert!(records.iter().all(|record| (60..=76).contains(&(record.tag & !FREED))));
        assert_eq!(recording.allocations.load(Ordering::Relaxed), 2);
        assert_eq!(recording.freed.load(Ordering::Relaxed), large as u64 + 5);
    }

    #[test]
    fn a_second_profile_is_refused_and_another_allocator_gives_moments_only() {
        let recorder = Recorder::start().unwrap();
        assert!(Recorder::start().is_err_and(|error| error.contains("another")));
        // This test program has the allocator of the system.
        let recorded = recorder.finish();
        assert!(recorded.seconds() >= 0.0 && recorded.named().is_none());
        drop(Recorder::start().unwrap());
        assert!(!RECORDING.is_some());
    }

    #[test]
    fn the_caller_of_the_allocator_is_shown() {
        let shown = |names: &[&str]| callers(names.iter().map(|name| (*name).to_owned()).collect()).join(" ");
        let inner = [
            "<alloc::vec::Vec<T>>::push",
            "alloc::raw_vec::finish_grow",
            "__rustc::__rust_alloc",
            "<profile::raw::Allocator as GlobalAlloc>::alloc",
            "some_unwinder",
            "profile::raw::Frames::here",
        ];
        assert_eq!(
            shown(&[&["main", "core::run", "service::profile::raw"], &inner[..]].concat()),
            "main core::run service::profile::raw"
        );
        // Only the library is left: better than nothing.
        assert_eq!(shown(&inner), "<alloc::vec::Vec<T>>::push alloc::raw_vec::finish_grow");
        assert_eq!(shown(&["main", "a"]), "main a");
    }
}
