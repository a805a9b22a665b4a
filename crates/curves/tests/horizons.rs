//! A snapshot has the points of its horizon, with the hours of its market.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use common::{contract, quote};
use curves::{Block, Builder, Commodity, CurveSnapshot, DeliveryCalendar, Horizon, Method, Month, Shape};
use jiff::civil::{Date, date};

const TODAY: Date = date(2026, 12, 18);

#[test]
fn a_snapshot_has_its_horizon_and_the_hours_of_its_market() {
    let calendar = DeliveryCalendar::of("PJM").unwrap();
    let quotes = [("Q1-27", 60.0), ("CAL-27", 50.0)].map(|(tenor, price)| {
        let contract = contract(tenor, Block::Flat, TODAY, Commodity::Power);
        quote(contract, price, 7)
    });
    let until = Horizon::Year.until(TODAY).unwrap();
    let mut builder = Builder::new(calendar.clone(), Method::Flat, Shape::None, 0.005);
    let curve = builder.build(TODAY, until, &quotes).unwrap();
    let made = [Horizon::Month, Horizon::Year, Horizon::All].map(|horizon| {
        let name = ("PJM.WESTERN_HUB", Method::Flat);
        CurveSnapshot::of(&curve, &calendar, name, (9, 1, TODAY), horizon).unwrap()
    });
    let lengths = made.each_ref().map(|snapshot| snapshot.points.len());
    assert_eq!(lengths, [1, 12, 12]);
    let january = &made[0].points[0];
    assert_eq!(january.delivery_start, "2027-01-01T00:00:00-05:00");
    assert_eq!(
        (&*january.contract, january.price, january.confidence),
        ("2027-01", 60.0, 0.7)
    );
    let march = &made[1].points[2];
    assert_eq!(march.delivery_end, "2027-04-01T00:00:00-04:00");
    assert_eq!(march.sources, ["test Q1-27 flat"]);
    assert_eq!(made[1].points[3].sources, ["test Q1-27 flat", "test CAL-27 flat"]);
    let residuals = made.iter().flat_map(|snapshot| &snapshot.inputs);
    assert!(residuals.into_iter().all(|input| input.residual == Some(0.0)));
}

#[test]
fn horizons_reach_from_the_day_of_the_curve() {
    let until = |horizon: Horizon| horizon.until(TODAY).map(|month| month.to_string());
    assert_eq!(until(Horizon::Month).as_deref(), Some("2027-02"));
    assert_eq!(until(Horizon::Year).as_deref(), Some("2028-01"));
    assert_eq!(
        (until(Horizon::All), Month::of(TODAY).to_string()),
        (None, "2026-12".to_owned())
    );
    for horizon in Horizon::ALL {
        assert_eq!(horizon.name().parse::<Horizon>().unwrap(), horizon);
    }
}
