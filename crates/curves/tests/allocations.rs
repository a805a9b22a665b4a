//! Gate: a curve after a change of its quotes allocates nothing, nor does a value in a rolling window; a leg of a derived series and a quote of
//! a curve no more than agreed.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;
use std::sync::Arc;

use common::contract;
use curves::derived::{Definition, Formula, Limits, RollingStatistic, Series, Statistic};
use curves::rolling::{Rolling, Window};
use curves::snapshots::{self, Snapshots};
use curves::{Block, Commodity, DeliveryCalendar, Layout, Layouts, Method, Month, Scratch, Shape, Terms};
use domain::{Decimal, Kind, LegPlace, LegPrice, LegPurpose};
use jiff::civil::date;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes in use.
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + memory.size() as i64);
        unsafe { System.alloc(memory) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, memory: Memory) {
        BYTES.set(BYTES.get() - memory.size() as i64);
        unsafe { System.dealloc(pointer, memory) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn solving_a_curve_allocates_nothing() {
    let as_of = date(2026, 12, 18);
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let tenors = ["2027-01", "2027-02", "Q1-27", "CAL-27", "CAL-28"];
    let contracts = tenors.map(|tenor| contract(tenor, Block::Flat, as_of, Commodity::Power));
    for method in Method::ALL {
        let terms = Terms {
            calendar: &calendar,
            as_of,
            until: Month::of(as_of).plus(61),
            method,
            shape: &Shape::None,
        };
        let layout = Layout::of(terms, &contracts).unwrap();
        let (mut scratch, mut points) = (Scratch::default(), Vec::new());
        let mut prices = [50.0, 48.0, 45.0, 40.0, 41.0];
        layout.solve(&prices, &mut scratch, &mut points).unwrap();
        let before = ALLOCATIONS.get();
        for number in 0..1_000 {
            prices[number % 5] += 0.01;
            layout.solve(&prices, &mut scratch, &mut points).unwrap();
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{}", method.name());
        assert_eq!(points.len(), 60);
    }
}

#[test]
fn a_value_in_a_rolling_window_allocates_nothing() {
    let windows = [
        Window::Count(100),
        Window::Time(100_000),
        Window::Last {
            count: 100,
            width: 100_000,
        },
    ];
    for window in windows {
        let mut rolling = Rolling::new(window);
        let mut push = |numbers: std::ops::Range<i64>| {
            for number in numbers {
                // Rises, then falls: the candidates for the smallest and for the largest value become as many as they can.
                let value = (number % 400 - 200).abs();
                rolling
                    .push(number * 1_000, Decimal::from_unscaled(value).unwrap())
                    .unwrap();
                assert!(number == 0 || rolling.exact_deviation().is_some());
            }
        };
        push(0..1_000);
        let before = ALLOCATIONS.get();
        push(1_000..3_000);
        assert_eq!(ALLOCATIONS.get() - before, 0, "{window:?}");
    }
}

/// Allocations for each leg of a spark spread that comes in the order of time, long after the first one was forgotten.
fn allocations_of_a_leg(rolling: Option<RollingStatistic>) -> f64 {
    const COUNTED: i64 = 1_000;
    let heat_rate = Decimal::from_unscaled(750_000_000).unwrap();
    let definition = Definition {
        series: "spark".to_owned(),
        formula: Formula::SparkSpread { heat_rate },
        legs: ["POWER", "GAS"].map(str::to_owned).to_vec(),
        max_age: 1_000_000,
        rolling,
    };
    let limits = Limits::new(1_000_000, 0, 1_000_000);
    let mut series = Series::new(Arc::new(definition), limits);
    let mut values = 0;
    let mut take = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            let (role, instrument_id) = [("power", "POWER"), ("gas", "GAS")][(number % 2) as usize];
            let mut tick = domain::fixtures::tick();
            (tick.instrument_id, tick.kind) = (instrument_id, Kind::Trade);
            (tick.event_time, tick.interval_end) = (number * 1_000, None);
            tick.appended_at = tick.event_time;
            tick.price = Decimal::from_unscaled(4_000_000_000 + number % 1_000).unwrap();
            tick.origin.offset = number;
            let place = LegPlace {
                purpose: LegPurpose::Series,
                series: "spark",
                role,
                definition: None,
                unit: if role == "gas" { "MMBtu" } else { "MWh" },
                log_clock: tick.event_time,
                enriched_partition: 0,
                enriched_offset: number,
                index: 0,
            };
            series.take(&LegPrice::of(&tick, place), number, &mut |_| values += 1);
        }
    };
    take(0..4_000);
    let before = ALLOCATIONS.get();
    take(4_000..4_000 + COUNTED);
    let found = (ALLOCATIONS.get() - before) as f64 / COUNTED as f64;
    // The first leg waits for the other one.
    assert_eq!(values, 3_999 + COUNTED);
    found
}

#[test]
fn a_leg_allocates_no_more_than_agreed() {
    let mean = RollingStatistic {
        statistic: Statistic::Mean,
        count: Some(100),
        width: 1_000_000,
    };
    for (name, rolling, most) in [("spark spread", None, 2.5), ("its rolling mean", Some(mean), 4.0)] {
        let found = allocations_of_a_leg(rolling);
        println!("{name}: {found} allocations a leg");
        assert!(
            found <= most,
            "{name}: {found} allocations a leg, at most {most} are agreed"
        );
    }
}

const SECOND: i64 = 1_000_000;
/// 2026-12-18 in New York.
const FRIDAY: i64 = 1_797_600_000 * SECOND;

/// Ids of 22 contracts of 60 months, 12 of them months.
fn ids() -> Vec<String> {
    let months = (1..=12).map(|month| format!("2027-{month:02}"));
    let quarters = (0..8).map(|at| format!("Q{}-{}", at % 4 + 1, 28 + at / 4));
    let names = months.chain(quarters).chain(["CAL-30".to_owned(), "CAL-31".to_owned()]);
    names.map(|name| format!("PJM.W.{name}.FLAT.SETTLEMENT")).collect()
}

fn take(curve: &mut Snapshots, instrument_id: &str, (time, number): (i64, i64)) {
    let mut tick = domain::fixtures::tick();
    (tick.instrument_id, tick.kind) = (instrument_id, Kind::Interval);
    tick.event_time = time;
    tick.price = Decimal::from_unscaled(4_000_000_000 + number).unwrap();
    tick.origin.offset = number;
    let place = LegPlace {
        purpose: LegPurpose::Curve,
        series: "C",
        role: "PJM",
        definition: Some("flat;;PJM.W.*.SETTLEMENT"),
        unit: "MWh",
        log_clock: time,
        enriched_partition: 0,
        enriched_offset: number,
        index: 0,
    };
    assert_eq!(curve.take(&LegPrice::of(&tick, place), time), None);
}

/// Allocations for each quote of a curve as the service takes it: five snapshots of 22 quotes.
#[test]
fn a_quote_of_a_curve_allocates_no_more_than_agreed_because_its_layout_is_kept() {
    const COUNTED: usize = 100;
    const MOST: f64 = 320.0;
    let ids = ids();
    let limits = snapshots::Limits::new((SECOND, 60 * SECOND, 7 * 86_400 * SECOND), 200_000);
    let (mut curve, mut sent) = (Snapshots::new("t", "C", limits), 0);
    let mut quote = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let time = FRIDAY + number as i64 * SECOND;
            take(&mut curve, &ids[number % ids.len()], (time, number as i64));
            curve.advance(time + SECOND, number as i64, &mut |_| sent += 1);
        }
    };
    quote(0..200);
    let before = ALLOCATIONS.get();
    quote(200..200 + COUNTED);
    let found = (ALLOCATIONS.get() - before) as f64 / COUNTED as f64;
    assert_eq!(sent, 5 * (200 + COUNTED));
    println!("a quote of a curve: {found} allocations");
    assert!(found <= MOST, "{found} allocations a quote, at most {MOST} are agreed");
}

/// For each of a hundred curves, all of whose quotes have changed on a new trade date: allocations and bytes, those of the layout only for the
/// first of them.
#[test]
fn a_curve_on_a_new_trade_date_has_no_layout_of_its_own() {
    const CURVES: i64 = 100;
    const MOST_ALLOCATIONS: f64 = 270.0;
    const MOST_BYTES: f64 = 1_000.0;
    let ids = ids();
    let limits = snapshots::Limits::new((60 * SECOND, 86_400 * SECOND, 7 * 86_400 * SECOND), 200_000);
    let mut curves: Vec<Snapshots> = (0..CURVES).map(|_| Snapshots::new("t", "C", limits)).collect();
    for (number, curve) in (0..).zip(&mut curves) {
        for instrument_id in &ids {
            take(curve, instrument_id, (FRIDAY, number));
        }
    }
    let (mut layouts, mut sent) = (Layouts::default(), 0);
    let mut made = |curves: &mut [Snapshots]| {
        let before = (ALLOCATIONS.get(), BYTES.get());
        for curve in curves {
            curve.advance_with(&mut layouts, FRIDAY + 60 * SECOND, 1, &mut |_| sent += 1);
        }
        ((ALLOCATIONS.get() - before.0) as f64, (BYTES.get() - before.1) as f64)
    };
    let (first, others) = curves.split_first_mut().unwrap();
    let of_first = made(std::slice::from_mut(first));
    let (allocations, bytes) = made(others);
    let each = (allocations / (CURVES - 1) as f64, bytes / (CURVES - 1) as f64);
    println!("a curve on a new trade date: allocations and bytes {each:?}, the first one {of_first:?}");
    assert_eq!((sent, layouts.len()), (5 * CURVES, 1));
    assert!(
        each.0 <= MOST_ALLOCATIONS,
        "{each:?}: at most {MOST_ALLOCATIONS} allocations are agreed"
    );
    assert!(each.1 <= MOST_BYTES, "{each:?}: at most {MOST_BYTES} bytes are agreed");
}
