//! A tick on its way into the windows of its instrument, and what became of it.
//!
//! Invariant: a verdict is a function of the log clock and of the ticks before (INV-1).

use domain::{Interval, Micros, Product, Tick, Window};

use super::log_clock::{LogClock, Rule, WindowRules};
use super::reach::Reached;
use super::texts::Texts;
use super::window_state::{Added, Contribution};

/// A tick with the circumstances of its arrival.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a, 't> {
    /// The tick.
    pub tick: &'a Tick<'t>,
    /// Its offset in the enriched topic.
    pub offset: i64,
    /// Wall clock: serves idle closes only.
    pub now: Micros,
}

/// What became of a tick, one bit per interval as in `LateTick::missed_intervals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The bars of these windows are made from the table.
    pub by_table: u8,
    /// Of those, the windows that had closed.
    pub closed: u8,
    /// Counted here after the close of these windows.
    pub revised: u8,
    /// A sum of these windows would no longer fit; they do not count it.
    pub overflowed: u8,
}

impl Verdict {
    pub(super) fn note(&mut self, interval: Interval, taken: Taken) {
        let bit = 1u8 << interval.index();
        match taken.added {
            Added::ByTable => {
                self.by_table |= bit;
                self.closed |= if taken.closed { bit } else { 0 };
            }
            Added::Counted if taken.closed => self.revised |= bit,
            Added::Overflow => self.overflowed |= bit,
            Added::Counted | Added::Known => {}
        }
    }
}

/// A tick on its way into the windows.
pub(super) struct Coming<'a> {
    pub rules: &'a WindowRules,
    pub clock: &'a LogClock,
    pub product: Product,
    /// It marks the windows that hold it.
    pub is_marking: bool,
    pub tick: Contribution,
    pub texts: &'a Texts,
}

impl Coming<'_> {
    pub fn reached(&self, window: Window) -> Reached {
        Reached::of(self.rules, self.clock, window, self.product)
    }

    pub fn takes_from_table(&self, window: Window, reached: Reached) -> bool {
        let every = self.rules.holds(Rule::MarkEveryWindow);
        let is_marked = self.is_marking && (every || self.product.nominal() == Some(window.interval));
        reached.forgotten || is_marked
    }
}

/// How a window took a tick.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub added: Added,
    /// By the times of the tick's product.
    pub closed: bool,
}

impl Taken {
    pub const NOTHING: Taken = Taken {
        added: Added::Known,
        closed: false,
    };

    /// Whether a verdict has to say something of it.
    pub fn is_unusual(self) -> bool {
        self.added != Added::Counted || self.closed
    }
}
