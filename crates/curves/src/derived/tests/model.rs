//! The series against a model that knows every price of the log: after each leg exactly the values that it changes are sent. The logs have
//! late, repeated and corrected prices, some far ahead, two partitions of which one is often days behind, and restarts that read the state back.
//! Each rule is also taken out once, and the model must notice.

use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::limits::Rule;
use super::super::statistic::{RollingStatistic, Statistic};
use super::*;

const HOLD: Micros = 12 * HOUR;
const ONE: i128 = 100_000_000;
/// 7.5 MMBtu/MWh.
const HEAT_RATE: i64 = 750_000_000;
const VERSIONS: [Option<&str>; 3] = [None, Some("preliminary"), Some("final")];

/// What is wrong with the code under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    Without(Rule),
    /// A trade counts a microsecond too short.
    AgeTooShort,
    /// A window holds the value at its beginning, too.
    WindowTooWide,
    /// A window holds one value more.
    WindowTooLong,
    /// A restart reads the hold time only.
    ReadBackTooShort,
}

/// A price of the log.
#[derive(Debug, Clone)]
struct Given {
    quote: Quote,
    unit: &'static str,
    /// Whether the state is lost before it.
    restarts: bool,
}

#[derive(Debug, Clone)]
struct Case {
    formula: Formula,
    rolling: Option<RollingStatistic>,
    hold: Micros,
    log: Vec<Given>,
}

/// A value as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    time: Micros,
    value: Option<i128>,
    /// Offsets of the prices of its legs.
    legs: Vec<i64>,
    revision: i32,
    cause: DerivedCause,
    version: i64,
    clock: Micros,
}

/// Every price and every value so far.
#[derive(Default)]
struct Model {
    clock: Micros,
    hold: Micros,
    /// By leg and time.
    prices: BTreeMap<(usize, Micros), Vec<Given>>,
    /// Values of the formula, with their units.
    values: BTreeMap<Micros, (i128, &'static str)>,
    /// Value and legs as they were sent last, and how often.
    sent: BTreeMap<Micros, (Option<i128>, Vec<i64>, i32)>,
}

impl Model {
    /// What must be sent for the next price.
    fn take(&mut self, case: &Case, given: &Given) -> Vec<Sent> {
        let (key, hold) = ((given.quote.leg, given.quote.time), case.hold);
        self.hold = hold;
        let of_time = self.prices.entry(key).or_default();
        let is_known = !of_time.is_empty();
        if last(given) >= since(given, hold) {
            of_time.push(given.clone());
        }
        self.clock = self.clock.max(given.quote.clock);
        let times: BTreeSet<Micros> = self
            .prices
            .iter()
            .filter(|(key, prices)| prices.iter().any(|price| since(price, hold) == key.1))
            .map(|(key, _)| key.1)
            .collect();
        let legs_at =
            |time: Micros| -> Vec<Given> { (0..2).filter_map(|leg| self.counting(leg, time)).cloned().collect() };
        let found: Vec<(Micros, Vec<Given>)> = times.into_iter().map(|time| (time, legs_at(time))).collect();
        for (time, legs) in &found {
            match computed(case.formula, legs).flatten() {
                Some(value) => self.values.insert(*time, (value, legs[0].unit)),
                None => self.values.remove(time),
            };
        }
        let mut all = Vec::new();
        for (time, legs) in found {
            let computed = computed(case.formula, &legs);
            let value = match (computed.flatten(), case.rolling) {
                (Some(_), Some(rolling)) => self.statistic(rolling, time),
                (value, _) => value,
            };
            let legs: Vec<i64> = legs.iter().map(|given| given.quote.offset).collect();
            let before = self.sent.get(&time).cloned();
            let is_same = before
                .as_ref()
                .is_some_and(|before| before.0 == value && before.1 == legs);
            if is_same || (computed.is_none() && before.is_none()) {
                continue;
            }
            let revision = before.map_or(0, |before| before.2);
            all.push(Sent {
                time,
                value,
                legs: legs.clone(),
                revision,
                cause: match (revision, is_known) {
                    (0, _) => DerivedCause::First,
                    (_, true) => DerivedCause::Correction,
                    (_, false) => DerivedCause::Late,
                },
                version: given.quote.offset,
                clock: self.clock,
            });
            self.sent.insert(time, (value, legs, revision + 1));
        }
        all
    }

    /// The newest price of a leg that counts at this time.
    fn counting(&self, leg: usize, time: Micros) -> Option<&Given> {
        let until = self.prices.range((leg, Micros::MIN)..=(leg, time)).rev();
        let best = until.filter_map(|(_, prices)| {
            let counting = prices.iter().filter(|given| since(given, self.hold) <= time);
            counting.max_by_key(|given| rank(given))
        });
        best.into_iter().find(|given| last(given) >= time)
    }

    /// Of the last values of one unit.
    fn statistic(&self, rolling: RollingStatistic, time: Micros) -> Option<i128> {
        let unit = self.values.get(&time)?.1;
        let until = self.values.range(..=time).rev();
        let inside: Vec<i128> = until
            .take_while(|(at, (_, of))| **at > time - rolling.width && *of == unit)
            .take(rolling.count.unwrap_or(usize::MAX))
            .map(|(_, (value, _))| *value)
            .collect();
        if rolling.count.is_some_and(|count| inside.len() < count) {
            return None;
        }
        let (max, min) = (inside.iter().max()?, inside.iter().min()?);
        Some(match rolling.statistic {
            Statistic::Max => *max,
            Statistic::Range => max - min,
            // Of two or four values, which divide without a rest.
            _ => inside.iter().sum::<i128>() / inside.len() as i128,
        })
    }
}

/// The first time at which a price counts: it is too late for those before.
fn since(given: &Given, hold: Micros) -> Micros {
    given.quote.time.max(given.quote.clock - hold)
}

/// The last time at which it counts.
fn last(given: &Given) -> Micros {
    given.quote.end.map_or(given.quote.time + LONG_AGE, |end| end - 1)
}

/// Of prices of one time, the most certain one counts, then the last.
fn rank(given: &Given) -> (usize, i64) {
    let version = VERSIONS.iter().position(|version| *version == given.quote.version);
    let certain = version.filter(|_| given.quote.end.is_some());
    (certain.unwrap_or_default(), given.quote.offset)
}

/// What the formula gives; `None` if a leg is missing or the units differ, `Some(None)` if it has no number.
fn computed(formula: Formula, legs: &[Given]) -> Option<Option<i128>> {
    let [first, second] = legs else { return None };
    let (one, other) = (i128::from(first.quote.price), i128::from(second.quote.price));
    match formula {
        Formula::Basis if first.unit != second.unit => None,
        Formula::Basis => Some(Some((one - other) * ONE)),
        Formula::SparkSpread { .. } | Formula::ImpliedHeatRate if (first.unit, second.unit) != ("MWh", "MMBtu") => None,
        Formula::SparkSpread { .. } => Some(Some(one * ONE - other * i128::from(HEAT_RATE))),
        _ if other <= 0 => Some(None),
        _ => {
            let (whole, rest) = ((one * ONE).div_euclid(other), (one * ONE).rem_euclid(other));
            let is_above = 2 * rest > other || (2 * rest == other && whole % 2 != 0);
            Some(Some(whole + i128::from(is_above)))
        }
    }
}

/// What the code under test sends.
fn sent(series: &mut Series, formula: Formula, given: &Given) -> Vec<Sent> {
    let role = formula.legs()[given.quote.leg];
    let instrument = format!("X.{role}");
    let price = LegPrice {
        unit: given.unit,
        ..leg(role, &instrument, &given.quote)
    };
    let mut all = Vec::new();
    series.take(&price, given.quote.offset, &mut |shown| {
        all.push(Sent {
            time: shown.event_time,
            value: shown.value.map(|value| i128::from(value.unscaled())),
            legs: shown.legs.iter().map(|leg| leg.origin.offset).collect(),
            revision: shown.revision,
            cause: shown.cause,
            version: shown.version,
            clock: shown.log_clock,
        });
    });
    all
}

/// The code under test after these prices, which it has read back.
fn started(case: &Case, mutation: Mutation, earlier: &[Given]) -> Series {
    let mut definition = (*definition(case.formula, LONG_AGE)).clone();
    definition.rolling = case.rolling;
    definition.check().unwrap();
    let mut limits = Limits {
        hold: case.hold,
        behind: 7 * 24 * HOUR,
        ..ENDLESS
    };
    let mut back = read_back(&limits, definition.reach());
    match (mutation, &mut definition.rolling) {
        (Mutation::Without(rule), _) => limits.without = Some(rule),
        (Mutation::AgeTooShort, _) => definition.max_age -= 1,
        (Mutation::WindowTooWide, Some(rolling)) => rolling.width += 1,
        (Mutation::WindowTooLong, Some(rolling)) => rolling.count = rolling.count.map(|count| count + 1),
        (Mutation::ReadBackTooShort, _) => back = case.hold,
        _ => {}
    }
    let mut series = Series::new(Arc::new(definition), limits);
    let newest = earlier.iter().map(|given| given.quote.clock).max().unwrap_or_default();
    let start = earlier.iter().position(|given| given.quote.clock >= newest - back);
    for given in &earlier[start.unwrap_or_default()..] {
        sent(&mut series, case.formula, given);
    }
    series
}

/// One run; the error is the first difference from the model.
fn run(case: &Case, mutation: Mutation) -> Result<(), String> {
    let (mut model, mut series) = (Model::default(), started(case, mutation, &[]));
    for (at, given) in case.log.iter().enumerate() {
        if given.restarts {
            series = started(case, mutation, &case.log[..at]);
        }
        let (wanted, found) = (model.take(case, given), sent(&mut series, case.formula, given));
        if found != wanted {
            return Err(format!("after {given:?}: expected {wanted:?}, sent {found:?}"));
        }
    }
    Ok(())
}

/// Leg, hours since the leg before, hours between clock and time, kind of price, price, version, and chances.
type Step = (usize, i64, i64, usize, i64, usize, u8);

fn rolled(statistic: Statistic, count: Option<usize>, hours: i64) -> Option<RollingStatistic> {
    Some(RollingStatistic {
        statistic,
        count,
        width: hours * HOUR,
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let spark = Formula::SparkSpread {
        heat_rate: Decimal::from_unscaled(HEAT_RATE).unwrap(),
    };
    let kinds = vec![
        (Formula::Basis, None),
        (Formula::ImpliedHeatRate, None),
        (spark, None),
        (Formula::Basis, rolled(Statistic::Max, None, 4)),
        (spark, rolled(Statistic::Mean, Some(2), 6)),
        (Formula::Basis, rolled(Statistic::Mean, Some(4), 20)),
        (spark, rolled(Statistic::Range, Some(3), 8)),
    ];
    let ahead = prop_oneof![12 => -8i64..3, 2 => -40i64..-8, 1 => 3i64..47];
    let step = (0usize..2, 0i64..3, ahead, 0usize..3, -20i64..60, 0usize..3, any::<u8>());
    let steps = proptest::collection::vec(step, 2..80);
    let parts = (proptest::sample::select(kinds), any::<bool>(), steps, reads());
    parts.prop_map(|((formula, rolling), is_endless, steps, reads)| Case {
        formula,
        rolling,
        hold: if is_endless { ENDLESS.hold } else { HOLD },
        log: read(log(steps, formula, is_endless), &reads, |given| given.quote.leg),
    })
}

fn log(steps: Vec<Step>, formula: Formula, is_endless: bool) -> Vec<Given> {
    let mut clock = 1_000 * HOUR;
    let units = |leg: usize| match formula.legs()[leg] {
        "gas" => ["MMBtu", "MWh"],
        _ => ["MWh", "MMBtu"],
    };
    let given = |(offset, (leg, hours, ahead, kind, price, version, chances)): (i64, Step)| {
        clock += hours * HOUR;
        let time = clock + ahead * HOUR;
        let price = match leg {
            0 => price,
            _ => price.rem_euclid(8) - 2,
        };
        // About the hold time, prices of one time must be alike: the code forgets a price that counts no longer, the model does not.
        let kind = if is_endless { kind } else { (time / HOUR % 3) as usize };
        let quote = match kind {
            0 => Quote::trade(leg, time, price, offset),
            1 => Quote::interval(leg, (time, time + HOUR), price, offset),
            _ => Quote::interval(leg, (time, time + 3 * HOUR), price, offset),
        };
        Given {
            quote: Quote {
                version: VERSIONS[version],
                // The clock of one of the two partitions is half an hour behind.
                clock: clock - leg as i64 * HOUR / 2,
                ..quote
            },
            restarts: chances / 2 % 16 == 7,
            // The second one is wrong.
            unit: units(leg)[usize::from(chances / 32 == 0)],
        }
    };
    (0..).zip(steps).map(given).collect()
}

proptest! {
    #[test]
    fn exactly_the_values_that_a_price_changes_are_sent_whatever_came_before(case in cases()) {
        prop_assert_eq!(run(&case, Mutation::None), Ok(()));
    }
}

#[test]
fn each_rule_that_is_taken_out_is_noticed() {
    let others = [
        Mutation::AgeTooShort,
        Mutation::WindowTooWide,
        Mutation::WindowTooLong,
        Mutation::ReadBackTooShort,
    ];
    for mutation in Rule::ALL.map(Mutation::Without).into_iter().chain(others) {
        let (mut runner, cases) = (TestRunner::deterministic(), cases());
        let mut runs = (0..2_000).map(|_| run(&cases.new_tree(&mut runner).unwrap().current(), mutation));
        assert!(runs.any(|found| found.is_err()), "{mutation:?}");
    }
}
