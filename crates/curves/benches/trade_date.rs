//! 10,000 curves of 60 months from 22 quotes each, of one market and method, when all quotes change on a new trade date.
//!
//! Measured is what the stage of curves does: first only the curves with points, residuals and sources, all of one set of contracts, then each of
//! a set of its own; then snapshots of all horizons of one set, records included; then the same with the quotes taken one by one. Each time begins with curves that know the quotes of the day before and
//! no layout of the new day. Not measured: reading and writing Avro.
//! Times are those of the thread on its core, so that other work beside it does not count; where the kernel does not tell them, of the wall.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use curves::snapshots::{Limits, Snapshots};
use curves::{Block, Builder, Contract, DeliveryCalendar, Layouts, Method, Month, Quote, Shape};
use domain::{Decimal, Kind, LegPlace, LegPrice, LegPurpose};
use jiff::civil::{Date, date};

/// Curves that are measured; the times are given for [`GOAL`] of them.
const CURVES: usize = 1_000;
const GOAL: usize = 10_000;
const MONTHS: i32 = 60;
const DAYS: [Date; 2] = [date(2026, 12, 17), date(2026, 12, 18)];
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Noon of the first day in New York.
const NOON: i64 = 1_797_526_800 * SECOND;

/// A year of months, two years of quarters, two calendar years.
fn names() -> Vec<String> {
    let months = (1..=12).map(|month| format!("2027-{month:02}"));
    let quarters = (0..8).map(|at| format!("Q{}-{}", at % 4 + 1, 28 + at / 4));
    let years = ["CAL-30", "CAL-31"].map(str::to_owned);
    months.chain(quarters).chain(years).collect()
}

/// As many contracts, of which no two curves have the same: each month of a year may be that of the year after.
fn names_of_its_own(curve: usize) -> Vec<String> {
    let months = (0..12_usize).map(|at| format!("{}-{:02}", 2027 + ((curve >> at) & 1), at + 1));
    let quarters = (0..8).map(|at| format!("Q{}-{}", at % 4 + 1, 29 + at / 4));
    let ends = ["Q1-31", "CAL-31"].map(str::to_owned);
    months.chain(quarters).chain(ends).collect()
}

fn price(curve: usize, at: usize, day: usize) -> Decimal {
    let cents = 4_000 + (curve * 31 + at * 17 + day * 7) % 1_009;
    Decimal::from_unscaled(cents as i64 * 1_000_000).unwrap()
}

/// The time of this thread on its core.
fn on_core(started: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanoseconds.map_or_else(|| started.elapsed(), Duration::from_nanos)
}

/// The time of `timed`, scaled to the goal, over as many turns; each begins with what `prepare` makes.
fn measured<T>(turns: u64, prepare: impl Fn() -> T, timed: impl Fn(&mut T)) -> Duration {
    let started = Instant::now();
    let mut total = Duration::ZERO;
    for _ in 0..turns {
        let mut state = prepare();
        let before = on_core(started);
        timed(&mut state);
        total += on_core(started) - before;
    }
    total * u32::try_from(GOAL / CURVES).unwrap()
}

/// The quotes of a curve on a day, of these contracts.
fn quotes(calendar: &DeliveryCalendar, names: Vec<String>, (curve, day): (usize, usize)) -> Vec<Quote> {
    let quote = |(at, name): (usize, String)| Quote {
        contract: Contract {
            period: name
                .parse::<curves::Tenor>()
                .unwrap()
                .resolve(DAYS[day], calendar.commodity())
                .unwrap(),
            block: Block::Flat,
        },
        price: price(curve, at, day).to_string().parse().unwrap(),
        volume: None,
        known_at: NOON + day as i64 * DAY,
        source: format!("ingestion.market.raw.v1/0/{curve}/{at}"),
    };
    names.into_iter().enumerate().map(quote).collect()
}

fn until(day: usize) -> Month {
    Month::of(DAYS[day]).plus(MONTHS + 1)
}

fn curves(criterion: &mut Criterion) {
    let shared = "10,000 curves on a new trade date: points, residuals, sources";
    curves_of(criterion, shared, |_| names());
    let own = "10,000 curves on a new trade date, no two of the same contracts: points, residuals, sources";
    curves_of(criterion, own, names_of_its_own);
}

/// Points, residuals and sources of curves with these contracts.
fn curves_of(criterion: &mut Criterion, name: &str, names: fn(usize) -> Vec<String>) {
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let of_day = |day| {
        (0..CURVES)
            .map(|curve| quotes(&calendar, names(curve), (curve, day)))
            .collect::<Vec<_>>()
    };
    let (before, now) = (of_day(0), of_day(1));
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(1));
    for method in Method::ALL {
        let prepare = || {
            let mut layouts = Layouts::default();
            let curve = |quotes: &Vec<Quote>| {
                let mut builder = Builder::new(calendar.clone(), method, Shape::None, 0.005);
                builder
                    .build_with(&mut layouts, (DAYS[0], until(0)), quotes.clone())
                    .unwrap();
                builder
            };
            (before.iter().map(curve).collect::<Vec<_>>(), layouts)
        };
        let timed = |(builders, layouts): &mut (Vec<Builder>, Layouts)| {
            for (builder, quotes) in builders.iter_mut().zip(&now) {
                let curve = builder
                    .build_with(layouts, (DAYS[1], until(1)), quotes.clone())
                    .unwrap();
                assert_eq!(curve.points.len(), 60);
                black_box(curve);
            }
        };
        group.bench_function(BenchmarkId::from_parameter(method.name()), |bencher| {
            bencher.iter_custom(|turns| measured(turns, prepare, timed));
        });
    }
    group.finish();
}

/// The curves of a stage.
struct Stage {
    curves: Vec<Snapshots>,
    layouts: Layouts,
    definition: String,
    ids: Vec<String>,
}

impl Stage {
    fn new(method: Method) -> Stage {
        let limits = Limits::new((60 * SECOND, DAY, 7 * DAY), 200_000);
        let curve = |curve| Snapshots::new("default", &format!("POWER_{curve}"), limits);
        Stage {
            curves: (0..CURVES).map(curve).collect(),
            layouts: Layouts::default(),
            definition: format!("{};;PJM.W.*.SETTLEMENT", method.name()),
            ids: names()
                .iter()
                .map(|name| format!("PJM.W.{name}.FLAT.SETTLEMENT"))
                .collect(),
        }
    }

    /// All quotes of a day.
    fn take(&mut self, day: usize) {
        let clock = NOON + day as i64 * DAY;
        for (number, curve) in self.curves.iter_mut().enumerate() {
            for (at, instrument_id) in self.ids.iter().enumerate() {
                let mut tick = domain::fixtures::tick();
                (tick.instrument_id, tick.kind) = (instrument_id, Kind::Interval);
                (tick.event_time, tick.price) = (clock, price(number, at, day));
                (tick.origin.partition, tick.origin.offset) = (0, (day * CURVES + number) as i64);
                let place = LegPlace {
                    purpose: LegPurpose::Curve,
                    series: "POWER",
                    role: "PJM",
                    definition: Some(&self.definition),
                    unit: "MWh",
                    log_clock: clock,
                    enriched_partition: 0,
                    enriched_offset: tick.origin.offset,
                    index: at as i32,
                };
                assert_eq!(curve.take(&LegPrice::of(&tick, place), clock), None);
            }
        }
    }

    /// The end of the interval.
    fn advance(&mut self, day: usize) {
        let mut sent = 0;
        let clock = NOON + day as i64 * DAY + 60 * SECOND;
        for curve in &mut self.curves {
            curve.advance_with(&mut self.layouts, clock, day as i64, &mut |snapshot| {
                sent += 1;
                black_box(snapshot);
            });
        }
        assert_eq!(sent, 5 * CURVES);
    }
}

fn stage(criterion: &mut Criterion) {
    for (name, is_taking) in [
        ("10,000 curves on a new trade date: snapshots of five horizons", false),
        (
            "10,000 curves on a new trade date: 220,000 quotes taken, snapshots of five horizons",
            true,
        ),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group
            .warm_up_time(Duration::from_millis(1))
            .measurement_time(Duration::from_millis(1));
        for method in Method::ALL {
            let prepare = || {
                let mut stage = Stage::new(method);
                stage.take(0);
                stage.advance(0);
                if !is_taking {
                    stage.take(1);
                }
                stage
            };
            let timed = |stage: &mut Stage| {
                if is_taking {
                    stage.take(1);
                }
                stage.advance(1);
            };
            group.bench_function(BenchmarkId::from_parameter(method.name()), |bencher| {
                bencher.iter_custom(|turns| measured(turns, prepare, timed));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, curves, stage);
criterion_main!(benches);
