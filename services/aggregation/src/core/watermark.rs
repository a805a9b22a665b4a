//! The log's watermark of one instrument, and what it says about a window.
//!
//! Invariant: the watermark is the largest event time of the accepted ticks less a delay, so it is a function of the log
//! (INV-1) and never falls. Per instrument: a day-ahead price is stamped tomorrow and must not close today's windows of
//! another instrument.

use domain::{Micros, Window};

/// The two times that make lateness, and the one that closes idle windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRules {
    /// Bit `i`: `Interval::ALL[i]` is kept.
    pub intervals: u8,
    /// How far the watermark stays behind the largest event time.
    pub watermark_delay: Micros,
    /// How far the watermark passes the end of a window before the window is forgotten.
    pub max_late: Micros,
    /// Wall-clock time without a tick after which an instrument's ended windows are shown as closed.
    pub idle_close: Micros,
}

/// Largest event time seen; none before the first tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermark {
    max_event_time: Option<Micros>,
}

impl Watermark {
    /// The watermark after a tick of this event time was the newest.
    pub fn of(max_event_time: Micros) -> Watermark {
        Watermark {
            max_event_time: Some(max_event_time),
        }
    }

    /// Takes a tick's event time; true where the watermark rose.
    pub fn observe(&mut self, event_time: Micros) -> bool {
        let rises = self.max_event_time.is_none_or(|max| event_time > max);
        if rises {
            self.max_event_time = Some(event_time);
        }
        rises
    }

    /// Largest event time seen.
    pub fn max_event_time(&self) -> Option<Micros> {
        self.max_event_time
    }

    /// The watermark itself; the smallest time there is before the first tick.
    pub fn value(&self, rules: &WindowRules) -> Micros {
        self.max_event_time
            .map_or(Micros::MIN, |max| max.saturating_sub(rules.watermark_delay))
    }

    /// Whether the window has ended by the log: a further tick in it is a revision.
    pub fn has_passed(&self, rules: &WindowRules, window: Window) -> bool {
        self.value(rules) >= window.end()
    }

    /// Whether the window is forgotten: a further tick is too late for it.
    pub fn has_forgotten(&self, rules: &WindowRules, window: Window) -> bool {
        self.value(rules) >= window.end().saturating_add(rules.max_late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Interval;
    use proptest::prelude::*;

    const RULES: WindowRules = WindowRules {
        intervals: 0b11111,
        watermark_delay: 30_000_000,
        max_late: 300_000_000,
        idle_close: 120_000_000,
    };

    #[test]
    fn a_window_passes_after_the_delay_and_is_forgotten_after_the_late_time() {
        let window = Interval::OneMinute.window_of(0);
        for (max_event_time, passed, forgotten) in [
            (89_999_999, false, false),
            (90_000_000, true, false),
            (389_999_999, true, false),
            (390_000_000, true, true),
        ] {
            let watermark = Watermark::of(max_event_time);
            assert_eq!(watermark.has_passed(&RULES, window), passed, "{max_event_time}");
            assert_eq!(watermark.has_forgotten(&RULES, window), forgotten, "{max_event_time}");
        }
        assert!(!Watermark::default().has_passed(&RULES, window));
    }

    proptest! {
        #[test]
        fn the_watermark_never_falls_and_depends_on_no_order(mut times in proptest::collection::vec(any::<i32>(), 1..50)) {
            let mut watermark = Watermark::default();
            for time in &times {
                let before = watermark.value(&RULES);
                let rose = watermark.observe(i64::from(*time));
                prop_assert_eq!(rose, watermark.value(&RULES) > before);
            }
            times.sort_unstable();
            prop_assert_eq!(watermark.max_event_time(), times.last().map(|t| i64::from(*t)));
        }
    }
}
