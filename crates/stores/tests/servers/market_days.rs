//! The views of market days and trading blocks on a real ClickHouse, compared with jiff, the registry of markets and a list of
//! holidays, over two years of hours.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use domain::Decimal;
use jiff::civil::{Date, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use localstack::Server;
use markets::Peak;
use serde_json::Value;
use stores::ClickHouse;
use stores::clickhouse::{Merged, MergedQuestion, merged_bars};

use crate::common;

/// Holidays of NERC. Those of 2026 and 2027 that fall on a Sunday are kept on Monday (none in 2026; 4 July 2027).
const HOLIDAYS: [Date; 13] = [
    date(2025, 11, 27),
    date(2025, 12, 25),
    date(2026, 1, 1),
    date(2026, 5, 25),
    date(2026, 7, 4),
    date(2026, 9, 7),
    date(2026, 11, 26),
    date(2026, 12, 25),
    date(2027, 1, 1),
    date(2027, 5, 31),
    date(2027, 7, 5),
    date(2027, 9, 6),
    date(2027, 11, 25),
];
const FIRST: Timestamp = Timestamp::constant(1_761_955_200, 0);
const HOURS: i64 = 2 * 365 * 24;
/// In microseconds.
const HOUR: i64 = 3_600_000_000;

struct Market {
    name: String,
    zone: TimeZone,
    peak: Peak,
}

fn power_markets() -> Vec<Market> {
    let described = markets::describe(&markets::iso_venues());
    let markets = described.into_iter().filter_map(|market| {
        Some(Market {
            zone: TimeZone::get(market.time_zone?).unwrap(),
            peak: market.on_peak?,
            name: market.name,
        })
    });
    markets.collect()
}

impl Market {
    /// Delivery day and block of an hour.
    fn block(&self, hour: Timestamp) -> (Date, &'static str) {
        let local = hour.to_zoned(TimeZone::get(self.peak.zone).unwrap());
        let (day, ending) = (local.date(), local.hour() as u8 + 1);
        let is_rest_day = match day.weekday() {
            Weekday::Sunday => true,
            Weekday::Saturday => !self.peak.saturday || HOLIDAYS.contains(&day),
            _ => HOLIDAYS.contains(&day),
        };
        let block = match (
            (self.peak.first..=self.peak.last).contains(&ending),
            is_rest_day,
            self.peak.saturday,
        ) {
            (false, ..) => "7x8",
            (true, true, false) => "2x16H",
            (true, true, true) => "1x16H",
            (true, false, false) => "5x16",
            (true, false, true) => "6x16",
        };
        (day, block)
    }
}

fn hours() -> impl Iterator<Item = (i64, Timestamp)> {
    (0..HOURS).map(|number| (number, FIRST + number.hours()))
}

/// The mean of prices with this sum, in units of the eighth decimal. Integers only, so that it rounds as the contract says.
fn half_to_even(sum: i64, count: i64) -> i64 {
    let (scaled, count) = (i128::from(sum) * 100_000_000, i128::from(count));
    let (floor, rest) = (scaled.div_euclid(count), scaled.rem_euclid(count));
    let up = match (rest * 2).cmp(&count) {
        Ordering::Less => 0,
        Ordering::Equal => floor & 1,
        Ordering::Greater => 1,
    };
    i64::try_from(floor + up).unwrap()
}

type Blocks<'b> = BTreeMap<(String, String, &'b str), (i64, i64)>;

fn min_day<'b>(blocks: &'b Blocks<'_>, market: &str) -> &'b str {
    let mut of_market = blocks.keys().filter(|(name, ..)| name == market);
    of_market.next().map(|(_, day, _)| day.as_str()).unwrap()
}

fn max_day<'b>(blocks: &'b Blocks<'_>, market: &str) -> &'b str {
    let of_market = blocks.keys().filter(|(name, ..)| name == market);
    let mut days = of_market.map(|(_, day, _)| day.as_str());
    days.next_back().unwrap()
}

/// Text of a row's column.
fn text<'v>(row: &'v BTreeMap<String, Value>, column: &str) -> &'v str {
    row[column].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_and_blocks_are_those_of_the_registry_on_every_hour_of_two_years() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    let markets = power_markets();
    assert_eq!(markets.len(), 7);
    // The price of an hour is its number; no trade.
    for Market { name, .. } in &markets {
        let sql = format!(
            "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, window_end, market, open, high, low, close, \
             price_seconds, priced_seconds, trade_count, open_time, close_time, closed, version, ingested_at) \
             SELECT 't', '{name}', '1h', toDateTime64({first} + number * 3600, 6, 'UTC') AS start, start + INTERVAL 1 HOUR, '{name}', \
             number, number, number, number, number * 3600, 3600, 1, start, start, true, 1, now64(6) FROM numbers({HOURS})",
            first = FIRST.as_second()
        );
        clickhouse.exec(&sql).await.unwrap();
    }
    let mut days: BTreeMap<(String, String), (i64, i64, String)> = BTreeMap::new();
    let mut blocks: Blocks<'_> = BTreeMap::new();
    for market in &markets {
        for (number, hour) in hours() {
            let local = hour.to_zoned(market.zone.clone());
            let midnight = local.start_of_day().unwrap();
            let length = midnight.tomorrow().unwrap().timestamp().as_second() - midnight.timestamp().as_second();
            let day = days.entry((market.name.clone(), local.date().to_string()));
            let (count, sum, _) = day.or_insert((0, 0, (length / 3600).to_string()));
            (*count, *sum) = (*count + 1, *sum + number);
            let (day, block) = market.block(hour);
            let (count, sum) = blocks.entry((market.name.clone(), day.to_string(), block)).or_default();
            (*count, *sum) = (*count + 1, *sum + number);
        }
    }
    let rows = clickhouse
        .query_json(
            "SELECT market, toString(day) AS day, toString(hours) AS hours, toString(toInt64(price_seconds / 3600)) AS sum, \
             toString(hours_of_day) AS of_day, toString(is_complete) AS is_complete, toString(twap) AS twap, \
             toString(has(flags, 'complete')) AS is_flagged FROM market_data.bars_1d_local",
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), days.len());
    for row in rows.iter().map(|row| row.clone().into_iter().collect()) {
        let key = (text(&row, "market").to_owned(), text(&row, "day").to_owned());
        let (count, sum, length) = &days[&key];
        let found = (text(&row, "hours"), text(&row, "sum"), text(&row, "of_day"));
        assert_eq!(found, (&*count.to_string(), &*sum.to_string(), &**length), "{key:?}");
        assert_eq!(
            text(&row, "is_complete") == "1",
            count.to_string() == *length,
            "{key:?}"
        );
        assert_eq!(text(&row, "is_flagged"), text(&row, "is_complete"), "{key:?}");
        let twap: Decimal = Decimal::parse(text(&row, "twap").as_bytes()).unwrap();
        assert_eq!(twap.unscaled(), half_to_even(*sum, *count), "{key:?}");
    }
    let lengths: Vec<i64> = days.values().filter_map(|(_, _, length)| length.parse().ok()).collect();
    assert!([23, 24, 25].iter().all(|length| lengths.contains(length)));
    let rows = clickhouse
        .query_json(
            "SELECT market, toString(delivery_day) AS day, block, toString(hours) AS hours, \
             toString(toInt64(price_seconds / 3600)) AS sum, toString(hours_of_block) AS of_block, \
             arrayStringConcat(flags, ' ') AS flags, toString(twap) AS twap FROM market_data.bars_blocks",
        )
        .await
        .unwrap();
    assert_eq!(rows.len(), blocks.len());
    for row in rows.iter().map(|row| row.clone().into_iter().collect()) {
        let key = (
            text(&row, "market").to_owned(),
            text(&row, "day").to_owned(),
            text(&row, "block"),
        );
        let expected = blocks.get(&key).unwrap_or_else(|| panic!("{key:?}"));
        let found = (text(&row, "hours"), text(&row, "sum"));
        assert_eq!(found, (&*expected.0.to_string(), &*expected.1.to_string()), "{key:?}");
        let twap = Decimal::parse(text(&row, "twap").as_bytes()).unwrap();
        assert_eq!(twap.unscaled(), half_to_even(expected.1, expected.0), "{key:?}");
        // All days but the first and the last have all their hours.
        let is_cut = [min_day(&blocks, &key.0), max_day(&blocks, &key.0)].contains(&key.1.as_str());
        let has_all = text(&row, "hours") == text(&row, "of_block");
        assert!(has_all || is_cut, "{key:?}");
        // The last day of the test may be ahead.
        let is_over = key.1 < Timestamp::now().to_string();
        let flags = match (has_all, is_over) {
            (true, _) => "complete no_volume",
            (false, true) => "gap no_volume",
            (false, false) => "no_volume",
        };
        assert_eq!(text(&row, "flags"), flags, "{key:?}");
    }
    the_merged_bars_of_the_fall_day_are_found(&clickhouse).await;
}

/// 2 November 2025, a Sunday with 25 hours in PJM: the hours 28 to 52 since the first one, of which 36 to 51 are by day.
async fn the_merged_bars_of_the_fall_day_are_found(clickhouse: &ClickHouse) {
    let midnight = FIRST.as_microsecond() + 24 * HOUR;
    let at = |hour: i64| midnight + hour * HOUR;
    for (bars, limit, expected) in [
        (
            Merged::MarketDays,
            5,
            vec![(
                midnight,
                None,
                Some("28"),
                "52",
                "28",
                Some("52"),
                "40",
                25_u64,
                Some(25_i64),
            )],
        ),
        (
            Merged::Blocks,
            5,
            vec![
                (midnight, Some("2x16H"), None, "51", "36", None, "43.5", 16, None),
                (midnight, Some("7x8"), None, "52", "28", None, "33.77777778", 9, None),
            ],
        ),
        (
            Merged::FourHours,
            2,
            vec![
                (at(20), None, Some("44"), "47", "44", Some("47"), "45.5", 4, None),
                (at(16), None, Some("40"), "43", "40", Some("43"), "41.5", 4, None),
            ],
        ),
    ] {
        let mut question = MergedQuestion {
            tenant_id: "t".to_owned(),
            instrument_id: "PJM".to_owned(),
            bars,
            from: midnight,
            to: at(24),
            limit,
        };
        let rows = merged_bars(clickhouse, "", &question).await.unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|row| {
                assert_eq!(
                    (&*row.market, row.closed, row.revision, &*row.volume),
                    ("PJM", 1, 0, "0")
                );
                assert_eq!(row.flags, ["complete", "no_volume"]);
                assert_eq!((row.vwap.as_deref(), row.trade_count), (None, row.hours as i64));
                (
                    row.time,
                    row.block.as_deref(),
                    row.open.as_deref(),
                    &*row.high,
                    &*row.low,
                    row.close.as_deref(),
                    row.twap.as_deref().unwrap(),
                    row.hours,
                    row.hours_of_day,
                )
            })
            .collect();
        assert_eq!(found, expected, "{bars:?}");
        question.tenant_id = "other".to_owned();
        assert!(merged_bars(clickhouse, "", &question).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn averages_of_four_hours_are_merged_from_sums_and_are_null_without_trades_or_prices() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    // Two hours of trades (turnover 30 of 10, and 10 of 1), then an instrument with neither volume nor interval prices.
    let sql = "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, window_end, market, open, high, low, close, \
               volume, turnover, trade_count, open_time, close_time, closed, revision, version, ingested_at) VALUES \
               ('t', 'A', '1h', '2026-10-01 01:00:00', '2026-10-01 02:00:00', 'ICE', 2, 5, 1, 3, 10, 30, 4, '2026-10-01 01:00:01', '2026-10-01 01:59:00', true, 1, 2, now64(6)), \
               ('t', 'A', '1h', '2026-10-01 03:00:00', '2026-10-01 04:00:00', 'ICE', 10, 10, 10, 10, 1, 10, 1, '2026-10-01 03:00:01', '2026-10-01 03:00:01', false, 2, 4, now64(6)), \
               ('t', 'B', '1h', '2026-10-01 04:00:00', '2026-10-01 05:00:00', 'ICE', 7, 7, 7, 7, 0, 0, 1, '2026-10-01 04:00:01', '2026-10-01 04:00:01', true, 0, 2, now64(6))";
    clickhouse.exec(sql).await.unwrap();
    let rows = clickhouse
        .query_text(
            "SELECT instrument_id, start, open, high, low, close, vwap, twap, trade_count, revision, closed, hours, flags \
             FROM market_data.bars_4h ORDER BY instrument_id",
            "TabSeparated",
        )
        .await
        .unwrap();
    let expected = "A\t2026-10-01 00:00:00\t2\t10\t1\t10\t3.63636364\t\\N\t5\t3\tfalse\t2\t['revised']\n\
                    B\t2026-10-01 04:00:00\t7\t7\t7\t7\t\\N\t\\N\t1\t0\ttrue\t1\t['no_volume']\n";
    assert_eq!(rows, expected);
}

// Two prices 0.00000001 apart have a mean between two numbers of eight decimals. A market day of today with three closed hours goes on; the
// same hours of a past day are all that it will have, and say that they are not all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_bars_round_half_to_even_and_are_closed_when_no_hour_can_follow() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    for (instrument, beginning) in [
        ("PAST", "toDateTime64('2026-02-03 05:00:00', 6, 'UTC')"),
        ("TODAY", "toDateTime64(toStartOfHour(now('UTC')), 6, 'UTC')"),
        // It begins two hours late, and lacks the hour after its first one.
        ("LATE", "toDateTime64('2026-02-03 07:00:00', 6, 'UTC')"),
    ] {
        let skipped = if instrument == "LATE" {
            "if(number > 0, 1, 0)"
        } else {
            "0"
        };
        let sql = format!(
            "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, window_end, market, open, high, low, close, \
             price_seconds, priced_seconds, trade_count, open_time, close_time, closed, version, ingested_at) \
             SELECT 't', '{instrument}', '1h', {beginning} + toIntervalHour(number + {skipped}) AS start, start + INTERVAL 1 HOUR, 'PJM', \
             price, price, price, price, price * 3600, 3600, 1, start, start, true, 1, now64(6) \
             FROM (SELECT number, if(number % 2 = 0, toDecimal128('5', 8), toDecimal128('5.00000001', 8)) AS price FROM numbers(4))"
        );
        clickhouse.exec(&sql).await.unwrap();
    }
    let rows = |sql: &'static str| clickhouse.query_text(sql, "TabSeparated");
    let days = rows(
        "SELECT instrument_id, twap, hours, closed, flags FROM market_data.bars_1d_local \
         WHERE instrument_id != 'TODAY' ORDER BY instrument_id",
    );
    let expected = "LATE\t5\t4\ttrue\t['partial_start','gap','no_volume']\nPAST\t5\t4\ttrue\t['gap','no_volume']\n";
    assert_eq!(days.await.unwrap(), expected);
    let blocks = rows(
        "SELECT instrument_id, twap, hours, hours_of_block, closed, flags FROM market_data.bars_blocks \
         WHERE instrument_id = 'PAST' ORDER BY instrument_id",
    );
    assert_eq!(blocks.await.unwrap(), "PAST\t5\t4\t8\ttrue\t['gap','no_volume']\n");
    let four =
        rows("SELECT twap, hours, closed, flags FROM market_data.bars_4h WHERE instrument_id = 'PAST' ORDER BY start");
    let expected = "5\t3\ttrue\t['partial_start','no_volume']\n5.00000001\t1\ttrue\t['gap','no_volume']\n";
    assert_eq!(four.await.unwrap(), expected);
    // Its hours are in one or two days, by the time at which this runs. Four hours of them may be whole.
    for (view, is_whole) in [
        ("bars_1d_local", "false"),
        ("bars_blocks", "false"),
        ("bars_4h", "hours = 4"),
    ] {
        let sql = format!(
            "SELECT count() > 0, countIf(closed != ({is_whole})) FROM market_data.{view} WHERE instrument_id = 'TODAY'"
        );
        let found = clickhouse.query_text(&sql, "TabSeparated").await.unwrap();
        assert_eq!(found, "1\t0\n", "{view}");
    }
}

// The views of a release that knew fewer markets, which has also applied every file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_an_earlier_registry_are_replaced_once_and_not_put_back() {
    let stack = common::started(&[Server::ClickHouse]);
    let clickhouse = common::clickhouse(&stack);
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    let pending = stores::clickhouse::pending(&clickhouse, "").await.unwrap();
    assert!(pending.is_empty(), "{pending:?}");
    let earlier = "CREATE OR REPLACE VIEW market_data.market_intervals AS SELECT 'PJM' AS only_market";
    let forgotten =
        "DELETE FROM market_data.schema_migrations WHERE name = 'market_views' SETTINGS lightweight_deletes_sync = 2";
    for sql in [earlier, forgotten] {
        clickhouse.exec(sql).await.unwrap();
    }
    let pending = stores::clickhouse::pending(&clickhouse, "").await.unwrap();
    assert!(
        pending.len() == 1 && pending.iter().all(|name| name.ends_with(" market_views")),
        "{pending:?}"
    );
    assert_eq!(stores::clickhouse::migrate(&clickhouse, "").await.unwrap(), 1);
    let view = "SELECT count() FROM market_data.market_intervals WHERE market = 'SPP' AND day > '2026-01-01'";
    assert_eq!(clickhouse.query_text(view, "TabSeparated").await.unwrap(), "0\n");
    // Views of a later registry, under which this release is started again.
    let later = "CREATE OR REPLACE VIEW market_data.market_intervals AS SELECT 'AESO' AS later_market";
    clickhouse.exec(later).await.unwrap();
    assert_eq!(stores::clickhouse::migrate(&clickhouse, "").await.unwrap(), 0);
    let view = "SELECT later_market FROM market_data.market_intervals";
    assert_eq!(clickhouse.query_text(view, "TabSeparated").await.unwrap(), "AESO\n");
}
