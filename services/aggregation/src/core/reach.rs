//! How far the log clock is beyond a window, and what follows of that alone.
//!
//! Invariant: functions of the clock, the window and the product (INV-1); no state is asked.

use domain::{Interval, Micros, Product, Tick, Window};

use super::instrument::Verdict;
use super::log_clock::{LogClock, WindowRules};
use super::window_state::Marks;

/// What a tick that is too late for every window comes to, told without any state; `None` where one may still count it.
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
    // The longest window ends last, or with the others.
    kept().next_back().is_none_or(is_dropped).then_some(Verdict {
        by_table: bits,
        closed: bits,
        ..Verdict::default()
    })
}

/// How far the clock is beyond a window, by the times of a product.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// A further tick is a revision.
    pub closed: bool,
    /// A further tick takes the table's way.
    pub forgotten: bool,
    /// Nothing remembers that such a tick came.
    pub dropped: bool,
}

impl Reached {
    /// By the times of this product.
    pub fn of(rules: &WindowRules, clock: &LogClock, window: Window, product: Product) -> Reached {
        let times = rules.times(product);
        Reached {
            closed: clock.has_reached(window.end().saturating_add(times.close_after)),
            forgotten: clock.has_reached(window.end().saturating_add(times.forget_after)),
            dropped: clock.has_reached(dropped_at(rules, window, product)),
        }
    }
}

/// When memory of a window ends. The longest one stays for as long as a window of any product inside it may.
pub fn dropped_at(rules: &WindowRules, window: Window, product: Product) -> Micros {
    let forget_after = if rules.longest() == Some(window.interval) {
        rules.longest_forget()
    } else {
        rules.times(product).forget_after
    };
    window.end().saturating_add(forget_after)
}

/// The next time that means something to this window. One that an idle close shows as closed has its close still before it.
pub fn boundary(rules: &WindowRules, window: Window, marks: &Marks) -> Micros {
    if marks.closed {
        dropped_at(rules, window, marks.product)
    } else {
        window.end().saturating_add(rules.times(marks.product).close_after)
    }
}
