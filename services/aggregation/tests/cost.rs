//! The cost of a tick in the pure core: no allocation once its windows exist, bounded memory, and printed times.
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

// SAFETY: every call goes to the system allocator unchanged.
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

const INSTRUMENTS: i64 = 10_000;
const GOAL: i64 = 1_500;
const MINUTE: Micros = 60 * SECOND;

/// Many instruments, with their memory counted. One of them has a window in the far future, so that the partition is never
/// empty.
struct Crowd {
    state: PartitionState,
    wire: codec::Wire,
    ids: Vec<String>,
    next_offset: i64,
    bytes_before: i64,
}

impl Crowd {
    fn new(instruments: i64, suffix: &str) -> Crowd {
        let name = |number| format!("MISO.NODE.{number}.{suffix}");
        let ids: Vec<String> = (0..instruments).map(name).collect();
        let mut crowd = Crowd {
            state: state(),
            // The schemas are parsed once per process.
            wire: codec::Wire::single_object(),
            ids,
            next_offset: 0,
            bytes_before: BYTES.get(),
        };
        let ahead = Tick {
            appended_at: NOON - 3 * 60 * MINUTE,
            ..tick("MISO.KEPT", 0, NOON + 5 * 24 * 60 * MINUTE)
        };
        crowd.take(&ahead);
        crowd
    }

    fn take(&mut self, tick: &Tick<'_>) {
        let offset = self.next_offset;
        let origin = Origin { offset, ..tick.origin };
        let tick = Tick { origin, ..*tick };
        let verdict = match apply(&mut self.state, &tick, &mut 0) {
            Applied::Counted(verdict) => verdict,
            other => panic!("{other:?} of offset {offset}"),
        };
        assert_eq!(verdict.by_table, 0, "offset {offset} is left to the table");
        self.next_offset += 1;
    }

    /// A tick of every instrument, and then a checkpoint.
    fn round(&mut self, like: &Tick<'_>) {
        for index in 0..self.ids.len() {
            let instrument_id = &*self.ids[index].clone();
            self.take(&Tick { instrument_id, ..*like });
        }
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        self.state.snapshot(&self.wire, &mut |_| {});
    }

    fn bytes_an_instrument(&self) -> i64 {
        (BYTES.get() - self.bytes_before) / self.ids.len() as i64
    }

    /// Windows per instrument, by interval.
    fn windows(&self) -> [i64; 5] {
        let counts = self.state.counts();
        counts.map(|count| (count.open + count.closed) as i64 / self.ids.len() as i64)
    }

    /// Two days later the memory is freed, except that of one instrument.
    fn check_memory_is_freed(mut self) {
        let later = Tick {
            appended_at: NOON + 2 * 24 * 60 * MINUTE,
            ..tick("MISO.KEPT", 0, NOON + 5 * 24 * 60 * MINUTE)
        };
        self.take(&later);
        self.checkpoint();
        assert_eq!(self.state.instrument_count(), 1);
        // The remaining instrument, and capacity that is never freed.
        let after = BYTES.get() - self.bytes_before;
        assert!(after <= INSTRUMENTS, "{after} bytes without the windows");
    }
}

#[test]
fn an_instrument_of_trades_takes_little_memory_and_none_after_its_windows() {
    let mut crowd = Crowd::new(INSTRUMENTS, "TRADE");
    crowd.round(&tick("", 0, NOON));
    let of_one = crowd.bytes_an_instrument();
    crowd.round(&tick("", 1, NOON + SECOND));
    let of_many = crowd.bytes_an_instrument();
    assert_eq!(crowd.windows(), [1; 5]);
    println!("{of_one} bytes an instrument with a trade in five windows, {of_many} with more");
    assert!(
        of_one <= GOAL && of_many <= GOAL,
        "{of_one} and {of_many} bytes an instrument"
    );
    crowd.check_memory_is_freed();
}

/// The memory of an active instrument is printed: each of its windows may be revised, so all keep their values.
#[test]
fn the_memory_of_an_instrument_with_trades_in_every_minute_is_printed() {
    let mut crowd = Crowd::new(200, "TRADE");
    let mut most = 0;
    for minute in 0..120 {
        for second in [0, 20] {
            crowd.round(&tick("", 0, NOON - 90 * MINUTE + minute * MINUTE + second * SECOND));
        }
        most = most.max(crowd.bytes_an_instrument());
    }
    println!("at most {most} bytes an instrument with {:?} windows", crowd.windows());
    crowd.check_memory_is_freed();
}

/// Prices of five minutes, each published five minutes after its interval.
#[test]
fn an_instrument_of_real_time_prices_takes_little_memory_and_none_after_its_windows() {
    let mut crowd = Crowd::new(INSTRUMENTS, "RT5");
    let (mut most, mut most_windows) = (0, 0);
    for start in (0..24).map(|round| NOON - 65 * MINUTE + round * 5 * MINUTE) {
        crowd.round(&Tick {
            kind: Kind::Interval,
            product: "rt5",
            volume: None,
            appended_at: start + 10 * MINUTE,
            ..tick("", 0, start)
        });
        most = most.max(crowd.bytes_an_instrument());
        most_windows = most_windows.max(crowd.windows().iter().sum());
    }
    println!("at most {most} bytes an instrument with at most {most_windows} windows");
    assert_eq!((most_windows, crowd.windows()), (19, [0, 11, 4, 1, 1]));
    assert!(most <= GOAL, "{most} bytes an instrument");
    crowd.check_memory_is_freed();
}

/// Instruments in random order, 2 ms of event time apart. The time is printed, not asserted, since machines differ.
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
