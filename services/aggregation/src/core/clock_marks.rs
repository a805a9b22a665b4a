//! When the log clock of an enriched partition is made known to all partitions of legs.
//!
//! Quotes of curves are rare: a snapshot is due at the end of their interval, when no further quote may come for a day. So after an interval
//! with quotes, the first tick at or after its end sends a mark, which is a leg of purpose `clock`, to every partition.
//! Invariants: a function of the accepted ticks (INV-1). It is saved with the position, so a restart neither loses a mark nor sends another
//! one. Without quotes there are no marks.

use domain::Micros;

/// The mark that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClockMarks {
    /// End of the interval of the first quote since the last mark.
    due: Option<Micros>,
}

impl ClockMarks {
    /// As it was saved.
    pub fn of(due: Option<Micros>) -> ClockMarks {
        ClockMarks { due }
    }

    /// What is saved.
    pub fn due(self) -> Option<Micros> {
        self.due
    }

    /// Whether the clock has reached the mark. It is then no longer due.
    pub fn take(&mut self, clock: Micros) -> bool {
        let has_reached = self.due.is_some_and(|due| due <= clock);
        if has_reached {
            self.due = None;
        }
        has_reached
    }

    /// A quote was sent at this time of the clock.
    pub fn quoted(&mut self, clock: Micros, interval: Micros) {
        if self.due.is_none() {
            let interval = interval.max(1);
            let end = clock.div_euclid(interval).checked_add(1);
            self.due = end.and_then(|end| end.checked_mul(interval));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_sent_once_after_each_interval_with_quotes() {
        let mut marks = ClockMarks::default();
        // Time of the clock, whether the tick is a quote, whether a mark comes before it.
        let ticks = [
            (5, false, false),
            (12, true, false),
            (15, true, false),
            (19, false, false),
            (20, false, true),
            (45, false, false),
            (47, true, false),
            // A quote of a later interval also ends the one before.
            (63, true, true),
            (69, false, false),
            (70, false, true),
            (99, false, false),
        ];
        for (clock, is_quote, expected) in ticks {
            // Saved and restored in between.
            marks = ClockMarks::of(marks.due());
            assert_eq!(marks.take(clock), expected, "{clock}");
            if is_quote {
                marks.quoted(clock, 10);
            }
        }
        assert_eq!(marks.due(), None);
    }
}
