//! Derived series by naive arithmetic: for each time, looks for the price of each leg in the list of all of them.
//!
//! A series has a value at each time at which a leg has a price, if every leg has one then: the newest one that counts. The price of an
//! interval counts inside it, a trade until it is too old. Of several prices of one time the most certain one counts, then the producer's
//! sequence, then the last position in the raw log. A price that comes after the hold time changes nothing. A rolling statistic is computed
//! from a window that is cut from the list of all values. Not modelled: values of ten million and more, and a change of the unit.

use std::collections::{BTreeMap, BTreeSet};

use crate::expect::{certainty, order};
use crate::numbers::average;
use crate::parse::Tick;
use crate::products::is_of_interval;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const ONE: i128 = 100_000_000;
/// The hold time of the services' defaults.
const HOLD: i64 = 24 * HOUR;
/// By how much the clock of the stage may be ahead of the append time of a message that it reads.
const SLACK: i64 = HOUR;
/// Most values of a window without a count.
const MOST_VALUES: usize = 1_000;
/// The setting of the series.
pub const SETTING: &str = "AGGREGATION_DERIVED_SERIES";

/// How a value follows from its two legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Formula {
    /// The difference.
    Spread,
    /// The first less so many times the second; at scale 8.
    Spark { heat_rate: i128 },
    /// The quotient; none if the second is not positive.
    HeatRate,
}

/// A statistic that is shown in place of the values: of the last `count` ones, or of all that are younger than `width` microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Rolling {
    Mean { count: usize },
    Deviation { width: i64 },
}

/// A series of two legs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Series {
    pub name: &'static str,
    pub formula: Formula,
    /// Instruments of the load.
    pub legs: [&'static str; 2],
    /// In microseconds.
    pub max_age: i64,
    pub rolling: Option<Rolling>,
    /// As it is configured.
    pub text: &'static str,
}

/// Series whose legs are instruments of the load: trades of which many have one time, some of them late by minutes or a day; prices
/// of intervals with corrections, which come after the trades of their time.
pub const OF_THE_LOAD: [Series; 5] = [
    Series {
        name: "f_spread",
        formula: Formula::Spread,
        legs: ["PJM.FAULT.HUB00", "PJM.FAULT.HUB01"],
        max_age: MINUTE,
        rolling: None,
        text: "f_spread:location_spread:location=PJM.FAULT.HUB00:other=PJM.FAULT.HUB01:max_age=1m",
    },
    Series {
        name: "f_spark",
        formula: Formula::Spark { heat_rate: 750_000_000 },
        legs: ["PJM.FAULT.RT00", "PJM.FAULT.SLOW00"],
        max_age: 10 * MINUTE,
        rolling: None,
        text: "f_spark:spark_spread:power=PJM.FAULT.RT00:gas=PJM.FAULT.SLOW00:heat_rate=7.5:max_age=10m",
    },
    Series {
        name: "f_heat",
        formula: Formula::HeatRate,
        legs: ["PJM.FAULT.RT01", "PJM.FAULT.SLOW01"],
        max_age: 10 * MINUTE,
        rolling: None,
        text: "f_heat:implied_heat_rate:power=PJM.FAULT.RT01:gas=PJM.FAULT.SLOW01:max_age=10m",
    },
    Series {
        name: "f_mean",
        formula: Formula::Spread,
        legs: ["PJM.FAULT.HUB00", "PJM.FAULT.HUB01"],
        max_age: MINUTE,
        rolling: Some(Rolling::Mean { count: 20 }),
        text: "f_mean:location_spread:location=PJM.FAULT.HUB00:other=PJM.FAULT.HUB01:max_age=1m:rolling=mean:count=20",
    },
    Series {
        name: "f_deviation",
        formula: Formula::Spark { heat_rate: 750_000_000 },
        legs: ["PJM.FAULT.RT00", "PJM.FAULT.SLOW00"],
        max_age: 10 * MINUTE,
        rolling: Some(Rolling::Deviation { width: 2 * MINUTE }),
        text: "f_deviation:spark_spread:power=PJM.FAULT.RT00:gas=PJM.FAULT.SLOW00:heat_rate=7.5:max_age=10m:rolling=deviation:window=2m",
    },
];

/// The value of [`SETTING`] for these series.
pub fn setting(all: &[Series]) -> String {
    let texts: Vec<&str> = all.iter().map(|series| series.text).collect();
    texts.join(",")
}

/// A leg of a value: price, time, age and origin.
pub type Leg = (i128, i64, i64, String);

/// What must be stored for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A row with this value, `None` if the formula has no number, and these legs.
    Row(Option<i128>, [Leg; 2]),
    /// No row, or one without a value.
    NoValue,
    /// A price came so late that only the clock of the stage decides.
    Unknown,
}

/// (tenant, series, time in microseconds).
pub type Key = (String, String, i64);

/// What must be stored for every time of these series.
pub fn values(ticks: &[Tick], all: &[Series]) -> BTreeMap<Key, Wanted> {
    let mut values = BTreeMap::new();
    for series in all {
        let of_series = |tick: &&Tick| series.legs.contains(&tick.instrument.as_str());
        let mut tenants: BTreeMap<&str, Vec<&Tick>> = BTreeMap::new();
        for tick in ticks.iter().filter(of_series) {
            tenants.entry(&tick.tenant).or_default().push(tick);
        }
        for (tenant, ticks) in tenants {
            let legs = series.legs.map(|leg| by_time(&ticks, leg));
            let times: BTreeSet<i64> = ticks.iter().map(|tick| tick.time).collect();
            let of_formula = times
                .into_iter()
                .filter_map(|time| Some((time, wanted(series, &legs, time)?)));
            let of_formula: Vec<(i64, Wanted)> = of_formula.collect();
            for (at, (time, wanted)) in of_formula.iter().enumerate() {
                let wanted = match series.rolling {
                    Some(rolling) => rolled(rolling, &of_formula[..=at]),
                    None => wanted.clone(),
                };
                values.insert((tenant.to_owned(), series.name.to_owned(), *time), wanted);
            }
        }
    }
    values
}

/// The prices of a leg by time, the best one of each time last.
type ByTime<'t> = BTreeMap<i64, Vec<&'t Tick>>;

fn by_time<'t>(ticks: &[&'t Tick], leg: &str) -> ByTime<'t> {
    let mut prices = ByTime::new();
    for tick in ticks.iter().filter(|tick| tick.instrument == leg) {
        prices.entry(tick.time).or_default().push(tick);
    }
    for same in prices.values_mut() {
        same.sort_by(|one, other| (grade(one), order(one)).cmp(&(grade(other), order(other))));
    }
    prices
}

/// All trades are equally certain.
fn grade(tick: &Tick) -> (bool, usize, u32) {
    match is_of_interval(&tick.product) {
        true => certainty(tick),
        false => (true, 0, 0),
    }
}

/// Whether the price changes the value at this time; `None` if nobody can say.
fn changes(tick: &Tick, time: i64) -> Option<bool> {
    match tick.appended - HOLD {
        floor if floor > time => Some(false),
        floor if floor + SLACK > time => None,
        _ => Some(true),
    }
}

/// `None`: it is not a time of the series.
fn wanted(series: &Series, legs: &[ByTime<'_>; 2], time: i64) -> Option<Wanted> {
    let of_time = legs.iter().filter_map(|leg| leg.get(&time)).flatten();
    let at_all: Vec<Option<bool>> = of_time.map(|tick| changes(tick, time)).collect();
    if at_all.contains(&None) {
        return Some(Wanted::Unknown);
    }
    if !at_all.contains(&Some(true)) {
        return None;
    }
    let found = [newest(series, &legs[0], time), newest(series, &legs[1], time)];
    if found.iter().any(Result::is_err) {
        return Some(Wanted::Unknown);
    }
    let [Ok(Some(first)), Ok(Some(second))] = found else {
        return Some(Wanted::NoValue);
    };
    let value = match series.formula {
        Formula::Spread => Some(first.price - second.price),
        Formula::Spark { heat_rate } => average(first.price * ONE - heat_rate * second.price, ONE),
        Formula::HeatRate if second.price <= 0 => None,
        Formula::HeatRate => average(first.price * ONE, second.price),
    };
    Some(Wanted::Row(value, [leg(first, time), leg(second, time)]))
}

/// The statistic at the last of these times, in the place of its value.
fn rolled(rolling: Rolling, until: &[(i64, Wanted)]) -> Wanted {
    let (time, legs) = match until.last() {
        Some((time, Wanted::Row(Some(_), legs))) => (*time, legs),
        Some((_, other)) => return other.clone(),
        None => return Wanted::NoValue,
    };
    let (count, width) = match rolling {
        Rolling::Mean { count } => (count, 24 * HOUR),
        Rolling::Deviation { width } => (MOST_VALUES + 1, width),
    };
    let mut window = Vec::new();
    for (_, wanted) in until.iter().rev().take_while(|(at, _)| time - at < width) {
        match wanted {
            Wanted::Unknown => return Wanted::Unknown,
            Wanted::Row(Some(value), _) => window.push(*value),
            Wanted::Row(None, _) | Wanted::NoValue => {}
        }
        if window.len() == count {
            break;
        }
    }
    let n = window.len() as i128;
    let sum: i128 = window.iter().sum();
    let number = match rolling {
        Rolling::Mean { .. } => average(sum, n).filter(|_| window.len() == count),
        Rolling::Deviation { .. } => {
            // n times as far from the mean as the values: integers.
            let squares: i128 = window.iter().map(|value| (n * value - sum).pow(2)).sum();
            (2..=MOST_VALUES)
                .contains(&window.len())
                .then(|| root(squares, n * n * (n - 1)))
        }
    };
    Wanted::Row(number, legs.clone())
}

/// The root of a quotient, rounded half to even.
fn root(dividend: i128, divisor: i128) -> i128 {
    let mut floor = (dividend as f64 / divisor as f64).sqrt() as i128;
    while floor * floor * divisor > dividend {
        floor -= 1;
    }
    while (floor + 1) * (floor + 1) * divisor <= dividend {
        floor += 1;
    }
    let middle = (2 * floor + 1) * (2 * floor + 1) * divisor;
    match middle.cmp(&(4 * dividend)) {
        std::cmp::Ordering::Less => floor + 1,
        std::cmp::Ordering::Equal => floor + floor % 2,
        std::cmp::Ordering::Greater => floor,
    }
}

/// The newest price that counts at this time. An error: nobody can say which one.
fn newest<'t>(series: &Series, prices: &ByTime<'t>, time: i64) -> Result<Option<&'t Tick>, ()> {
    let reach = series.max_age.max(HOUR);
    for same in prices.range(time - reach..=time).rev().map(|(_, same)| same) {
        let mut best = None;
        for tick in same {
            match changes(tick, time) {
                None => return Err(()),
                Some(true) => best = Some(*tick),
                Some(false) => {}
            }
        }
        if let Some(best) = best.filter(|best| time <= last(best, series.max_age)) {
            return Ok(Some(best));
        }
    }
    Ok(None)
}

fn last(tick: &Tick, max_age: i64) -> i64 {
    let length = match tick.product.as_str() {
        "rt5" | "exante" => 5 * MINUTE,
        "rt15" => 15 * MINUTE,
        "rth" | "da" => HOUR,
        _ => return tick.time + max_age,
    };
    tick.time + length - 1
}

fn leg(tick: &Tick, time: i64) -> Leg {
    let age = if is_of_interval(&tick.product) {
        0
    } else {
        time - tick.time
    };
    let origin = format!("{}/{}/{}/{}", tick.feed, tick.partition, tick.offset, tick.index);
    (tick.price, tick.time, age, origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(instrument: &str, offset: i64, time: i64, price: i128) -> Tick {
        Tick {
            is_part: false,
            feed: "raw".to_owned(),
            partition: 0,
            offset,
            index: 0,
            tenant: "t".to_owned(),
            instrument: instrument.to_owned(),
            event_id: None,
            price: price * ONE,
            volume: None,
            time,
            end: None,
            sequence: None,
            product: "trade".to_owned(),
            version: None,
            appended: time,
            reused_id: false,
        }
    }

    fn at(series: &Series, ticks: &[Tick], time: i64) -> Option<Wanted> {
        let key = ("t".to_owned(), series.name.to_owned(), time);
        values(ticks, std::slice::from_ref(series)).remove(&key)
    }

    fn number(wanted: Option<Wanted>) -> Option<i128> {
        match wanted {
            Some(Wanted::Row(value, _)) => value,
            _ => None,
        }
    }

    #[test]
    fn a_spread_uses_the_last_trade_of_a_time_until_it_is_too_old() {
        let [series, ..] = OF_THE_LOAD;
        let [first, second] = series.legs;
        let mut ticks = vec![tick(first, 1, 0, 7), tick(first, 2, 0, 9), tick(second, 3, MINUTE, 4)];
        assert_eq!(number(at(&series, &ticks, MINUTE)), Some(5 * ONE));
        assert_eq!(at(&series, &ticks, 0), Some(Wanted::NoValue));
        assert_eq!(at(&series, &ticks, 1), None);
        ticks[0].sequence = Some(1);
        assert_eq!(number(at(&series, &ticks, MINUTE)), Some(3 * ONE));
        ticks[2].time += 1;
        assert_eq!(at(&series, &ticks, MINUTE + 1), Some(Wanted::NoValue));
    }

    #[test]
    fn an_interval_counts_inside_it_and_a_late_price_not_after_the_hold_time() {
        let [_, spark, heat, ..] = OF_THE_LOAD;
        let [power, gas] = spark.legs;
        let mut ticks = vec![
            tick(power, 1, 0, 55),
            tick(gas, 2, 4 * MINUTE, 4),
            tick(gas, 3, 5 * MINUTE, 4),
        ];
        ticks[0].product = "rt5".to_owned();
        assert_eq!(number(at(&spark, &ticks, 4 * MINUTE)), Some(25 * ONE));
        assert_eq!(at(&spark, &ticks, 5 * MINUTE), Some(Wanted::NoValue));
        ticks[1].appended = 4 * MINUTE + HOLD;
        assert_eq!(at(&spark, &ticks, 4 * MINUTE), Some(Wanted::Unknown));
        ticks[1].appended += 1;
        assert_eq!(at(&spark, &ticks, 4 * MINUTE), None);
        let [power, gas] = heat.legs;
        let ticks = [tick(power, 1, 0, 55), tick(gas, 2, 0, 0), tick(gas, 3, 1, 3)];
        assert!(matches!(at(&heat, &ticks, 0), Some(Wanted::Row(None, _))));
        assert_eq!(number(at(&heat, &ticks, 1)), Some(1_833_333_333));
    }

    #[test]
    fn windows_reach_as_far_as_their_count_or_their_time() {
        let [.., mean, deviation] = OF_THE_LOAD;
        let [first, second] = mean.legs;
        let mut ticks: Vec<Tick> = (0..22).map(|at| tick(first, at, at * 1_000, i128::from(at))).collect();
        ticks.push(tick(second, 100, 0, 0));
        assert!(matches!(at(&mean, &ticks, 18_000), Some(Wanted::Row(None, _))));
        assert_eq!(number(at(&mean, &ticks, 19_000)), Some(950_000_000));
        assert_eq!(number(at(&mean, &ticks, 21_000)), Some(1_150_000_000));
        let [power, gas] = deviation.legs;
        let mut ticks = vec![tick(gas, 100, 0, 0)];
        ticks.extend([(0, 1), (1, 2), (2, 4)].map(|(at, price)| tick(power, at, at * MINUTE, price)));
        assert!(matches!(at(&deviation, &ticks, 0), Some(Wanted::Row(None, _))));
        // Of 1 and 2, then of 2 and 4: the value of the first minute has left.
        assert_eq!(number(at(&deviation, &ticks, MINUTE)), Some(70_710_678));
        assert_eq!(number(at(&deviation, &ticks, 2 * MINUTE)), Some(141_421_356));
        ticks[2].appended = MINUTE + HOLD;
        assert_eq!(at(&deviation, &ticks, 2 * MINUTE), Some(Wanted::Unknown));
    }

    #[test]
    fn roots_are_the_nearest_integers_and_halves_are_even() {
        let nearest = [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (12, 3), (13, 4)];
        for (square, expected) in nearest {
            assert_eq!(root(square, 1), expected, "{square}");
        }
        assert_eq!((root(9, 4), root(25, 4)), (2, 2));
    }
}
