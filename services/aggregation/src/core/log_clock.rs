//! The log clock of one enriched partition, and the times at which windows close and are forgotten.
//!
//! Invariant: the clock is the largest raw append time of the accepted ticks, the current one included: a function of the log
//! that never goes back (INV-1), whatever the event times and the order of rows. Without ticks it does not advance; then the
//! wall clock sends ended windows as closed, and changes nothing else.

use domain::product::{Product, Published};
use domain::{Interval, Micros};

/// When windows of a product close and are forgotten, after their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From here on, a tick is a revision.
    pub close_after: Micros,
    /// From here on, a tick is left to the table. Not before the close.
    pub forget_after: Micros,
}

/// A rule that the model takes out, to check that it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Append times move the clock, not event times.
    AppendTime,
    /// An interval price that is late for its base window marks the windows in memory.
    MarkLate,
    /// A second price of an interval marks its windows.
    MarkAgain,
    /// A mark applies to all windows of the price, not only to the base window.
    MarkEveryWindow,
    /// The table computes the closed bar of a marked window.
    CloseByTable,
    /// Two products of one instrument mark the windows that contain both.
    MarkMixed,
}

/// The configured intervals and times of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRules {
    /// Bit `i`: bars of `Interval::ALL[i]` are computed.
    pub intervals: u8,
    /// Times of products that are published at their time.
    pub at_once: Times,
    /// Times of products that are published after their interval.
    pub after_interval: Times,
    /// Wall-clock time without ticks in the partition after which ended windows are sent as closed.
    pub idle_close: Micros,
    /// The rule that this run of the model takes out.
    #[cfg(test)]
    pub without: Option<Rule>,
}

impl WindowRules {
    /// The times of a product.
    pub fn times(&self, product: Product) -> Times {
        match product.published() {
            Published::AtOnce => self.at_once,
            Published::AfterInterval => self.after_interval,
        }
    }

    /// The longest time after its end for which a window of any product is remembered.
    pub fn longest_forget(&self) -> Micros {
        self.at_once.forget_after.max(self.after_interval.forget_after)
    }

    /// Whether bars of this interval are computed.
    pub fn makes(&self, interval: Interval) -> bool {
        self.intervals >> interval.index() & 1 == 1
    }

    /// The longest interval with bars: its window contains all other windows of a tick.
    pub fn longest(&self) -> Option<Interval> {
        Interval::ALL.into_iter().rev().find(|interval| self.makes(*interval))
    }

    /// The intervals whose windows are kept for a tick of this product, as bits: those with bars that are at least as long as
    /// its nominal interval, and the nominal interval itself, whose window remembers the first price.
    pub fn kept(&self, product: Product) -> u8 {
        let Some(nominal) = product.nominal() else {
            return self.intervals;
        };
        let long_enough = self.intervals >> nominal.index() << nominal.index();
        if long_enough == 0 {
            0
        } else {
            long_enough | 1 << nominal.index()
        }
    }

    /// Whether a window of this interval is kept for a tick of this product.
    pub fn keeps(&self, interval: Interval, product: Product) -> bool {
        self.kept(product) >> interval.index() & 1 == 1
    }

    #[cfg(test)]
    pub(super) fn holds(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    #[cfg(not(test))]
    #[inline]
    pub(super) fn holds(&self, _: Rule) -> bool {
        true
    }
}

/// Largest append time seen; none before the first tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogClock {
    newest: Option<Micros>,
}

impl LogClock {
    /// A saved clock.
    pub fn of(newest: Option<Micros>) -> LogClock {
        LogClock { newest }
    }

    /// Advances to the append time of an accepted tick.
    pub fn observe(&mut self, appended_at: Micros) {
        self.newest = self.newest.max(Some(appended_at));
    }

    /// Largest append time seen.
    pub fn newest(&self) -> Option<Micros> {
        self.newest
    }

    /// Whether it has reached this time.
    pub fn has_reached(&self, time: Micros) -> bool {
        self.newest.is_some_and(|newest| newest >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: WindowRules = crate::core::model::fixtures::RULES;

    #[test]
    fn each_product_has_the_times_of_its_publication() {
        assert_eq!(RULES.times(Product::Trade), RULES.times(Product::DayAhead));
        assert_eq!(RULES.times(Product::RealTimeFive).close_after, 900_000_000);
        assert_eq!(RULES.longest_forget(), 3_600_000_000);
    }

    #[test]
    fn no_bar_is_shorter_than_the_interval_of_its_prices() {
        let kept = |rules: &WindowRules, product| {
            let names = Interval::ALL
                .into_iter()
                .filter(|interval| rules.keeps(*interval, product));
            names.map(Interval::name).collect::<Vec<_>>()
        };
        assert_eq!(kept(&RULES, Product::Trade), ["1m", "5m", "15m", "1h", "1d"]);
        assert_eq!(kept(&RULES, Product::RealTimeFive), ["5m", "15m", "1h", "1d"]);
        assert_eq!(kept(&RULES, Product::DayAhead), ["1h", "1d"]);
        let minutes_and_days = WindowRules {
            intervals: 0b10001,
            ..RULES
        };
        assert_eq!(kept(&minutes_and_days, Product::RealTimeFive), ["5m", "1d"]);
        let minutes = WindowRules {
            intervals: 0b00001,
            ..RULES
        };
        assert_eq!(kept(&minutes, Product::DayAhead), [""; 0]);
    }

    proptest! {
        #[test]
        fn the_clock_never_goes_back_and_does_not_depend_on_the_order(mut times in proptest::collection::vec(any::<i32>(), 1..50)) {
            let mut clock = LogClock::default();
            for time in &times {
                let before = clock.newest();
                clock.observe(i64::from(*time));
                prop_assert!(clock.newest() >= before);
                prop_assert!(clock.has_reached(i64::from(*time)) && !clock.has_reached(i64::MAX));
            }
            times.sort_unstable();
            prop_assert_eq!(clock.newest(), times.last().map(|t| i64::from(*t)));
        }
    }
}
