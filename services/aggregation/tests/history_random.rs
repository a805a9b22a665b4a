//! Bars from random rows of `enriched_ticks`, on a real ClickHouse: every field equals that of a plain computation over the
//! same rows, and if the stream computes a bar of the same version, its bytes are equal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod enriched_table;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use aggregation::core::instrument::Arrived;
use aggregation::core::log_clock::{Times, WindowRules};
use aggregation::core::partition_state::{Applied, PartitionState, Writer};
use aggregation::core::records::WriterId;
use aggregation::core::window_state::Shown;
use codec::Wire;
use domain::{AskedWindow, Bar, BarCause, BarVersion, Interval, Micros, Origin, Product, Window};
use enriched_table::{LARGEST, MIDNIGHT, Row, SECOND, copy_ingested, history, insert, server};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stores::RestatedRow;
use stream::status::wall_clock;

/// First number of the partitions whose rows were ingested when they were appended.
const COPIES: i32 = 1_000;
const SKEW: Micros = 3_600 * SECOND;
/// Logs of one partition; each contains ticks of all these instruments.
const LOGS: u32 = 40;
const INSTRUMENTS: [(&str, &str, Product); 9] = [
    ("acme", "NG'M1\\", Product::Trade),
    ("acme", "POWER \"é\"", Product::Trade),
    ("other", "NG'M1\\", Product::Trade),
    ("acme", "RT5", Product::RealTimeFive),
    ("other", "RT5", Product::RealTimeFive),
    ("acme", "DA", Product::DayAhead),
    ("acme", "EX", Product::ExAnte),
    ("acme", "?", Product::OtherInterval),
    // It also has prices of other products.
    ("acme", "MIXED", Product::RealTimeFive),
];

/// Amounts at the limits of their range, and small ones, whose averages often are halfway between two values.
fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        1 => prop_oneof![Just(-LARGEST), Just(LARGEST), -LARGEST..=LARGEST],
        1 => -300..300i64,
        3 => -3..4i64,
    ]
}

#[derive(Debug, Clone)]
enum Time {
    /// Seconds before its append.
    Live(i64),
    /// After midnight.
    Fixed(Micros),
}

fn time() -> impl Strategy<Value = Time> {
    let edges = [0, 60, 300, 3_600, 7_200, 86_400].map(|second| second * SECOND);
    prop_oneof![
        4 => (0..90i64).prop_map(Time::Live),
        1 => (-700..0i64).prop_map(Time::Live),
        2 => (proptest::sample::select(edges.to_vec()), -1..2i64).prop_map(|(edge, by)| Time::Fixed(edge + by)),
        1 => (-2 * 86_400..2 * 86_400i64).prop_map(|second| Time::Fixed(second * SECOND)),
        1 => Just(Time::Fixed(-60 * 365 * 86_400 * SECOND + 1)),
    ]
}

/// The rows of one partition: raw logs lag behind each other, their offsets grow.
fn log() -> impl Strategy<Value = Vec<Row>> {
    let sequence = prop_oneof![2 => Just(None), 3 => (-2..3i64).prop_map(Some), 1 => Just(Some(i64::MIN)), 1 => Just(Some(i64::MAX))];
    // Now and then, the log is quiet for days.
    let append = (
        0..4i64,
        prop_oneof![20 => 0..40i64, 5 => 0..20_000i64, 1 => 0..20_000_000i64],
    );
    let version = prop_oneof![3 => Just(None), 2 => proptest::sample::select(&CERTAINTY[..]).prop_map(|(version, _)| Some(version))];
    // Of the interval of a price, in microseconds: as long as that of its product, shorter, longer, or not in time.
    let length = prop_oneof![
        4 => Just(None),
        2 => Just(Some(300 * SECOND)),
        2 => (1..300i64).prop_map(|second| Some(second * SECOND)),
        1 => (-2..4_000i64).prop_map(|second| Some(second * SECOND + 999_999)),
    ];
    let last = INSTRUMENTS.len() - 1;
    let instrument = (0..INSTRUMENTS.len() + 3).prop_map(move |number| number.min(last));
    let tick = (
        (instrument, 0..Product::ALL.len(), time(), append),
        (amount(), prop::option::weighted(0.8, amount()), sequence),
        (
            0..4usize,
            0..2i64,
            0..2usize,
            prop::option::weighted(0.5, 0..4usize),
            version,
            length,
        ),
    );
    vec(tick, 1..100).prop_map(|ticks| {
        let mut now = MIDNIGHT + 20 * SECOND;
        let mut places = [(0, 0); 4];
        let mut rows: Vec<Row> = Vec::new();
        for (
            (instrument, product, time, (back, on)),
            (price, volume, sequence),
            (source, step, market, again, version, length),
        ) in ticks
        {
            now += on * SECOND / 10;
            let appended_at = now - back * 7 * SECOND;
            let (tenant_id, instrument_id, own) = INSTRUMENTS[instrument];
            let product = if instrument_id == "MIXED" {
                Product::ALL[product]
            } else {
                own
            };
            let event_time = match time {
                Time::Live(seconds) if product == Product::Trade => appended_at - seconds * SECOND,
                Time::Live(seconds) => (appended_at - seconds * SECOND) / (300 * SECOND) * (300 * SECOND),
                Time::Fixed(micros) => MIDNIGHT + micros,
            };
            let (raw_offset, raw_index) = &mut places[source];
            (*raw_offset, *raw_index) = if step == 0 {
                (*raw_offset, *raw_index + 1)
            } else {
                (*raw_offset + step, 0)
            };
            let row = Row {
                tenant_id,
                instrument_id,
                product,
                version,
                event_time,
                interval_end: length.map(|length| event_time + length),
                appended_at,
                price,
                volume,
                sequence,
                feed: ["feed.b", "feed.a"][source / 2],
                raw_partition: source as i32 % 2,
                raw_offset: *raw_offset,
                raw_index: *raw_index,
                market: ["NYMEX", "ICE"][market],
            };
            // One of the last rows is published again, unchanged.
            let origin = (row.feed, row.raw_partition, row.raw_offset, row.raw_index);
            let same = again.and_then(|back| rows.iter().rev().nth(back)).map(|last| Row {
                feed: origin.0,
                raw_partition: origin.1,
                raw_offset: origin.2,
                raw_index: origin.3,
                appended_at,
                ..*last
            });
            rows.push(same.unwrap_or(row));
        }
        rows
    })
}

/// (nominal length, close after) in seconds, stated independently of the code under test.
fn rule(product: Product) -> (i64, i64) {
    match product {
        Product::Trade => (0, 30),
        Product::DayAhead => (3_600, 30),
        Product::RealTimeHour => (3_600, 900),
        Product::RealTimeFifteen => (900, 900),
        Product::RealTimeFive | Product::ExAnte => (300, 900),
        Product::OtherInterval => (60, 900),
    }
}

/// Versions of interval prices and how certain they are, stated independently of the code under test.
const CERTAINTY: [(&str, u8); 10] = [
    ("final", 7),
    ("preliminary", 2),
    ("verified.2", 5),
    ("Verified.10", 6),
    ("verified.10.superseded", 0),
    ("unverified", 3),
    ("corrected", 8),
    ("other.7", 1),
    ("", 1),
    // Too long for a number.
    ("verified.1234567", 4),
];

fn certainty(row: &Row) -> u8 {
    let known = CERTAINTY.iter().find(|(version, _)| row.version == Some(*version));
    known.map_or(1, |(_, certainty)| *certainty)
}

type Key = (&'static str, &'static str, Window);
type Place = (&'static str, i32, i64, i32);

fn place(row: &Row) -> Place {
    (row.feed, row.raw_partition, row.raw_offset, row.raw_index)
}

/// All windows of the rows.
fn keys(log: &[Row]) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for row in log {
        for interval in Interval::ALL {
            let length = interval.micros();
            if rule(row.product).0 * SECOND <= length {
                let start = row.event_time.div_euclid(length) * length;
                keys.insert((row.tenant_id, row.instrument_id, Window { interval, start }));
            }
        }
    }
    keys
}

/// The bar of the rows up to this offset, as text: offset and closed of the version first. It shares no code with the code
/// under test.
fn plain(
    log: &[Row],
    (tenant, instrument, window): Key,
    upto: usize,
    believed: impl Fn(Micros) -> bool,
) -> Option<String> {
    let (length, mut clock) = (window.interval.micros(), Micros::MIN);
    let (mut all, mut revision, mut last_offset, mut closed, mut appended) = (Vec::new(), 0, 0, false, Micros::MIN);
    let mut cause = "";
    for (offset, row) in log.iter().enumerate().take(upto + 1) {
        clock = clock.max(row.appended_at);
        let (nominal, delay) = rule(row.product);
        let is_in = (window.start..window.start + length).contains(&row.event_time);
        if (row.tenant_id, row.instrument_id) != (tenant, instrument) || !is_in || nominal * SECOND > length {
            continue;
        }
        let closes_at = window.start + length + delay * SECOND;
        (last_offset, closed) = (offset, clock >= closes_at || believed(closes_at));
        if let Some(of_row) = cause_of(row, &all, clock >= closes_at) {
            revision += u32::from(clock >= closes_at);
            cause = of_row;
        }
        appended = appended.max(row.appended_at);
        all.push(row);
    }
    let stands = |row: &&&Row| {
        let same = |other: &&&Row| rule(other.product).0 == rule(row.product).0 && other.event_time == row.event_time;
        row.product == Product::Trade
            || all
                .iter()
                .filter(same)
                .all(|other| (certainty(other), place(other)) <= (certainty(row), place(row)))
    };
    let mut rows: Vec<&Row> = all.iter().filter(stands).copied().collect();
    let sequence = |row: &Row| row.sequence.map_or((0, 0), |sequence| (1, sequence));
    rows.sort_by_key(|row| (row.event_time, sequence(row), place(row)));
    let (first, last) = (rows.first()?, rows.last()?);
    let prices = || rows.iter().map(|row| row.price);
    let (mut volume, mut turnover) = (0i128, 0i128);
    for row in &rows {
        let of_row = i128::from(row.volume.unwrap_or(0));
        volume += of_row;
        turnover = turnover.checked_add(of_row * i128::from(row.price)).unwrap();
    }
    let vwap = (volume != 0).then(|| {
        // Over a positive volume.
        let (turnover, volume) = (turnover * volume.signum(), volume.abs());
        let (whole, rest) = (turnover.div_euclid(volume), turnover.rem_euclid(volume));
        whole + i128::from(rest * 2 > volume || (rest * 2 == volume && whole.rem_euclid(2) == 1))
    });
    let vwap = vwap.filter(|vwap| vwap.abs() <= i128::from(LARGEST));
    let (mut price_seconds, mut seconds) = (0i128, 0);
    for row in &rows {
        let length = delivered(row);
        price_seconds += i128::from(row.price) * i128::from(length);
        seconds += length;
    }
    Some(format!(
        "{last_offset} {closed} {tenant} {instrument} {window:?} {} {} {} {} volume {volume} turnover {turnover} vwap {vwap:?} \
         {price_seconds} in {seconds} s \
         count {} {:?} {:?} {} revision {revision} {cause} {appended}",
        first.price,
        prices().max()?,
        prices().min()?,
        last.price,
        rows.len(),
        (first.event_time, first.sequence, place(first)),
        (last.event_time, last.sequence, place(last)),
        last.market,
    ))
}

/// Whole seconds of the interval of a price.
fn delivered(row: &Row) -> i64 {
    let nominal = rule(row.product).0;
    let seconds = row.interval_end.map(|end| (end - row.event_time).div_euclid(SECOND));
    seconds.map_or(nominal, |seconds| seconds.max(0).min(nominal))
}

/// What a row is to the earlier ones of its window; `None` if the price that counts stays.
fn cause_of(row: &Row, before: &[&Row], is_after: bool) -> Option<&'static str> {
    let same = |other: &&&Row| {
        row.product != Product::Trade
            && rule(other.product).0 == rule(row.product).0
            && other.event_time == row.event_time
    };
    let best = before
        .iter()
        .filter(same)
        .max_by_key(|other| (certainty(other), place(other)));
    let Some(best) = best else {
        return Some(if is_after { "late" } else { "live" });
    };
    let values = |row: &Row| (certainty(row), row.price, row.volume.unwrap_or(0), delivered(row));
    if values(row) == values(best) || (certainty(row), place(row)) < (certainty(best), place(best)) {
        return None;
    }
    Some(match certainty(row) > certainty(best) {
        true => "vintage",
        false => "correction",
    })
}

fn shown(bar: &Bar<'_>) -> String {
    let place = |of: &Origin<'_>| format!("({:?}, {}, {}, {})", of.feed, of.partition, of.offset, of.index);
    format!(
        "{} {} {} {} {:?} {} {} {} {} volume {} turnover {} vwap {:?} {} in {} s count {} ({}, {:?}, {}) ({}, {:?}, {}) {} revision {} {} {}",
        bar.version.last_offset,
        bar.version.closed,
        bar.tenant_id,
        bar.instrument_id,
        bar.window,
        bar.open.unscaled(),
        bar.high.unscaled(),
        bar.low.unscaled(),
        bar.close.unscaled(),
        bar.volume,
        bar.turnover.0,
        bar.vwap.map(|vwap| i128::from(vwap.unscaled())),
        bar.time_weighted.price_seconds,
        bar.time_weighted.seconds,
        bar.trade_count,
        bar.open_time,
        bar.open_sequence,
        place(&bar.first_origin),
        bar.close_time,
        bar.close_sequence,
        place(&bar.last_origin),
        bar.market,
        bar.revision,
        bar.cause.map_or("none", BarCause::name),
        bar.last_appended_at
    )
}

/// Window and version → the bytes of the stream's bar.
type OfStream = BTreeMap<(String, String, Window, u64), Vec<u8>>;

/// All bars that the stream's core sends for this log.
fn of_stream(log: &[Row], wire: &Wire) -> OfStream {
    let times = |close_after, forget_after| Times {
        close_after: close_after * SECOND,
        forget_after: forget_after * SECOND,
    };
    let rules = WindowRules {
        intervals: 0b11111,
        at_once: times(30, 330),
        after_interval: times(900, 3_600),
        idle_close: 120 * SECOND,
    };
    let writer = Writer {
        id: WriterId { ordinal: 1, random: 1 },
        topic_id: "id".to_owned(),
    };
    let (mut state, mut bars) = (PartitionState::new(rules, writer, Vec::new(), 0), OfStream::new());
    let mut take = |shown: Shown<'_>| {
        if let Shown::Bar(bar) = shown {
            let mut bytes = Vec::new();
            wire.encode_bar(bar, &mut bytes);
            let key = (
                bar.tenant_id.to_owned(),
                bar.instrument_id.to_owned(),
                bar.window,
                bar.version.as_u64(),
            );
            bars.insert(key, bytes);
        }
    };
    for (offset, row) in (0..).zip(log) {
        let arrived = Arrived {
            tick: &row.tick(),
            offset,
            now: row.appended_at,
        };
        assert!(matches!(state.apply(&arrived, &mut take), Applied::Counted(_)));
        state.snapshot(wire, &mut take);
    }
    bars
}

#[test]
fn bars_from_the_table_equal_those_of_a_plain_computation_and_of_the_stream() {
    let server = server();
    let (history, wire) = (history(&server.clickhouse), Wire::single_object());
    let (partition, windows, of_both) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config {
        cases: LOGS / 2,
        failure_persistence: None,
        ..Config::default()
    });
    let strategy = (
        log(),
        log(),
        vec((any::<prop::sample::Index>(), any::<bool>()), 17),
        -9_000..9_000i64,
        0..200_000i64,
    );
    let result = runner.run(&strategy, |(one, other, questions, from_end, lag)| {
        for (log, of_table) in [&one, &other].into_iter().zip(partition.get()..) {
            partition.set(of_table + 1);
            let keys: Vec<Key> = keys(log).into_iter().collect();
            let question = |number: usize| {
                let (index, closed) = questions[number % questions.len()];
                // Any offset, mostly one of another window.
                (index.index(log.len()), closed)
            };
            let now = log[log.len() - 1].appended_at + from_end * SECOND;
            let (mut asked, mut expected) = (Vec::new(), Vec::new());
            for (number, key) in keys.iter().enumerate() {
                let (upto, closed) = question(number);
                let believed = |closes_at| closed && closes_at <= now + SKEW;
                expected.push(plain(log, *key, upto, believed));
                asked.push(AskedWindow {
                    tenant_id: key.0.into(),
                    instrument_id: key.1.into(),
                    window: key.2,
                    version: BarVersion {
                        last_offset: upto as i64,
                        closed,
                    },
                });
            }
            let restate = async |of_table| {
                let oldest = history.oldest(of_table).await.unwrap().unwrap();
                history.restate(of_table, &asked, &oldest, wall_clock()).await.unwrap()
            };
            let answer = server.runtime.block_on(async {
                insert(&server.table, of_table, 0, log).await;
                restate(of_table).await
            });
            if of_table % 6 == 0 {
                let of_copy = server.runtime.block_on(async {
                    let copy = of_table + COPIES;
                    copy_ingested(&server, of_table, copy, lag).await;
                    restate(copy).await
                });
                let by_number = |rows: &[RestatedRow]| {
                    rows.iter()
                        .map(|row| (row.number, row.clone()))
                        .collect::<BTreeMap<_, _>>()
                };
                prop_assert_eq!(by_number(&answer), by_number(&of_copy));
            }
            let of_stream = of_stream(log, &wire);
            let mut found: Vec<Option<String>> = vec![None; asked.len()];
            for row in &answer {
                let bar = row.bar(&asked[row.number], now).unwrap();
                prop_assert_eq!(row.asked_appended_at, log[row.last_offset as usize].appended_at);
                prop_assert_eq!(found[row.number].replace(shown(&bar)), None, "twice");
                let key = (
                    bar.tenant_id.to_owned(),
                    bar.instrument_id.to_owned(),
                    bar.window,
                    bar.version.as_u64(),
                );
                if let Some(bytes) = of_stream.get(&key) {
                    let mut ours = Vec::new();
                    wire.encode_bar(&bar, &mut ours);
                    prop_assert_eq!(
                        &ours,
                        bytes,
                        "{} by the stream: {:?}",
                        shown(&bar),
                        wire.decode_bar(bytes)
                    );
                    of_both.set(of_both.get() + 1);
                }
            }
            for (found, expected) in found.iter().zip(&expected) {
                prop_assert_eq!(found, expected);
            }
            windows.set(windows.get() + answer.len());
        }
        Ok(())
    });
    result.unwrap();
    println!(
        "{} bars, {} of them also computed by the stream",
        windows.get(),
        of_both.get()
    );
    assert!(
        windows.get() > 1_000 && of_both.get() > 300,
        "{} {}",
        windows.get(),
        of_both.get()
    );
}

/// One price for each vintage of two intervals, in any order, each of them as often as it comes.
#[test]
fn vintages_in_any_order_and_repetition_give_one_content_and_revisions_count_what_changes_it() {
    const VINTAGES: [Option<&str>; 4] = [None, Some("preliminary"), Some("verified.2"), Some("final")];
    let server = server();
    let history = history(&server.clickhouse);
    let partition = Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 12,
        failure_persistence: None,
        ..Config::default()
    });
    let window = Interval::OneHour.window_of(MIDNIGHT);
    let result = runner.run(&vec(0..8usize, 1..20), |published| {
        let of_table = partition.replace(partition.get() + 1);
        let rows: Vec<Row> = (0..)
            .zip(&published)
            .map(|(raw_offset, which)| Row {
                product: Product::RealTimeFive,
                version: VINTAGES[which % 4],
                price: *which as i64,
                raw_offset,
                // All of them after the close.
                appended_at: window.end() + 3_600 * SECOND,
                ..Row::trade("P", MIDNIGHT + (which / 4) as i64 * 300 * SECOND)
            })
            .collect();
        let (mut best, mut revision) = ([None; 2], 0);
        server.runtime.block_on(insert(&server.table, of_table, 0, &rows));
        for (offset, which) in published.iter().enumerate() {
            let counted = &mut best[which / 4];
            revision += i32::from(*counted < Some(*which));
            *counted = (*counted).max(Some(*which));
            let asked = [AskedWindow {
                tenant_id: "acme".into(),
                instrument_id: "P".into(),
                window,
                version: BarVersion {
                    last_offset: offset as i64,
                    closed: true,
                },
            }];
            let answer = server.runtime.block_on(async {
                let oldest = history.oldest(of_table).await.unwrap().unwrap();
                history.restate(of_table, &asked, &oldest, wall_clock()).await.unwrap()
            });
            let bar = answer[0].bar(&asked[0], wall_clock()).unwrap();
            let prices: Vec<i64> = best.iter().flatten().map(|which| *which as i64).collect();
            prop_assert_eq!(bar.revision, revision, "{:?} at {}", &published, offset);
            prop_assert_eq!(Some(&bar.open.unscaled()), prices.first());
            prop_assert_eq!(Some(&bar.close.unscaled()), prices.last());
            let sum: i64 = prices.iter().sum();
            prop_assert_eq!(bar.time_weighted.price_seconds, i128::from(sum * 300));
        }
        Ok(())
    });
    result.unwrap();
}
