//! Bars from the rows of `enriched_ticks`, on a real ClickHouse: every field equals that of a plain computation over the
//! same ticks, and that of the core which makes the stream's bars.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::time::Duration;

use aggregation::core::texts::Texts;
use aggregation::core::window_state::{Added, Contribution, WindowState};
use domain::{
    AskedWindow, Bar, BarVersion, Classification, Decimal, EnrichedTick, Enrichment, Interval, Kind, Micros, Origin,
    Product, QualityFlags, Tick, Window,
};
use localstack::{Server, Temporary};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use stores::clickhouse::rows;
use stores::{ClickHouse, ClickHouseConfig, FencedTable, History, HistoryLimits, ProductClose};
use tokio::runtime::Runtime;

const TOPIC: &str = "enriched.market.ticks.v1";
const SECOND: Micros = 1_000_000;
/// 2026-09-21T00:00:00Z.
const MIDNIGHT: Micros = 1_789_948_800 * SECOND;
const CLOSE_AFTER: Micros = 30 * SECOND;
const LARGEST: i64 = 999_999_999_999_999_999;
const FEEDS: [&str; 2] = ["feed.b", "feed.a"];
const INSTRUMENTS: [(&str, &str); 3] = [("acme", "NG'M1\\"), ("acme", "POWER \"é\""), ("other", "NG'M1\\")];

struct Setup {
    _stack: Temporary,
    runtime: Runtime,
    clickhouse: ClickHouse,
    table: FencedTable,
}

fn server() -> Setup {
    let stack = Temporary::new().unwrap();
    stack.start(Server::ClickHouse).unwrap();
    stack.wait_ready(Server::ClickHouse, Duration::from_secs(60)).unwrap();
    let clickhouse = ClickHouse::new(ClickHouseConfig {
        url: stack.env()["DATA_PROC_CLICKHOUSE_URL"].clone(),
        database: "market_data".into(),
        user: "default".into(),
        password: String::new(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(stores::clickhouse::migrate(&clickhouse, "")).unwrap();
    Setup {
        _stack: stack,
        runtime,
        table: FencedTable::new(clickhouse.clone(), &rows::enriched::LAYOUT, ""),
        clickhouse,
    }
}

fn products() -> Vec<ProductClose> {
    vec![ProductClose {
        product: Product::Trade,
        close_after: CLOSE_AFTER,
    }]
}

fn history(clickhouse: &ClickHouse) -> History {
    let limits = HistoryLimits {
        memory_bytes: 1 << 30,
        threads: 2,
        time: Duration::from_secs(60),
    };
    History::new(
        clickhouse.clone(),
        TOPIC.to_owned(),
        "enriched_ticks".to_owned(),
        limits,
        products(),
    )
}

/// What of a tick matters to a bar.
#[derive(Debug, Clone)]
struct Any {
    instrument: usize,
    event_time: Micros,
    appended_at: Micros,
    price: i64,
    volume: Option<i64>,
    feed: usize,
    raw_partition: i32,
    raw_offset: i64,
    raw_index: i32,
    market: usize,
}

fn ticks() -> impl Strategy<Value = Vec<Any>> {
    let amount = |least: i64| prop_oneof![Just(least), Just(LARGEST), least..=LARGEST, -300..300i64];
    let time = prop_oneof![
        3 => (0..120i64).prop_map(|second| second * SECOND),
        1 => (0..2 * 86_400i64).prop_map(|second| second * SECOND),
        1 => prop_oneof![Just(-1), Just(0), Just(86_400 * SECOND - 1), Just(60 * SECOND), Just(300 * SECOND - 1)],
        1 => Just(-60 * 365 * 86_400 * SECOND + 1),
    ];
    let append = (0..4i64, prop_oneof![0..40i64, 0..100_000i64]);
    let tick = (
        (0..INSTRUMENTS.len(), time, append),
        (amount(-LARGEST), prop::option::of(amount(0).prop_map(i64::abs))),
        (0..2usize, 0..2i32, 0..3i64, 0..2i32, 0..2usize),
    );
    vec(tick, 1..60).prop_map(|ticks| {
        let mut now = MIDNIGHT + 20 * SECOND;
        let tick = |((instrument, time, (back, on)), (price, volume), (feed, partition, offset, index, market))| {
            now += on * SECOND / 10;
            Any {
                instrument,
                event_time: MIDNIGHT + time,
                // Raw partitions lag behind each other.
                appended_at: now - back * 7 * SECOND,
                price,
                volume,
                feed,
                raw_partition: partition,
                raw_offset: offset,
                raw_index: index,
                market,
            }
        };
        let mut ticks: Vec<Any> = ticks.into_iter().map(tick).collect();
        // Origins are unique.
        for (number, tick) in (0..).zip(&mut ticks) {
            tick.raw_index += 2 * number;
        }
        ticks
    })
}

fn tick(any: &Any) -> Tick<'_> {
    let (tenant_id, instrument_id) = INSTRUMENTS[any.instrument];
    let decimal = |unscaled| Decimal::from_unscaled(unscaled).unwrap();
    Tick {
        origin: Origin {
            feed: FEEDS[any.feed],
            partition: any.raw_partition,
            offset: any.raw_offset,
            index: any.raw_index,
        },
        appended_at: any.appended_at,
        source_event_id: "e",
        correlation_id: "e",
        causation_id: None,
        tenant_id,
        instrument_id,
        symbol: None,
        market: ["NYMEX", "ICE"][any.market],
        kind: Kind::Trade,
        event_time: any.event_time,
        interval_end: None,
        price: decimal(any.price),
        volume: any.volume.map(decimal),
        bid: None,
        ask: None,
        energy: None,
        congestion: None,
        loss: None,
        ghg: None,
        currency: "USD",
        unit: "MWh",
        node: None,
        zone: None,
        hub: None,
        market_status: None,
        product: "trade",
        version: None,
        source_system: "s",
        sequence: None,
        quality_flags: QualityFlags::NONE,
        normalized_at: any.appended_at,
    }
}

async fn insert(table: &FencedTable, partition: i32, from: i64, ticks: &[Any]) {
    let mut bytes = Vec::new();
    for (offset, any) in (from..).zip(ticks) {
        let enriched = EnrichedTick {
            tick: tick(any),
            enrichment: Enrichment {
                commodity: "c",
                region: "r",
                product_tier: "p",
                unit: None,
                contract_size: None,
                tick_size: None,
                curve_id: None,
                confidence_percent: 95,
                method: Classification::Database,
                low_confidence: false,
                enriched_at: any.appended_at,
            },
        };
        rows::enriched::encode(&enriched, partition, offset, &mut bytes);
    }
    let claim = table.claim(TOPIC, partition).await.unwrap();
    table.insert(&claim, ticks.len(), bytes.into()).await.unwrap();
}

/// Ticks of each window, as `(offset, tick)`.
type Windows<'t> = BTreeMap<(usize, Window), Vec<(i64, &'t Any)>>;

fn windows(ticks: &[Any]) -> Windows<'_> {
    let mut windows = Windows::new();
    for (offset, any) in (0..).zip(ticks) {
        for interval in Interval::ALL {
            let key = (any.instrument, interval.window_of(any.event_time));
            windows.entry(key).or_default().push((offset, any));
        }
    }
    windows
}

/// A bar by the plainest way, as texts: nothing of it is shared with the code under test.
fn plain(ticks: &[Any], window: Window, rows: &[(i64, &Any)]) -> String {
    let key = |any: &Any| {
        (
            any.event_time,
            FEEDS[any.feed],
            any.raw_partition,
            any.raw_offset,
            any.raw_index,
        )
    };
    let mut sorted: Vec<&Any> = rows.iter().map(|(_, any)| *any).collect();
    sorted.sort_by_key(|any| key(any));
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    let prices = || rows.iter().map(|(_, any)| any.price);
    let (mut volume, mut turnover, mut revision) = (0i128, 0i128, 0);
    for (offset, any) in rows {
        let of_tick = i128::from(any.volume.unwrap_or(0));
        volume += of_tick;
        turnover += of_tick * i128::from(any.price);
        let clock = ticks
            .iter()
            .take(*offset as usize + 1)
            .map(|tick| tick.appended_at)
            .max();
        revision += i32::from(clock.unwrap() >= window.start + window.interval.micros() + CLOSE_AFTER);
    }
    let vwap = (volume != 0).then(|| {
        let (whole, rest) = (turnover.div_euclid(volume), turnover.rem_euclid(volume));
        whole + i128::from(rest * 2 > volume || (rest * 2 == volume && whole.rem_euclid(2) == 1))
    });
    format!(
        "{:?} {} {} {} {} volume {volume} turnover {turnover} vwap {vwap:?} count {} {:?} {:?} {} revision {revision} {}",
        window,
        first.price,
        prices().max().unwrap(),
        prices().min().unwrap(),
        last.price,
        rows.len(),
        key(first),
        key(last),
        ["NYMEX", "ICE"][last.market],
        rows.iter().map(|(_, any)| any.appended_at).max().unwrap(),
    )
}

fn shown(bar: &Bar<'_>) -> String {
    let key = |time: Micros, origin: &Origin<'_>| {
        format!(
            "{:?}",
            (time, origin.feed, origin.partition, origin.offset, origin.index)
        )
    };
    format!(
        "{:?} {} {} {} {} volume {} turnover {} vwap {:?} count {} {} {} {} revision {} {}",
        bar.window,
        bar.open.unscaled(),
        bar.high.unscaled(),
        bar.low.unscaled(),
        bar.close.unscaled(),
        bar.volume,
        bar.turnover.0,
        bar.vwap.map(|vwap| i128::from(vwap.unscaled())),
        bar.trade_count,
        key(bar.open_time, &bar.first_origin),
        key(bar.close_time, &bar.last_origin),
        bar.market,
        bar.revision,
        bar.last_appended_at
    )
}

/// The core's bar of these rows; revision and version are not its own decision.
fn of_core(asked: &AskedWindow, rows: &[(i64, &Any)], like: &Bar<'_>) -> String {
    let mut texts = Texts::default();
    let mut state: Option<WindowState> = None;
    for (offset, any) in rows {
        let contribution = Contribution::of(&tick(any), *offset, &mut texts);
        match &mut state {
            None => state = Some(WindowState::new(asked.window, &contribution, Product::Trade, false)),
            Some(state) => assert_eq!(state.add(&contribution, &texts), Added::Counted),
        }
    }
    let state = state.unwrap();
    let bar = state.bar((&asked.tenant_id, &asked.instrument_id), &texts).unwrap();
    shown(&Bar {
        revision: like.revision,
        ..bar
    })
}

#[test]
fn bars_from_the_table_equal_those_of_a_plain_computation_and_of_the_core() {
    let server = server();
    let history = history(&server.clickhouse);
    let partition = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let strategy = (ticks(), vec(any::<prop::sample::Index>(), 12), any::<bool>());
    let result = runner.run(&strategy, |(ticks, cuts, closed)| {
        partition.set(partition.get() + 2);
        let (ours, foreign) = (partition.get(), partition.get() + 1);
        let (mut asked, mut rows_of) = (Vec::new(), Vec::new());
        for (number, ((instrument, window), rows)) in windows(&ticks).into_iter().enumerate() {
            let upto = cuts[number % cuts.len()].index(rows.len());
            let (tenant_id, instrument_id) = INSTRUMENTS[instrument];
            let version = BarVersion {
                last_offset: rows[upto].0,
                closed,
            };
            asked.push(AskedWindow {
                tenant_id: tenant_id.into(),
                instrument_id: instrument_id.into(),
                window,
                version,
            });
            rows_of.push(rows[..=upto].to_vec());
        }
        let answer = server.runtime.block_on(async {
            insert(&server.table, ours, 0, &ticks).await;
            // The same instruments in another partition are no rows of these windows.
            insert(&server.table, foreign, 0, &ticks[..1]).await;
            let oldest = history.oldest(ours).await.unwrap().unwrap();
            assert_eq!(oldest.offset, 0);
            history.restate(ours, &asked, &oldest).await.unwrap()
        });
        prop_assert_eq!(answer.len(), asked.len());
        for row in &answer {
            let (asked, rows) = (&asked[row.number], &rows_of[row.number]);
            prop_assert_eq!(row.last_offset, asked.version.last_offset);
            prop_assert_eq!(row.asked_appended_at, ticks[row.last_offset as usize].appended_at);
            let bar = row.bar(asked).unwrap();
            prop_assert_eq!(bar.version, asked.version);
            prop_assert_eq!(
                (bar.tenant_id, bar.instrument_id),
                (&*asked.tenant_id, &*asked.instrument_id)
            );
            prop_assert_eq!(shown(&bar), plain(&ticks, asked.window, rows));
            prop_assert_eq!(shown(&bar), of_core(asked, rows, &bar));
        }
        Ok(())
    });
    result.unwrap();
}

fn small(event_time: Micros) -> Any {
    Any {
        instrument: 0,
        event_time,
        appended_at: MIDNIGHT,
        price: LARGEST,
        volume: Some(LARGEST),
        feed: 0,
        raw_partition: 0,
        raw_offset: 0,
        raw_index: 0,
        market: 0,
    }
}

#[test]
fn a_sum_that_no_column_holds_is_no_bar() {
    let server = server();
    let history = history(&server.clickhouse);
    let ticks: Vec<Any> = (0..101)
        .map(|index| Any {
            raw_index: index,
            ..small(MIDNIGHT)
        })
        .collect();
    let asked = |last_offset| AskedWindow {
        tenant_id: INSTRUMENTS[0].0.into(),
        instrument_id: INSTRUMENTS[0].1.into(),
        window: Interval::OneDay.window_of(MIDNIGHT),
        version: BarVersion {
            last_offset,
            closed: true,
        },
    };
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &ticks).await;
        let oldest = history.oldest(0).await.unwrap().unwrap();
        let fits = history.restate(0, &[asked(99)], &oldest).await.unwrap();
        assert_eq!(fits[0].bar(&asked(99)).unwrap().trade_count, 100);
        let over = history.restate(0, &[asked(100)], &oldest).await.unwrap();
        assert_eq!(over[0].bar(&asked(100)), None);
    });
}

#[test]
fn the_table_says_how_far_it_is_and_where_it_begins() {
    let server = server();
    let history = history(&server.clickhouse);
    server.runtime.block_on(async {
        assert!(!history.has_reached(5, 0).await.unwrap());
        assert_eq!(history.oldest(5).await.unwrap(), None);
        insert(&server.table, 5, 7, &[small(MIDNIGHT), small(MIDNIGHT)]).await;
        insert(&server.table, 6, 0, &[small(MIDNIGHT)]).await;
        assert!(history.has_reached(5, 8).await.unwrap());
        assert!(!history.has_reached(5, 9).await.unwrap());
        assert!(!history.has_reached(6, 8).await.unwrap());
        let oldest = history.oldest(5).await.unwrap().unwrap();
        assert_eq!((oldest.offset, oldest.appended_at), (7, MIDNIGHT));
        // Rows that have expired were written all the same: the writer's floor says so.
        let floor = format!(
            "INSERT INTO market_data.writer_floor (topic, partition, epoch, writer, next_offset, sequencer) \
             SELECT '{TOPIC}', 6, 1, generateUUIDv4(), 9, []"
        );
        server.clickhouse.exec(&floor).await.unwrap();
        assert!(history.has_reached(6, 8).await.unwrap());
        assert!(!history.has_reached(6, 9).await.unwrap());
    });
}

#[test]
fn thousands_of_windows_are_one_statement_and_one_that_may_not_take_the_memory_says_so() {
    let server = server();
    let ticks: Vec<Any> = (0..20_000)
        .map(|index| Any {
            raw_index: index,
            price: 1,
            volume: Some(1),
            ..small(MIDNIGHT + i64::from(index) * 15 * SECOND)
        })
        .collect();
    let windows = windows(&ticks)
        .into_iter()
        .filter(|((_, window), _)| window.interval == Interval::OneMinute);
    let asked: Vec<AskedWindow> = windows
        .map(|((_, window), rows)| AskedWindow {
            tenant_id: INSTRUMENTS[0].0.into(),
            instrument_id: INSTRUMENTS[0].1.into(),
            window,
            version: BarVersion {
                last_offset: rows[rows.len() - 1].0,
                closed: true,
            },
        })
        .collect();
    assert_eq!(asked.len(), 5_000);
    let limits = HistoryLimits {
        memory_bytes: 1 << 20,
        threads: 1,
        time: Duration::from_secs(60),
    };
    let starved = History::new(
        server.clickhouse.clone(),
        TOPIC.to_owned(),
        "enriched_ticks".to_owned(),
        limits,
        products(),
    );
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &ticks).await;
        let oldest = starved.oldest(0).await.unwrap().unwrap();
        let began = std::time::Instant::now();
        let rows = history(&server.clickhouse).restate(0, &asked, &oldest).await.unwrap();
        println!("{} windows in {:?}", rows.len(), began.elapsed());
        assert_eq!(rows.len(), asked.len());
        assert!(
            rows.iter()
                .all(|row| row.bar(&asked[row.number]).unwrap().trade_count == 4)
        );
        let error = starved.restate(0, &asked, &oldest).await.unwrap_err();
        assert_eq!(domain::Classified::code(&error), "overloaded", "{error}");
    });
}
