//! Snapshots against a model that knows the whole set of quotes, in random orders and with restarts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};

use domain::{CurveInput, CurvePoint, CurveSnapshot as Record, Decimal, Kind, LegPurpose, Origin};
use jiff::civil::date;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::*;
use crate::definition::Choice;
use crate::snapshot::{SnapshotInput, SnapshotPoint};
use crate::{CurveSnapshot, Horizon, Month};

const DAY: Micros = 86_400_000_000;
const MINUTE: Micros = 60_000_000;
/// 2026-12-18 in New York.
const START: Micros = 1_797_600_000_000_000;
/// The start of its day in New York.
const MIDNIGHT: Micros = 1_797_570_000_000_000;
const IDS: [&str; 6] = [
    "PJM.W.2027-01.FLAT.SETTLEMENT",
    "PJM.W.2027-02.FLAT.SETTLEMENT",
    "PJM.W.Q1-27.FLAT.SETTLEMENT",
    "PJM.W.CAL-27.PEAK.SETTLEMENT",
    "PJM.W.CAL-28.FLAT.SETTLEMENT",
    // Its delivery is over.
    "PJM.W.2026-11.FLAT.SETTLEMENT",
];
const DEFINITIONS: [&str; 6] = [
    "flat",
    "linear",
    "smooth;1,2",
    "flat;;PJM.W.2027*,PJM.W.Q1-27.FLAT.SETTLEMENT",
    SPREADS,
    "linear;ratios=1.3,1.2,1,0.9,0.9,1,1.1,1.1,0.9,0.9,1,1.1;1,2",
];
const SPREADS: &str = "flat;spreads=8,5,-1,0,0,0,9.5,9,0,0,0,3.25";
/// It leaves the instruments after the first three out.
const WITH_MEMBERS: usize = 3;
const MEMBERS: usize = 3;

const LIMITS: Limits = Limits {
    interval: MINUTE,
    hold: DAY,
    max_age: 40 * MINUTE,
    quotes: 10_000,
    without: None,
};

/// A quote of the log, or a clock without one.
#[derive(Debug, Clone)]
struct Given {
    id: usize,
    clock: Micros,
    event_time: Micros,
    cents: i64,
    definition: usize,
    unit: &'static str,
    sequence: Option<i64>,
    offset: i64,
}

impl Given {
    fn leg(&self) -> LegPrice<'static> {
        LegPrice {
            origin: Origin {
                feed: "raw",
                partition: 0,
                offset: self.offset,
                index: 0,
            },
            tenant_id: "t",
            purpose: LegPurpose::Curve,
            series: "C",
            role: "PJM",
            definition: Some(DEFINITIONS[self.definition]),
            instrument_id: IDS[self.id],
            kind: Kind::Interval,
            event_time: self.event_time,
            interval_end: None,
            price: Decimal::from_unscaled(self.cents * 1_000_000).unwrap(),
            volume: None,
            bid: None,
            ask: None,
            congestion: None,
            loss: None,
            currency: "USD",
            unit: self.unit,
            version: None,
            sequence: self.sequence,
            appended_at: None,
            log_clock: self.clock,
            enriched_partition: 0,
            enriched_offset: self.offset,
            index: 0,
        }
    }

    fn end(&self) -> Micros {
        (self.clock.div_euclid(MINUTE) + 1) * MINUTE
    }
}

fn quotes(most: usize) -> impl Strategy<Value = Vec<Given>> {
    let quote = (
        0..IDS.len(),
        0i64..120 * 60,
        0i64..50,
        -500i64..20_000,
        0..DEFINITIONS.len(),
        proptest::option::of(0i64..3),
        (prop_oneof![9 => 0i64..1, 3 => 1i64..4], 0u8..12, 0u8..5),
    );
    proptest::collection::vec(quote, 1..most).prop_map(|quotes| {
        let given = quotes.into_iter().zip(0..).map(
            |((id, seconds, minutes, cents, definition, sequence, (days, unit, dated)), offset)| Given {
                id,
                clock: START + seconds * 1_000_000,
                // Few times, so that some quotes have the same. Some state only the date.
                event_time: match dated {
                    0 => MIDNIGHT - days * DAY,
                    _ => START + (seconds / 60 - minutes).div_euclid(5) * 5 * MINUTE - days * DAY,
                },
                cents,
                definition,
                unit: if unit == 0 { "MMBtu" } else { "MWh" },
                sequence,
                offset,
            },
        );
        given.collect()
    })
}

/// What is compared of a snapshot: everything but version, revision and cause.
type Shown = (String, i32, String, String);
type Key = (Micros, String);

fn shown(record: &Record<'_>) -> Shown {
    let origin = record.origin.to_string();
    let content = format!("{:?} {:?}", record.points, record.inputs);
    (origin, record.day, record.definition.to_owned(), content)
}

/// Every snapshot of the set, computed from the whole of it.
fn expected(quotes: &[Given]) -> BTreeMap<Key, Shown> {
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let day = |quote: &Given| calendar.date_at(Timestamp::from_microsecond(quote.event_time).unwrap());
    let stated = |quote: &Given| match (MIDNIGHT - quote.event_time) % DAY {
        0 => Micros::MAX,
        _ => quote.event_time,
    };
    let ends: BTreeSet<Micros> = quotes.iter().map(Given::end).collect();
    let mut all = BTreeMap::new();
    for end in ends {
        let known = || quotes.iter().filter(|quote| quote.clock < end);
        let newest = known().max_by_key(|quote| (quote.clock, quote.offset)).unwrap();
        let best = |id: usize| {
            let of_id = known().filter(|quote| quote.id == id);
            of_id.max_by_key(|quote| (day(quote), stated(quote), quote.sequence, quote.offset))
        };
        let counts = |quote: &&Given| {
            let is_member =
                MEMBERS > quote.id || newest.definition != WITH_MEMBERS || quote.definition == newest.definition;
            quote.clock >= end - LIMITS.max_age && is_member
        };
        let mut ids: Vec<usize> = (0..IDS.len()).collect();
        ids.sort_by_key(|id| IDS[*id]);
        let found: Vec<&Given> = ids.into_iter().filter_map(best).filter(counts).collect();
        let last = found.iter().max_by_key(|quote| (day(quote), quote.clock, quote.offset));
        let unit = last.map(|quote| quote.unit);
        let prices: Vec<PricedContract> = found
            .iter()
            .filter(|quote| Some(quote.unit) == unit)
            .map(|quote| PricedContract {
                instrument_id: IDS[quote.id].to_owned(),
                event_time: quote.event_time,
                price: quote.leg().price,
                volume: None,
                origin: quote.leg().origin.to_string(),
            })
            .collect();
        let definition: Interpolation = DEFINITIONS[newest.definition].parse().unwrap();
        let prices: Vec<&PricedContract> = prices.iter().collect();
        let choice = Choice {
            curve_id: "C",
            contract_months: &definition.contract_months,
            max_age: LIMITS.max_age,
        };
        let Ok(selected) = choice.select(&calendar, &prices) else {
            continue;
        };
        let mut builder = Builder::new(calendar.clone(), definition.method, definition.shape, 0.005);
        let until = Month::of(selected.day).plus(13);
        let Ok(curve) = builder.build(selected.day, until, &selected.quotes) else {
            continue;
        };
        for horizon in Horizon::ALL {
            let (name, when) = (("C", definition.method), (end, 0, selected.day));
            let snapshot = CurveSnapshot::of(&curve, &calendar, name, when, horizon).unwrap();
            let head = content::Head {
                tenant_id: "t",
                curve_id: "C",
                origin: newest.leg().origin,
                definition: DEFINITIONS[newest.definition],
                log_clock: end,
                version: 0,
                revision: 0,
                cause: DerivedCause::First,
            };
            with_record(&snapshot, &head, &mut |record| {
                all.insert((end, horizon.name().to_owned()), shown(record));
            });
        }
    }
    all
}

/// The record of a public snapshot: the stage makes its own from the curve.
fn with_record(snapshot: &CurveSnapshot, head: &content::Head<'_>, send: &mut dyn FnMut(&Record<'_>)) {
    send(&Record {
        origin: head.origin,
        tenant_id: head.tenant_id,
        curve_id: &snapshot.curve_id,
        market: &snapshot.market,
        horizon: snapshot.horizon.name(),
        as_of: snapshot.as_of,
        day: (snapshot.day - date(1970, 1, 1)).get_days(),
        method: snapshot.method.name(),
        definition: head.definition,
        log_clock: head.log_clock,
        version: head.version,
        revision: head.revision,
        cause: head.cause,
        points: snapshot.points.iter().map(point).collect(),
        inputs: snapshot.inputs.iter().map(input).collect(),
    });
}

fn point(point: &SnapshotPoint) -> CurvePoint<'_> {
    CurvePoint {
        contract: &point.contract,
        block: point.block.name(),
        delivery_start: &point.delivery_start,
        delivery_end: &point.delivery_end,
        price: point.price,
        volume: point.volume,
        confidence: point.confidence,
        method: point.method.name(),
        extrapolated: point.extrapolated,
        sources: point.sources.iter().map(String::as_str).collect(),
    }
}

fn input(input: &SnapshotInput) -> CurveInput<'_> {
    CurveInput {
        contract: &input.contract,
        block: input.block.name(),
        price: input.price,
        curve_price: input.curve_price,
        residual: input.residual,
        state: input.state.name(),
        implied_by: input.implied_by.iter().map(String::as_str).collect(),
        source: &input.source,
        known_at: input.known_at,
    }
}

/// One record of the topic of legs; the clock of the reader is the largest so far.
fn read(curve: &mut Snapshots, clock: &mut Micros, (given, version): (&Given, i64), send: &mut dyn FnMut(&Record<'_>)) {
    *clock = (*clock).max(given.clock);
    curve.take(&given.leg(), *clock);
    curve.advance(*clock, version, send);
}

/// What each record made be sent: version, time and horizon, revision, cause, content, since when it is known.
type Sent = (i64, Key, i32, DerivedCause, Shown, Micros);

fn run(limits: Limits, order: &[&Given], restart: Option<usize>) -> Vec<Sent> {
    let (mut curve, mut clock) = (Snapshots::new("t", "C", limits), Micros::MIN);
    let mut sent = Vec::new();
    for (at, given) in order.iter().enumerate() {
        if Some(at) == restart {
            (curve, clock) = (Snapshots::new("t", "C", limits), Micros::MIN);
            for (version, given) in order[..at].iter().enumerate() {
                read(&mut curve, &mut clock, (given, version as i64), &mut |_| ());
            }
        }
        let mut send = |record: &Record<'_>| {
            sent.push(of_record(record));
        };
        read(&mut curve, &mut clock, (given, at as i64), &mut send);
    }
    let last = order.iter().map(|given| given.end()).max().unwrap();
    curve.advance(last, order.len() as i64, &mut |record| {
        sent.push(of_record(record));
    });
    sent
}

fn of_record(record: &Record<'_>) -> Sent {
    let key = (record.as_of, record.horizon.to_owned());
    let (revision, cause, content) = (record.revision, record.cause, shown(record));
    (record.version, key, revision, cause, content, record.log_clock)
}

/// The last of each time and horizon that is known at a time; one without points is none.
fn last_of(sent: &[Sent], at: Micros) -> BTreeMap<Key, Shown> {
    let mut last = BTreeMap::new();
    let known = sent
        .iter()
        .filter(|(_, (time, _), .., known_at)| (*time).max(*known_at) <= at);
    for (_, key, _, _, shown, _) in known {
        last.insert(key.clone(), shown.clone());
    }
    last.retain(|_, shown: &mut Shown| shown.3 != "[] []");
    last
}

fn shuffled<'g>(quotes: &'g [Given], keys: &[u32]) -> Vec<&'g Given> {
    let mut order: Vec<(u32, &Given)> = keys.iter().copied().cycle().zip(quotes).collect();
    order.sort_by_key(|(key, _)| *key);
    order.into_iter().map(|(_, given)| given).collect()
}

fn check(limits: Limits, quotes: &[Given], keys: &[u32], restart: usize) -> Result<(), TestCaseError> {
    let order = shuffled(quotes, keys);
    let sent = run(limits, &order, None);
    prop_assert_eq!(last_of(&sent, Micros::MAX), expected(quotes));
    // What is known at a time of the reader's clock follows from what it has read until then.
    let mut clock = Micros::MIN;
    let read = order.iter().map(|given| {
        clock = clock.max(given.clock);
        (clock, *given)
    });
    let read: Vec<(Micros, &Given)> = read.collect();
    let (at, _) = read[restart % read.len()];
    let until: Vec<Given> = read
        .iter()
        .filter(|(clock, _)| *clock <= at)
        .map(|(_, given)| (*given).clone())
        .collect();
    let mut known = expected(&until);
    known.retain(|(time, _), _| *time <= at);
    prop_assert_eq!(last_of(&sent, at), known);
    prop_assert_eq!(&run(limits, &order, Some(restart % order.len())), &sent);
    // Each send of a time is one revision above the one before, has a larger version, and another content.
    let mut before: BTreeMap<&Key, &Sent> = BTreeMap::new();
    for now in &sent {
        match before.insert(&now.1, now) {
            None => prop_assert_eq!((now.2, now.3), (0, DerivedCause::First)),
            Some(earlier) => {
                prop_assert_eq!(now.2, earlier.2 + 1);
                prop_assert!(now.0 > earlier.0 && now.3 != DerivedCause::First && now.4 != earlier.4);
            }
        }
    }
    Ok(())
}

fn case() -> impl Strategy<Value = (Vec<Given>, Vec<u32>, usize)> {
    (quotes(24), proptest::collection::vec(any::<u32>(), 24), 0usize..24)
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

#[test]
fn the_last_snapshots_are_those_of_the_set_in_any_order_and_with_any_restart() {
    let mut runner = TestRunner::new(config(150));
    runner
        .run(&case(), |(quotes, keys, restart)| {
            check(LIMITS, &quotes, &keys, restart)
        })
        .unwrap();
}

/// What each of these curves sends, with the layouts that it passes on to the next record of another.
fn run_together(curves: &[Vec<Given>]) -> Vec<Vec<Sent>> {
    let mut layouts = Layouts::default();
    let mut states: Vec<_> = curves
        .iter()
        .map(|_| (Snapshots::new("t", "C", LIMITS), Micros::MIN))
        .collect();
    let mut sent = vec![Vec::new(); curves.len()];
    for at in 0..=curves.iter().map(Vec::len).max().unwrap_or_default() {
        for ((given, (curve, clock)), sent) in curves.iter().zip(&mut states).zip(&mut sent) {
            match given.get(at) {
                Some(given) => {
                    *clock = (*clock).max(given.clock);
                    curve.take(&given.leg(), *clock);
                }
                None if at == given.len() => *clock = given.iter().map(Given::end).max().unwrap(),
                None => continue,
            }
            curve.advance_with(&mut layouts, *clock, at as i64, &mut |record| {
                sent.push(of_record(record))
            });
        }
    }
    sent
}

#[test]
fn curves_that_share_layouts_send_what_each_would_send_alone() {
    let cases = proptest::collection::vec(quotes(24), 2..6);
    TestRunner::new(config(60))
        .run(&cases, |curves| {
            let alone = |given: &Vec<Given>| run(LIMITS, &given.iter().collect::<Vec<_>>(), None);
            prop_assert_eq!(run_together(&curves), curves.iter().map(alone).collect::<Vec<_>>());
            Ok(())
        })
        .unwrap();
}

#[test]
fn each_rule_that_is_taken_out_is_noticed() {
    for rule in [
        Rule::ReviseLater,
        Rule::LeaveOutStale,
        Rule::KnownSinceLateQuote,
        Rule::RankByDay,
        Rule::SameUnits,
        Rule::Members,
    ] {
        let limits = Limits {
            without: Some(rule),
            ..LIMITS
        };
        let mut runner = TestRunner::new(Config {
            max_shrink_iters: 0,
            ..config(150)
        });
        let found = runner.run(&case(), |(quotes, keys, restart)| {
            check(limits, &quotes, &keys, restart)
        });
        assert!(matches!(found, Err(TestError::Fail(..))), "{rule:?}: {found:?}");
    }
}

fn given(id: usize, minutes: i64, cents: i64, offset: i64) -> Given {
    Given {
        id,
        clock: START + minutes * MINUTE,
        event_time: START + minutes * MINUTE,
        cents,
        definition: 0,
        unit: "MWh",
        sequence: None,
        offset,
    }
}

#[test]
fn a_snapshot_waits_for_the_end_of_its_interval_and_is_sent_once() {
    let mut curve = Snapshots::new("t", "C", LIMITS);
    let quote = given(0, 0, 4_000, 1);
    assert_eq!(curve.take(&quote.leg(), START), None);
    assert_eq!(curve.next_due(), Some(START + MINUTE));
    let mut sent = Vec::new();
    for (version, clock) in [
        (5, START),
        (6, START + MINUTE - 1),
        (7, START + MINUTE),
        (8, START + 9 * MINUTE),
    ] {
        curve.advance(clock, version, &mut |record| {
            sent.push((record.horizon.to_owned(), record.version))
        });
    }
    assert_eq!(sent, Horizon::ALL.map(|horizon| (horizon.name().to_owned(), 7)));
    assert_eq!(curve.next_due(), None);
    assert_eq!(curve.take_counts().sent, [5, 0, 0]);
}

/// A quote of the first quarter of 2027 in a block.
fn of_quarter(block: &str, (minutes, cents, offset): (i64, i64, i64)) -> LegPrice<'static> {
    let instrument_id = match block {
        "PEAK" => "PJM.W.Q1-27.PEAK.SETTLEMENT",
        "OFF_PEAK" => "PJM.W.Q1-27.OFF_PEAK.SETTLEMENT",
        _ => IDS[2],
    };
    LegPrice {
        instrument_id,
        ..given(0, minutes, cents, offset).leg()
    }
}

#[test]
fn the_largest_residual_is_told_until_the_quotes_agree_or_the_hold_time_is_over() {
    let hold = 10 * MINUTE;
    let mut curve = Snapshots::new("t", "C", Limits { hold, ..LIMITS });
    let mut told = Vec::new();
    let mut take = |curve: &mut Snapshots, legs: &[LegPrice<'static>]| {
        for leg in legs {
            curve.take(leg, leg.log_clock);
        }
        let end = curve.next_due().unwrap();
        curve.advance(end, 1, &mut |_| ());
        told.push((curve.contradiction(end), curve.take_counts().contradictory));
        end
    };
    // Peak and off-peak imply 60.
    take(
        &mut curve,
        &[of_quarter("PEAK", (0, 6_000, 1)), of_quarter("OFF_PEAK", (0, 6_000, 2))],
    );
    take(&mut curve, &[of_quarter("FLAT", (2, 7_500, 3))]);
    take(&mut curve, &[of_quarter("FLAT", (4, 6_000, 4))]);
    let end = take(&mut curve, &[of_quarter("FLAT", (6, -6_000, 5))]);
    let expected = [(0.0, 0), (0.2, 5), (0.0, 0), (2.0, 5)];
    for ((ratio, count), (expected, snapshots)) in told.iter().zip(expected) {
        assert!((ratio - expected).abs() < 1e-9 && *count == snapshots, "{told:?}");
    }
    assert_eq!(told.len(), expected.len());
    assert!(curve.contradiction(end + hold) > 1.0);
    assert!(curve.contradiction(end + hold + 1) < 1e-9);
}

#[test]
fn a_quote_after_the_hold_time_changes_only_what_is_held() {
    let mut curve = Snapshots::new(
        "t",
        "C",
        Limits {
            hold: 5 * MINUTE,
            ..LIMITS
        },
    );
    let mut clock = Micros::MIN;
    let mut times = Vec::new();
    let records = [
        given(0, 0, 4_000, 1),
        given(0, 8, 4_100, 2),
        given(0, 10, 4_200, 3),
        // Eight minutes before the clock.
        given(1, 2, 5_000, 4),
    ];
    for (version, record) in (0..).zip(&records) {
        times.clear();
        clock = clock.max(record.clock);
        let reason = curve.take(&record.leg(), clock);
        assert_eq!(reason, (version == 3).then_some(Reason::TooLate));
        curve.advance(clock, version, &mut |sent| {
            times.push(((sent.as_of - START) / MINUTE, sent.cause))
        });
    }
    times.dedup();
    // The snapshot of minute 9 is held; that of minute 11 is not due yet, and those of minutes 1 and 3 are left as they are.
    assert_eq!(times, [(9, DerivedCause::Late)]);
}

#[test]
fn what_cannot_be_a_quote_is_counted_and_others_still_count() {
    let mut curve = Snapshots::new("t", "C", LIMITS);
    let good = given(0, 0, 4_000, 1);
    let leg = good.leg();
    let refused = [
        (
            LegPrice {
                definition: None,
                ..leg
            },
            Reason::Undefined,
        ),
        (
            LegPrice {
                definition: Some("spline"),
                ..leg
            },
            Reason::Undefined,
        ),
        (LegPrice { role: "ICE", ..leg }, Reason::UnknownMarket),
        (
            LegPrice {
                instrument_id: "PJM.W.SPOT",
                ..leg
            },
            Reason::NotAContract,
        ),
        // Gas has no on-peak block.
        (
            LegPrice {
                role: "GAS",
                instrument_id: "GAS.W.CAL-27.PEAK.SETTLEMENT",
                ..leg
            },
            Reason::NotAContract,
        ),
        (
            LegPrice {
                price: Decimal::from_unscaled(10_000_000_000_001).unwrap(),
                ..leg
            },
            Reason::TooLarge,
        ),
        // The id is of PJM.
        (LegPrice { role: "MISO", ..leg }, Reason::OtherMarket),
        (
            LegPrice {
                instrument_id: "PJM.W.CAL-46.FLAT.SETTLEMENT",
                ..leg
            },
            Reason::TooFar,
        ),
        // The hub of the pattern is only the beginning of this one.
        (
            LegPrice {
                instrument_id: "PJM.W.X1.CAL-27.FLAT.SETTLEMENT",
                definition: Some("flat;;PJM.W.*.SETTLEMENT"),
                ..leg
            },
            Reason::NotAContract,
        ),
        (
            LegPrice {
                event_time: START + 2 * DAY,
                ..leg
            },
            Reason::OutOfReach,
        ),
        (
            LegPrice {
                log_clock: Micros::MAX,
                ..leg
            },
            Reason::OutOfReach,
        ),
    ];
    for (leg, reason) in refused {
        assert_eq!(curve.take(&leg, START), Some(reason), "{leg:?}");
    }
    assert!(curve.is_empty());
    assert_eq!(curve.take(&leg, START), None);
    let mut sent = 0;
    curve.advance(START + MINUTE, 1, &mut |_| sent += 1);
    assert_eq!((sent, curve.len()), (5, 1));
    assert_eq!(curve.take_counts().skipped.iter().sum::<u64>(), 11);
}

#[test]
fn a_price_with_another_market_than_its_id_changes_no_curve() {
    let pattern = Some("flat;;PJM.W.*.SETTLEMENT");
    let quotes = [given(0, 0, 4_000, 1), given(1, 1, 4_100, 2)];
    let [january, february] = quotes.each_ref().map(|quote| LegPrice {
        definition: pattern,
        ..quote.leg()
    });
    let wrong = LegPrice {
        role: "MISO",
        definition: pattern,
        ..given(2, 2, 99_900, 3).leg()
    };
    let (mut curve, mut shown) = (Snapshots::new("t", "C", LIMITS), Vec::new());
    for leg in [january, february, wrong] {
        curve.take(&leg, leg.log_clock);
        curve.advance(leg.log_clock + MINUTE, 1, &mut |record| {
            shown.push((record.market.to_owned(), record.inputs.len()));
        });
    }
    let of_pjm = |inputs: usize| (0..Horizon::ALL.len()).map(move |_| ("PJM".to_owned(), inputs));
    assert_eq!(shown, Vec::from_iter(of_pjm(1).chain(of_pjm(2))));
    assert_eq!(curve.take_counts().skipped[Reason::OtherMarket as usize], 1);
}

#[test]
fn the_oldest_quotes_are_forgotten_beyond_the_limit_and_after_their_time() {
    let mut curve = Snapshots::new(
        "t",
        "C",
        Limits {
            quotes: 3,
            hold: 10 * MINUTE,
            ..LIMITS
        },
    );
    for minute in 0..5 {
        curve.take(&given(0, minute, 4_000, minute).leg(), START + minute * MINUTE);
    }
    assert_eq!((curve.len(), curve.take_counts().evicted), (3, 2));
    curve.advance(START + 30 * MINUTE, 9, &mut |_| ());
    assert_eq!(curve.len(), 1);
    curve.advance(START + 60 * MINUTE, 10, &mut |_| ());
    assert_eq!(curve.len(), 0);
}

#[test]
fn a_quiet_curve_forgets_what_a_restart_would_not_read_back() {
    let limits = Limits {
        hold: 10 * MINUTE,
        ..LIMITS
    };
    // The second quote comes after hold time and age of the first one, with an older trade date.
    let (first, late) = (given(0, 0, 4_000, 1), given(0, 90, 3_900, 2));
    let late = Given {
        event_time: first.event_time - DAY,
        ..late
    };
    let sent_by = |earlier: &[&Given]| {
        let (mut curve, mut points) = (Snapshots::new("t", "C", limits), Vec::new());
        for quote in earlier {
            curve.take(&quote.leg(), quote.clock);
            curve.advance(quote.end(), quote.offset, &mut |_| ());
        }
        curve.take(&late.leg(), late.clock);
        curve.advance(late.end(), late.offset, &mut |record| points.push(shown(record)));
        points
    };
    let (live, restarted) = (sent_by(&[&first]), sent_by(&[]));
    assert_eq!((live.len(), &live), (5, &restarted));
}

/// The prices of the quotes of the last snapshot that these legs cause, in cents, and what was left out of it.
fn quoted(legs: &[LegPrice<'_>]) -> (Vec<i64>, Vec<Reason>) {
    let (mut curve, mut cents) = (Snapshots::new("t", "C", LIMITS), Vec::new());
    for leg in legs {
        assert_eq!(curve.take(leg, leg.log_clock), None);
    }
    let last = legs.last().unwrap().log_clock + MINUTE;
    curve.take_counts();
    curve.advance(last, 1, &mut |record| {
        cents = record
            .inputs
            .iter()
            .map(|input| (input.price * 100.0).round() as i64)
            .collect();
    });
    let skipped = curve.take_counts().skipped;
    let left_out = Reason::ALL.into_iter().filter(|reason| skipped[*reason as usize] > 0);
    (cents, left_out.collect())
}

#[test]
fn a_dated_correction_replaces_a_timed_settlement_of_the_same_day() {
    let timed = given(0, 0, 4_000, 1);
    let dated = Given {
        event_time: MIDNIGHT,
        ..given(0, 1, 4_100, 2)
    };
    assert_eq!(quoted(&[timed.leg(), dated.leg()]).0, [4_100]);
    let before = Given {
        event_time: MIDNIGHT - DAY,
        ..dated
    };
    assert_eq!(quoted(&[timed.leg(), before.leg()]).0, [4_000]);
}

#[test]
fn quotes_in_another_currency_or_unit_than_the_newest_one_are_left_out() {
    let (first, newest) = (given(0, 0, 4_000, 1), given(1, 0, 5_000, 2));
    for (currency, unit, expected) in [("USD", "MWh", 2), ("CAD", "MWh", 1), ("USD", "MMBtu", 1)] {
        let first = LegPrice {
            currency,
            unit,
            ..first.leg()
        };
        let (cents, left_out) = quoted(&[first, newest.leg()]);
        assert_eq!(cents.len(), expected, "{currency}/{unit}");
        let reasons = if expected == 2 {
            vec![]
        } else {
            vec![Reason::UnitMismatch]
        };
        assert_eq!(left_out, reasons, "{currency}/{unit}");
    }
}

#[test]
fn an_archive_that_is_ingested_today_changes_no_curve_of_today() {
    let today = given(0, 0, 4_000, 1);
    let archive = Given {
        event_time: START - 400 * DAY,
        ..given(3, 0, 9_900, 2)
    };
    assert_eq!(
        quoted(&[today.leg(), archive.leg()]),
        (vec![4_000], vec![Reason::Stale])
    );
    assert_eq!(quoted(&[archive.leg()]), (vec![9_900], vec![]));
    // Nor does its unit.
    let other = LegPrice {
        unit: "MMBtu",
        ..archive.leg()
    };
    assert_eq!(quoted(&[today.leg(), other]), (vec![4_000], vec![Reason::UnitMismatch]));
}

/// The prices of the months of the last snapshot that a leg causes, by contract, after a check that its quotes reprice.
fn months(curve: &mut Snapshots, leg: &LegPrice<'_>) -> BTreeMap<String, f64> {
    assert_eq!(curve.take(leg, leg.log_clock), None);
    let mut months = BTreeMap::new();
    curve.advance(leg.log_clock + MINUTE, leg.enriched_offset, &mut |record| {
        assert_eq!(Some(record.definition), leg.definition);
        let residuals = record.inputs.iter().map(|input| input.residual.unwrap().abs());
        assert!(residuals.fold(0.0, f64::max) <= 1e-8, "{:?}", record.inputs);
        let points = record
            .points
            .iter()
            .map(|point| (point.contract.to_owned(), point.price));
        months = points.collect();
    });
    months
}

#[test]
fn a_shape_moves_months_by_the_spread_between_them_and_a_changed_one_counts_at_once() {
    let mut curve = Snapshots::new("t", "C", LIMITS);
    let quarter = |minute: i64, definition: &'static str| LegPrice {
        definition: Some(definition),
        ..given(2, minute, 6_000, minute).leg()
    };
    // The quotes stay the same; only the definition changes, and is taken back.
    let other = "flat;spreads=0,12.5,0,0,0,0,0,0,0,0,0,0";
    for (minute, definition, january, march) in [
        (0, "flat", 0.0, 0.0),
        (2, SPREADS, 8.0 - 5.0, -1.0 - 5.0),
        (4, other, -12.5, -12.5),
        (6, "flat", 0.0, 0.0),
    ] {
        let months = months(&mut curve, &quarter(minute, definition));
        for (contract, above_february) in [("2027-01", january), ("2027-03", march)] {
            let found = months[contract] - months["2027-02"];
            assert!(
                (found - above_february).abs() < 1e-9,
                "{definition} {contract}: {months:?}"
            );
        }
        // January and March have 31 days, February 28, and the clock changes in March.
        let hours = [("2027-01", 744.0), ("2027-02", 672.0), ("2027-03", 743.0)];
        let sum: f64 = hours.iter().map(|(contract, hours)| months[*contract] * hours).sum();
        assert!((sum / 2_159.0 - 60.0).abs() < 1e-8, "{definition}: {months:?}");
    }
}

#[test]
fn a_contract_that_is_taken_out_of_a_curve_does_not_count_from_the_next_quote_on() {
    let defined = |given: Given, definition: &'static str| LegPrice {
        definition: Some(definition),
        ..given.leg()
    };
    let all = "flat;;PJM.W.*.SETTLEMENT";
    let (out, kept) = (given(3, 0, 9_000, 1), given(0, 0, 4_000, 2));
    let before = [defined(out.clone(), all), defined(kept.clone(), all)];
    assert_eq!(quoted(&before).0, [4_000, 9_000]);
    let months = "flat;;PJM.W.2027-*.SETTLEMENT";
    let after = [before[0], before[1], defined(given(1, 1, 4_500, 3), months)];
    assert_eq!(quoted(&after), (vec![4_000, 4_500], vec![Reason::NotAMember]));
    // By a definition of earlier releases, all that came count.
    let old = [before[0], before[1], defined(given(1, 1, 4_500, 3), "flat")];
    assert_eq!(quoted(&old).0.len(), 3);
    // An instrument that is on the curve by its own row of reference data fits no pattern.
    let own = [defined(out, months), defined(kept, months)];
    assert_eq!(quoted(&own).0, [4_000, 9_000]);
}
