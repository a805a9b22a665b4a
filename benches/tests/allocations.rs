//! Gate: allocations per tick of every piece of the hot path, counted by the allocator. The counts are deterministic, so the
//! bounds are tight.
//!
//! A failing test reports the new count. If the change is intended, change the bound here.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hot_paths::{Path, prepare};

/// Maps and buffers reach their size in the warm-up. After that they grow far less often than once in a hundred ticks.
const WARM_UP: usize = 3_000;
const COUNTED: usize = 1_000;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_per_tick(path: Path) -> f64 {
    let mut work = prepare(path, WARM_UP + COUNTED).unwrap();
    (0..WARM_UP).for_each(|number| work.one(number));
    let before = ALLOCATIONS.get();
    (WARM_UP..WARM_UP + COUNTED).for_each(|number| work.one(number));
    (ALLOCATIONS.get() - before) as f64 / COUNTED as f64
}

fn at_most(path: Path, bound: f64) {
    let found = allocations_per_tick(path);
    println!("{}: {found} allocations a tick", path.name());
    assert!(
        found <= bound,
        "{}: {found} allocations a tick, at most {bound} are allowed: the hot path has a new allocation",
        path.name()
    );
}

#[test]
fn normalizing_shape_a_allocates_nothing() {
    at_most(Path::NormalizeEnvelope, 0.0);
}

#[test]
fn normalizing_shape_b_allocates_nothing() {
    at_most(Path::NormalizeFlat, 0.0);
}

#[test]
fn decoding_and_encoding_a_tick_allocate_nothing() {
    at_most(Path::DecodeTick, 0.0);
    at_most(Path::EncodeTick, 0.0);
}

#[test]
fn enriching_a_known_instrument_allocates_nothing() {
    at_most(Path::Enrich, 0.0);
}

#[test]
fn a_tick_in_known_windows_allocates_nothing() {
    at_most(Path::Aggregate, 0.0);
}

#[test]
fn a_row_for_clickhouse_allocates_nothing() {
    at_most(Path::Row, 0.0);
    at_most(Path::EnrichedRow, 0.0);
}

#[test]
fn an_allocation_is_counted() {
    let before = ALLOCATIONS.get();
    std::hint::black_box(Vec::<u8>::with_capacity(std::hint::black_box(16)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
