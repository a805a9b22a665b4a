//! Compares what `dp verify` computes for four hours, market days and blocks with the views of a real ClickHouse.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{Setup, setup};
use reconcile::verify::report::Check;
use reconcile::verify::{VerifyReport, merged};

/// 2025-10-01T00:00Z; the hours reach into the next year's holidays and both changes of the clocks.
const FIRST: i64 = 1_759_276_800;
const HOURS: i64 = 11_000;

impl Setup {
    /// Bars of an hour with odd numbers, of which some are missing, open, revised, without trades or without interval prices. `version` 1 is
    /// another content, which version 2 replaces.
    async fn fill(&self, market: &str, version: u8) {
        let number = |salt: u8, below: u32| format!("toInt64(cityHash64(number, {salt}, {version}) % {below})");
        let price = |salt: u8| format!("toDecimal64({} - 1000000, 8) / 7000", number(salt, 2_000_001));
        let sql = format!(
            "INSERT INTO market_data.bars (tenant_id, instrument_id, interval, window_start, window_end, market, open, high, low, close, \
             volume, turnover, price_seconds, priced_seconds, trade_count, open_time, close_time, closed, revision, version, ingested_at) \
             SELECT 't', '{market}.HUB', '1h', toDateTime64({FIRST} + number * 3600, 6, 'UTC') AS start, start + INTERVAL 1 HOUR, \
             '{market}', {open}, {high}, {low}, {close}, toDecimal128({volume}, 8) / 1000, toDecimal128({turnover} - 1000000, 16) / 7000, \
             toDecimal128({prices} - 1000000, 8) / 3, arrayElement([0, 1800, 3600, 3600], {seconds} + 1), {count} + 1, \
             start + toIntervalMicrosecond({behind}), start + toIntervalSecond(3000 + {count}), {closed} != 0, \
             greatest(0, {revision} - 20), {version}, now64(6) \
             FROM numbers({HOURS}) WHERE cityHash64(number, '{market}') % 60 != 0",
            open = price(1),
            high = price(2),
            low = price(3),
            close = price(4),
            volume = number(5, 3),
            turnover = number(6, 2_000_001),
            prices = number(7, 2_000_001),
            seconds = number(8, 4),
            count = number(9, 500),
            behind = number(10, 3_000_000),
            closed = number(11, 50),
            revision = number(12, 23),
        );
        self.clickhouse.exec(&sql).await.unwrap();
    }

    /// Prices of every product and three instruments over 67 days, of which some intervals have none, one or several, and some only a part of a
    /// document. They were ingested on several days, as corrections are.
    async fn fill_prices(&self, market: &str) {
        let sql = format!(
            "INSERT INTO market_data.market_ticks (tenant_id, instrument_id, timestamp, market, product, kind, price, market_status, \
             src_offset, ingested_at) SELECT 't', concat('{market}.HUB', toString(cityHash64(number, 1) % 3)), \
             toDateTime64({FIRST} + number * 290, 6, 'UTC') + toIntervalMicrosecond(number % 1000000), '{market}', \
             arrayElement(['rt5', 'rt15', 'da', 'rth', 'exante'], cityHash64(number) % 5 + 1), 'interval', 1, \
             if(number % 7 = 0, 'part', NULL), number, now64(6) - toIntervalDay(cityHash64(number, 2) % 4) FROM numbers(20000)"
        );
        self.clickhouse.exec(&sql).await.unwrap();
    }

    async fn checks(&self) -> (Vec<Check>, Vec<String>) {
        let mut report = VerifyReport::default();
        merged::check(&self.clickhouse, &self.names, &mut report).await.unwrap();
        (report.checks, report.notes)
    }

    /// Defines a view again with a part of its text replaced.
    async fn redefine(&self, view: &str, part: &str, by: &str) {
        let sql = format!(
            "SELECT create_table_query AS text FROM system.tables WHERE database = 'market_data' AND name = '{view}'"
        );
        let rows = self.clickhouse.query_json(&sql).await.unwrap();
        let text = rows[0]["text"].as_str().unwrap();
        assert!(text.contains(part), "{part}: {text}");
        let text = text
            .replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
            .replace(part, by);
        self.clickhouse.exec(&text).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_and_the_check_agree_on_every_hour_and_another_definition_is_named() {
    let setup = setup().await;
    let mut markets: Vec<&str> = markets::power_markets().map(|market| market.name).collect();
    // It has four hours only.
    markets.push("ICE");
    for market in &markets {
        for version in [1, 2] {
            setup.fill(market, version).await;
        }
        setup.fill_prices(market).await;
    }
    let (checks, notes) = setup.checks().await;
    let found: Vec<_> = checks.iter().map(|check| (&*check.name, check.ok)).collect();
    let expected = [
        ("bars_4h: rows match the bars of their hours", true),
        ("bars_1d_local: rows match the bars of their hours", true),
        ("bars_blocks: rows match the bars of their hours", true),
        ("completeness: days match the prices of market_ticks", true),
    ];
    assert_eq!(found, expected, "{checks:?}");
    assert!(notes.is_empty(), "{notes:?}");
    let days = HOURS / 24 * (markets.len() as i64 - 1);
    assert!(
        checks[1].expected > days - 20 && checks[2].expected > 2 * days - 50 && checks[3].expected > 2_000,
        "{checks:?}"
    );

    // A peak that ends an hour earlier: blocks differ, days and four hours do not.
    setup.redefine("market_hours", "hour < 23", "hour < 22").await;
    let (checks, notes) = setup.checks().await;
    let is_right: Vec<bool> = checks.iter().map(|check| check.ok).collect();
    assert_eq!(is_right, [true, true, false, true], "{checks:?}");
    let named = &checks[2].differences.named;
    assert!(
        named[0].starts_with("bars_blocks t/") && named[0].contains(" differs: "),
        "{named:?}"
    );
    assert!(notes.iter().any(|note| note.contains("DROP VIEW")), "{notes:?}");

    // Days of another zone.
    let (zone, other) = ("America/Los_Angeles", "America/Denver");
    setup.redefine("market_intervals", zone, other).await;
    let (checks, _) = setup.checks().await;
    let named = &checks[3].differences.named;
    assert!(
        named.iter().all(|words| words.starts_with("completeness t/CAISO/")) && !named.is_empty(),
        "{named:?}"
    );

    for (part, by) in [
        ("max(high)", "min(high)"),
        ("'gap'", "'hole'"),
        ("sum(revision)", "max(revision)"),
    ] {
        // The cure that the note names: `dp migrate` creates the dropped view, and the others again.
        setup
            .clickhouse
            .exec("DROP VIEW market_data.bars_1d_local")
            .await
            .unwrap();
        stores::clickhouse::restore::make_again(&setup.clickhouse, "", &[])
            .await
            .unwrap();
        setup.redefine("bars_4h", part, by).await;
        let (checks, _) = setup.checks().await;
        let is_right: Vec<bool> = checks.iter().map(|check| check.ok).collect();
        assert_eq!(is_right, [false, true, true, true], "{part}: {checks:?}");
    }

    // Each wrong count is named, also those of instruments and prices.
    for (part, by, says) in [
        ("count() AS rows", "count() + 1 AS rows", " rows is "),
        (
            "uniqExact(instrument_id) AS",
            "uniqExact(timestamp) AS",
            " instruments is ",
        ),
        (
            "uniqExact(instrument_id, interval_start) AS",
            "count() AS",
            " prices is ",
        ),
    ] {
        setup.redefine("completeness", part, by).await;
        let (checks, _) = setup.checks().await;
        let named = &checks[3].differences.named;
        assert!(named.iter().any(|words| words.contains(says)), "{says}: {named:?}");
    }
}
