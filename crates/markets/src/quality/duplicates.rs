//! A table without the rows that are flagged `duplicate`, against the whole one: each number is the same.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use domain::{Kind, fixtures};
use proptest::prelude::*;

use super::*;

const VERSIONS: [Option<&str>; 4] = [
    None,
    Some("verified.1"),
    Some("verified.2"),
    Some("verified.3.superseded"),
];

/// A row but for its place in the log.
#[derive(Debug, Clone, Copy)]
struct Said {
    partition: i32,
    kind: Kind,
    start: Micros,
    version: usize,
    sequence: Option<i64>,
    /// The first is the price.
    numbers: [i64; 3],
    market: &'static str,
}

fn tick(said: Said, offset: usize) -> Tick<'static> {
    let [price, volume, loss] = said.numbers.map(|number| Decimal::from_unscaled(number).unwrap());
    let mut tick = Tick {
        kind: said.kind,
        event_time: said.start,
        interval_end: (said.kind == Kind::Interval).then_some(said.start + 300_000_000),
        price,
        volume: Some(volume),
        loss: Some(loss),
        version: VERSIONS[said.version],
        sequence: said.sequence,
        market: said.market,
        ..fixtures::tick()
    };
    (tick.origin.partition, tick.origin.offset) = (said.partition, offset as i64);
    tick
}

/// Each row of the log with whether it is flagged.
fn read(log: &[Said]) -> Vec<(Tick<'static>, bool)> {
    let mut histories = Histories::default();
    let flagged = |(offset, said): (usize, &Said)| {
        let tick = tick(*said, offset);
        let mut earlier = histories.of(tick.origin.feed, tick.origin.partition);
        let flags = flags(&QualitySettings::default(), &tick, Checks::NONE, earlier.as_mut());
        (tick, flags.contains(QualityFlag::Duplicate))
    };
    log.iter().enumerate().map(flagged).collect()
}

/// What is shown of a price.
fn shown(tick: &Tick<'_>) -> String {
    let numbers = (tick.price, tick.volume, tick.loss, tick.sequence);
    format!("{numbers:?} {:?} {}", tick.version, tick.market)
}

/// For each start, what is shown of the interval's price in a bar, and of the latest price of that time, by the order of each.
fn numbers<'t>(rows: impl Iterator<Item = &'t Tick<'static>>) -> [Vec<(Micros, String)>; 2] {
    let (mut of_bars, mut latest) = (BTreeMap::new(), BTreeMap::new());
    let mut best = |bars: bool, tick: &'t Tick<'static>| {
        let place = if bars { &mut of_bars } else { &mut latest };
        let rank = (tick.vintage(), if bars { None } else { tick.sequence }, tick.origin);
        let known = place.entry(tick.event_time).or_insert((rank, tick));
        if rank > known.0 {
            *known = (rank, tick);
        }
    };
    for tick in rows {
        best(false, tick);
        if tick.kind == Kind::Interval {
            best(true, tick);
        }
    }
    [of_bars, latest].map(|best| {
        let all = best.into_iter();
        all.map(|(start, (_, tick))| (start, shown(tick))).collect::<Vec<_>>()
    })
}

fn said() -> impl Strategy<Value = Said> {
    let kind = prop::sample::select(vec![Kind::Interval, Kind::Interval, Kind::Interval, Kind::Trade]);
    let market = prop::sample::select(vec!["PJM", "PJM", "PJM", "MISO"]);
    // A correction and the correction back are common; so is another volume with the same price.
    let numbers = [1..3_i64, 1..3, 1..2];
    (
        0..2,
        kind,
        0..2_i64,
        0..VERSIONS.len(),
        prop::option::weighted(0.2, 0..2_i64),
        numbers,
        market,
    )
        .prop_map(|(partition, kind, start, version, sequence, numbers, market)| Said {
            partition,
            kind,
            start,
            version,
            sequence,
            numbers,
            market,
        })
}

proptest! {
    #[test]
    fn a_table_without_duplicates_has_the_same_numbers_at_any_time(log in prop::collection::vec(said(), 1..60)) {
        let rows = read(&log);
        for end in 1..=rows.len() {
            let whole = numbers(rows[..end].iter().map(|(tick, _)| tick));
            let filtered = numbers(rows[..end].iter().filter(|(_, is_flagged)| !is_flagged).map(|(tick, _)| tick));
            prop_assert!(whole == filtered, "{whole:?} but {filtered:?} of {:?}", &log[..end]);
        }
    }

    /// A row that is flagged repeats the price that counts, and one that repeats it is flagged: by the definition, from all rows.
    #[test]
    fn a_duplicate_is_what_repeats_the_price_that_counts_in_its_raw_partition(log in prop::collection::vec(said(), 1..60)) {
        let rows = read(&log);
        for (at, (tick, is_flagged)) in rows.iter().enumerate() {
            let same = |other: &&Tick<'_>| (other.origin.partition, other.event_time) == (tick.origin.partition, tick.event_time);
            let earlier: Vec<_> = rows[..at].iter().map(|(tick, _)| tick).filter(same).collect();
            // A trade begins an interval anew: it may be the latest price.
            let since = earlier.iter().rposition(|other| other.kind == Kind::Trade).map_or(0, |last| last + 1);
            let counts = earlier[since..].iter().max_by_key(|other| (other.vintage(), other.origin.offset));
            let repeats = tick.kind == Kind::Interval && counts.is_some_and(|counts| shown(counts) == shown(tick));
            prop_assert_eq!(*is_flagged, repeats, "{} of {:?}", at, &log);
        }
    }
}
