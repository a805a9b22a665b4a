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
const DEFINITIONS: [&str; 12] = [
    "flat",
    "linear",
    "monotone",
    "smooth;1,2",
    "none",
    "flat;;PJM.W.*.SETTLEMENT",
    "linear;;PJM.W.2027-*,PJM.W.Q1-27.FLAT.SETTLEMENT",
    "smooth",
    "flat;spreads=8,5,-1,0,0,0,9.5,9,0,0,0,3.25",
    "smooth;ratios=1.3,1.2,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1;;PJM.W.*.SETTLEMENT",
    "linear;ratios=0.1,10,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1",
    "monotone;spreads=8,5,-1,0,0,0,9.5,9,0,0,0,3.25",
];
/// The plain definition of each method, and each with a seasonal shape.
const METHODS: [usize; 8] = [0, 1, 2, 7, 8, 9, 10, 11];
/// Contracts that leave gaps, months inside strips, and years that can be repeated.
const SPREAD: [&str; 12] = [
    "PJM.W.BALMO-2026-12.FLAT.SETTLEMENT",
    "PJM.W.2027-01.FLAT.SETTLEMENT",
    "PJM.W.2027-02.PEAK.SETTLEMENT",
    "PJM.W.2027-05.FLAT.SETTLEMENT",
    "PJM.W.Q1-27.FLAT.SETTLEMENT",
    "PJM.W.Q2-27.FLAT.SETTLEMENT",
    "PJM.W.Q4-27.OFF_PEAK.SETTLEMENT",
    "PJM.W.SUM-27.FLAT.SETTLEMENT",
    "PJM.W.WIN-28.PEAK.SETTLEMENT",
    "PJM.W.CAL-27.FLAT.SETTLEMENT",
    "PJM.W.CAL-28.FLAT.SETTLEMENT",
    "PJM.W.WIN-29.FLAT.SETTLEMENT",
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

    /// Every third quote states none.
    fn volume(&self) -> Option<i64> {
        (self.cents % 3 != 0).then_some(self.cents.abs() * 10_000_001)
    }

    /// As the stage gets it; `at` is its place in the raw log.
    fn leg(&self, at: i64) -> LegPrice<'static> {
        let mut tick: Tick<'static> = domain::fixtures::tick();
        (tick.instrument_id, tick.event_time) = (self.instrument, self.time);
        tick.kind = Kind::Interval;
        tick.price = Decimal::from_unscaled(self.cents * 1_000_000).unwrap_or_default();
        (tick.version, tick.sequence) = (None, None);
        tick.volume = self.volume().and_then(|figure| Decimal::from_unscaled(figure).ok());
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
            volume: leg.volume.map(Decimal::unscaled),
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
        volume: point.volume,
        confidence: Some(point.confidence),
        method: point.method.to_owned(),
        extrapolated: Some(point.extrapolated),
        sources: Some(point.sources.iter().map(|source| (*source).to_owned()).collect()),
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
    let method = proptest::sample::select(&METHODS[..]);
    (method, proptest::collection::vec(step, 1..50)).prop_map(|(method, steps)| {
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
                    definition: if definition < DEFINITIONS.len() {
                        definition
                    } else {
                        method
                    },
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
    // The smoothest curves are slow in a build for tests.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_check_and_the_stage_agree_on_every_point_of_each_method(log in logs(&SPREAD)) {
        // Between the largest prices a smooth curve overshoots beyond any price, and eight decimals do not hold its means.
        let usual = in_order(&log).into_iter().map(|given| Given { cents: given.cents % 20_000, ..given });
        let log: Vec<Given> = usual.collect();
        let (compared, count) = compared(&log, |_| {});
        let wrong: Vec<&str> = compared.wrong.iter().map(|row| row.text.as_str()).collect();
        prop_assert_eq!(wrong, Vec::<&str>::new());
        prop_assert_eq!((compared.expected, compared.found), (count, count));
        prop_assert!(compared.unpriced == 0);
    }
}

proptest! {
    #[test]
    fn the_check_and_the_stage_agree_on_every_time(log in logs(&IDS)) {
        for (log, may_be_unknown) in [(&log, true), (&in_order(&log), false)] {
            let (compared, count) = compared(log, |_| {});
            let wrong: Vec<&str> = compared.wrong.iter().map(|row| row.text.as_str()).collect();
            prop_assert_eq!(wrong, Vec::<&str>::new());
            prop_assert_eq!((compared.expected, compared.found), (count, count));
            prop_assert!(compared.unpriced == 0);
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

/// Quotes of a quarter of which one month is quoted, and of what comes after it.
fn quarter(method: usize) -> Vec<Given> {
    let quoted = [
        ("PJM.W.2027-01.FLAT.SETTLEMENT", 6_000),
        ("PJM.W.Q1-27.FLAT.SETTLEMENT", 4_810),
        ("PJM.W.Q2-27.FLAT.SETTLEMENT", 3_340),
        ("PJM.W.CAL-28.FLAT.SETTLEMENT", 4_100),
    ];
    let given = |(instrument, cents): (&'static str, i64)| Given {
        instrument,
        clock: START,
        time: START,
        cents,
        definition: method,
        is_in_cad: false,
        market: "PJM",
    };
    quoted.map(given).to_vec()
}

/// The differences that a change of each snapshot makes, and how many snapshots the change reached.
fn differences(method: usize, change: impl Fn(&mut Stored) -> bool) -> (Vec<String>, usize) {
    let changed = std::cell::Cell::new(0);
    let (found, count) = compared(&quarter(method), |stored| {
        changed.set(changed.get() + usize::from(change(stored)))
    });
    assert_eq!((found.expected, found.unpriced), (count, 0));
    (found.wrong.into_iter().map(|row| row.text).collect(), changed.get())
}

/// Changes the point of a month; false if the snapshot does not reach it.
fn with_point(stored: &mut Stored, month: &str, change: impl FnOnce(&mut Point)) -> bool {
    let points = stored.content.iter_mut().flat_map(|(points, _)| points);
    let found = points.into_iter().find(|point| point.contract == month);
    found.map(change).is_some()
}

/// One more for February and less for March, so that no mean changes: 672 and 743 hours.
fn moved(stored: &mut Stored) -> bool {
    let is_there = with_point(stored, "2027-03", |point| point.price -= 1.0);
    is_there && with_point(stored, "2027-02", |point| point.price += 743.0 / 672.0)
}

fn reports_a_moved_price(method: usize) {
    let name = DEFINITIONS.get(method).copied().unwrap_or_default();
    let name = name.split(';').next().unwrap_or_default();
    let (texts, changed) = differences(method, moved);
    assert_eq!((texts.len(), changed), (4, 4), "{name}: {texts:?}");
    for text in &texts {
        let is_named = text.starts_with("curve snapshot t/C/") && text.contains("differs: point 2027-02 flat is ");
        let is_said =
            text.contains(" instead of ") && text.contains(&format!("which the quotes give by method {name}"));
        assert!(
            is_named && is_said && text.contains("`dp explain curve C --horizon "),
            "{text}"
        );
        // Nothing else notices it.
        assert!(
            !text.contains("is not repriced") && !text.contains("in horizon all"),
            "{text}"
        );
    }
}

#[test]
fn a_price_that_is_moved_inside_a_quarter_of_the_flat_method_is_reported() {
    reports_a_moved_price(0);
    // With a seasonal shape.
    reports_a_moved_price(8);
}

#[test]
fn a_price_that_is_moved_inside_a_quarter_of_the_linear_method_is_reported() {
    reports_a_moved_price(1);
    reports_a_moved_price(10);
}

#[test]
fn a_price_that_is_moved_inside_a_quarter_of_the_monotone_method_is_reported() {
    reports_a_moved_price(2);
    reports_a_moved_price(11);
}

#[test]
fn a_price_that_is_moved_inside_a_quarter_of_the_smooth_method_is_reported() {
    reports_a_moved_price(7);
    reports_a_moved_price(9);
}

#[test]
fn an_interpolated_and_an_extrapolated_price_that_no_quote_covers_are_reported() {
    for method in METHODS {
        // July to December 2027 have no quote; the year after the last quote is in no horizon.
        let (texts, changed) = differences(method, |stored| {
            with_point(stored, "2027-09", |point| point.price += 0.001)
        });
        assert_eq!((texts.len(), changed), (2, 2), "{texts:?}");
        assert!(
            texts.iter().all(|text| text.contains("point 2027-09 flat is ")),
            "{texts:?}"
        );
        let last = |stored: &mut Stored| with_point(stored, "2027-12", |point| point.price += 0.001);
        let log = quarter(method).into_iter().take(3).collect::<Vec<_>>();
        let (found, _) = compared(&log, |stored| {
            last(stored);
        });
        let texts: Vec<String> = found.wrong.into_iter().map(|row| row.text).collect();
        assert!(
            texts.len() == 1 && texts.iter().all(|text| text.contains("point 2027-12 flat is ")),
            "{texts:?}"
        );
    }
}

#[test]
fn each_changed_field_of_a_point_is_reported() {
    let of = |change: fn(&mut Point), expected: &str| {
        let (texts, changed) = differences(1, |stored| with_point(stored, "2027-02", change));
        assert_eq!((texts.len(), changed), (4, 4), "{expected}: {texts:?}");
        assert!(
            texts.iter().all(|text| text.contains(expected)),
            "{expected}: {texts:?}"
        );
    };
    of(
        |point| point.confidence = Some(0.9),
        "confidence of point 2027-02 flat is 0.9 instead of 0.7, as it is shaped",
    );
    of(
        |point| point.extrapolated = Some(true),
        "extrapolated of point 2027-02 flat is true instead of false, as it is shaped",
    );
    of(
        |point| point.volume = Some(7.0),
        "volume of point 2027-02 flat is 7 instead of none",
    );
    of(
        |point| point.method = "quoted".to_owned(),
        "point 2027-02 flat is quoted instead of shaped",
    );
    of(
        |point| point.sources = Some(Vec::new()),
        "sources of point 2027-02 flat are  instead of ",
    );
}

#[test]
fn a_volume_of_a_quote_that_its_point_lacks_is_reported() {
    let (texts, changed) = differences(0, |stored| with_point(stored, "2027-01", |point| point.volume = None));
    assert_eq!(
        (texts.len(), changed),
        (0, 5),
        "the quote of 60.00 states none: {texts:?}"
    );
    let log: Vec<Given> = quarter(0)
        .into_iter()
        .map(|given| Given {
            cents: given.cents + 1,
            ..given
        })
        .collect();
    let (found, _) = compared(&log, |stored| {
        with_point(stored, "2027-01", |point| point.volume = None);
    });
    let texts: Vec<String> = found.wrong.into_iter().map(|row| row.text).collect();
    assert!(
        texts.len() == 5
            && texts
                .iter()
                .all(|text| text.contains("volume of point 2027-01 flat is none instead of 600.1")),
        "{texts:?}"
    );
}

#[test]
fn a_definition_with_an_unknown_part_and_points_without_fields_are_counted() {
    for (is_shape, differs) in [(true, 0), (false, 4)] {
        let (found, count) = compared(&quarter(1), |stored| {
            match is_shape {
                true => stored.definition = "linear;;;spread:1,2".to_owned(),
                false => {
                    with_point(stored, "2027-01", |point| point.confidence = None);
                }
            }
            moved(stored);
        });
        assert_eq!(found.unpriced, count);
        let prices = found.wrong.iter().filter(|row| row.text.contains("by method"));
        assert_eq!(prices.count(), differs, "is_shape {is_shape}");
    }
}
