//! Speed of curves of 60 points: only the product with a prepared layout, one quote changed, a new set of contracts, a quote as the service
//! takes it, and a derived value. A change of all quotes of 10,000 curves on a new trade date is in `trade_date.rs`.
//!
//! `cargo bench -p curves` prints the figures; the first group is for 10,000 curves.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use curves::derived::{Definition, Formula, Limits, RollingStatistic, Series, Statistic};
use curves::{
    Block, Builder, Contract, DeliveryCalendar, Layout, Method, Month, Quote, Scratch, Shape, Tenor, Terms, snapshots,
};
use domain::{Decimal, Kind, LegPrice, LegPurpose, Origin};
use jiff::civil::{Date, date};

const AS_OF: Date = date(2026, 12, 18);
const MONTHS: i32 = 60;
const CURVES: usize = 10_000;

/// A year of months, two years of quarters, two calendar years: 60 months.
fn contracts(calendar: &DeliveryCalendar) -> Vec<Contract> {
    let months = (1..=12).map(|month| Tenor::Month(Month::new(2027, month)));
    let quarters = (0i8..8).map(|at| Tenor::Quarter(2028 + i16::from(at) / 4, at % 4 + 1));
    let years = (2030..=2031).map(Tenor::Calendar);
    let contract = |tenor: Tenor| Contract {
        period: tenor.resolve(AS_OF, calendar.commodity()).unwrap(),
        block: Block::Flat,
    };
    months.chain(quarters).chain(years).map(contract).collect()
}

fn price(curve: usize, quote: usize) -> f64 {
    40.0 + ((curve * 31 + quote * 17) % 101) as f64 / 10.0
}

fn curves(criterion: &mut Criterion) {
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let contracts = contracts(&calendar);
    let terms = |method| Terms {
        calendar: &calendar,
        as_of: AS_OF,
        until: Month::of(AS_OF).plus(MONTHS + 1),
        method,
        shape: &Shape::None,
    };
    let mut group =
        criterion.benchmark_group("10,000 products of one prepared layout with prices, without residuals and sources");
    for method in Method::ALL {
        let layout = Layout::of(terms(method), &contracts).unwrap();
        assert_eq!(layout.cells().len(), 60);
        let prices: Vec<Vec<f64>> = (0..CURVES)
            .map(|curve| (0..contracts.len()).map(|quote| price(curve, quote)).collect())
            .collect();
        let (mut scratch, mut points) = (Scratch::default(), Vec::new());
        group.bench_function(BenchmarkId::from_parameter(method.name()), |bencher| {
            bencher.iter(|| {
                for prices in &prices {
                    layout.solve(prices, &mut scratch, &mut points).unwrap();
                    black_box(&points);
                }
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("one quote changed: points, residuals and sources");
    for method in Method::ALL {
        let mut builder = Builder::new(calendar.clone(), method, Shape::None, 0.005);
        let mut quotes: Vec<Quote> = contracts
            .iter()
            .enumerate()
            .map(|(at, contract)| quote(*contract, at))
            .collect();
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(method.name()), |bencher| {
            bencher.iter(|| {
                number += 1;
                let at = number % quotes.len();
                quotes[at].price = price(number, at);
                quotes[at].known_at = number as i64;
                black_box(
                    builder
                        .build(AS_OF, Month::of(AS_OF).plus(MONTHS + 1), &quotes)
                        .unwrap(),
                );
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("a new set of contracts");
    for method in Method::ALL {
        group.bench_function(BenchmarkId::from_parameter(method.name()), |bencher| {
            bencher.iter(|| black_box(Layout::of(terms(method), &contracts).unwrap()));
        });
    }
    group.finish();
}

fn quote(contract: Contract, at: usize) -> Quote {
    Quote {
        contract,
        price: price(0, at),
        volume: None,
        known_at: 0,
        source: format!("ingestion.market.raw.v1/0/{at}/0"),
    }
}

fn leg<'a>(instrument_id: &'a str, role: &'a str, time: i64, price: Decimal) -> LegPrice<'a> {
    LegPrice {
        origin: Origin {
            feed: "ingestion.market.raw.v1",
            partition: 0,
            offset: time,
            index: 0,
        },
        tenant_id: "default",
        purpose: LegPurpose::Series,
        series: "spark",
        role,
        definition: None,
        instrument_id,
        kind: Kind::Trade,
        event_time: time,
        interval_end: None,
        price,
        volume: None,
        bid: None,
        ask: None,
        congestion: None,
        loss: None,
        currency: "USD",
        unit: if role == "gas" { "MMBtu" } else { "MWh" },
        version: None,
        sequence: None,
        appended_at: Some(time),
        log_clock: time,
        enriched_partition: 0,
        enriched_offset: time,
        index: 0,
    }
}

fn derived(criterion: &mut Criterion) {
    let formula = Formula::SparkSpread {
        heat_rate: Decimal::from_unscaled(750_000_000).unwrap(),
    };
    let legs = ["PJM.WESTERN%20HUB.RTH", "GAS.TETCO_M3.SPOT"];
    let limits = Limits::new(60_000_000, 0, 1_000_000);
    let mean = RollingStatistic {
        statistic: Statistic::Mean,
        count: Some(100),
        width: 60_000_000,
    };
    for (name, rolling) in [
        ("spark spread, one tick of a leg", None),
        ("rolling mean of 100 spark spreads, one tick of a leg", Some(mean)),
    ] {
        let definition = Definition {
            series: "spark".into(),
            formula,
            legs: legs.map(str::to_owned).to_vec(),
            max_age: 60_000_000,
            rolling,
        };
        let mut series = Series::new(Arc::new(definition), limits);
        let mut number = 0i64;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                let at = (number % 2) as usize;
                let price = Decimal::from_unscaled(4_000_000_000 + number % 1_000).unwrap();
                let leg = leg(legs[at], formula.legs()[at], number * 1_000, price);
                series.take(&leg, number, &mut |value| _ = black_box(value.value))
            });
        });
    }
}

/// Takes a quote and makes the five snapshots that follow, as stage `curves` does for each interval.
fn service(criterion: &mut Criterion) {
    /// 2026-12-18 in New York.
    const START: i64 = 1_797_600_000_000_000;
    const SECOND: i64 = 1_000_000;
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let ids: Vec<String> = contracts(&calendar)
        .iter()
        .map(|contract| format!("PJM.W.{}.FLAT.SETTLEMENT", contract.period))
        .collect();
    let mut group = criterion.benchmark_group("a quote of the service: five snapshots");
    for method in Method::ALL {
        let definition = format!("{};;PJM.W.*.SETTLEMENT", method.name());
        let limits = snapshots::Limits::new((SECOND, 60 * SECOND, 7 * 86_400 * SECOND), 200_000);
        let mut curve = snapshots::Snapshots::new("default", "C", limits);
        let mut number = 0usize;
        let mut quote = || {
            number += 1;
            let clock = START + number as i64 * SECOND;
            let price = Decimal::from_unscaled(4_000_000_000 + (number % 1_000) as i64).unwrap();
            let leg = LegPrice {
                purpose: LegPurpose::Curve,
                series: "C",
                definition: Some(&definition),
                kind: Kind::Interval,
                ..leg(&ids[number % ids.len()], "PJM", clock, price)
            };
            curve.take(&leg, clock);
            curve.advance(clock + SECOND, clock, &mut |snapshot| {
                _ = black_box(snapshot.points.len())
            });
        };
        for _ in 0..ids.len() {
            quote();
        }
        group.bench_function(BenchmarkId::from_parameter(method.name()), |bencher| {
            bencher.iter(&mut quote)
        });
    }
    group.finish();
}

criterion_group!(benches, curves, service, derived);
criterion_main!(benches);
