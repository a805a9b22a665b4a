//! Which times of a window the log clock has reached.
//!
//! Invariant: functions of the clock, the window and the product (INV-1), without other state.

use domain::{Interval, Micros, Product, Tick, Window};

use super::instrument::Verdict;
use super::log_clock::{LogClock, WindowRules};
use super::window_state::Marks;

/// The verdict of a tick that is too late for all its windows; `None` if one of them may still count it.
pub fn wholly_forgotten(rules: &WindowRules, clock: &LogClock, tick: &Tick<'_>) -> Option<Verdict> {
    let product = Product::of(tick.product, tick.kind);
    let kept = || {
        Interval::ALL
            .into_iter()
            .filter(|interval| rules.keeps(*interval, product))
    };
    let is_dropped =
        |interval: Interval| Reached::of(rules, clock, interval.window_of(tick.event_time), product).dropped;
    let made = kept().filter(|interval| rules.makes(*interval));
    let bits = made.fold(0u8, |bits, interval| bits | 1 << interval.index());
    // The longest window ends last, or together with the others.
    kept().next_back().is_none_or(is_dropped).then_some(Verdict {
        by_table: bits,
        closed: bits,
        ..Verdict::default()
    })
}

/// Which times of a window the clock has reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// A tick is a revision.
    pub closed: bool,
    /// A tick is left to the table.
    pub forgotten: bool,
    /// The window is removed from memory.
    pub dropped: bool,
}

impl Reached {
    /// Computes them with the times of this product.
    pub fn of(rules: &WindowRules, clock: &LogClock, window: Window, product: Product) -> Reached {
        let times = rules.times(product);
        Reached {
            closed: clock.has_reached(window.end().saturating_add(times.close_after)),
            forgotten: clock.has_reached(window.end().saturating_add(times.forget_after)),
            dropped: clock.has_reached(dropped_at(rules, window, product)),
        }
    }
}

/// When a window is removed from memory. The longest window is kept as long as any product's window inside it may be.
pub fn dropped_at(rules: &WindowRules, window: Window, product: Product) -> Micros {
    let forget_after = if rules.longest() == Some(window.interval) {
        rules.longest_forget()
    } else {
        rules.times(product).forget_after
    };
    window.end().saturating_add(forget_after)
}

/// The next time at which this window must be checked.
pub fn boundary(rules: &WindowRules, window: Window, marks: &Marks) -> Micros {
    if marks.closed {
        dropped_at(rules, window, marks.product)
    } else {
        window.end().saturating_add(rules.times(marks.product).close_after)
    }
}
