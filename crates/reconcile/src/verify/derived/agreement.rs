//! The rules of the check against the stage's own decisions: both must agree on every time, whatever order prices come in, wherever the
//! check claims to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use curves::derived::{Definition, Formula, Limits, RollingStatistic, Series, Statistic};
use domain::{Decimal, Kind, LegPlace, LegPrice, LegPurpose, Micros, Tick};
use proptest::prelude::*;

use super::rolled;
use super::rules::{Asked, Leg, Price, Times, Wanted, wanted};
use super::statistic::Rolled;

const HOUR: Micros = 3_600_000_000;
const MAX_AGE: Micros = 2 * HOUR;
const HOLD: Micros = 24 * HOUR;
const ROLES: [&str; 2] = ["local", "reference"];
const LEGS: [&str; 2] = ["X.local", "X.reference"];

/// One price: leg, log clock, time, whether it is that of an interval, price.
#[derive(Debug, Clone, Copy)]
struct Given {
    leg: usize,
    clock: Micros,
    time: Micros,
    is_interval: bool,
    price: i64,
}

impl Given {
    fn ends(&self) -> Option<Micros> {
        self.is_interval.then_some(self.time + HOUR)
    }

    /// As the stage gets it; `at` is its place in every log.
    fn leg_price(&self, at: i64) -> LegPrice<'static> {
        let (role, instrument_id) = if self.leg == 0 {
            (ROLES[0], LEGS[0])
        } else {
            (ROLES[1], LEGS[1])
        };
        let mut tick: Tick<'static> = domain::fixtures::tick();
        tick.instrument_id = instrument_id;
        tick.kind = if self.is_interval { Kind::Interval } else { Kind::Trade };
        (tick.event_time, tick.interval_end) = (self.time, self.ends());
        tick.price = Decimal::from_integer(self.price).unwrap_or_default();
        (tick.version, tick.sequence) = (None, None);
        tick.origin.offset = at;
        tick.appended_at = self.clock;
        let place = LegPlace {
            purpose: LegPurpose::Series,
            definition: None,
            series: "s",
            role,
            unit: "MWh",
            log_clock: self.clock,
            enriched_partition: 0,
            enriched_offset: at,
            index: 0,
        };
        LegPrice::of(&tick, place)
    }

    /// As the check gets it from the table.
    fn price(&self, at: i64) -> Price {
        let leg = self.leg_price(at);
        Price {
            time: self.time,
            ends: self.ends(),
            appended: self.clock,
            vintage: 1,
            sequence: None,
            origin: (leg.origin.feed.to_owned(), leg.origin.partition, at, leg.origin.index),
            figure: leg.price.unscaled(),
            currency: leg.currency.to_owned(),
            unit: "MWh".to_owned(),
            is_doubtful: false,
        }
    }
}

/// What the stage sent last for each time: value, and offsets of the origins.
fn sent(
    log: &[(i64, Given)],
    hold: Micros,
    rolling: Option<RollingStatistic>,
) -> BTreeMap<Micros, (Option<i64>, Vec<i64>)> {
    let definition = Definition {
        series: "s".to_owned(),
        formula: Formula::Basis,
        legs: LEGS.map(str::to_owned).to_vec(),
        max_age: MAX_AGE,
        rolling,
    };
    let limits = Limits::new(hold, definition.reach(), usize::MAX);
    let mut series = Series::new(Arc::new(definition), limits);
    let mut last = BTreeMap::new();
    for (version, (at, given)) in (0..).zip(log) {
        series.take(&given.leg_price(*at), version, &mut |price| {
            let origins = price.legs.iter().map(|leg| leg.origin.offset).collect();
            last.insert(price.event_time, (price.value.map(Decimal::unscaled), origins));
        });
    }
    last
}

fn asked() -> Asked {
    Asked {
        series: "s".to_owned(),
        kind: Formula::Basis.name(),
        heat_rate: 0,
        roles: Formula::Basis.legs(),
        legs: LEGS.map(str::to_owned).to_vec(),
        max_age: MAX_AGE,
        shown_kind: Formula::Basis.name().to_owned(),
        rolled: None,
    }
}

/// Logs of up to ten days, with prices that come late, far ahead, or about the hold time late.
fn logs() -> impl Strategy<Value = Vec<Given>> {
    let step = (0usize..2, 0i64..5, -60i64..47, any::<bool>(), -500i64..500);
    proptest::collection::vec(step, 2..120).prop_map(|steps| {
        let mut clock = 1_000 * HOUR;
        let given = |(leg, step, event, is_interval, price): (usize, i64, i64, bool, i64)| {
            clock += step * HOUR / 2;
            Given {
                leg,
                clock,
                time: clock / HOUR * HOUR + event * HOUR,
                is_interval,
                price,
            }
        };
        steps.into_iter().map(given).collect()
    })
}

/// The log as the stage reads it, with the place of each price: up to so many prices of one leg come before all others, as after an outage. Then
/// the log is that of a week.
fn read(log: &mut Vec<Given>, (leg, ahead): (usize, usize)) -> Vec<(i64, Given)> {
    let end = log.first().map_or(0, |first| first.clock + 7 * 24 * HOUR);
    log.retain(|given| ahead == 0 || given.clock < end);
    let mut left = ahead;
    let (first, rest): (Vec<_>, Vec<_>) = (0..).zip(log.iter().copied()).partition(|(_, given)| {
        let is_ahead = given.leg == leg && left > 0;
        left -= usize::from(is_ahead);
        is_ahead
    });
    [first, rest].concat()
}

fn ahead() -> impl Strategy<Value = (usize, usize)> {
    (0usize..2, prop_oneof![Just(0), 1usize..120])
}

/// The legs as the check reads them.
fn legs(log: &[Given], times: Times) -> [Leg; 2] {
    let mut prices = [Vec::new(), Vec::new()];
    for (at, given) in (0..).zip(log) {
        let mut price = given.price(at);
        if price.is_within_reach(times) {
            prices[given.leg].push(price);
        }
    }
    prices.map(|prices| Leg::new(prices, MAX_AGE))
}

/// Compares what the stage sent with what the check wants at each time; returns how many times it knows.
fn agrees(
    log: &[Given],
    sent: &BTreeMap<Micros, (Option<i64>, Vec<i64>)>,
    wanted: impl Fn(Micros) -> Wanted,
) -> Result<usize, TestCaseError> {
    let mut known = 0;
    for time in log.iter().map(|given| given.time) {
        let found = sent.get(&time);
        match wanted(time) {
            Wanted::Unknown => continue,
            Wanted::Nothing => prop_assert_eq!(found, None),
            Wanted::NoValue => prop_assert!(found.is_none_or(|(value, _)| value.is_none()), "{:?}", found),
            Wanted::Row(row) => {
                let origins: Vec<i64> = row.legs.iter().map(|leg| leg.origin.2).collect();
                prop_assert_eq!(found, Some(&(row.value, origins)));
            }
        }
        known += 1;
    }
    prop_assert!(sent.keys().all(|time| log.iter().any(|given| given.time == *time)));
    Ok(known)
}

proptest! {
    #[test]
    fn the_check_and_the_stage_agree_on_every_time(mut log in logs(), ahead in ahead()) {
        let as_read = read(&mut log, ahead);
        let times = Times::of(HOLD);
        let (legs, asked) = (legs(&log, times), asked());
        let known = agrees(&log, &sent(&as_read, HOLD, None), |time| wanted(time, &legs, &asked, times))?;
        // The check must not give up: only prices within an hour of the hold time leave it without an answer.
        prop_assert!(known > 0 || log.len() < 20, "nothing is known of {} prices", log.len());
    }

    #[test]
    fn the_check_and_the_stage_agree_on_every_rolling_statistic(
        mut log in logs(),
        ahead in ahead(),
        statistic in proptest::sample::select(Statistic::ALL.to_vec()),
        count in proptest::option::of(2usize..6),
        hours in 1i64..30,
    ) {
        let as_read = read(&mut log, ahead);
        let times = Times::of(HOLD);
        let (legs, asked) = (legs(&log, times), asked());
        let width = hours * HOUR;
        let stage = sent(&as_read, HOLD, Some(RollingStatistic { statistic, count, width }));
        let of_legs: BTreeSet<Micros> = legs.iter().flat_map(Leg::times).collect();
        let values: Vec<(Micros, Wanted)> = of_legs
            .into_iter()
            .map(|time| (time, wanted(time, &legs, &asked, times)))
            .collect();
        let rolled = Rolled { statistic: statistic.name(), count, width };
        agrees(&log, &stage, |time| rolled::wanted(time, &values, rolled))?;
    }
}
