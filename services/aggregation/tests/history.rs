//! Bars from the rows of `enriched_ticks`, on a real ClickHouse: closes, the log clock, the end of the table, and limits.
//! `history_random.rs` checks the values of bars.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod enriched_table;

use std::time::Duration;

use domain::{AskedWindow, BarCause, BarVersion, Interval, Product, Window};
use enriched_table::{LARGEST, MIDNIGHT, Row, SECOND, TOPIC, copy_ingested, history, insert, limited, server};
use stores::HistoryLimits;
use stream::status::wall_clock;

const INSTRUMENT: &str = "NG'M1";

fn asked_at(window: Window, last_offset: i64) -> AskedWindow {
    AskedWindow {
        tenant_id: "acme".into(),
        instrument_id: INSTRUMENT.into(),
        window,
        version: BarVersion {
            last_offset,
            closed: true,
        },
    }
}

#[test]
fn a_sum_that_does_not_fit_its_column_gives_no_bar() {
    let server = server();
    let history = history(&server.clickhouse);
    let ticks: Vec<Row> = (0..101)
        .map(|index| Row {
            raw_index: index,
            price: LARGEST,
            volume: Some(LARGEST),
            ..Row::trade(INSTRUMENT, MIDNIGHT)
        })
        .collect();
    let asked = |last_offset| asked_at(Interval::OneDay.window_of(MIDNIGHT), last_offset);
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &ticks).await;
        let oldest = history.oldest(0).await.unwrap().unwrap();
        let fits = history.restate(0, &[asked(99)], &oldest, wall_clock()).await.unwrap();
        assert_eq!(fits[0].bar(&asked(99), 0).unwrap().trade_count, 100);
        let over = history.restate(0, &[asked(100)], &oldest, wall_clock()).await.unwrap();
        assert_eq!(over[0].bar(&asked(100), 0), None);
    });
}

#[test]
fn a_window_of_two_products_closes_by_its_last_row_or_as_requested_once_its_time_has_come() {
    let server = server();
    let history = history(&server.clickhouse);
    let window = Interval::FiveMinutes.window_of(MIDNIGHT);
    let after = |seconds, product| Row {
        product,
        appended_at: window.end() + seconds * SECOND,
        ..Row::trade(INSTRUMENT, MIDNIGHT)
    };
    let rows = [
        after(40, Product::Trade),
        Row {
            raw_offset: 1,
            ..after(50, Product::RealTimeFive)
        },
    ];
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &rows).await;
        let oldest = history.oldest(0).await.unwrap().unwrap();
        for (offset, as_asked, minutes, closed, revision) in [
            (0, false, 0, true, 1),
            (1, false, 600, false, 1),
            // Fifteen minutes after its end, minus an hour: the clocks may differ that much.
            (1, true, -46, false, 1),
            (1, true, -45, true, 1),
        ] {
            let mut asked = asked_at(window, offset);
            asked.version.closed = as_asked;
            let answer = history
                .restate(0, std::slice::from_ref(&asked), &oldest, wall_clock())
                .await
                .unwrap();
            let bar = answer[0].bar(&asked, window.end() + minutes * 60 * SECOND).unwrap();
            let version = BarVersion {
                last_offset: offset,
                closed,
            };
            assert_eq!((bar.version, bar.revision), (version, revision), "{offset} {minutes}");
        }
    });
}

#[test]
fn each_cause_arises_from_its_event() {
    let server = server();
    let history = history(&server.clickhouse);
    let price = |raw_index, event: i64, version, appended: i64| Row {
        product: Product::RealTimeFive,
        version,
        raw_index,
        appended_at: MIDNIGHT + appended * SECOND,
        ..Row::trade(INSTRUMENT, MIDNIGHT + event * SECOND)
    };
    // The bar of five minutes closes after 1,200 s, that of the hour after 4,500 s.
    let rows = [
        price(0, 0, Some("preliminary"), 400),
        price(1, 300, None, 700),
        price(2, 0, Some("final"), 800),
        Row {
            price: 2,
            ..price(3, 0, Some("final"), 2_000)
        },
        price(4, 0, Some("preliminary"), 2_100),
        price(5, 600, None, 6_000),
    ];
    let causes = |interval: Interval, offsets: &[i64]| -> Vec<Option<BarCause>> {
        let cause = async |offset: &i64| {
            let asked = asked_at(interval.window_of(MIDNIGHT), *offset);
            let oldest = history.oldest(0).await.unwrap().unwrap();
            let asked = std::slice::from_ref(&asked);
            let answer = history.restate(0, asked, &oldest, wall_clock()).await.unwrap();
            answer[0].bar(&asked[0], 0).unwrap().cause
        };
        offsets
            .iter()
            .map(|offset| server.runtime.block_on(cause(offset)))
            .collect()
    };
    server.runtime.block_on(insert(&server.table, 0, 0, &rows));
    // The last one is of a lower vintage than the one that counts.
    let expected = [
        BarCause::Live,
        BarCause::Vintage,
        BarCause::Correction,
        BarCause::Correction,
    ];
    assert_eq!(causes(Interval::FiveMinutes, &[0, 2, 3, 4]), expected.map(Some));
    let expected = [BarCause::Live, BarCause::Vintage, BarCause::Correction, BarCause::Late];
    assert_eq!(causes(Interval::OneHour, &[1, 2, 4, 5]), expected.map(Some));
}

/// The rows of one interval in one document after the other. The bar of five minutes closes after 1,200 s.
#[test]
fn a_price_that_replaces_none_changes_the_version_only() {
    let server = server();
    let history = history(&server.clickhouse);
    let price = |raw_offset, version, price, appended: i64| Row {
        product: Product::RealTimeFive,
        version: Some(version),
        raw_offset,
        price,
        volume: None,
        appended_at: MIDNIGHT + appended * SECOND,
        ..Row::trade(INSTRUMENT, MIDNIGHT)
    };
    let rows = [
        price(1, "preliminary", 7, 400),
        price(2, "preliminary", 7, 700),
        price(3, "preliminary", 7, 2_000),
        // Of another raw partition: an earlier origin, so it does not count itself.
        Row {
            feed: "feed.0",
            volume: Some(0),
            ..price(9, "preliminary", 7, 2_100)
        },
        price(4, "preliminary", 8, 2_200),
        price(5, "preliminary", 8, 2_300),
        // Its value was replaced, so it is no repetition.
        price(6, "preliminary", 7, 2_400),
        price(7, "final", 7, 2_500),
        price(8, "final", 7, 2_600),
        // Of a lower vintage, and published before: nothing, however often.
        price(9, "preliminary", 7, 2_700),
        price(9, "preliminary", 9, 2_750),
        price(10, "final", 7, 2_800),
        // The same price for a part of the interval.
        Row {
            interval_end: Some(MIDNIGHT + 200 * SECOND),
            ..price(11, "final", 7, 2_900)
        },
    ];
    let expected = [
        (BarCause::Live, 0, 7, 1),
        (BarCause::Live, 0, 7, 2),
        (BarCause::Live, 0, 7, 3),
        (BarCause::Live, 0, 7, 3),
        (BarCause::Correction, 1, 8, 4),
        (BarCause::Correction, 1, 8, 5),
        (BarCause::Correction, 2, 7, 6),
        (BarCause::Vintage, 3, 7, 7),
        (BarCause::Vintage, 3, 7, 8),
        (BarCause::Vintage, 3, 7, 8),
        (BarCause::Vintage, 3, 7, 8),
        (BarCause::Vintage, 3, 7, 10),
        (BarCause::Correction, 4, 7, 11),
    ];
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &rows).await;
        let oldest = history.oldest(0).await.unwrap().unwrap();
        for (offset, (cause, revision, price, counts)) in (0..).zip(expected) {
            let asked = asked_at(Interval::FiveMinutes.window_of(MIDNIGHT), offset);
            let asked = std::slice::from_ref(&asked);
            let answer = history.restate(0, asked, &oldest, wall_clock()).await.unwrap();
            let bar = answer[0].bar(&asked[0], 0).unwrap();
            let found = (bar.cause, bar.revision, bar.close.unscaled(), bar.last_origin.offset);
            assert_eq!(found, (Some(cause), revision, price, counts), "{offset}");
            let version = BarVersion {
                last_offset: offset,
                closed: offset >= 2,
            };
            assert_eq!(bar.version, version);
            assert_eq!(bar.flags().contains(&"revised"), revision > 0, "{offset}");
            let is_without_effect = [1, 2, 3, 5, 8, 9, 10, 11].contains(&offset);
            assert_eq!(answer[0].ends_without_effect(), is_without_effect, "{offset}");
        }
    });
}

/// Zone N.Y.C. of NYISO from 16:00 to 17:00 on 2022-07-18: seconds of the hour at which each interval ends, and prices in cents. The sums
/// were added up by hand.
const OFF_GRID: [(i64, i64); 18] = [
    (300, 16_095),
    (600, 16_093),
    (646, 18_721),
    (900, 16_099),
    (946, 16_099),
    (1_192, 16_099),
    (1_200, 15_699),
    (1_500, 15_699),
    (1_800, 15_699),
    (2_100, 15_699),
    (2_400, 15_699),
    (2_411, 15_699),
    (2_500, 13_729),
    (2_700, 11_476),
    (3_000, 11_476),
    (3_300, 11_117),
    (3_545, 11_143),
    (3_600, 10_704),
];

#[test]
fn prices_of_extra_dispatch_runs_count_for_their_seconds() {
    const CENT: i64 = 1_000_000;
    let server = server();
    let history = history(&server.clickhouse);
    let starts = [0].into_iter().chain(OFF_GRID.map(|(end, _)| end));
    let rows: Vec<Row> = (0..)
        .zip(starts.zip(OFF_GRID))
        .map(|(raw_index, (start, (end, cents)))| Row {
            product: Product::RealTimeFive,
            interval_end: Some(MIDNIGHT + end * SECOND),
            raw_index,
            price: cents * CENT,
            volume: None,
            ..Row::trade(INSTRUMENT, MIDNIGHT + start * SECOND)
        })
        .collect();
    let window = |interval: Interval, minute: i64| interval.window_of(MIDNIGHT + minute * 60 * SECOND);
    // 160.99 × 46 + 160.99 × 246 + 156.99 × 8; two more intervals of 300 s at 156.99.
    let (five, fifteen) = (4_826_500, 4_826_500 + 2 * 300 * 15_699);
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &rows).await;
        let oldest = history.oldest(0).await.unwrap().unwrap();
        for (window, cent_seconds, seconds, last_offset, twap) in [
            (window(Interval::OneHour, 0), 52_058_437, 3_600, 17, "144.60676944"),
            (window(Interval::FiveMinutes, 15), five, 300, 6, "160.88333333"),
            (window(Interval::FifteenMinutes, 15), fifteen, 900, 8, "158.28777778"),
        ] {
            let asked = asked_at(window, last_offset);
            let asked = std::slice::from_ref(&asked);
            let answer = history.restate(0, asked, &oldest, wall_clock()).await.unwrap();
            let bar = answer[0].bar(&asked[0], wall_clock()).unwrap();
            let weighted = bar.time_weighted;
            let sums = (weighted.price_seconds, weighted.seconds);
            assert_eq!(sums, (i128::from(cent_seconds * CENT), seconds), "{window:?}");
            assert_eq!(weighted.twap().unwrap().to_string(), twap, "{window:?}");
            assert_eq!(bar.flags(), ["complete", "no_volume"], "{window:?}");
        }
    });
}

#[test]
fn the_clock_of_the_log_is_found_across_quiet_days() {
    const DAY: i64 = 86_400;
    let server = server();
    let row = |instrument_id, event: i64, appended: i64| Row {
        appended_at: MIDNIGHT + appended * SECOND,
        ..Row::trade(instrument_id, MIDNIGHT + event * SECOND)
    };
    let mut rows = vec![
        row(INSTRUMENT, 0, 0),
        // The first row after three quiet days closes the first window, so the late row is a revision. The row after the next
        // one closes the second window.
        row("other", 3 * DAY, 3 * DAY),
        row(INSTRUMENT, 1, 3 * DAY + 1),
        row(INSTRUMENT, 10 * DAY, 10 * DAY),
        row(INSTRUMENT, 10 * DAY + 1, 10 * DAY + 80),
        row("other", 10 * DAY, 10 * DAY + 90),
        row(INSTRUMENT, 10 * DAY + 2, 10 * DAY + 20),
    ];
    for (index, row) in (0..).zip(&mut rows) {
        row.raw_index = index;
    }
    let windows = [0, 10 * DAY].map(|second| Interval::OneMinute.window_of(MIDNIGHT + second * SECOND));
    let asked = [asked_at(windows[0], 2), asked_at(windows[1], 6)];
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &rows).await;
        copy_ingested(&server, 0, 1, 1).await;
        // The clock remembered for one time is right for earlier and later times.
        for questions in [vec![&asked[..]], vec![&asked[1..], &asked[..1], &asked[..]]] {
            let history = history(&server.clickhouse);
            let oldest = history.oldest(1).await.unwrap().unwrap();
            for asked in questions {
                for row in history.restate(1, asked, &oldest, wall_clock()).await.unwrap() {
                    let bar = row.bar(&asked[row.number], 0).unwrap();
                    let ticks = if bar.window == windows[0] { 2 } else { 3 };
                    let found = (bar.trade_count, bar.revision, bar.version.closed);
                    assert_eq!(found, (ticks, 1, true), "{:?} of {asked:?}", bar.window);
                }
            }
        }
    });
}

#[test]
fn the_end_and_the_oldest_row_of_the_table_are_found() {
    let server = server();
    let history = history(&server.clickhouse);
    server.runtime.block_on(async {
        assert!(!history.has_reached(5, 0).await.unwrap());
        assert_eq!(history.oldest(5).await.unwrap(), None);
        insert(
            &server.table,
            5,
            7,
            &[Row::trade(INSTRUMENT, MIDNIGHT), Row::trade(INSTRUMENT, MIDNIGHT)],
        )
        .await;
        insert(&server.table, 6, 0, &[Row::trade(INSTRUMENT, MIDNIGHT)]).await;
        assert!(history.has_reached(5, 8).await.unwrap());
        assert!(!history.has_reached(5, 9).await.unwrap());
        assert!(!history.has_reached(6, 8).await.unwrap());
        let oldest = history.oldest(5).await.unwrap().unwrap();
        assert_eq!((oldest.offset, oldest.appended_at), (7, MIDNIGHT));
        // Expired rows count as written: the writer's floor is above them.
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
fn thousands_of_windows_are_one_statement_and_too_little_memory_is_reported_as_overloaded() {
    let server = server();
    let ticks: Vec<Row> = (0..20_000)
        .map(|index| Row {
            raw_index: index,
            ..Row::trade(INSTRUMENT, MIDNIGHT + i64::from(index) * 15 * SECOND)
        })
        .collect();
    let asked: Vec<AskedWindow> = (0..20_000)
        .zip(&ticks)
        .skip(3)
        .step_by(4)
        .map(|(offset, row)| asked_at(row.window(Interval::OneMinute), offset))
        .collect();
    assert_eq!(asked.len(), 5_000);
    let limits = HistoryLimits {
        memory_bytes: 1 << 20,
        threads: 1,
        time: Duration::from_secs(60),
    };
    let starved = limited(&server.clickhouse, limits);
    server.runtime.block_on(async {
        insert(&server.table, 0, 0, &ticks).await;
        let oldest = starved.oldest(0).await.unwrap().unwrap();
        let began = std::time::Instant::now();
        let rows = history(&server.clickhouse)
            .restate(0, &asked, &oldest, wall_clock())
            .await
            .unwrap();
        println!("{} windows in {:?}", rows.len(), began.elapsed());
        assert_eq!(rows.len(), asked.len());
        assert!(
            rows.iter()
                .all(|row| row.bar(&asked[row.number], 0).unwrap().trade_count == 4)
        );
        // Windows whose closes are hours apart.
        let sparse: Vec<AskedWindow> = (0..4_000)
            .map(|number| {
                asked_at(
                    Interval::OneMinute.window_of(MIDNIGHT + number * 18_000 * SECOND),
                    19_999,
                )
            })
            .collect();
        let rows = history(&server.clickhouse)
            .restate(0, &sparse, &oldest, wall_clock())
            .await;
        assert_eq!(rows.unwrap().len(), 17, "the number of windows with rows");
        let error = starved.restate(0, &asked, &oldest, wall_clock()).await.unwrap_err();
        assert_eq!(domain::Classified::code(&error), "overloaded", "{error}");
    });
}
