#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod model;
mod rolling;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use domain::{Decimal, DerivedCause, Kind, LegPrice, LegPurpose, Micros, Origin};
use proptest::prelude::*;

use super::{Definition, Formula, Limits, Reason, Series, Taken, read_back};

const MAX_AGE: Micros = 60;
const HOUR: Micros = 3_600_000_000;
const ENDLESS: Limits = Limits {
    hold: Micros::MAX / 4,
    behind: Micros::MAX / 4,
    prices: usize::MAX,
    without: None,
};

fn decimal(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn definition(formula: Formula, max_age: Micros) -> Arc<Definition> {
    let legs = formula.legs().iter().map(|leg| format!("X.{leg}")).collect();
    let definition = Definition {
        series: "test".into(),
        formula,
        legs,
        max_age,
        rolling: None,
    };
    definition.check().unwrap();
    Arc::new(definition)
}

/// One price, owned.
#[derive(Debug, Clone, PartialEq)]
struct Quote {
    leg: usize,
    time: Micros,
    end: Option<Micros>,
    price: i64,
    version: Option<&'static str>,
    offset: i64,
    clock: Micros,
}

impl Quote {
    fn trade(leg: usize, time: Micros, price: i64, offset: i64) -> Quote {
        Quote {
            leg,
            time,
            end: None,
            price,
            version: None,
            offset,
            clock: time,
        }
    }

    fn interval(leg: usize, (time, end): (Micros, Micros), price: i64, offset: i64) -> Quote {
        Quote {
            end: Some(end),
            ..Quote::trade(leg, time, price, offset)
        }
    }

    fn decimal(&self) -> Decimal {
        Decimal::from_integer(self.price).unwrap()
    }
}

fn leg<'a>(role: &'a str, instrument_id: &'a str, quote: &Quote) -> LegPrice<'a> {
    LegPrice {
        origin: Origin {
            feed: "raw",
            partition: quote.leg as i32,
            offset: quote.offset,
            index: 0,
        },
        tenant_id: "t",
        purpose: LegPurpose::Series,
        series: "test",
        role,
        definition: None,
        instrument_id,
        kind: if quote.end.is_some() {
            Kind::Interval
        } else {
            Kind::Trade
        },
        event_time: quote.time,
        interval_end: quote.end,
        price: quote.decimal(),
        volume: None,
        bid: None,
        ask: None,
        congestion: None,
        loss: None,
        currency: "USD",
        unit: if role == "gas" { "MMBtu" } else { "MWh" },
        version: quote.version,
        sequence: None,
        appended_at: Some(quote.clock),
        log_clock: quote.clock,
        enriched_partition: 0,
        enriched_offset: quote.offset,
        index: 0,
    }
}

/// What is compared of a value that was sent.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    time: Micros,
    value: Option<Decimal>,
    /// Offsets of the origins of its legs.
    legs: Vec<i64>,
    revision: i32,
    cause: DerivedCause,
    version: i64,
}

fn take(series: &mut Series, formula: Formula, quote: &Quote, version: i64) -> (Taken, Vec<Shown>) {
    let role = formula.legs()[quote.leg];
    let instrument = format!("X.{role}");
    let mut shown = Vec::new();
    let taken = series.take(&leg(role, &instrument, quote), version, &mut |price| {
        shown.push(Shown {
            time: price.event_time,
            value: price.value,
            legs: price.legs.iter().map(|leg| leg.origin.offset).collect(),
            revision: price.revision,
            cause: price.cause,
            version: price.version,
        });
    });
    (taken, shown)
}

/// All values of these quotes, in this order.
fn run(formula: Formula, quotes: &[Quote]) -> Vec<Shown> {
    let mut series = Series::new(definition(formula, MAX_AGE), ENDLESS);
    let each = (0..).zip(quotes);
    each.flat_map(|(version, quote)| take(&mut series, formula, quote, version).1)
        .collect()
}

fn last(formula: Formula, prices: &[LegPrice<'_>]) -> Option<String> {
    let mut series = Series::new(definition(formula, MAX_AGE), ENDLESS);
    let mut last = None;
    for (version, price) in (0..).zip(prices) {
        series.take(price, version, &mut |shown| {
            last = shown.value.map(|value| value.to_string())
        });
    }
    last
}

#[test]
fn each_formula_gives_its_worked_example() {
    let of_two = |formula: Formula, prices: [&str; 2]| {
        let ids = formula.legs().iter().map(|leg| format!("X.{leg}")).collect::<Vec<_>>();
        let priced = |at: usize| LegPrice {
            price: decimal(prices[at]),
            ..leg(formula.legs()[at], &ids[at], &Quote::trade(at, 7, 0, at as i64))
        };
        last(formula, &[priced(0), priced(1)])
    };
    let spark = Formula::SparkSpread {
        heat_rate: decimal("7.5"),
    };
    assert_eq!(of_two(spark, ["55", "4"]).as_deref(), Some("25"));
    assert_eq!(of_two(spark, ["20", "-1.00000001"]).as_deref(), Some("27.50000008"));
    assert_eq!(of_two(Formula::ImpliedHeatRate, ["55", "4"]).as_deref(), Some("13.75"));
    let negative = of_two(Formula::ImpliedHeatRate, ["-55", "3"]);
    assert_eq!(negative.as_deref(), Some("-18.33333333"));
    assert_eq!(of_two(Formula::ImpliedHeatRate, ["55", "0"]), None);
    assert_eq!(of_two(Formula::ImpliedHeatRate, ["55", "-2"]), None);
    assert_eq!(of_two(Formula::Basis, ["2.10", "3.45"]).as_deref(), Some("-1.35"));
    assert_eq!(of_two(Formula::CalendarSpread, ["3", "3.5"]).as_deref(), Some("-0.5"));
    let day_ahead = of_two(Formula::DayAheadMinusRealTime, ["31.5", "-10"]);
    assert_eq!(day_ahead.as_deref(), Some("41.5"));
    let at = |leg| Quote::trade(leg, 7, 0, leg as i64);
    let quote = LegPrice {
        bid: Some(decimal("3.01")),
        ask: Some(decimal("3.02")),
        ..leg("quote", "X.quote", &at(0))
    };
    assert_eq!(last(Formula::BidAskSpread, &[quote]).as_deref(), Some("0.01"));
    let price = LegPrice {
        price: decimal("-41.25"),
        ..leg("instrument", "X.instrument", &at(0))
    };
    assert_eq!(last(Formula::Price, &[price]).as_deref(), Some("-41.25"));
    let node = |role, id, at: usize, congestion, loss| LegPrice {
        congestion: Some(decimal(congestion)),
        loss: Some(decimal(loss)),
        ..leg(role, id, &Quote::trade(at, 7, 0, at as i64))
    };
    let nodes = [
        node("sink", "X.sink", 0, "5", "1"),
        node("source", "X.source", 1, "-2", "0.5"),
    ];
    assert_eq!(last(Formula::Congestion, &nodes).as_deref(), Some("7.5"));
}

#[test]
fn a_price_that_came_late_or_was_corrected_revises_exactly_what_it_changes() {
    let quotes = [
        Quote::trade(1, 10, 3, 0),
        Quote::trade(0, 20, 5, 1),
        Quote::trade(0, 30, 6, 2),
        // Between both: only the value at 30 had a later price of this leg.
        Quote::trade(1, 25, 4, 3),
        // Of the same time and a later origin.
        Quote::trade(1, 25, 1, 4),
    ];
    let shown = run(Formula::Basis, &quotes);
    let found: Vec<_> = shown
        .iter()
        .map(|shown| {
            (
                shown.time,
                shown.value.unwrap().to_string(),
                shown.revision,
                shown.cause,
            )
        })
        .collect();
    let of = |time, value: &str, revision, cause| (time, value.to_owned(), revision, cause);
    assert_eq!(
        found,
        [
            of(20, "2", 0, DerivedCause::First),
            of(30, "3", 0, DerivedCause::First),
            of(25, "1", 0, DerivedCause::First),
            of(30, "2", 1, DerivedCause::Late),
            of(25, "4", 1, DerivedCause::Correction),
            of(30, "5", 2, DerivedCause::Correction),
        ]
    );
}

#[test]
fn a_stale_leg_gives_no_value_and_intervals_count_until_they_end() {
    let formula = Formula::Basis;
    let mut series = Series::new(definition(formula, MAX_AGE), ENDLESS);
    for (version, quote, values) in [
        (0, Quote::trade(0, 100, 1, 0), 0),
        (1, Quote::trade(1, 160, 2, 1), 1),
        (2, Quote::trade(1, 161, 2, 2), 0),
        // The trade at 161 still counts.
        (3, Quote::interval(0, (200, 300), 7, 3), 1),
        (4, Quote::trade(1, 299, 2, 4), 1),
        (5, Quote::trade(1, 300, 2, 5), 0),
    ] {
        assert_eq!(take(&mut series, formula, &quote, version).1.len(), values, "{quote:?}");
    }
    let skipped = series.take_counts().skipped;
    let of = |reason: Reason| skipped[reason as usize];
    // Stale at 161 and 300.
    assert_eq!((of(Reason::Waiting), of(Reason::Stale)), (1, 2));
}

#[test]
fn a_gas_price_of_zero_revises_the_heat_rate_to_null_with_its_legs() {
    let quotes = [
        Quote::interval(0, (0, 60), 55, 0),
        Quote::trade(1, 0, 5, 1),
        Quote::trade(1, 0, 0, 2),
    ];
    let shown = run(Formula::ImpliedHeatRate, &quotes);
    assert_eq!(shown[0].value, Some(decimal("11")));
    let null = Shown {
        time: 0,
        value: None,
        legs: vec![0, 2],
        revision: 1,
        cause: DerivedCause::Correction,
        version: 2,
    };
    assert_eq!(shown[1..], [null]);
}

#[test]
fn what_cannot_be_used_is_counted() {
    let formula = Formula::Basis;
    let limits = Limits {
        hold: 100,
        behind: 0,
        prices: 3,
        ..ENDLESS
    };
    let mut series = Series::new(definition(formula, MAX_AGE), limits);
    let mut check = |quote: Quote, expected: Taken| {
        assert_eq!(
            take(&mut series, formula, &quote, quote.offset).0,
            expected,
            "{quote:?}"
        );
    };
    check(Quote::trade(0, 1_000, 1, 0), Taken::Used);
    check(Quote::trade(0, 1_000, 1, 0), Taken::Superseded);
    let late = Quote {
        clock: 1_000,
        ..Quote::trade(1, 839, 1, 1)
    };
    check(late.clone(), Taken::Skipped(Reason::TooLate));
    check(Quote { time: 840, ..late }, Taken::Used);
    let ahead = Quote {
        clock: 1_000,
        ..Quote::trade(1, 1_001 + 48 * HOUR, 1, 2)
    };
    check(ahead, Taken::Skipped(Reason::OutOfReach));
    check(
        Quote::interval(1, (1_000, 1_000), 1, 3),
        Taken::Skipped(Reason::OutOfReach),
    );
    let unknown = leg("far", "X.far", &Quote::trade(0, 1_000, 1, 4));
    assert_eq!(
        series.take(&unknown, 4, &mut |_| ()),
        Taken::Skipped(Reason::UnknownLeg)
    );
    let counts = series.take_counts();
    assert_eq!(counts.skipped[Reason::OutOfReach as usize], 2);
    assert_eq!(counts.evicted, 0);
    for time in [1_001, 1_002, 1_003] {
        take(&mut series, formula, &Quote::trade(0, time, 1, time), time);
    }
    // Three prices stay: the oldest is forgotten.
    assert_eq!((series.len(), series.take_counts().evicted), (3, 1));
}

#[test]
fn legs_in_other_units_are_not_combined() {
    let gas = LegPrice {
        unit: "MMBtu",
        ..leg("reference", "X.reference", &Quote::trade(1, 7, 4, 1))
    };
    let power = leg("local", "X.local", &Quote::trade(0, 7, 55, 0));
    assert_eq!(last(Formula::Basis, &[power, gas]), None);
}

#[test]
fn a_spark_spread_and_a_heat_rate_need_power_by_the_megawatt_hour_and_gas_by_the_million_british_thermal_units() {
    let spark = Formula::SparkSpread {
        heat_rate: decimal("7.5"),
    };
    for formula in [spark, Formula::ImpliedHeatRate] {
        let of = |units: [&'static str; 2]| {
            let power = LegPrice {
                unit: units[0],
                ..leg("power", "X.power", &Quote::trade(0, 7, 55, 0))
            };
            let gas = LegPrice {
                unit: units[1],
                ..leg("gas", "X.gas", &Quote::trade(1, 7, 4, 1))
            };
            last(formula, &[power, gas]).is_some()
        };
        assert!(of(["MWh", "MMBtu"]));
        for units in [["MWh", "MWh"], ["MMBtu", "MMBtu"], ["MMBtu", "MWh"], ["MWh", "therm"]] {
            assert!(!of(units), "{formula:?} of {units:?}");
        }
    }
}

#[test]
fn values_go_on_when_there_are_ever_more_prices_than_the_limit() {
    let formula = Formula::Basis;
    let limits = Limits { prices: 10, ..ENDLESS };
    // Each price counts for far longer than ten prices last.
    let mut series = Series::new(definition(formula, HOUR), limits);
    let mut values = 0;
    for at in 0..100 {
        let shown = take(&mut series, formula, &Quote::trade((at % 2) as usize, at, at, at), at).1;
        values += shown
            .iter()
            .filter(|shown| shown.time == at && shown.value.is_some())
            .count();
        assert!(series.len() <= 10);
    }
    assert_eq!((values, series.take_counts().evicted), (99, 90));
    // One leg has a single price, which is the oldest of all.
    let mut series = Series::new(definition(formula, HOUR), limits);
    let first = take(&mut series, formula, &Quote::trade(1, 0, 7, 0), 0).1.len();
    let next = (1..=100).map(|at| take(&mut series, formula, &Quote::trade(0, at, at, at), at).1.len());
    assert_eq!((first, next.sum::<usize>()), (0, 100));
}

#[test]
fn a_price_that_is_forgotten_before_its_time_revises_no_value_that_used_it() {
    let formula = Formula::Basis;
    let limits = Limits { prices: 3, ..ENDLESS };
    let mut series = Series::new(definition(formula, HOUR), limits);
    let quotes = [
        Quote::interval(1, (0, 300), 1, 0),
        Quote::trade(0, 250, 5, 1),
        // Both are over before the first one, which counts again after them.
        Quote::interval(1, (100, 200), 2, 2),
        Quote::interval(1, (210, 215), 3, 3),
        Quote::trade(0, 250, 6, 4),
    ];
    let mut shown = Vec::new();
    for quote in &quotes {
        shown.extend(take(&mut series, formula, quote, quote.offset).1);
    }
    let found: Vec<_> = shown.iter().map(|shown| (shown.time, shown.value)).collect();
    assert_eq!(found, [(250, Some(decimal("4")))]);
}

#[test]
fn texts_that_no_price_has_any_more_are_dropped() {
    let formula = Formula::Basis;
    let limits = Limits { prices: 10, ..ENDLESS };
    let mut series = Series::new(definition(formula, HOUR), limits);
    for at in 0..2_000 {
        let text = format!("{at}");
        let price = LegPrice {
            currency: &text,
            unit: &text,
            ..leg("local", "X.local", &Quote::trade(0, at, 1, at))
        };
        series.take(&price, at, &mut |_| ());
        // A repetition keeps nothing.
        series.take(&LegPrice { unit: "other", ..price }, at, &mut |_| ());
        assert!(series.texts() <= 64, "{} texts", series.texts());
    }
}

#[test]
fn definitions_that_do_not_fit_are_refused() {
    let bad = |formula, legs: &[&str], max_age| {
        let definition = Definition {
            series: "s".into(),
            formula,
            legs: legs.iter().map(|leg| (*leg).to_owned()).collect(),
            max_age,
            rolling: None,
        };
        definition.check().unwrap_err().to_string()
    };
    assert!(bad(Formula::Congestion, &["A"], 1).contains("sink, source"));
    assert!(bad(Formula::Basis, &["A", "B"], 0).contains("positive"));
    assert!(bad(Formula::Basis, &["A", "A"], 1).contains("different"));
    assert!(bad(Formula::Basis, &["A", "a|b"], 1).contains("'|'"));
    let free = Formula::SparkSpread {
        heat_rate: Decimal::ZERO,
    };
    assert!(bad(free, &["A", "B"], 1).contains("heat rate"));
    for name in Formula::NAMES {
        assert_eq!(Formula::named(name, Decimal::ZERO).map(Formula::name), Some(name));
    }
}

/// The values of a set of prices, computed without state: value and origins of the legs, by time.
fn naive(quotes: &[Quote], legs: usize) -> BTreeMap<Micros, (Decimal, Vec<i64>)> {
    let times: BTreeSet<Micros> = quotes.iter().map(|quote| quote.time).collect();
    let vintage = |quote: &Quote| match (quote.end, quote.version) {
        (Some(_), Some("final")) => 2,
        (Some(_), Some("preliminary")) => 1,
        _ => 0,
    };
    let counts = |quote: &Quote, time: Micros| match quote.end {
        Some(end) => (quote.time..end).contains(&time),
        None => (quote.time..=quote.time + MAX_AGE).contains(&time),
    };
    let mut values = BTreeMap::new();
    for time in times {
        let best = |leg: usize| {
            let of_leg = quotes.iter().filter(|quote| quote.leg == leg);
            // Of one time only the best price is known at all.
            let is_best = |quote: &&Quote| {
                let mut same = quotes
                    .iter()
                    .filter(|other| other.leg == leg && other.time == quote.time);
                same.all(|other| (vintage(other), other.offset) <= (vintage(quote), quote.offset))
            };
            of_leg
                .filter(is_best)
                .filter(|quote| counts(quote, time))
                .max_by_key(|quote| quote.time)
        };
        let found: Option<Vec<&Quote>> = (0..legs).map(best).collect();
        if let Some(found) = found {
            let value = found[0].price - found[1].price;
            let origins = found.iter().map(|quote| quote.offset).collect();
            values.insert(time, (Decimal::from_integer(value).unwrap(), origins));
        }
    }
    values
}

/// Prices of trades and of intervals of one length, with corrections of the same time.
fn quotes() -> impl Strategy<Value = Vec<Quote>> {
    let quote = (0usize..2, 0i64..40, any::<bool>(), -500i64..500, 0usize..3);
    proptest::collection::vec(quote, 1..40).prop_map(|quotes| {
        let quote = |(offset, (leg, at, is_interval, price, version)): (i64, (usize, i64, bool, i64, usize))| Quote {
            version: [None, Some("preliminary"), Some("final")][version],
            // Intervals and trades never have the same time.
            ..match is_interval {
                true => Quote::interval(leg, (at * 20, at * 20 + 20), price, offset),
                false => Quote::trade(leg, at * 20 + 1 + at % 7, price, offset),
            }
        };
        (0..).zip(quotes).map(quote).collect()
    })
}

proptest! {
    /// Whatever the order of the prices, the last value of each time is that of the set; revisions count up from 0.
    #[test]
    fn the_last_values_are_those_of_the_set(quotes in quotes(), seed in any::<u64>()) {
        let mut shuffled = quotes.clone();
        let mut state = seed;
        for at in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            shuffled.swap(at, (state >> 33) as usize % (at + 1));
        }
        // The clock is the log's: it must not depend on the order of the test.
        let clock = quotes.iter().map(|quote| quote.time).max().unwrap();
        for order in [&quotes, &shuffled] {
            let order: Vec<Quote> = order.iter().map(|quote| Quote { clock, ..quote.clone() }).collect();
            let mut last: BTreeMap<Micros, Shown> = BTreeMap::new();
            for shown in run(Formula::Basis, &order) {
                let revision = last.get(&shown.time).map_or(0, |before| before.revision + 1);
                prop_assert_eq!(shown.revision, revision);
                last.insert(shown.time, shown);
            }
            let found: BTreeMap<Micros, (Decimal, Vec<i64>)> = last
                .into_values()
                .filter_map(|shown| Some((shown.time, (shown.value?, shown.legs))))
                .collect();
            prop_assert_eq!(found, naive(&quotes, 2));
        }
    }

    /// A state that is read back from the log, as far as `read_back` says, goes on exactly as the lost one, however the partitions were read.
    #[test]
    fn a_state_read_back_goes_on_as_the_lost_one(log in logs(), reads in reads(), crash in any::<prop::sample::Index>()) {
        let log = read(log, &reads, |quote| quote.leg);
        goes_on(&log, crash.index(log.len()), &definition(Formula::Basis, LONG_AGE))?;
    }

    /// The last values are those of the log, wherever one partition has been read to when the other one begins; also if both are raw partitions
    /// of one enriched partition, whose clock is then ahead of the prices of one.
    #[test]
    fn the_last_values_do_not_depend_on_how_partitions_are_read(
        log in logs_of_a_week(),
        reads in reads(),
        crash in any::<prop::sample::Index>(),
        is_one_clock in any::<bool>(),
    ) {
        let wanted = last_values(&log, log.len(), is_one_clock);
        let log = read(log, &reads, |quote| quote.leg);
        prop_assert_eq!(last_values(&log, crash.index(log.len()), is_one_clock), wanted);
    }
}

/// The maximum age of the prices of [`logs`].
const LONG_AGE: Micros = 2 * HOUR;

/// Logs of a few weeks, with prices that come late, far ahead, or too late.
fn logs() -> impl Strategy<Value = Vec<Quote>> {
    let step = (0usize..2, 0i64..5, -60i64..47, any::<bool>(), -500i64..500);
    proptest::collection::vec(step, 2..120).prop_map(|steps| {
        let mut clock = 1_000 * HOUR;
        let quote = |(offset, (leg, step, event, is_interval, price)): (i64, (usize, i64, i64, bool, i64))| {
            clock += step * HOUR;
            let time = clock + event * HOUR;
            let quote = match is_interval {
                true => Quote::interval(leg, (time, time + HOUR), price, offset),
                false => Quote::trade(leg, time, price, offset),
            };
            Quote { clock, ..quote }
        };
        (0i64..).zip(steps).map(quote).collect()
    })
}

/// The same within a week. All prices of one time are of one kind: of others, the stage forgets a better one that counts no longer.
fn logs_of_a_week() -> impl Strategy<Value = Vec<Quote>> {
    logs().prop_map(|mut log| {
        let start = log[0].clock;
        log.retain(|quote| quote.clock - start < 7 * 24 * HOUR);
        for quote in &mut log {
            quote.end = (quote.time / HOUR % 2 == 0).then_some(quote.time + HOUR);
        }
        log
    })
}

/// The last value of each time, with the offsets of its legs. The state is lost before the record at `crash`, and read back.
fn last_values(log: &[Quote], crash: usize, is_one_clock: bool) -> BTreeMap<Micros, (Decimal, Vec<i64>)> {
    let (definition, formula) = (definition(Formula::Basis, LONG_AGE), Formula::Basis);
    let limits = Limits::new(24 * HOUR, definition.reach(), usize::MAX);
    let mut clock = Micros::MIN;
    let clocks: Vec<Micros> = log
        .iter()
        .map(|quote| {
            clock = if is_one_clock {
                clock.max(quote.clock)
            } else {
                quote.clock
            };
            clock
        })
        .collect();
    let take = |series: &mut Series, at: usize, last: Option<&mut BTreeMap<_, _>>| {
        let quote = &log[at];
        let (role, last) = (formula.legs()[quote.leg], last);
        let instrument = format!("X.{role}");
        let price = LegPrice {
            log_clock: clocks[at],
            ..leg(role, &instrument, quote)
        };
        let mut shown = Vec::new();
        series.take(&price, at as i64, &mut |price| {
            let legs: Vec<i64> = price.legs.iter().map(|leg| leg.origin.offset).collect();
            shown.push((price.event_time, price.value.map(|value| (value, legs))));
        });
        if let Some(last) = last {
            last.extend(shown);
        }
    };
    let (mut series, mut last) = (Series::new(Arc::clone(&definition), limits), BTreeMap::new());
    for at in 0..log.len() {
        if at == crash {
            series = Series::new(Arc::clone(&definition), limits);
            let oldest = at
                .checked_sub(1)
                .map(|last| clocks[last] - read_back(&limits, definition.reach()));
            let start = oldest.map_or(0, |oldest| clocks.iter().position(|clock| *clock >= oldest).unwrap());
            (start..at).for_each(|at| take(&mut series, at, None));
        }
        take(&mut series, at, Some(&mut last));
    }
    let values = last.into_iter().filter_map(|(time, value)| Some((time, value?)));
    values.collect()
}

/// How two partitions are read: each time so many records of one of them. Without any, in the order in which they were appended.
fn reads() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let read = (0usize..2, prop_oneof![2 => 1usize..5, 1 => 20usize..120]);
    prop_oneof![1 => Just(Vec::new()), 2 => proptest::collection::vec(read, 1..40)]
}

/// The log as it is read if each leg has a partition of its own.
fn read<T>(log: Vec<T>, reads: &[(usize, usize)], leg: fn(&T) -> usize) -> Vec<T> {
    if reads.is_empty() {
        return log;
    }
    let (first, second): (VecDeque<T>, VecDeque<T>) = log.into_iter().partition(|record| leg(record) == 0);
    let mut partitions = [first, second];
    let mut all = Vec::new();
    for (partition, count) in reads {
        let partition = &mut partitions[*partition];
        all.extend(partition.drain(..(*count).min(partition.len())));
    }
    all.extend(partitions.into_iter().flatten());
    all
}

/// Takes the log with and without a crash before a place of it.
fn goes_on(log: &[Quote], crash: usize, definition: &Arc<Definition>) -> Result<(), TestCaseError> {
    let (hold, formula) = (24 * HOUR, definition.formula);
    let limits = Limits::new(hold, definition.reach(), usize::MAX);
    let mut lost = Series::new(Arc::clone(definition), limits);
    for (version, quote) in (0..).zip(&log[..crash]) {
        take(&mut lost, formula, quote, version);
    }
    let mut restored = Series::new(Arc::clone(definition), limits);
    let start = log[..crash].last().map_or(0, |last| {
        let oldest = last.clock - read_back(&limits, definition.reach());
        log.iter().position(|quote| quote.clock >= oldest).unwrap()
    });
    for (version, quote) in log.iter().enumerate().take(crash).skip(start) {
        take(&mut restored, formula, quote, version as i64);
    }
    for (version, quote) in log.iter().enumerate().skip(crash) {
        let expected = take(&mut lost, formula, quote, version as i64).1;
        prop_assert_eq!(take(&mut restored, formula, quote, version as i64).1, expected);
    }
    Ok(())
}

#[test]
fn a_leg_that_is_days_behind_loses_no_value_and_a_silent_one_keeps_no_price_for_ever() {
    let formula = Formula::Basis;
    let limits = Limits::new(HOUR, 0, usize::MAX);
    assert_eq!(limits.behind, 7 * 24 * HOUR);
    let day = |hours: i64| 1_000 * HOUR + hours * HOUR;
    let quote = |leg, hours: i64| Quote::trade(leg, day(hours), hours, hours);
    let mut series = Series::new(definition(formula, MAX_AGE), limits);
    // One partition is read to its end, five days on, before the other one begins.
    for hours in 0..120 {
        assert_eq!(take(&mut series, formula, &quote(0, hours), hours).1, []);
    }
    for hours in 0..120 {
        let (taken, shown) = take(&mut series, formula, &quote(1, hours), hours);
        let times: Vec<Micros> = shown.iter().map(|shown| shown.time).collect();
        assert_eq!((taken, times), (Taken::Used, vec![day(hours)]));
    }
    // What both have passed is forgotten.
    assert!(series.len() <= 5, "{} prices", series.len());
    // A price that was itself appended too late is late, whatever the other leg does.
    let late = Quote {
        clock: day(119),
        ..quote(1, 100)
    };
    assert_eq!(
        take(&mut series, formula, &late, 120).0,
        Taken::Skipped(Reason::TooLate)
    );
    // One leg has no price any more.
    for hours in 120..1_000 {
        take(&mut series, formula, &quote(0, hours), hours);
        assert!(series.len() <= 7 * 24 + 5, "{} prices", series.len());
    }
}
