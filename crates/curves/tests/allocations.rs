//! Gate: a curve after a change of its quotes allocates nothing.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::alloc::{GlobalAlloc, Layout as Memory, System};
use std::cell::Cell;

use common::contract;
use curves::{Block, Commodity, DeliveryCalendar, Layout, Method, Month, Scratch, Shape, Terms};
use jiff::civil::date;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is forwarded to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, memory: Memory) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(memory) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, memory: Memory) {
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
