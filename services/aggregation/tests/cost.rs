//! What a tick costs in the pure core: no allocation once its windows exist, and a figure for people.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use aggregation::core::instrument::Arrived;
use aggregation::core::partition_state::{Applied, PartitionState, Writer};
use aggregation::core::records::WriterId;
use aggregation::core::watermark::WindowRules;
use domain::{Decimal, Kind, Micros, Origin, QualityFlags, Tick};

const SECOND: Micros = 1_000_000;
/// 2023-11-15T12:00:00Z.
const NOON: Micros = 1_700_049_600 * SECOND;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn state() -> PartitionState {
    let rules = WindowRules {
        intervals: 0b11111,
        watermark_delay: 30 * SECOND,
        max_late: 300 * SECOND,
        idle_close: 120 * SECOND,
    };
    let id = WriterId { ordinal: 1, random: 1 };
    PartitionState::new(
        rules,
        Writer {
            id,
            topic_id: "id".to_owned(),
        },
        Vec::new(),
    )
}

fn tick(instrument_id: &str, offset: i64, event_time: Micros) -> Tick<'_> {
    Tick {
        origin: Origin {
            feed: "ingestion.market.raw.v1",
            partition: 0,
            offset,
            index: 0,
        },
        appended_at: event_time,
        source_event_id: "e",
        correlation_id: "e",
        causation_id: None,
        tenant_id: "default",
        instrument_id,
        symbol: None,
        market: "MISO",
        kind: Kind::Trade,
        event_time,
        interval_end: None,
        price: Decimal::from_unscaled(3_000_000_000 + offset % 1000).unwrap(),
        volume: Some(Decimal::from_unscaled(100_000_000).unwrap()),
        bid: None,
        ask: None,
        energy: None,
        congestion: None,
        loss: None,
        ghg: None,
        currency: "USD",
        unit: "MWh",
        node: None,
        zone: None,
        hub: None,
        market_status: None,
        product: "trade",
        version: None,
        source_system: "test",
        sequence: None,
        quality_flags: QualityFlags::NONE,
        normalized_at: event_time,
    }
}

fn apply(state: &mut PartitionState, tick: &Tick<'_>, bars: &mut u64) -> Applied {
    let arrived = Arrived {
        tick,
        offset: tick.origin.offset,
        now: tick.event_time,
    };
    state.apply(&arrived, &mut |_| *bars += 1)
}

#[test]
fn a_tick_of_known_windows_allocates_nothing() {
    let (mut state, mut bars) = (state(), 0);
    for offset in 0..10 {
        apply(&mut state, &tick("MISO.INDIANA.HUB.RT5", offset, NOON), &mut bars);
    }
    let before = ALLOCATIONS.get();
    for offset in 10..10_000 {
        let time = NOON + offset % 50 * SECOND;
        assert!(matches!(
            apply(&mut state, &tick("MISO.INDIANA.HUB.RT5", offset, time), &mut bars),
            Applied::Counted(_)
        ));
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// Instruments in random order, 2 ms of event time apart: printed, never asserted, since machines differ.
#[test]
fn the_cost_of_a_tick_is_printed() {
    for instruments in [100usize, 1_000, 10_000] {
        let ids: Vec<String> = (0..instruments)
            .map(|number| format!("MISO.NODE.{number}.RT5"))
            .collect();
        let (mut state, mut bars, ticks) = (state(), 0, 1_000_000u64);
        let started = Instant::now();
        for number in 0..ticks {
            let id = &ids[(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % instruments];
            apply(
                &mut state,
                &tick(id, number as i64, NOON + number as i64 * 2000),
                &mut bars,
            );
        }
        let nanoseconds = started.elapsed().as_nanos() as u64 / ticks;
        println!("{instruments} instruments: {nanoseconds} ns a tick, {bars} bars closed at once");
    }
}
