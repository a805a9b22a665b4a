//! Rolling statistics of a series over its own last values.
//!
//! Invariant: a function of the values in the window and of nothing else, exact in integers up to one rounding, so that it is the same on
//! every machine and after every restart.
//! Failure: a window that is not full, holds too many values or does not vary has no number.

use domain::{Decimal, Micros};

use super::{ONE, Reason, decimal};
use crate::rolling::{Rolling, Statistics, Window, rounded};

/// Most values of a window. A price that comes late changes the statistics of at most so many times after it.
pub const MOST_VALUES: usize = 1_000;
/// Values from here on, ten million, do not count: so no square leaves 128 bits.
pub(super) const LARGEST: u64 = 1_000_000_000_000_000;

/// A statistic of the values in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// Mean.
    Mean,
    /// Standard deviation of a sample (`n - 1`).
    Deviation,
    /// `(value - mean) / deviation`, of mean and deviation as rounded; no number if the values do not vary.
    ZScore,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Largest less smallest value.
    Range,
}

impl Statistic {
    /// Every statistic.
    pub const ALL: [Statistic; 6] = [
        Statistic::Mean,
        Statistic::Deviation,
        Statistic::ZScore,
        Statistic::Min,
        Statistic::Max,
        Statistic::Range,
    ];

    /// The statistic of this name.
    pub fn named(name: &str) -> Option<Statistic> {
        Statistic::ALL.into_iter().find(|statistic| statistic.name() == name)
    }

    /// The public name.
    pub fn name(self) -> &'static str {
        match self {
            Statistic::Mean => "mean",
            Statistic::Deviation => "deviation",
            Statistic::ZScore => "z_score",
            Statistic::Min => "min",
            Statistic::Max => "max",
            Statistic::Range => "range",
        }
    }
}

/// What a series shows in place of its values: a statistic of the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingStatistic {
    /// Of the values in the window.
    pub statistic: Statistic,
    /// The window holds exactly this many values, the last ones; `None`: all of its width.
    pub count: Option<usize>,
    /// The window holds values later than its time less this, in microseconds.
    pub width: Micros,
}

impl RollingStatistic {
    /// Values of a window that decide on its number: one more than permitted shows that there are too many.
    pub(super) fn capacity(self) -> usize {
        self.count.unwrap_or(MOST_VALUES + 1)
    }

    /// An empty window.
    pub(super) fn window(self) -> Rolling {
        Rolling::new(Window::Last {
            count: self.capacity(),
            width: self.width,
        })
    }

    /// The number of a window whose last value is `value`.
    pub(super) fn number(self, statistics: &Statistics, window: &Rolling, value: Decimal) -> Result<Decimal, Reason> {
        match self.count {
            Some(count) if statistics.count < count => return Err(Reason::Undefined),
            None if statistics.count > MOST_VALUES => return Err(Reason::TooLarge),
            _ => {}
        }
        match self.statistic {
            Statistic::Mean => Ok(statistics.mean),
            Statistic::Min => Ok(statistics.min),
            Statistic::Max => Ok(statistics.max),
            Statistic::Range => statistics.range.ok_or(Reason::TooLarge),
            Statistic::Deviation => window.exact_deviation().ok_or(Reason::Undefined),
            Statistic::ZScore => {
                let deviation = window.exact_deviation().unwrap_or(Decimal::ZERO);
                if deviation == Decimal::ZERO {
                    return Err(Reason::Undefined);
                }
                let above = i128::from(value.unscaled()) - i128::from(statistics.mean.unscaled());
                let score = rounded(above * ONE, i128::from(deviation.unscaled()));
                decimal(score.ok_or(Reason::TooLarge)?)
            }
        }
    }
}
