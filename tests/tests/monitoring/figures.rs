//! Panels against figures that the test computes from the raw log by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::{PATIENCE, Pipeline, eventually};
use localstack::Service;
use serde_json::Value;
use testkit::expect::Expected;
use testkit::parse::Tick;

use e2e::watch::Watch;

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1440 * MINUTE;

/// Sum of a column over the rows of a panel that `wanted` accepts.
pub fn sum(watch: &Watch, panel: &str, column: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<f64> {
    let rows = watch.panel(panel)?;
    Ok(rows
        .iter()
        .filter(|row| wanted(row))
        .filter_map(|row| row[column].as_f64())
        .sum())
}

/// Publishes valid ticks of new events.
fn publish(pipeline: &Pipeline, ticks: u32, seed: u32) {
    let (ticks, seed) = (ticks.to_string(), seed.to_string());
    let none = [
        "--poison-percent",
        "0",
        "--duplicate-percent",
        "0",
        "--late-percent",
        "0",
    ];
    let mut arguments = vec!["simulate", "--ticks", &ticks, "--seed", &seed];
    arguments.extend(none);
    pipeline.dp_ok(&arguments).unwrap();
}

pub fn panels_show_the_figures_of_the_load(pipeline: &Pipeline, watch: &Watch) {
    let expected = pipeline.expected().unwrap();
    let ticks = expected.ticks.len() as f64;
    let by_market = "Data processing: markets and data quality: Ticks by market and product";
    assert_eq!(sum(watch, by_market, "ticks", |_| true).unwrap(), ticks);
    let tables = "Data processing: stores and machines: ClickHouse: tables";
    assert_eq!(
        sum(watch, tables, "stored_rows", |row| row["table"] == "market_ticks").unwrap(),
        ticks
    );
    let reference = count_of_reference(pipeline);
    assert_eq!(
        sum(watch, "Data processing: enrichment: Reference rows", "value", |_| true).unwrap(),
        reference
    );
    // The ten most frequent codes. Prometheus extrapolates an increase to the ends of its range.
    let letters = watch.panel("Data processing: normalization: Dead letters").unwrap();
    assert_eq!(letters.len(), 10, "{letters:?}");
    for letter in &letters {
        let code = letter["error_code"].as_str().unwrap();
        let published = expected
            .dead_letters
            .values()
            .filter(|published| *published == code)
            .count() as f64;
        let shown = letter["value"].as_f64().unwrap();
        assert!(
            (shown - published).abs() <= 0.1 * published,
            "{code}: {shown} of {published}"
        );
    }

    bars_of_an_instrument(watch, &expected);
    open_windows_of_a_day(watch, &expected);
    rates_of_a_burst(pipeline, watch);

    // A stopped stage's lag is the number of messages that were published meanwhile.
    let (published, again) = (600.0, 300.0);
    for service in [Service::Aggregation, Service::Projection] {
        pipeline.stack().stop(service).unwrap();
    }
    publish(pipeline, published as u32, 71);
    let lag = |board: &str, group: &str, expected: f64| {
        let panel = format!("Data processing: {board}: Consumer lag");
        eventually(&format!("{panel} of {group} is {expected}"), || {
            let found = sum(watch, &panel, "value", |row| row["group"] == group)?;
            anyhow::ensure!(found == expected, "it is {found}");
            Ok(true)
        })
        .unwrap();
    };
    lag("aggregation", "aggregation-local", published);
    lag("projection", "projection-local", published);
    pipeline.stack().stop(Service::Enrichment).unwrap();
    publish(pipeline, again as u32, 72);
    lag("overview", "enrichment-local", again);
    lag("enrichment", "enrichment-local", again);
    pipeline.stack().start_services().unwrap();
    for service in [Service::Enrichment, Service::Aggregation, Service::Projection] {
        pipeline.stack().wait_ready(service, PATIENCE).unwrap();
    }
    pipeline.agree().unwrap();
}

/// Rows of reference data by a query of its own: instruments, and their aliases.
fn count_of_reference(pipeline: &Pipeline) -> f64 {
    let rows = pipeline
        .postgres
        .rows(
            "SELECT (SELECT count(*) FROM taxonomy_instruments WHERE active) + (SELECT count(*) FROM instrument_aliases \
             JOIN taxonomy_instruments USING (tenant_id, instrument_id) WHERE active)",
        )
        .unwrap();
    rows[0][0].parse().unwrap()
}

/// Microseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64
}

fn start_of(tick: &Tick, length: i64) -> i64 {
    tick.time - tick.time.rem_euclid(length)
}

/// The candles of the instrument with the most trades: highest and lowest price, volume, and the number of ticks.
fn bars_of_an_instrument(watch: &Watch, expected: &Expected) {
    let mut by_instrument: BTreeMap<&str, Vec<&Tick>> = BTreeMap::new();
    for tick in &expected.ticks {
        by_instrument.entry(&tick.instrument).or_default().push(tick);
    }
    // Every tick of a trade counts; interval prices replace each other.
    let is_plain = |tick: &&Tick| tick.product == "trade" && tick.tenant == "default";
    let (instrument, ticks) = by_instrument
        .into_iter()
        .filter(|(_, ticks)| ticks.iter().all(is_plain))
        .max_by_key(|(_, ticks)| ticks.len())
        .unwrap();
    let variables = [format!("instrument={instrument}"), "interval=5m".to_owned()];
    let rows = |panel: &str| {
        let panel = format!("Data processing: bars and prices: {panel}");
        watch.panel_of(&panel, &variables).unwrap()
    };
    let number = |row: &Value, column: &str| row[column].as_f64().unwrap();
    // As live.py selects the windows.
    let (from, to) = (now() - 360 * MINUTE, now());
    let ticks: Vec<&Tick> = ticks
        .into_iter()
        .filter(|tick| (from..=to).contains(&start_of(tick, 5 * MINUTE)))
        .collect();
    let windows: BTreeSet<i64> = ticks.iter().map(|tick| start_of(tick, 5 * MINUTE)).collect();
    assert!(
        ticks.len() > 100 && !windows.is_empty(),
        "{instrument}: {} ticks",
        ticks.len()
    );
    let candles = rows("Bars");
    assert_eq!(candles.len(), windows.len(), "{instrument}: {candles:?}");
    let scaled = |number: i128| number as f64 / 1e8;
    let prices = || ticks.iter().map(|tick| scaled(tick.price));
    let close_to = |what: &str, found: f64, wanted: f64| {
        assert!(
            (found - wanted).abs() <= 1e-9 * wanted.abs(),
            "{instrument}: {what} {found} instead of {wanted}"
        );
    };
    let found = |column| candles.iter().map(move |row| number(row, column));
    close_to(
        "high",
        found("high").fold(f64::MIN, f64::max),
        prices().fold(f64::MIN, f64::max),
    );
    close_to(
        "low",
        found("low").fold(f64::MAX, f64::min),
        prices().fold(f64::MAX, f64::min),
    );
    close_to(
        "volume",
        found("volume").sum(),
        scaled(ticks.iter().filter_map(|tick| tick.volume).sum()),
    );
    let counted: f64 = rows("Ticks").iter().map(|row| number(row, "ticks")).sum();
    assert_eq!(counted, ticks.len() as f64, "{instrument}");
}

/// Aggregation's open daily windows: one for each instrument and day that has not ended.
fn open_windows_of_a_day(watch: &Watch, expected: &Expected) {
    let open: BTreeSet<(&str, &str, i64)> = expected
        .ticks
        .iter()
        .map(|tick| (tick.tenant.as_str(), tick.instrument.as_str(), start_of(tick, DAY)))
        .filter(|(_, _, start)| start + DAY > now())
        .collect();
    assert!(!open.is_empty());
    let panel = "Data processing: aggregation: Open windows";
    eventually(&format!("{panel}: {} of 1d", open.len()), || {
        let found = sum(watch, panel, "value", |row| row["interval"] == "1d")?;
        anyhow::ensure!(found == open.len() as f64, "it is {found}");
        Ok(true)
    })
    .unwrap();
}

/// Messages a second of the last stages, of a burst that the last minute contains completely.
fn rates_of_a_burst(pipeline: &Pipeline, watch: &Watch) {
    let per_minute = |board: &str| {
        let panel = format!("Data processing: {board}: Messages by outcome");
        let is_tick = |row: &Value| {
            row["topic"]
                .as_str()
                .is_some_and(|topic| topic.starts_with("enriched."))
        };
        Ok(60.0 * sum(watch, &panel, "value", is_tick)?)
    };
    let boards = ["aggregation", "projection"];
    eventually("the last minute has no message", || {
        Ok(boards
            .iter()
            .map(|board| per_minute(board))
            .sum::<anyhow::Result<f64>>()?
            == 0.0)
    })
    .unwrap();
    let published = 600.0;
    publish(pipeline, published as u32, 70);
    for board in boards {
        eventually(&format!("{board} shows {published} messages"), || {
            let found = per_minute(board)?;
            anyhow::ensure!(found >= 0.95 * published, "it shows {found}");
            // Prometheus extrapolates from the scrapes to the ends of the minute.
            assert!(
                found <= 1.1 * published,
                "{board} shows {found} of {published} messages"
            );
            Ok(true)
        })
        .unwrap();
    }
}
