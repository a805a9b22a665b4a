//! A tick that is being added to the windows of its instrument, and its outcome.
//!
//! Invariant: a verdict is a function of the log clock and of the ticks before (INV-1).

use domain::{Interval, Micros, Product, Tick, Window};

use super::interner::Texts;
use super::lateness::Reached;
use super::log_clock::{LogClock, Rule, WindowRules};
use super::window_state::{Added, Contribution};

/// A tick with its offset and arrival time.
#[derive(Debug, Clone, Copy)]
pub struct Arrived<'a, 't> {
    /// The tick.
    pub tick: &'a Tick<'t>,
    /// Its offset in the enriched topic.
    pub offset: i64,
    /// Wall clock; used for idle closes only.
    pub now: Micros,
}

/// The outcome of a tick; one bit per interval, as in `LateTick::missed_intervals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Windows whose bars the table computes.
    pub by_table: u8,
    /// Those of them that had closed.
    pub closed: u8,
    /// Windows that counted it after their close.
    pub revised: u8,
    /// Windows that do not count it, since a sum would not fit.
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

/// A tick that is being added to windows.
pub(super) struct Coming<'a> {
    pub rules: &'a WindowRules,
    pub clock: &'a LogClock,
    pub product: Product,
    /// It marks its windows as from the table.
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

/// The outcome of a tick in one window.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub added: Added,
    /// Whether the window had closed, by the times of the tick's product.
    pub closed: bool,
}

impl Taken {
    pub const NOTHING: Taken = Taken {
        added: Added::Known,
        closed: false,
    };

    /// Whether the verdict must contain it.
    pub fn is_unusual(self) -> bool {
        self.added != Added::Counted || self.closed
    }
}
