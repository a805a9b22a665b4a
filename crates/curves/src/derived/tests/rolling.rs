//! Rolling statistics against the windows of the whole set of prices, in integers, and after a restart.

use super::super::statistic::{RollingStatistic, Statistic};
use super::*;

fn rolled(formula: Formula, max_age: Micros, rolling: RollingStatistic) -> Arc<Definition> {
    let definition = Definition {
        rolling: Some(rolling),
        ..(*definition(formula, max_age)).clone()
    };
    definition.check().unwrap();
    Arc::new(definition)
}

fn of(statistic: Statistic, count: Option<usize>, width: Micros) -> RollingStatistic {
    RollingStatistic {
        statistic,
        count,
        width,
    }
}

fn statistics(widths: std::ops::Range<i64>, unit: Micros) -> impl Strategy<Value = RollingStatistic> {
    let statistic = proptest::sample::select(Statistic::ALL.to_vec());
    let rolling = (statistic, proptest::option::of(2usize..7), widths);
    rolling.prop_map(move |(statistic, count, width)| of(statistic, count, width * unit))
}

/// Whether `found` is the integer next to `dividend / divisor`.
fn is_nearest(found: i128, dividend: i128, divisor: i128) -> bool {
    (2 * (found * divisor - dividend)).abs() <= divisor
}

/// Dividend and divisor of the variance: `n Σv² - (Σv)²` and `n (n - 1)`.
fn variance(values: &[i128]) -> (i128, i128) {
    let n = values.len() as i128;
    let sum: i128 = values.iter().sum();
    let squares: i128 = values.iter().map(|value| value * value).sum();
    (n * squares - sum * sum, n * (n - 1))
}

/// Whether `found` is the integer next to the root.
fn is_nearest_root(found: i128, (dividend, divisor): (i128, i128)) -> bool {
    let below = (2 * found - 1).max(0);
    below * below * divisor <= 4 * dividend && 4 * dividend <= (2 * found + 1).pow(2) * divisor
}

/// Whether this is the number of a window with these values, of which the last one comes first.
fn is_number(rolling: RollingStatistic, found: Option<Decimal>, values: &[i128]) -> bool {
    let n = values.len() as i128;
    if rolling.count.is_some_and(|count| values.len() < count) {
        return found.is_none();
    }
    let found = found.map(|found| i128::from(found.unscaled()));
    let (sum, variance) = (values.iter().sum::<i128>(), variance(values));
    let (max, min) = (values.iter().max().unwrap(), values.iter().min().unwrap());
    match rolling.statistic {
        Statistic::Mean => is_nearest(found.unwrap(), sum, n),
        Statistic::Max => found == Some(*max),
        Statistic::Min => found == Some(*min),
        Statistic::Range => found == Some(max - min),
        Statistic::Deviation if n == 1 => found.is_none(),
        Statistic::Deviation => is_nearest_root(found.unwrap(), variance),
        // Prices are integers, so a deviation is 0 or far above a unit of the scale, and the score is right to six digits.
        Statistic::ZScore if n == 1 || variance.0 == 0 => found.is_none(),
        Statistic::ZScore => {
            let deviation = (variance.0 as f64 / variance.1 as f64).sqrt();
            let exact = (values[0] as f64 - sum as f64 / n as f64) / deviation;
            (found.unwrap() as f64 / 1e8 - exact).abs() < 1e-6
        }
    }
}

proptest! {
    /// Whatever the order of the prices, the last number of each time is that of the window in the set; revisions count up from 0.
    #[test]
    fn the_last_numbers_are_those_of_the_windows_of_the_set(
        quotes in quotes(),
        seed in any::<u64>(),
        rolling in statistics(1..400, 1),
    ) {
        let clock = quotes.iter().map(|quote| quote.time).max().unwrap();
        let mut order: Vec<Quote> = quotes.iter().map(|quote| Quote { clock, ..quote.clone() }).collect();
        order.sort_by_key(|quote| (quote.offset as u64 ^ seed).wrapping_mul(6_364_136_223_846_793_005));
        let mut series = Series::new(rolled(Formula::Basis, MAX_AGE, rolling), ENDLESS);
        let mut last: BTreeMap<Micros, Shown> = BTreeMap::new();
        for (version, quote) in (0..).zip(&order) {
            for shown in take(&mut series, Formula::Basis, quote, version).1 {
                let revision = last.get(&shown.time).map_or(0, |before| before.revision + 1);
                prop_assert_eq!(shown.revision, revision);
                last.insert(shown.time, shown);
            }
        }
        let bases = naive(&quotes, 2);
        for (time, (_, origins)) in &bases {
            let inside = bases.range(..=time).rev().take_while(|(at, _)| **at > time - rolling.width);
            let values: Vec<i128> = inside
                .take(rolling.count.unwrap_or(usize::MAX))
                .map(|(_, (value, _))| i128::from(value.unscaled()))
                .collect();
            let shown = &last[time];
            prop_assert_eq!(&shown.legs, origins);
            prop_assert!(is_number(rolling, shown.value, &values), "{:?} of {:?}", shown, values);
        }
        let mut others = last.values().filter(|shown| !bases.contains_key(&shown.time));
        prop_assert!(others.all(|shown| shown.value.is_none()));
    }

    /// A window reaches further back than the prices of its last value: `read_back` must cover it.
    #[test]
    fn windows_read_back_go_on_as_the_lost_ones(
        log in logs(),
        crash in any::<prop::sample::Index>(),
        rolling in statistics(1..60, HOUR),
    ) {
        goes_on(&log, crash.index(log.len()), &rolled(Formula::Basis, LONG_AGE, rolling))?;
    }
}

/// The rows of these prices: time, number, revision, cause.
fn rows(rolling: RollingStatistic, quotes: &[Quote]) -> Vec<(Micros, Option<String>, i32, DerivedCause)> {
    let mut series = Series::new(rolled(Formula::Basis, MAX_AGE, rolling), ENDLESS);
    let mut rows = Vec::new();
    for (version, quote) in (0..).zip(quotes) {
        let shown = take(&mut series, Formula::Basis, quote, version).1;
        let row = |shown: Shown| {
            let number = shown.value.map(|value| value.to_string());
            (shown.time, number, shown.revision, shown.cause)
        };
        rows.extend(shown.into_iter().map(row));
    }
    rows
}

#[test]
fn a_price_that_comes_late_changes_exactly_the_windows_that_hold_its_value() {
    // The other leg counts all the time; the values are 1, 2, 6 and, late, 4.
    let quotes = [
        Quote::interval(1, (0, 1_000), 0, 0),
        Quote::trade(0, 10, 1, 1),
        Quote::trade(0, 20, 2, 2),
        Quote::trade(0, 40, 6, 3),
        Quote::trade(0, 50, 6, 4),
        Quote::trade(0, 30, 4, 5),
    ];
    let row = |time, number: Option<&str>, revision, cause| (time, number.map(str::to_owned), revision, cause);
    let (first, late) = (DerivedCause::First, DerivedCause::Late);
    assert_eq!(
        rows(of(Statistic::Mean, Some(2), 1_000), &quotes),
        [
            row(10, None, 0, first),
            row(20, Some("1.5"), 0, first),
            row(40, Some("4"), 0, first),
            row(50, Some("6"), 0, first),
            row(30, Some("3"), 0, first),
            // The window of 50 does not reach back to 30.
            row(40, Some("5"), 1, late),
        ]
    );
    assert_eq!(
        rows(of(Statistic::Max, None, 15), &quotes[..4]),
        [
            row(10, Some("1"), 0, first),
            row(20, Some("2"), 0, first),
            row(40, Some("6"), 0, first),
        ]
    );
    // 1 and 2: mean 1.5, deviation √½, score ½ ÷ √½.
    assert_eq!(
        rows(of(Statistic::Deviation, None, 15), &quotes[..3])[1].1.as_deref(),
        Some("0.70710678")
    );
    assert_eq!(
        rows(of(Statistic::ZScore, None, 15), &quotes[..3])[1].1.as_deref(),
        Some("0.70710678")
    );
}

#[test]
fn values_of_another_unit_and_of_ten_million_do_not_count() {
    let mut series = Series::new(
        rolled(Formula::Basis, MAX_AGE, of(Statistic::Mean, Some(2), 1_000)),
        ENDLESS,
    );
    let mut numbers = Vec::new();
    let prices = [
        ("MWh", 1, 10),
        ("MWh", 3, 20),
        ("MMBtu", 5, 30),
        ("MMBtu", 7, 40),
        ("MMBtu", 10_000_000, 50),
        ("MMBtu", 9, 60),
    ];
    for (offset, (unit, price, time)) in (0i64..).zip(prices) {
        for (role, id, at, price) in [("local", "X.local", 0, price), ("reference", "X.reference", 1, 0)] {
            let price = LegPrice {
                unit,
                ..leg(role, id, &Quote::trade(at, time, price, 2 * offset + at as i64))
            };
            series.take(&price, 2 * offset + at as i64, &mut |shown| {
                numbers.push((shown.event_time, shown.value.map(|value| value.to_string())));
            });
        }
    }
    let last: BTreeMap<Micros, Option<String>> = numbers.into_iter().collect();
    let expected = [None, Some("2"), None, Some("6"), None, Some("8")];
    assert_eq!(
        last.into_values().collect::<Vec<_>>(),
        expected.map(|text| text.map(str::to_owned))
    );
}

#[test]
fn a_window_of_a_span_with_too_many_values_has_no_number_until_they_leave_it() {
    let mut series = Series::new(
        rolled(Formula::Basis, MAX_AGE, of(Statistic::Min, None, 10_000)),
        ENDLESS,
    );
    let most = super::super::MOST_VALUES as i64;
    let reference = Quote::interval(1, (0, 100_000), 0, 0);
    take(&mut series, Formula::Basis, &reference, 0);
    let mut at = |time: Micros| {
        let quote = Quote::trade(0, time, time, time);
        let shown = take(&mut series, Formula::Basis, &quote, time).1;
        shown
            .last()
            .and_then(|shown| shown.value)
            .map(|value| value.to_string())
    };
    let numbers: Vec<Option<String>> = (1..=most + 1).map(&mut at).collect();
    assert_eq!(numbers[numbers.len() - 2..], [Some("1".to_owned()), None]);
    assert_eq!(at(10_002), Some("3".to_owned()));
}

#[test]
fn windows_that_could_not_be_read_back_are_refused() {
    let check = |count, width| {
        let plain = definition(Formula::Basis, MAX_AGE);
        let definition = Definition {
            rolling: Some(of(Statistic::Mean, count, width)),
            ..(*plain).clone()
        };
        definition.check().map_err(|error| error.to_string())
    };
    assert!(check(Some(1), 1).unwrap_err().contains("2 to 1000"));
    assert!(check(Some(1_001), 1).is_err());
    assert!(check(None, 0).unwrap_err().contains("positive"));
    assert!(check(None, 143 * HOUR + 1).unwrap_err().contains("7 days"));
    assert_eq!(check(None, 143 * HOUR), Ok(()));
    let mean = rolled(Formula::Basis, MAX_AGE, of(Statistic::Mean, None, HOUR));
    assert_eq!((mean.kind().as_str(), mean.reach()), ("basis_rolling_mean", 26 * HOUR));
    for statistic in Statistic::ALL {
        assert_eq!(Statistic::named(statistic.name()), Some(statistic));
    }
}
