//! The rules of the check against the stage's own decisions: both must agree on every time, in whatever order quotes come, wherever the
//! check claims to know; and the points of every snapshot must give what the check computes.

use std::collections::{BTreeMap, BTreeSet};

use curves::snapshots::{Limits, Snapshots};
use domain::{CurveSnapshot, Decimal, Kind, LegPlace, LegPrice, LegPurpose, Micros, Tick};
use jiff::civil::date;
use proptest::prelude::*;

use super::super::cut::Arrived;
use super::super::versions::Compared;
use super::compare::{Comparison, Kept};
use super::pricing::{Point, Quoted};
use super::rows::Stored;
use super::rules::tests::START;
use super::rules::{Quote, Quotes, Times};
use super::sql::Lane;

const MINUTE: Micros = 60_000_000;
const TIMES: Times = Times {
    interval: MINUTE,
    hold: 20 * MINUTE,
    max_age: 15 * MINUTE,
};
const IDS: [&str; 11] = [
    "PJM.W.2027-01.FLAT.SETTLEMENT",
    "PJM.W.F27.FLAT.SETTLEMENT",
    "PJM.W.2027-02.PEAK.SETTLEMENT",
    "PJM.W.Q1-27.FLAT.SETTLEMENT",
    "PJM.W.Q1-27.PEAK.SETTLEMENT",
    "PJM.W.CAL-28.FLAT.SETTLEMENT",
    "PJM.W.BALMO-2026-12.FLAT.SETTLEMENT",
    "PJM.W.2026-12.FLAT.SETTLEMENT",
    "PJM.W.SPOT",
    "PJM.W.CAL-46.FLAT.SETTLEMENT",
    "PJM.W.X1.2027-02.FLAT.SETTLEMENT",
];
/// Few contracts, most of which others imply.
const IMPLIED: [&str; 11] = [
    "PJM.W.2027-01.FLAT.SETTLEMENT",
    "PJM.W.2027-01.PEAK.SETTLEMENT",
    "PJM.W.2027-01.OFF_PEAK.SETTLEMENT",
    "PJM.W.2027-02.FLAT.SETTLEMENT",
    "PJM.W.2027-02.PEAK.SETTLEMENT",
    "PJM.W.2027-03.FLAT.SETTLEMENT",
    "PJM.W.Q1-27.FLAT.SETTLEMENT",
    "PJM.W.Q1-27.PEAK.SETTLEMENT",
    "PJM.W.Q1-27.OFF_PEAK.SETTLEMENT",
    "PJM.W.WIN-27.FLAT.SETTLEMENT",
    "PJM.W.WIN-27.PEAK.SETTLEMENT",
];
const DEFINITIONS: [&str; 9] = [
    "flat",
    "linear",
    "monotone",
    "smooth;1,2",
    "none",
    "flat;;PJM.W.*.SETTLEMENT",
    "linear;;PJM.W.2027-*,PJM.W.Q1-27.FLAT.SETTLEMENT",
    "flat;spreads=8,5,-1,0,0,0,9.5,9,0,0,0,3.25",
    "smooth;ratios=1.3,1.2,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1;;PJM.W.*.SETTLEMENT",
];

/// A quote of the log.
#[derive(Debug, Clone, Copy)]
struct Given {
    instrument: &'static str,
    clock: Micros,
    time: Micros,
    cents: i64,
    definition: usize,
    is_in_cad: bool,
    /// Of its tick; the ids are of PJM.
    market: &'static str,
}

impl Given {
    fn definition(&self) -> &'static str {
        DEFINITIONS.get(self.definition).copied().unwrap_or_default()
    }

    /// As the stage gets it; `at` is its place in the raw log.
    fn leg(&self, at: i64) -> LegPrice<'static> {
        let mut tick: Tick<'static> = domain::fixtures::tick();
        (tick.instrument_id, tick.event_time) = (self.instrument, self.time);
        tick.kind = Kind::Interval;
        tick.price = Decimal::from_unscaled(self.cents * 1_000_000).unwrap_or_default();
        (tick.version, tick.sequence) = (None, None);
        tick.currency = if self.is_in_cad { "CAD" } else { "USD" };
        tick.origin.offset = at;
        let place = LegPlace {
            purpose: LegPurpose::Curve,
            series: "C",
            role: self.market,
            definition: Some(self.definition()),
            unit: "MWh",
            log_clock: self.clock,
            enriched_partition: 0,
            enriched_offset: at,
            index: 0,
        };
        LegPrice::of(&tick, place)
    }

    /// As the check gets it from the table; `read` is the clock of the stage then.
    fn quote(&self, at: i64, read: Micros) -> Quote {
        let leg = self.leg(at);
        Quote {
            instrument: self.instrument.to_owned(),
            tenor: None,
            market: self.market.to_owned(),
            clock: self.clock,
            read,
            newest_clock: Micros::MAX,
            time: self.time,
            day: date(1970, 1, 1),
            is_dated: false,
            vintage: 1,
            sequence: None,
            origin: (leg.origin.feed.to_owned(), leg.origin.partition, at, leg.origin.index),
            figure: leg.price.unscaled(),
            unit: (leg.currency.to_owned(), leg.unit.to_owned()),
            definition: Some(self.definition().to_owned()),
        }
    }
}

/// A record as the table has it.
fn stored(record: &CurveSnapshot<'_>) -> Stored {
    let points = record.points.iter().map(|point| Point {
        contract: point.contract.to_owned(),
        block: point.block.to_owned(),
        delivery_start: point.delivery_start.to_owned(),
        delivery_end: point.delivery_end.to_owned(),
        price: point.price,
        method: point.method.to_owned(),
    });
    let inputs = record.inputs.iter().map(|input| Quoted {
        contract: input.contract.to_owned(),
        block: input.block.to_owned(),
        price: input.price,
        curve_price: input.curve_price,
        residual: input.residual,
        state: input.state.to_owned(),
        implied_by: input.implied_by.iter().map(|name| (*name).to_owned()).collect(),
        source: input.source.to_owned(),
        known_at: input.known_at,
    });
    Stored {
        time: record.as_of,
        horizon: record.horizon.to_owned(),
        market: record.market.to_owned(),
        day: date(1970, 1, 1) + jiff::Span::new().days(record.day),
        method: record.method.to_owned(),
        definition: record.definition.to_owned(),
        origin: record.origin.to_string(),
        content: Ok((points.collect(), inputs.collect())),
    }
}

/// What the stage sent last for each time and horizon, and its clock at each quote.
fn sent(log: &[Given]) -> (BTreeMap<(Micros, String), Stored>, Vec<Micros>) {
    let limits = Limits::new((TIMES.interval, TIMES.hold, TIMES.max_age), usize::MAX);
    let mut curve = Snapshots::new("t", "C", limits);
    let (mut last, mut clock, mut clocks) = (BTreeMap::new(), Micros::MIN, Vec::new());
    let mut send = |record: &CurveSnapshot<'_>| {
        last.insert((record.as_of, record.horizon.to_owned()), stored(record));
    };
    for (at, given) in (0..).zip(log) {
        clock = clock.max(given.clock);
        clocks.push(clock);
        curve.take(&given.leg(at), clock);
        curve.advance(clock, at, &mut send);
    }
    curve.advance(clock + MINUTE, i64::MAX, &mut send);
    (last, clocks)
}

fn logs(ids: &'static [&'static str]) -> impl Strategy<Value = Vec<Given>> {
    // Quote, steps of the clock, how far its partition is behind, age of the trade, price, definition.
    let step = (
        proptest::sample::select(ids),
        0i64..150,
        0i64..30,
        (0i64..20, prop_oneof![9 => 0i64..1, 2 => 1i64..4], 0u8..12),
        -500i64..20_000,
        0usize..40,
    );
    proptest::collection::vec(step, 1..50).prop_map(|steps| {
        let mut clock = START;
        let given = steps
            .into_iter()
            .map(|(instrument, step, behind, (age, days, currency), cents, definition)| {
                clock += step * 1_000_000;
                // Most partitions are not behind.
                let own = clock - behind.saturating_sub(20).max(0) * 4 * MINUTE;
                Given {
                    instrument,
                    clock: own,
                    time: own - age.saturating_sub(12).max(0) * 5 * MINUTE - days * 1_440 * MINUTE,
                    is_in_cad: currency == 0,
                    market: if currency == 1 { "MISO" } else { "PJM" },
                    cents: match currency {
                        // Half of them are the largest quotes, half are none.
                        2 => (10_000_000 + cents % 2) * cents.signum(),
                        _ => cents,
                    },
                    definition: if definition < DEFINITIONS.len() { definition } else { 0 },
                }
            });
        given.collect()
    })
}

/// The check of everything that the stage sends for this log after this change, and how many snapshots these are.
fn compared(log: &[Given], change: impl Fn(&mut Stored)) -> (Compared, u64) {
    let (mut sent, clocks) = sent(log);
    sent.values_mut().for_each(change);
    let quotes = log
        .iter()
        .zip(&clocks)
        .zip(0..)
        .map(|((given, read), at)| given.quote(at, *read));
    let quotes = Quotes::new(quotes.collect(), TIMES);
    let times: BTreeSet<Micros> = quotes.ends().chain(sent.keys().map(|(time, _)| *time)).collect();
    let lane = Lane {
        tenant: "t".to_owned(),
        curve: "C".to_owned(),
    };
    let kept = Kept {
        complete_since: Micros::MIN,
        snapshots_since: Micros::MIN,
        other_interval: Micros::MIN,
    };
    let comparison = Comparison {
        lane: &lane,
        times: TIMES,
        kept,
        own_tenant: "t",
    };
    let count = sent.len() as u64;
    (
        comparison.part(
            &Vec::from_iter(times),
            &quotes,
            sent.into_values().collect(),
            &Arrived::default(),
        ),
        count,
    )
}

/// The same quotes, each of its own time and none late.
fn in_order(log: &[Given]) -> Vec<Given> {
    let mut clock = Micros::MIN;
    let on_time = log.iter().map(|given| {
        clock = clock.max(given.clock);
        Given {
            clock,
            time: clock,
            ..*given
        }
    });
    on_time.collect()
}

proptest! {
    #[test]
    fn the_check_and_the_stage_agree_on_every_time(log in logs(&IDS)) {
        for (log, may_be_unknown) in [(&log, true), (&in_order(&log), false)] {
            let (compared, count) = compared(log, |_| {});
            let wrong: Vec<&str> = compared.wrong.iter().map(|row| row.text.as_str()).collect();
            prop_assert_eq!(wrong, Vec::<&str>::new());
            prop_assert_eq!((compared.expected, compared.found), (count, count));
            // The check must not give up: only old quotes that hide newer ones leave it without an answer.
            prop_assert!(may_be_unknown || compared.unknown == 0, "{} of {count} snapshots are unknown", compared.unknown);
        }
    }

    #[test]
    fn the_check_and_the_stage_agree_on_which_quotes_others_imply(log in logs(&IMPLIED)) {
        let log = in_order(&log);
        let (found, count) = compared(&log, |_| {});
        let wrong: Vec<&str> = found.wrong.iter().map(|row| row.text.as_str()).collect();
        prop_assert_eq!(wrong, Vec::<&str>::new());
        prop_assert_eq!((found.expected, found.found), (count, count));
        // A quote that no others imply must not be called one.
        let changed = std::cell::Cell::new(0);
        let (changed_ones, _) = compared(&log, |stored| changed.set(changed.get() + u64::from(call_implied(stored))));
        prop_assert_eq!(changed_ones.wrong.len() as u64, changed.get());
    }
}

/// Calls a repriced quote implied, which changes no number; false if there is none.
fn call_implied(stored: &mut Stored) -> bool {
    let Ok((_, inputs)) = &mut stored.content else {
        return false;
    };
    let believed = inputs.iter_mut().find(|quoted| quoted.state == "repriced");
    believed.is_some_and(|quoted| {
        quoted.state = "consistent".to_owned();
        true
    })
}
