//! Every consistent quote is the mean of its points, for random sets of overlapping contracts; contradictions are reported and change
//! nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;

use common::{contract, hours_in, quote};
use curves::{
    Basis, Block, Builder, Commodity, Contract, Curve, DeliveryCalendar, Method, Month, Quote, Shape, State, Tenor,
};
use jiff::civil::{Date, date};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseResult, TestRunner};

const MONTHS: i32 = 60;
/// How exact a price is, see [`exact`].
const EXACT: f64 = 1e-8;
/// From which residual on a builder calls a quote contradictory. The checks of residuals are stricter.
const TOLERANCE: f64 = 1e-6;
/// Random sets of consistent quotes, of each of which a curve is made; in how many of them at least some quotes imply another one, and how
/// many of their flat points at least are compared with those of the blocks.
const CONSISTENT: (u32, u32, u32) = (10_000, 4_000, 50_000);
/// Beyond it, binary numbers have too few decimals for [`EXACT`]: see [`exact`].
const LARGE: f64 = 100_000.0;
/// Random sets with one wrong quote, and in how many of them at least other quotes contradict it.
const WITH_A_WRONG_ONE: (u32, u32) = (2_000, 1_800);

/// A random market: prices of peak and off-peak of each month, and the contracts that are quoted.
#[derive(Debug, Clone)]
struct Case {
    market: &'static str,
    as_of: Date,
    truth: Vec<(f64, f64)>,
    quoted: Vec<(Tenor, Block)>,
    method: Method,
    shape: Shape,
}

fn tenor() -> impl Strategy<Value = Tenor> {
    let (year, month) = (2027i16..2031, 1i8..13);
    prop_oneof![
        4 => (year.clone(), month).prop_map(|(year, month)| Tenor::Month(Month::new(year, month))),
        3 => (year.clone(), 1i8..5).prop_map(|(year, quarter)| Tenor::Quarter(year, quarter)),
        1 => (2027i16..2030, any::<bool>()).prop_map(|(year, is_summer)| {
            let season = if is_summer { curves::Season::Summer } else { curves::Season::Winter };
            Tenor::Season(season, year)
        }),
        2 => year.prop_map(Tenor::Calendar),
        1 => Just(Tenor::BalanceOfMonth),
        1 => (1u16..13).prop_map(Tenor::Relative),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        2 => Just(Shape::None),
        1 => proptest::array::uniform12(-20.0..20.0).prop_map(Shape::Spread),
        1 => proptest::array::uniform12(0.5..2.0).prop_map(Shape::Ratio),
        // The whole range that a shape may have.
        1 => proptest::array::uniform12(-100_000.0..100_000.0).prop_map(Shape::Spread),
        1 => proptest::array::uniform12((-1.0..1.0).prop_map(|power: f64| 10.0_f64.powf(power))).prop_map(Shape::Ratio),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let market = prop_oneof![Just("PJM"), Just("ERCOT"), Just("CAISO"), Just("GAS")];
    let block = prop_oneof![Just(Block::Flat), Just(Block::Peak), Just(Block::OffPeak)];
    (
        (market, 1i8..13, 1i8..28, any::<bool>()),
        // A quote may be as large as 100,000.
        prop_oneof![5 => Just(1.0), 1 => Just(249.0)].prop_flat_map(|size: f64| {
            let price = -80.0 * size..400.0 * size;
            proptest::collection::vec((price.clone(), price), MONTHS as usize)
        }),
        proptest::collection::vec((tenor(), block), 1..30),
        proptest::sample::select(&Method::ALL),
        shape(),
    )
        .prop_map(|((market, month, day, only_flat), truth, mut quoted, method, shape)| {
            if market == "GAS" || only_flat {
                quoted.iter_mut().for_each(|(_, block)| *block = Block::Flat);
            }
            Case {
                market,
                as_of: date(2026, month, day),
                truth,
                quoted,
                method,
                shape,
            }
        })
}

/// A case that begins with quotes of which some imply another one: a quarter and its months, or the blocks of a month. The number is the
/// place of one of them. Random contracts alone imply each other in one of a hundred cases.
fn redundant() -> impl Strategy<Value = (Case, usize)> {
    let quarter = (2027i16..2031, 1i8..5);
    (case(), quarter, any::<bool>(), 0usize..12).prop_map(|(mut case, (year, quarter), is_of_blocks, at)| {
        let month = |back: i8| Tenor::Month(Month::new(year, 3 * quarter - back));
        let added = if is_of_blocks && case.market != "GAS" {
            [Block::Flat, Block::Peak, Block::OffPeak]
                .map(|block| (month(0), block))
                .to_vec()
        } else {
            [Tenor::Quarter(year, quarter), month(2), month(1), month(0)]
                .map(|tenor| (tenor, Block::Flat))
                .to_vec()
        };
        let at = at % added.len();
        // Of one contract the newest quote counts, which is the last one here.
        case.quoted.retain(|quoted| !added.contains(quoted));
        case.quoted.splice(0..0, added);
        (case, at)
    })
}

impl Case {
    fn calendar(&self) -> DeliveryCalendar {
        DeliveryCalendar::of(self.market).unwrap()
    }

    /// The quotes that the true prices make.
    fn quotes(&self) -> Vec<Quote> {
        let commodity = self.calendar().commodity();
        let made = self.quoted.iter().enumerate().filter_map(|(at, (tenor, block))| {
            let period = tenor.resolve(self.as_of, commodity).ok()?;
            let contract = Contract { period, block: *block };
            let price = self.mean(contract, |month| {
                let ahead = usize::try_from(month.since(Month::of(self.as_of))).unwrap();
                self.truth[ahead % self.truth.len()]
            })?;
            Some(quote(contract, price, at as i64))
        });
        made.collect()
    }

    /// The mean of prices of months over the hours of a contract; `None` without hours.
    fn mean(&self, contract: Contract, price: impl Fn(Month) -> (f64, f64)) -> Option<f64> {
        let (mut sum, mut hours) = (0.0, 0.0);
        let mut month = contract.period.first_month();
        while month.first().unwrap() < contract.period.end {
            let first = month.first().unwrap().max(contract.period.first);
            let (peak, off) = hours_in(self.market, first, month.plus(1).first().unwrap());
            let (on_peak, off_peak) = match contract.block {
                Block::Flat => (peak, off),
                Block::Peak => (peak, 0.0),
                Block::OffPeak => (0.0, off),
            };
            let (peak, off) = price(month);
            let terms =
                [(on_peak, peak), (off_peak, off)].map(|(hours, price)| if hours > 0.0 { hours * price } else { 0.0 });
            sum += terms[0] + terms[1];
            hours += on_peak + off_peak;
            month = month.plus(1);
        }
        (hours > 0.0).then(|| sum / hours)
    }

    /// The curve. A set of which no quote delivers after the day is no case: another one is drawn in its place.
    fn build(&self, quotes: &[Quote]) -> Result<Curve, TestCaseError> {
        let is_due = |quote: &Quote| quote.contract.period.first > self.as_of;
        if !quotes.iter().any(is_due) {
            return Err(TestCaseError::reject("no quote can be used"));
        }
        let mut builder = Builder::new(self.calendar(), self.method, self.shape, TOLERANCE);
        let built = builder.build(self.as_of, Month::of(self.as_of).plus(MONTHS), quotes);
        built.map_err(|error| TestCaseError::fail(format!("{} is not built: {error}", self.method.name())))
    }

    /// The mean of the curve's points over the hours of a contract.
    fn price_on(&self, curve: &Curve, contract: Contract) -> f64 {
        let points: BTreeMap<(Month, Block, bool), f64> = curve
            .points
            .iter()
            .map(|point| {
                let period = point.contract.period;
                (
                    (period.first_month(), point.contract.block, period.is_balance()),
                    point.price,
                )
            })
            .collect();
        let balance = contract.period.is_balance();
        let has_blocks = points.keys().any(|(_, block, _)| *block != Block::Flat);
        self.mean(contract, |month| {
            let of = |block| points.get(&(month, block, balance)).copied().unwrap_or(f64::NAN);
            match has_blocks {
                true => (of(Block::Peak), of(Block::OffPeak)),
                false => (of(Block::Flat), of(Block::Flat)),
            }
        })
        .unwrap()
    }
}

/// Runs `check` on this many random cases.
fn for_cases<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value) -> TestCaseResult) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(strategy, check)
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Adds one to a counter, which a closure that cannot change anything else may do.
fn count(counter: &Cell<u32>) {
    counter.set(counter.get() + 1);
}

#[test]
fn every_consistent_quote_is_the_mean_of_its_points() {
    let (cases, least_implied, least_flat) = CONSISTENT;
    let (built, implied, flat) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let strategy = prop_oneof![case(), redundant().prop_map(|(case, _)| case)];
    for_cases(cases, &strategy, |case| {
        let curve = case.build(&case.quotes())?;
        count(&built);
        if curve.inputs.iter().any(|input| input.state == State::Consistent) {
            count(&implied);
        }
        reprices(&case, &curve)?;
        flat_points_are_means_of_their_blocks(&case, &curve, &flat)?;
        points_are_sound(&case, &curve)
    });
    let (built, implied, flat) = (built.get(), implied.get(), flat.get());
    println!("{built} sets make a curve, {implied} have a quote that others imply; {flat} flat points have blocks");
    assert_eq!(built, cases);
    assert!(
        implied >= least_implied && flat >= least_flat,
        "of {cases} sets only {implied} have a quote that others imply, and {flat} flat points have blocks"
    );
}

/// flat · H = peak · Hp + off · Ho for every month whose blocks have prices, with hours that are counted one by one.
fn flat_points_are_means_of_their_blocks(case: &Case, curve: &Curve, compared: &Cell<u32>) -> TestCaseResult {
    let prices: BTreeMap<Contract, f64> = curve.points.iter().map(|point| (point.contract, point.price)).collect();
    let flat = |(contract, _): &(&Contract, &f64)| contract.block == Block::Flat;
    for (contract, price) in prices.iter().filter(flat) {
        let of = |block| prices.get(&Contract { block, ..*contract }).copied();
        let (peak, off) = (of(Block::Peak), of(Block::OffPeak));
        if peak.is_none() && off.is_none() {
            continue;
        }
        let hours = hours_in(case.market, contract.period.first, contract.period.end);
        let (mut sum, mut size) = (0.0, LARGE);
        for (hours, price) in [(hours.0, peak), (hours.1, off)] {
            // What delivers no hour may have no price.
            if hours > 0.0 {
                prop_assert!(price.is_some(), "{contract} has a price, and a block of it has none");
                let price = price.unwrap_or(f64::NAN);
                sum += hours * price;
                size = price.abs().max(size);
            }
        }
        let expected = sum / (hours.0 + hours.1);
        prop_assert!(
            (price - expected).abs() < EXACT * size / LARGE,
            "{contract} is {price} instead of {expected}"
        );
        count(compared);
    }
    Ok(())
}

/// How exact sums of prices can be that are as large as this curve's points: a shape of ratios makes points of ten times a quote, and a
/// price is the difference of such points.
fn exact(curve: &Curve) -> f64 {
    let largest = curve.points.iter().map(|point| point.price.abs()).fold(LARGE, f64::max);
    EXACT * largest / LARGE
}

/// Every quote that counts is the mean of its points.
fn reprices(case: &Case, curve: &Curve) -> TestCaseResult {
    let exact = exact(curve);
    for input in &curve.inputs {
        match input.state {
            State::Superseded => continue,
            State::InDelivery => {
                prop_assert!(input.quote.contract.period.first <= case.as_of);
                continue;
            }
            state => prop_assert!(matches!(state, State::Repriced | State::Consistent), "{input:?}"),
        }
        let found = case.price_on(curve, input.quote.contract);
        prop_assert!(
            (found - input.quote.price).abs() < exact,
            "{} {found} {input:?}",
            case.method.name()
        );
        let residual = input.residual().unwrap();
        prop_assert!(residual.abs() < exact, "{} {residual} {input:?}", case.method.name());
    }
    Ok(())
}

/// Every point has a price and sources that count, and one that the quotes imply has the true price.
fn points_are_sound(case: &Case, curve: &Curve) -> TestCaseResult {
    let exact = exact(curve);
    for point in &curve.points {
        prop_assert!(point.price.is_finite(), "{point:?}");
        prop_assert!(point.sources.iter().all(|at| curve.inputs[*at].curve_price.is_some()));
        prop_assert!(!point.sources.is_empty());
        if point.basis == Basis::Implied {
            let ahead = usize::try_from(point.contract.period.first_month().since(Month::of(case.as_of))).unwrap();
            let truth = case.truth[ahead % case.truth.len()];
            let expected = case.mean(point.contract, |_| truth).unwrap();
            prop_assert!((expected - point.price).abs() < exact, "{point:?} {expected}");
        }
    }
    Ok(())
}

#[test]
fn a_wrong_quote_is_reported_and_the_others_keep_their_prices() {
    let ((cases, least), contradictory) = (WITH_A_WRONG_ONE, Cell::new(0));
    for_cases(cases, &redundant(), |(case, at)| {
        let mut quotes = case.quotes();
        quotes[at].price += 5.0;
        let curve = case.build(&quotes)?;
        if curve.has_contradictions() {
            count(&contradictory);
        }
        only_the_wrong_one_differs(&case, &curve, quotes[at].contract)
    });
    let contradictory = contradictory.get();
    println!("{contradictory} of {cases} sets are contradictory");
    assert!(
        contradictory >= least,
        "only {contradictory} of {cases} sets are contradictory"
    );
}

/// A quote has a residual only if it is the wrong one, or the wrong one implies another price.
fn only_the_wrong_one_differs(case: &Case, curve: &Curve, wrong: Contract) -> TestCaseResult {
    for input in &curve.inputs {
        if input.state == State::Contradictory {
            prop_assert!(input.residual().unwrap().abs() > 1e-3, "{input:?}");
            prop_assert!(!input.implied_by.is_empty());
            prop_assert!(
                input.quote.contract == wrong || input.implied_by.contains(&wrong),
                "{input:?}"
            );
        } else if input.curve_price.is_some() {
            let found = case.price_on(curve, input.quote.contract);
            prop_assert!((found - input.quote.price).abs() < exact(curve), "{found} {input:?}");
        }
    }
    Ok(())
}

fn build(quotes: &[Quote], as_of: Date, market: &str) -> Curve {
    let calendar = DeliveryCalendar::of(market).unwrap();
    Builder::new(calendar, Method::Flat, Shape::None, 0.005)
        .build(as_of, Month::of(as_of), quotes)
        .unwrap()
}

#[test]
fn a_quarter_that_differs_from_its_months_has_a_residual_and_names_them() {
    let as_of = date(2026, 11, 27);
    let of = |tenor: &str, price: f64| quote(contract(tenor, Block::Flat, as_of, Commodity::Gas), price, 1);
    let quotes = [
        of("2027-01", 4.0),
        of("Q1-27", 5.0),
        of("2027-02", 4.0),
        of("2027-03", 4.0),
        of("CAL-27", 4.5),
    ];
    let curve = build(&quotes, as_of, "GAS");
    let states: Vec<State> = curve.inputs.iter().map(|input| input.state).collect();
    let held = State::Repriced;
    assert_eq!(states, [held, State::Contradictory, held, held, held]);
    assert!((curve.inputs[1].residual().unwrap() - 1.0).abs() < 1e-12);
    let by: Vec<String> = curve.inputs[1].implied_by.iter().map(ToString::to_string).collect();
    assert_eq!(by, ["2027-01 flat", "2027-02 flat", "2027-03 flat"]);
    assert!(curve.has_contradictions());
}

#[test]
fn the_newest_quote_of_a_contract_counts_and_of_equally_fine_ones_the_newest_is_believed() {
    let as_of = date(2026, 11, 27);
    let of =
        |tenor: &str, price: f64, known_at| quote(contract(tenor, Block::Flat, as_of, Commodity::Gas), price, known_at);
    let curve = build(
        &[of("2027-01", 4.0, 5), of("2027-01", 9.0, 4), of("F27", 3.0, 5)],
        as_of,
        "GAS",
    );
    let states: Vec<State> = curve.inputs.iter().map(|input| input.state).collect();
    assert_eq!(states, [State::Superseded, State::Superseded, State::Repriced]);
    // Peak, off-peak and flat of a month: flat has more cells, so the two others are believed, whenever they were quoted.
    let block = |block, price, known_at| quote(contract("2027-07", block, as_of, Commodity::Power), price, known_at);
    let quotes = [
        block(Block::Flat, 50.0, 9),
        block(Block::Peak, 60.0, 1),
        block(Block::OffPeak, 30.0, 1),
    ];
    let curve = build(&quotes, as_of, "PJM");
    let implied = (60.0 * 336.0 + 30.0 * 408.0) / 744.0;
    assert_eq!(curve.inputs[0].state, State::Contradictory);
    assert!((curve.inputs[0].residual().unwrap() - (50.0 - implied)).abs() < 1e-12);
    assert_eq!(curve.points.len(), 3 * 8);
    let july: Vec<f64> = curve.points[21..].iter().map(|point| point.price).collect();
    assert!(
        (july[0] - implied).abs() < 1e-12 && july[1..] == [60.0, 30.0],
        "{july:?}"
    );
}

#[test]
fn gaps_and_ends_are_marked_and_the_last_years_shape_is_held() {
    let as_of = date(2026, 11, 27);
    let of = |tenor: &str, price: f64| quote(contract(tenor, Block::Flat, as_of, Commodity::Gas), price, 1);
    let months = (1..=12).map(|month| of(&format!("2027-{month:02}"), f64::from(month)));
    let quotes: Vec<Quote> = months.chain([of("2028-03", 20.0)]).collect();
    let calendar = DeliveryCalendar::of("GAS").unwrap();
    let mut builder = Builder::new(calendar, Method::Flat, Shape::None, 0.005);
    let curve = builder.build(as_of, Month::new(2029, 4), &quotes).unwrap();
    let at = |month: Month| {
        let point = curve
            .points
            .iter()
            .find(|point| point.contract.period.first_month() == month)
            .unwrap();
        (point.price, point.basis)
    };
    assert_eq!(at(Month::new(2026, 12)), (1.0, Basis::Extrapolated));
    assert_eq!(at(Month::new(2028, 2)), (12.0, Basis::Interpolated));
    assert_eq!(at(Month::new(2028, 3)), (20.0, Basis::Quoted));
    assert_eq!(at(Month::new(2028, 7)), (7.0, Basis::Extrapolated));
    assert_eq!(at(Month::new(2029, 3)), (20.0, Basis::Extrapolated));
}
