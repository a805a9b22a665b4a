//! What a tick costs in the pure core: no allocation once its windows exist, and a figure for people.
#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

use aggregation::core::instrument::Arrived;
use aggregation::core::log_clock::{Times, WindowRules};
use aggregation::core::partition_state::{Applied, PartitionState, Writer};
use aggregation::core::records::WriterId;
use domain::{Decimal, Kind, Micros, Origin, QualityFlags, Tick};

const SECOND: Micros = 1_000_000;
/// 2023-11-15T12:00:00Z.
const NOON: Micros = 1_700_049_600 * SECOND;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as i64);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as i64);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn state() -> PartitionState {
    let rules = WindowRules {
        intervals: 0b11111,
        at_once: Times {
            close_after: 30 * SECOND,
            forget_after: 330 * SECOND,
        },
        after_interval: Times {
            close_after: 900 * SECOND,
            forget_after: 3600 * SECOND,
        },
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
        NOON,
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

/// Bytes per instrument while each has one trade in memory, and when a day later nothing of them is left.
#[test]
fn an_instrument_costs_little_while_its_windows_live_and_nothing_after() {
    const INSTRUMENTS: i64 = 5_000;
    const GOAL: i64 = 1_500;
    let ids: Vec<String> = (0..INSTRUMENTS)
        .map(|number| format!("MISO.NODE.{number}.TRADE"))
        .collect();
    let (mut state, mut bars) = (state(), 0);
    let wire = codec::Wire::single_object();
    let before = BYTES.get();
    for (offset, id) in ids.iter().enumerate() {
        apply(&mut state, &tick(id, offset as i64, NOON), &mut bars);
    }
    state.snapshot(&wire, &mut |_| bars += 1);
    let alive = (BYTES.get() - before) / INSTRUMENTS;
    let tomorrow = NOON + 2 * 86_400 * SECOND;
    apply(&mut state, &tick("MISO.LAST.TRADE", INSTRUMENTS, tomorrow), &mut bars);
    state.snapshot(&wire, &mut |_| bars += 1);
    let after = (BYTES.get() - before) / INSTRUMENTS;
    println!("{alive} bytes an instrument with five windows, {after} after");
    assert!(alive <= GOAL, "{alive} bytes an instrument");
    assert!(after <= 1, "{after} bytes an instrument whose windows are gone");
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
