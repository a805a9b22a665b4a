//! Gate: allocations per tick of every piece of the hot path, counted by the allocator. The counts are deterministic, so the
//! bounds are tight.
//!
//! A failing test reports the new count. If the change is intended, change the bound here.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hot_paths::{Path, documents, prepare};

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

/// As in the gates of crate `curves`; reading a leg allocates nothing.
#[test]
fn a_leg_of_a_derived_series_and_a_quote_of_a_curve_allocate_no_more_than_agreed() {
    at_most(Path::DerivedLeg, 2.5);
    at_most(Path::CurveQuote, 320.0);
}

/// Allocations for each tick of a document, at most. What a document allocates once is shared by its ticks; CAISO and MISO's hourly
/// reports remember their nodes, settlements each curve when it follows another one.
fn most_allocations(format: &str) -> f64 {
    match format {
        "miso.da.expost.csv" | "miso.rt_lmp.csv" => 0.16,
        "nyiso.realtime_zone.csv" => 0.12,
        "caiso.prc_lmp.csv" | "caiso.prc_rtpd_lmp.csv" | "caiso.oasis.xml" | "caiso.oasis.xml/zip" => 0.2,
        "caiso.prc_intvl_lmp.csv" => 0.75,
        "curve.settlements.csv" => 0.05,
        _ => 0.03,
    }
}

#[test]
fn a_tick_of_a_large_document_allocates_no_more_than_agreed() {
    let mut problems = Vec::new();
    for document in documents::documents().unwrap() {
        let mut reading = documents::Reading::new().unwrap();
        // The first readings fill the maps and buffers.
        let ticks: usize = (0..3).map(|_| reading.read(&document)).max().unwrap_or_default();
        assert!(ticks >= documents::TICKS, "{}: {ticks} ticks", document.name);
        let before = ALLOCATIONS.get();
        reading.read(&document);
        let found = (ALLOCATIONS.get() - before) as f64 / ticks as f64;
        println!("{}: {found:.4} allocations a tick", document.name);
        let most = most_allocations(document.name);
        if found > most {
            problems.push(format!(
                "{}: {found:.4} allocations a tick, at most {most}",
                document.name
            ));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// For docs/performance.md: CPU time of this thread. The kernel counts it in steps of milliseconds, so many readings are added up.
#[test]
fn the_cpu_time_of_a_tick_is_shown_for_each_format() {
    const READINGS: usize = 30;
    let on_cpu = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        nanos.unwrap_or_default()
    };
    let mean = |read: &mut dyn FnMut() -> usize| -> f64 {
        read();
        let before = on_cpu();
        let ticks: usize = (0..READINGS).map(|_| read()).sum();
        (on_cpu() - before) as f64 / ticks.max(1) as f64
    };
    let envelopes = documents::envelopes().unwrap();
    let mut reading = documents::Reading::new().unwrap();
    println!(
        "json.envelope: {:.0} ns a tick",
        mean(&mut || reading.read_envelopes(&envelopes))
    );
    for document in documents::documents().unwrap() {
        let mut reading = documents::Reading::new().unwrap();
        let nanos = mean(&mut || reading.read(&document));
        println!(
            "{}: {nanos:.0} ns a tick, {} bytes",
            document.name,
            document.bytes.len()
        );
    }
}

#[test]
fn an_allocation_is_counted() {
    let before = ALLOCATIONS.get();
    std::hint::black_box(Vec::<u8>::with_capacity(std::hint::black_box(16)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}
