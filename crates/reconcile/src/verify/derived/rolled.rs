//! What a rolling statistic of a series is worth at one time, from the values of its times. Pure.
//!
//! Role: the second opinion of `dp verify`. It takes the window of each time from the whole list; it shares no code with `curves::derived`.
//! Invariants: the window holds the values of one unit, from its own time back, as far as count and width reach. Values of ten million or
//! more do not count.
//! Failure: a window with a value that nobody knows is [`Wanted::Unknown`].

use domain::Micros;

use super::rules::{ONE, Row, Wanted, divided, is_decimal};
use super::statistic::Rolled;

/// Most values of a window without a count.
const MOST: usize = 1_000;
/// Values from here on do not count, at scale 8.
const LARGEST: u64 = 1_000_000_000_000_000;

/// What the table must have at this time. `values` has what the series is worth at each time of its legs, in order.
pub(super) fn wanted(time: Micros, values: &[(Micros, Wanted)], rolled: Rolled) -> Wanted {
    let end = values.partition_point(|(at, _)| *at <= time);
    let until = values.get(..end).unwrap_or_default();
    let row = match until.last() {
        Some((at, Wanted::Row(row))) if *at == time => row,
        Some((at, other)) if *at == time => return other.clone(),
        _ => return Wanted::Nothing,
    };
    let Some(window) = window(time, until, row, rolled) else {
        return Wanted::Unknown;
    };
    let appended = window.iter().map(|row| row.appended).max();
    let numbers: Vec<i128> = window.iter().filter_map(|row| row.value).map(i128::from).collect();
    let is_score = rolled.statistic == "z_score";
    Wanted::Row(Row {
        value: number(rolled, &numbers).and_then(is_decimal),
        unit: if is_score { "1".to_owned() } else { row.unit.clone() },
        appended: appended.unwrap_or(row.appended).max(row.appended),
        legs: row.legs.clone(),
    })
}

/// The rows of the window whose last one is `row`, from its end; empty if this row does not count. `None`: it depends on a value that
/// nobody knows.
fn window<'v>(time: Micros, until: &'v [(Micros, Wanted)], row: &Row, rolled: Rolled) -> Option<Vec<&'v Row>> {
    let counts = |row: &Row| row.value.is_some_and(|value| value.unsigned_abs() < LARGEST);
    let mut window = Vec::new();
    if !counts(row) {
        return Some(window);
    }
    for (at, wanted) in until.iter().rev() {
        // One more than permitted shows that there are too many.
        if *at <= time.saturating_sub(rolled.width) || window.len() >= rolled.count.unwrap_or(MOST + 1) {
            break;
        }
        match wanted {
            Wanted::Unknown => return None,
            Wanted::Row(other) if counts(other) && other.unit != row.unit => break,
            Wanted::Row(other) if counts(other) => window.push(other),
            Wanted::Row(_) | Wanted::Nothing | Wanted::NoValue => {}
        }
    }
    Some(window)
}

/// The statistic of these values, of which the last one comes first.
fn number(rolled: Rolled, values: &[i128]) -> Option<i128> {
    let is_whole = match rolled.count {
        Some(count) => values.len() == count,
        None => values.len() <= MOST,
    };
    let n = i128::try_from(values.len()).ok().filter(|n| is_whole && *n > 0)?;
    let sum: i128 = values.iter().sum();
    let (max, min) = (values.iter().max()?, values.iter().min()?);
    match rolled.statistic {
        "mean" => Some(divided(sum, n)),
        "max" => Some(*max),
        "min" => Some(*min),
        "range" => Some(max - min),
        "deviation" => deviation(values, sum, n),
        "z_score" => {
            let deviation = deviation(values, sum, n).filter(|deviation| *deviation > 0)?;
            Some(divided((values.first()? - divided(sum, n)) * ONE, deviation))
        }
        _ => None,
    }
}

/// The standard deviation of a sample, rounded half to even.
fn deviation(values: &[i128], sum: i128, n: i128) -> Option<i128> {
    if n < 2 {
        return None;
    }
    // Without the common part of all values, the numbers stay small.
    let base = *values.first()?;
    let squares: i128 = values.iter().map(|value| (value - base) * (value - base)).sum();
    let above = sum - n * base;
    nearest_root(n * squares - above * above, n * (n - 1))
}

/// The integer next to `sqrt(dividend / divisor)`, by halving; of two that are equally near, the even one.
fn nearest_root(dividend: i128, divisor: i128) -> Option<i128> {
    // The largest r with `(2 r - 1)² divisor <= 4 dividend`, that is with r - 1/2 at or below the root.
    let is_at_most = |r: i128| {
        let odd = (2 * r - 1).max(0);
        let square = odd.checked_mul(odd).and_then(|square| square.checked_mul(divisor));
        square.is_some_and(|square| square <= 4 * dividend)
    };
    dividend.checked_mul(4)?;
    let (mut low, mut high) = (0, i128::from(i64::MAX));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match is_at_most(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    let odd = 2 * low - 1;
    let is_half = low > 0 && odd * odd * divisor == 4 * dividend;
    Some(if is_half && low % 2 == 1 { low - 1 } else { low })
}

#[cfg(test)]
mod tests {
    use super::super::rules::tests::{asked, trade};
    use super::super::rules::{self, Leg, Times};
    use super::*;

    /// What a basis against a free leg is worth at these times, with these prices.
    fn values(prices: &[(Micros, i64)]) -> Vec<(Micros, Wanted)> {
        let local = (0..).zip(prices).map(|(at, (time, price))| trade(*time, *price, at));
        let reference = (100..).zip(prices).map(|(at, (time, _))| trade(*time, 0, at));
        let legs = [local.collect(), reference.collect()].map(|prices| Leg::new(prices, 60));
        let times = Times {
            hold: 100_000,
            slack: 10,
        };
        let of = |(time, _): &(Micros, i64)| (*time, rules::wanted(*time, &legs, &asked("basis"), times));
        prices.iter().map(of).collect()
    }

    fn found(time: Micros, values: &[(Micros, Wanted)], rolled: (&'static str, Option<usize>, Micros)) -> Option<i64> {
        let (statistic, count, width) = rolled;
        let rolled = Rolled {
            statistic,
            count,
            width,
        };
        match wanted(time, values, rolled) {
            Wanted::Row(row) => row.value,
            _ => None,
        }
    }

    #[test]
    fn windows_reach_as_far_as_count_and_width() {
        let values = values(&[(10, 1), (20, 2), (30, 6), (40, 4)]);
        assert_eq!(found(40, &values, ("mean", Some(4), 1_000)), Some(325_000_000));
        assert_eq!(found(40, &values, ("mean", Some(4), 30)), None);
        assert_eq!(found(40, &values, ("mean", None, 30)), Some(400_000_000));
        assert_eq!(found(30, &values, ("range", None, 1_000)), Some(500_000_000));
        // Of 1 and 2: √½. The score is ½ ÷ √½.
        assert_eq!(found(20, &values, ("deviation", Some(2), 1_000)), Some(70_710_678));
        assert_eq!(found(20, &values, ("z_score", Some(2), 1_000)), Some(70_710_678));
        assert_eq!(found(10, &values, ("deviation", None, 1_000)), None);
        assert_eq!(
            wanted(
                11,
                &values,
                Rolled {
                    statistic: "mean",
                    count: None,
                    width: 9
                }
            ),
            Wanted::Nothing
        );
    }

    #[test]
    fn a_value_that_nobody_knows_leaves_the_window_unknown_and_a_missing_one_does_not() {
        let mut values = values(&[(10, 1), (20, 2), (30, 6)]);
        let mean = |values: &[(Micros, Wanted)]| {
            let rolled = Rolled {
                statistic: "mean",
                count: None,
                width: 15,
            };
            wanted(30, values, rolled)
        };
        if let Some(before) = values.get_mut(1) {
            before.1 = Wanted::NoValue;
        }
        assert!(matches!(
            mean(&values),
            Wanted::Row(Row {
                value: Some(600_000_000),
                ..
            })
        ));
        if let Some(before) = values.get_mut(1) {
            before.1 = Wanted::Unknown;
        }
        assert_eq!(mean(&values), Wanted::Unknown);
    }

    #[test]
    fn roots_are_the_nearest_integers_and_halves_are_even() {
        let nearest = [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (12, 3), (13, 4)];
        for (square, root) in nearest {
            assert_eq!(nearest_root(square, 1), Some(root), "{square}");
        }
        assert_eq!((nearest_root(9, 4), nearest_root(25, 4)), (Some(2), Some(2)));
    }
}
