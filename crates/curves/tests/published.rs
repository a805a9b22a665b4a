//! Worked examples that others published.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{contract, quote};
use curves::{Block, Builder, Commodity, DeliveryCalendar, Method, Month, Shape};
use jiff::civil::{Date, date};

/// Prices of January to March; gas, whose months count by their days as in the examples.
fn first_quarter(as_of: Date, quotes: &[(&str, f64)], shape: Shape) -> Vec<f64> {
    let of = |(tenor, price): &(&str, f64)| quote(contract(tenor, Block::Flat, as_of, Commodity::Gas), *price, 1);
    let quotes: Vec<_> = quotes.iter().map(of).collect();
    let calendar = DeliveryCalendar::of("GAS").unwrap();
    let mut builder = Builder::new(calendar, Method::Flat, shape, 0.005);
    let curve = builder.build(as_of, Month::of(as_of), &quotes).unwrap();
    curve.points.iter().map(|point| point.price).collect()
}

fn assert_near(found: &[f64], published: [f64; 3], decimals: i32) {
    let half = 0.5 * 10f64.powi(-decimals);
    assert_eq!(found.len(), 3);
    for (found, published) in found.iter().zip(published) {
        assert!((found - published).abs() <= half + 1e-12, "{found} {published}");
    }
}

/// cmdty/curves, README, "Bootstrapper" (C#): Jan-20 and Q1-20, printed with five decimals.
#[test]
fn cmdty_january_and_first_quarter_of_a_leap_year() {
    let found = first_quarter(date(2019, 12, 15), &[("F20", 19.05), ("Q1-20", 17.22)], Shape::None);
    assert_near(&found, [19.05, 16.2745, 16.2745], 5);
}

/// cmdty/curves, samples/python/curves_tutorial.ipynb: Jan-19 and Q1-19, alone, with the ratio 1.1 and with the spread 0.21 of February to
/// March, printed with six decimals. The tenors are those of 2027, whose months have the same lengths.
#[test]
fn cmdty_january_and_first_quarter_with_ratio_and_spread() {
    let quotes = [("F27", 18.95), ("Q1-27", 19.05)];
    let of = |shape| first_quarter(date(2026, 12, 15), &quotes, shape);
    assert_near(&of(Shape::None), [18.95, 19.102542, 19.102542], 6);
    let (mut ratio, mut spread) = ([1.0; 12], [0.0; 12]);
    (ratio[1], spread[1]) = (1.1, 0.21);
    assert_near(&of(Shape::Ratio(ratio)), [18.95, 20.060761, 18.237055], 6);
    assert_near(&of(Shape::Spread(spread)), [18.95, 19.212881, 19.002881], 6);
}

/// OpenDataDSL, documentation of `bootstrapCurve`: 2021M01 26.87 and 2021Q01 26.85 give 26.84, printed with two decimals and computed with
/// months of equal length.
#[test]
fn opendatadsl_january_and_first_quarter() {
    let found = first_quarter(date(2020, 12, 14), &[("F21", 26.87), ("Q1-21", 26.85)], Shape::None);
    assert_near(&found, [26.87, 26.84, 26.84], 2);
}
