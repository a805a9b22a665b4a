//! A worker that restarts, against one that does not: which flags may differ, and which may not.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use domain::{Kind, fixtures};
use proptest::prelude::*;

use super::*;

/// Newer prices of an instrument after which its history is that of a worker without a restart.
const ENOUGH: usize = 5;
const INSTRUMENTS: [(&str, Kind); 3] = [("A", Kind::Interval), ("B", Kind::Interval), ("T", Kind::Trade)];

/// Which instrument, when, price and volume; the place in the log is the index.
type Said = (usize, Micros, i64, i64);

fn tick((instrument, at, price, volume): Said, offset: usize) -> Tick<'static> {
    let (instrument_id, kind) = INSTRUMENTS[instrument];
    let event_time = at * 300_000_000;
    let whole = |number: i64| Decimal::from_unscaled(number * 100_000_000).unwrap();
    let mut tick = Tick {
        instrument_id,
        kind,
        event_time,
        appended_at: event_time,
        interval_end: (kind == Kind::Interval).then_some(event_time + 300_000_000),
        price: whole(price),
        volume: (kind == Kind::Trade).then(|| whole(volume)),
        energy: None,
        congestion: None,
        loss: None,
        ghg: None,
        bid: None,
        ask: None,
        ..fixtures::tick()
    };
    tick.origin.offset = offset as i64;
    tick
}

/// Whether each tick is flagged as a spike of its price, of its volume, or as a duplicate.
fn read(histories: &mut Histories, log: &[Said], from: usize) -> Vec<[bool; 3]> {
    let settings = QualitySettings::default();
    let one = |(offset, said): (usize, &Said)| {
        let tick = tick(*said, offset);
        let mut earlier = histories.of(tick.origin.feed, tick.origin.partition);
        let flags = flags(&settings, &tick, Checks::NONE, earlier.as_mut());
        [
            QualityFlag::PriceSpike,
            QualityFlag::VolumeSpike,
            QualityFlag::Duplicate,
        ]
        .map(|flag| flags.contains(flag))
    };
    log.iter().enumerate().skip(from).map(one).collect()
}

/// How many prices of the instrument of this tick lie between the place where reading back began and the tick, and were not older than
/// all prices of the instrument before them. Corrections of an interval count once.
fn newer(log: &[Said], began: usize, at: usize) -> usize {
    let (instrument, ..) = log[at];
    let (mut newest, mut trades, mut intervals) = (Micros::MIN, 0, BTreeSet::new());
    for (place, (other, time, ..)) in log.iter().enumerate().take(at) {
        if *other != instrument || *time < newest {
            continue;
        }
        newest = *time;
        if place >= began {
            trades += 1;
            intervals.insert(*time);
        }
    }
    match INSTRUMENTS[instrument].1 {
        Kind::Trade => trades,
        Kind::Interval => intervals.len(),
    }
}

fn logs() -> impl Strategy<Value = Vec<Said>> {
    // Time goes on, with late messages now and then; few prices, so that there are spikes and repeated rows.
    let one = (
        0..INSTRUMENTS.len(),
        0..6_i64,
        prop::sample::select(vec![100, 100, 104, 150, -20]),
        1..3_i64,
    );
    prop::collection::vec(one, 2..150).prop_map(|said| {
        let told = said.into_iter().enumerate();
        told.map(|(place, (instrument, back, price, volume))| (instrument, place as i64 / 4 - back + 6, price, volume))
            .collect()
    })
}

proptest! {
    /// A worker stops anywhere, and the next one reads back from anywhere before that.
    #[test]
    fn flags_after_a_restart_differ_only_until_five_newer_prices_and_lack_only_duplicates_of_before(
        log in logs(), began in any::<prop::sample::Index>(), stopped in any::<prop::sample::Index>(),
    ) {
        let stopped = stopped.index(log.len());
        let began = began.index(stopped + 1);
        let whole = read(&mut Histories::default(), &log, 0);
        let restarted = read(&mut Histories::default(), &log, began);
        for at in stopped..log.len() {
            let ([price, volume, duplicate], [price_after, volume_after, duplicate_after]) = (whole[at], restarted[at - began]);
            if newer(&log, began, at) >= ENOUGH {
                prop_assert_eq!((price, volume), (price_after, volume_after), "{} of {:?} from {}", at, log, began);
            }
            prop_assert!(duplicate || !duplicate_after, "{} of {:?} from {}", at, log, began);
            let is_of_interval = |said: &Said| (said.0, said.1) == (log[at].0, log[at].1);
            if log[began..at].iter().any(is_of_interval) {
                prop_assert_eq!(duplicate, duplicate_after, "{} of {:?} from {}", at, log, began);
            }
        }
    }

    /// What a worker reads of other partitions, and read of this one before another worker had it, changes nothing.
    #[test]
    fn flags_of_a_partition_depend_on_nothing_else(log in logs(), other in logs(), began in any::<prop::sample::Index>()) {
        let began = began.index(log.len());
        let alone = read(&mut Histories::default(), &log, began);
        let mut histories = Histories::default();
        let feed = fixtures::tick().origin.feed;
        read(&mut histories, &other, 0);
        histories.forget(feed, fixtures::tick().origin.partition);
        // The other log as that of another partition.
        for (offset, said) in other.iter().enumerate() {
            let mut tick = tick(*said, offset);
            tick.origin.partition += 1;
            let mut earlier = histories.of(feed, tick.origin.partition);
            flags(&QualitySettings::default(), &tick, Checks::NONE, earlier.as_mut());
        }
        prop_assert_eq!(read(&mut histories, &log, began), alone);
    }
}

/// The test above would not notice if no log had a difference: this one does, for a spike and for a duplicate.
#[test]
fn what_was_before_the_beginning_is_not_known() {
    let log: Vec<Said> = vec![(0, 1, 100, 1), (0, 2, 100, 1), (0, 3, 150, 1), (0, 1, 100, 1)];
    let whole = read(&mut Histories::default(), &log, 0);
    assert_eq!(whole[2..], [[true, false, false], [false, false, true]]);
    assert_eq!(read(&mut Histories::default(), &log, 2), [[false; 3]; 2]);
}
