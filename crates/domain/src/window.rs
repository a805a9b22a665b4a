//! Windows `[start, end)` in UTC, aligned to the interval itself.

use crate::Micros;

/// Length of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Interval {
    OneMinute,
    FiveMinutes,
    FifteenMinutes,
    OneHour,
    OneDay,
}

impl Interval {
    /// Every interval, shortest first. The position is the Avro enum index and the bit in `LateTick::missed_intervals`.
    pub const ALL: [Interval; 5] = [
        Interval::OneMinute,
        Interval::FiveMinutes,
        Interval::FifteenMinutes,
        Interval::OneHour,
        Interval::OneDay,
    ];

    /// The public name: `1m`, `5m`, `15m`, `1h`, `1d`.
    pub fn name(self) -> &'static str {
        match self {
            Interval::OneMinute => "1m",
            Interval::FiveMinutes => "5m",
            Interval::FifteenMinutes => "15m",
            Interval::OneHour => "1h",
            Interval::OneDay => "1d",
        }
    }

    /// The interval of that name.
    pub fn from_name(name: &str) -> Option<Interval> {
        Interval::ALL.into_iter().find(|interval| interval.name() == name)
    }

    /// Position in [`Interval::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Length in microseconds.
    pub fn micros(self) -> Micros {
        let minutes = match self {
            Interval::OneMinute => 1,
            Interval::FiveMinutes => 5,
            Interval::FifteenMinutes => 15,
            Interval::OneHour => 60,
            Interval::OneDay => 1440,
        };
        minutes * 60_000_000
    }

    /// The window that contains `time` (also before 1970).
    pub fn window_of(self, time: Micros) -> Window {
        Window {
            interval: self,
            start: time - time.rem_euclid(self.micros()),
        }
    }
}

/// One window of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Window {
    pub interval: Interval,
    /// First microsecond inside.
    pub start: Micros,
}

impl Window {
    /// First microsecond after.
    pub fn end(self) -> Micros {
        self.start + self.interval.micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_lies_in_its_window_and_windows_are_aligned(time in -4_000_000_000_000_000i64..10_000_000_000_000_000) {
            for interval in Interval::ALL {
                let window = interval.window_of(time);
                prop_assert!(window.start <= time && time < window.end());
                prop_assert_eq!(window.start.rem_euclid(interval.micros()), 0);
                prop_assert_eq!(interval.window_of(window.end()).start, window.end());
            }
        }
    }
}
