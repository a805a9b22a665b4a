//! Rolling statistics of the last values, by count or by time.
//!
//! Invariant: sums are exact integers, to which a value is added and from which it is taken away again, so that nothing drifts however long
//! a window rolls. Mean and deviation are rounded once, at the end.
//! Failure: sums that leave 128 bits are an error. That takes more than a hundred prices near ten billion in one window.

use std::collections::VecDeque;

use domain::{Decimal, Micros};

use crate::CurveError;

/// What a window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// The last values, this many.
    Count(usize),
    /// The values of the last microseconds: later than the newest time less this.
    Time(Micros),
    /// Both: of the values of the last microseconds, the last ones.
    Last {
        /// At most this many.
        count: usize,
        /// Later than the newest time less this.
        width: Micros,
    },
}

/// The statistics of one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// Number of values.
    pub count: usize,
    /// Rounded half to even at scale 8.
    pub mean: Decimal,
    /// Largest value.
    pub max: Decimal,
    /// Smallest value.
    pub min: Decimal,
    /// `max - min`; `None` if it is 10^10 or more.
    pub range: Option<Decimal>,
    /// Standard deviation of a sample (`n - 1`); `None` for one value.
    pub deviation: Option<f64>,
}

/// A window that rolls.
#[derive(Debug, Clone)]
pub struct Rolling {
    window: Window,
    values: VecDeque<(u64, Micros, i64)>,
    /// Candidates for the largest and the smallest value, each better than all after it.
    largest: VecDeque<(u64, i64)>,
    smallest: VecDeque<(u64, i64)>,
    next: u64,
    sum: i128,
    squares: i128,
}

impl Rolling {
    /// An empty window.
    pub fn new(window: Window) -> Rolling {
        Rolling {
            window,
            values: VecDeque::new(),
            largest: VecDeque::new(),
            smallest: VecDeque::new(),
            next: 0,
            sum: 0,
            squares: 0,
        }
    }

    /// Takes a value and returns the statistics with it. Times come from the log's clock, which does not go back.
    ///
    /// # Errors
    /// A sum would leave 128 bits.
    pub fn push(&mut self, time: Micros, value: Decimal) -> Result<Statistics, CurveError> {
        let value = value.unscaled();
        self.leave(time);
        let too_large = || CurveError::TooLarge("a rolling window".to_owned());
        let square = i128::from(value) * i128::from(value);
        self.squares = self.squares.checked_add(square).ok_or_else(too_large)?;
        self.sum += i128::from(value);
        self.values.push_back((self.next, time, value));
        keep_better(&mut self.largest, self.next, value, |kept| kept <= value);
        keep_better(&mut self.smallest, self.next, value, |kept| kept >= value);
        self.next += 1;
        self.statistics().ok_or_else(too_large)
    }

    /// Removes what a value at this time displaces.
    fn leave(&mut self, time: Micros) {
        while let Some((number, since, value)) = self.values.front().copied() {
            let is_out = match self.window {
                Window::Count(count) => self.values.len() >= count.max(1),
                Window::Time(width) => since <= time.saturating_sub(width),
                Window::Last { count, width } => {
                    self.values.len() >= count.max(1) || since <= time.saturating_sub(width)
                }
            };
            if !is_out {
                return;
            }
            self.values.pop_front();
            self.sum -= i128::from(value);
            self.squares -= i128::from(value) * i128::from(value);
            for candidates in [&mut self.largest, &mut self.smallest] {
                if candidates.front().is_some_and(|(kept, _)| *kept == number) {
                    candidates.pop_front();
                }
            }
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        let count = self.values.len();
        let (max, min) = (self.largest.front()?.1, self.smallest.front()?.1);
        let decimal = |unscaled: i64| Decimal::from_unscaled(unscaled).ok();
        let n = i128::try_from(count).ok()?;
        Some(Statistics {
            count,
            mean: decimal(i64::try_from(rounded(self.sum, n)?).ok()?)?,
            max: decimal(max)?,
            min: decimal(min)?,
            range: decimal(max.checked_sub(min)?),
            deviation: if count > 1 { Some(self.deviation(n)?) } else { None },
        })
    }

    /// The standard deviation of a sample, rounded half to even at scale 8: from integers alone, so that it is the same on every machine.
    /// `None` for fewer than two values, and for squares that leave 128 bits. Those of a thousand values below 10^7 do not.
    pub fn exact_deviation(&self) -> Option<Decimal> {
        let n = i128::try_from(self.values.len()).ok().filter(|n| *n > 1)?;
        let (m, r) = (self.sum.div_euclid(n), self.sum.rem_euclid(n));
        let whole = self.squares.checked_sub(m.checked_mul(self.sum.checked_add(r)?)?)?;
        // `n Σ(v - sum/n)²`
        let squared = whole.checked_mul(n)?.checked_sub(r.checked_mul(r)?)?;
        let root = rounded_root(squared, n * (n - 1))?;
        Decimal::from_unscaled(i64::try_from(root).ok()?).ok()
    }

    /// With `sum = n m + r`: `Σ(v - sum/n)² = Σv² - m (sum + r) - r²/n`, exact up to the last term.
    fn deviation(&self, n: i128) -> Option<f64> {
        let (m, r) = (self.sum.div_euclid(n), self.sum.rem_euclid(n));
        let whole = self.squares.checked_sub(m.checked_mul(self.sum.checked_add(r)?)?)?;
        let squared = whole as f64 - (r * r) as f64 / n as f64;
        Some((squared.max(0.0) / (n - 1) as f64).sqrt() / 1e8)
    }
}

/// `dividend / divisor`, rounded half to even; the divisor is positive.
pub(crate) fn rounded(dividend: i128, divisor: i128) -> Option<i128> {
    let (quotient, rest) = (
        dividend.checked_div_euclid(divisor)?,
        dividend.checked_rem_euclid(divisor)?,
    );
    let up = match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => quotient & 1,
        std::cmp::Ordering::Greater => 1,
    };
    Some(quotient + up)
}

/// `sqrt(dividend / divisor)`, rounded half to even; the divisor is positive.
fn rounded_root(dividend: i128, divisor: i128) -> Option<i128> {
    let floor = dividend.checked_div(divisor)?.checked_isqrt()?;
    // Above the middle if `4 dividend / divisor > (2 floor + 1)²`.
    let middle = (2 * floor + 1).checked_pow(2)?.checked_mul(divisor)?;
    let up = match dividend.checked_mul(4)?.cmp(&middle) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => floor & 1,
        std::cmp::Ordering::Greater => 1,
    };
    Some(floor + up)
}

fn keep_better(candidates: &mut VecDeque<(u64, i64)>, number: u64, value: i64, is_worse: impl Fn(i64) -> bool) {
    while candidates.back().is_some_and(|(_, kept)| is_worse(*kept)) {
        candidates.pop_back();
    }
    candidates.push_back((number, value));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(unscaled: i64) -> Decimal {
        Decimal::from_unscaled(unscaled).unwrap()
    }

    /// From the values themselves: deviations in integers from the mean times n.
    fn recomputed(values: &[i64]) -> (f64, i64, i64, Option<f64>) {
        let n = values.len() as i128;
        let sum: i128 = values.iter().map(|value| i128::from(*value)).sum();
        let squared: f64 = values
            .iter()
            .map(|value| (i128::from(*value) * n - sum) as f64)
            .map(|d| d * d)
            .sum();
        let deviation = (n > 1).then(|| (squared / (n * n) as f64 / (n - 1) as f64).sqrt() / 1e8);
        (
            sum as f64 / n as f64 / 1e8,
            *values.iter().max().unwrap(),
            *values.iter().min().unwrap(),
            deviation,
        )
    }

    proptest! {
        #[test]
        fn statistics_are_those_of_the_values_in_the_window(
            ticks in proptest::collection::vec((0i64..40, -500_000_000_000i64..2_000_000_000_000), 1..400),
            window in prop_oneof![Just(Window::Count(1)), Just(Window::Count(10)), Just(Window::Count(50)),
                Just(Window::Count(100)), (1i64..2_000).prop_map(Window::Time),
                (1usize..60, 1i64..2_000).prop_map(|(count, width)| Window::Last { count, width })],
            offset in prop_oneof![Just(0i64), Just(900_000_000_000_000)],
        ) {
            let mut rolling = Rolling::new(window);
            let (mut now, mut all) = (0, Vec::new());
            for (step, value) in ticks {
                now += step;
                all.push((now, value + offset));
                let found = rolling.push(now, decimal(value + offset)).unwrap();
                let inside: Vec<i64> = match window {
                    Window::Count(count) => all[all.len().saturating_sub(count)..].iter().map(|tick| tick.1).collect(),
                    Window::Time(width) => all.iter().filter(|tick| tick.0 > now - width).map(|tick| tick.1).collect(),
                    Window::Last { count, width } => {
                        let last = all[all.len().saturating_sub(count)..].iter();
                        last.filter(|tick| tick.0 > now - width).map(|tick| tick.1).collect()
                    }
                };
                let (mean, max, min, deviation) = recomputed(&inside);
                prop_assert_eq!((found.count, found.max, found.min), (inside.len(), decimal(max), decimal(min)));
                prop_assert_eq!(found.range, Some(decimal(max - min)));
                let found_mean = found.mean.unscaled() as f64 / 1e8;
                prop_assert!((found_mean - mean).abs() <= 0.5e-8 + mean.abs() * 1e-15, "{} {}", found_mean, mean);
                if offset == 0 {
                    let rounded = rolling.exact_deviation().map(|exact| exact.unscaled() as f64 / 1e8);
                    prop_assert_eq!(rounded.is_some(), deviation.is_some());
                    let (rounded, exact) = (rounded.unwrap_or_default(), deviation.unwrap_or_default());
                    prop_assert!((rounded - exact).abs() <= 0.5e-8 + exact * 1e-12 + 1e-15, "{} {}", rounded, exact);
                }
                match (found.deviation, deviation) {
                    (Some(found), Some(exact)) => prop_assert!((found - exact).abs() <= exact * 1e-12 + 1e-12),
                    (found, exact) => prop_assert_eq!(found, exact),
                }
            }
        }
    }

    #[test]
    fn a_million_large_values_leave_no_trace() {
        let mut rolling = Rolling::new(Window::Count(10));
        for number in 0..1_000_000i64 {
            rolling.push(number, decimal(900_000_000_000_000_000 - number)).unwrap();
        }
        let last = (0..10)
            .map(|_| rolling.push(0, decimal(100_000_000)).unwrap())
            .last()
            .unwrap();
        assert_eq!((last.mean, last.deviation), (decimal(100_000_000), Some(0.0)));
    }

    #[test]
    fn roots_are_rounded_to_the_nearest_integer_and_halves_to_even() {
        let nearest = [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (12, 3), (13, 4)];
        for (square, root) in nearest {
            assert_eq!(rounded_root(square, 1), Some(root), "{square}");
        }
        // 1.5² and 2.5²
        assert_eq!((rounded_root(9, 4), rounded_root(25, 4)), (Some(2), Some(2)));
        assert_eq!((rounded_root(-1, 1), rounded_root(i128::MAX, 1)), (None, None));
    }

    #[test]
    fn halves_are_rounded_to_even() {
        let rounded = |dividend, divisor| rounded(dividend, divisor).unwrap();
        assert_eq!(
            (
                rounded(5, 2),
                rounded(7, 2),
                rounded(-5, 2),
                rounded(-7, 2),
                rounded(8, 3)
            ),
            (2, 4, -2, -4, 3)
        );
    }
}
