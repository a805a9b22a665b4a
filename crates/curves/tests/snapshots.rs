//! Snapshots are a function of the log: however its records are read, and at most one for each interval.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;

use common::{contract, quote};
use curves::{
    Block, Builder, Commodity, CurveSnapshot, DeliveryCalendar, Horizon, Method, Month, Shape, SnapshotTerms, Snapshots,
};
use jiff::civil::{Date, date};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const INTERVAL: i64 = 60 * SECOND;
const TENORS: [&str; 8] = [
    "2027-01", "2027-02", "2027-03", "Q1-27", "Q2-27", "CAL-27", "CAL-28", "2027-07",
];
/// 2026-12-18, a few minutes before midnight in New York.
const START: i64 = 1_797_655_500 * SECOND;
const TODAY: Date = date(2026, 12, 18);

fn builder() -> Builder {
    Builder::new(DeliveryCalendar::of("PJM").unwrap(), Method::Flat, Shape::None, 0.005)
}

fn snapshots() -> Snapshots {
    let terms = SnapshotTerms {
        curve_id: "PJM.WESTERN_HUB".into(),
        interval: INTERVAL,
        horizons: vec![Horizon::Month, Horizon::Year, Horizon::All],
    };
    Snapshots::new(terms, builder())
}

#[derive(Debug, Clone)]
struct Record {
    clock: i64,
    tenor: &'static str,
    block: Block,
    price: f64,
    known_at: i64,
}

fn log() -> impl Strategy<Value = Vec<Record>> {
    let block = prop_oneof![Just(Block::Flat), Just(Block::Peak)];
    let record = (
        0i64..40,
        proptest::sample::select(&TENORS),
        block,
        -500i32..2_000,
        0i64..3,
    );
    proptest::collection::vec(record, 1..40).prop_map(|records| {
        let mut clock = START;
        let made = records.into_iter().map(|(seconds, tenor, block, cents, late)| {
            clock += seconds * SECOND;
            Record {
                clock,
                tenor,
                block,
                price: f64::from(cents) / 10.0,
                known_at: clock - late * SECOND,
            }
        });
        made.collect()
    })
}

fn take(snapshots: &mut Snapshots, record: &Record) -> Vec<CurveSnapshot> {
    let contract = contract(record.tenor, record.block, TODAY, Commodity::Power);
    snapshots
        .take(record.clock, quote(contract, record.price, record.known_at))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_log_gives_the_same_snapshots(log in log(), extra in proptest::collection::vec(0i64..1_600, 0..30)) {
        let (mut plain, mut asked) = (snapshots(), snapshots());
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for record in &log {
            first.extend(take(&mut plain, record));
            // Clock marks without quotes in between, as other keys of the partition bring them.
            let marks = extra.iter().map(|seconds| START + seconds * SECOND).filter(|mark| *mark <= record.clock);
            for mark in marks {
                second.extend(asked.advance(mark).unwrap());
            }
            second.extend(take(&mut asked, record));
        }
        let end = log.last().unwrap().clock + INTERVAL;
        first.extend(plain.advance(end).unwrap());
        second.extend(asked.advance(end).unwrap());
        prop_assert_eq!(&first, &second);
        let mut seen = BTreeMap::new();
        for snapshot in &first {
            prop_assert_eq!(seen.insert((snapshot.horizon, snapshot.version), ()), None);
            prop_assert_eq!(snapshot.as_of % INTERVAL, 0);
            // Exactly the newest quotes before its end.
            let mut newest: BTreeMap<(&str, Block), &Record> = BTreeMap::new();
            for record in log.iter().filter(|record| record.clock < snapshot.as_of) {
                let known = newest.entry((record.tenor, record.block)).or_insert(record);
                if known.known_at <= record.known_at {
                    *known = record;
                }
            }
            prop_assert_eq!(snapshot.inputs.len(), newest.len());
            for input in &snapshot.inputs {
                let record = newest[&(&*input.contract, input.block)];
                prop_assert_eq!((input.price, input.known_at), (record.price, record.known_at));
            }
        }
    }
}

#[test]
fn a_snapshot_has_its_horizon_its_hours_and_the_day_of_its_market() {
    let mut snapshots = snapshots();
    let record = |clock, tenor, price| Record {
        clock,
        tenor,
        block: Block::Flat,
        price,
        known_at: clock,
    };
    assert!(take(&mut snapshots, &record(START, "Q1-27", 60.0)).is_empty());
    assert!(take(&mut snapshots, &record(START + 1, "CAL-27", 50.0)).is_empty());
    assert!(snapshots.advance(START + SECOND).unwrap().is_empty());
    let made = snapshots.advance(START + INTERVAL).unwrap();
    assert_eq!(made.len(), 3);
    assert_eq!(snapshots.advance(START + 10 * INTERVAL).unwrap(), []);
    let lengths: Vec<usize> = made.iter().map(|snapshot| snapshot.points.len()).collect();
    assert_eq!(lengths, [1, 12, 12]);
    let january = &made[0].points[0];
    assert_eq!(january.delivery_start, "2027-01-01T00:00:00-05:00[America/New_York]");
    assert_eq!(
        (&*january.contract, january.price, january.confidence),
        ("2027-01", 60.0, 0.7)
    );
    let march = &made[1].points[2];
    assert_eq!(march.delivery_end, "2027-04-01T00:00:00-04:00[America/New_York]");
    assert_eq!(march.sources, ["test Q1-27 flat"]);
    assert_eq!(made[1].points[3].sources, ["test Q1-27 flat", "test CAL-27 flat"]);
    assert_eq!(made[0].day, TODAY);
    assert!(
        made.iter()
            .all(|snapshot| snapshot.inputs.iter().all(|input| input.residual == Some(0.0)))
    );
    // The same quote again changes nothing; after midnight in New York the day is the next one.
    assert!(take(&mut snapshots, &record(START + 20 * INTERVAL, "Q1-27", 60.0)).is_empty());
    assert!(snapshots.advance(START + 40 * INTERVAL).unwrap().is_empty());
    take(&mut snapshots, &record(START + 41 * INTERVAL, "Q1-27", 61.0));
    assert_eq!(
        snapshots.advance(START + 43 * INTERVAL).unwrap()[0].day,
        TODAY.tomorrow().unwrap()
    );
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
