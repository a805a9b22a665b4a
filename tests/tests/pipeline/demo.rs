//! `dp demo` from nothing: its stores agree, and every value of every derived series that it defines is what one query of ClickHouse
//! makes of the ticks, digit for digit. So it is after prices that are late, corrected, missing, stale, or zero, or that lack a quote or
//! a component; each revision names the price that caused it. What the demo prints of them, and of its forward curve, is what the stores have.
//!
//! The queries are the files of `examples/derived`, which analysts run as well. They share no code with the services.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{Pipeline, RAW, root};
use serde_json::{Value, json};
use testkit::kafka::{Outgoing, Publisher};
use testkit::stores::Row;
use testkit::times::iso;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
/// The series of the demo in the order of their names, each with the file of its query.
const SERIES: [(&str, &str); 13] = [
    ("congestion", "congestion"),
    ("da_rt", "day_ahead_minus_real_time"),
    ("dominion", "location_spread"),
    ("gas_months", "location_spread"),
    ("gas_range", "rolling_range"),
    ("heat", "implied_heat_rate"),
    ("hub", "price"),
    ("hub_mean", "rolling_mean_of_price"),
    ("quote", "bid_ask_spread"),
    ("spark", "spark_spread"),
    ("spark_mean", "rolling_mean"),
    ("spark_score", "rolling_z_score"),
    ("west_east", "location_spread"),
];
/// A basis and a calendar spread are location spreads of other legs: what is replaced in the file, in this order.
const OTHER_LEGS: [(&str, &[[&str; 2]]); 2] = [
    (
        "dominion",
        &[
            ["PJM.WESTERN%20HUB.SPOT", "PJM.DOMINION%20HUB.SPOT"],
            ["PJM.EASTERN%20HUB.SPOT", "PJM.WESTERN%20HUB.SPOT"],
        ],
    ),
    (
        "gas_months",
        &[
            ["PJM.WESTERN%20HUB.SPOT", "NG_HH_M1"],
            ["PJM.EASTERN%20HUB.SPOT", "NG_HH_M2"],
            ["INTERVAL 5 MINUTE", "INTERVAL 1 HOUR"],
        ],
    ),
];
/// A series of the demo, and the fewest values that it has.
const LEAST: [(&str, usize); 10] = [
    ("congestion", 6),
    ("dominion", 100),
    ("gas_months", 13),
    ("gas_range", 13),
    ("hub", 100),
    ("hub_mean", 50),
    ("quote", 100),
    ("spark", 100),
    ("spark_score", 100),
    ("west_east", 100),
];
const POWER: [&str; 3] = ["PJM", "PJM.WESTERN%20HUB.SPOT", "spot"];
const OTHER: [&str; 3] = ["PJM", "PJM.EASTERN%20HUB.SPOT", "spot"];
const DOMINION: [&str; 3] = ["PJM", "PJM.DOMINION%20HUB.SPOT", "spot"];
const GAS: [&str; 3] = ["GAS", "NG_HH_M1", "trade"];
const NEXT_MONTH: [&str; 3] = ["GAS", "NG_HH_M2", "trade"];
const NULL: &str = "null";
/// Series of power and gas, and of two markets of one hub, whose newest value the demo must have as a number.
const SHOWN: [&str; 2] = ["spark", "da_rt"];
/// The curve that the demo draws, with its heading.
const CURVE: &str = "NG_HENRY_HUB";
const HEADING: [&str; 2] = [
    "NG_HENRY_HUB (Henry Hub natural gas)",
    "settlements of 2025-11-03, monotone, hours of GAS",
];
/// Lines of the drawing, and months of the table below it.
const LINES: usize = 8;
const MONTHS: usize = 12;
/// Settlements of single months in the example document, as the table shows them.
const QUOTED: [(&str, &str); 4] = [
    ("2025-12", "4.2720"),
    ("2026-01", "4.5180"),
    ("2026-02", "4.2530"),
    ("2026-03", "3.9120"),
];

/// The market days of the example documents as the table shows them: hours, prices, and their mean, computed from the files.
const MARKET_DAYS: [[&str; 4]; 7] = [
    ["CAISO", "25 of 25", "50", "31.79"],
    ["ERCOT", "25 of 25", "75", "24.78"],
    ["ISONE", "25 of 25", "75", "40.79"],
    ["MISO", "24 of 24", "48", "29.16"],
    ["NYISO", "25 of 25", "75", "38.38"],
    ["PJM", "25 of 25", "50", "34.78"],
    ["SPP", "25 of 25", "50", "22.83"],
];

/// Tenant, time and value of each row of a series, in the order of time.
type Values = BTreeMap<&'static str, Vec<Row>>;

fn query(file: &str) -> String {
    std::fs::read_to_string(root().join(format!("examples/derived/{file}.sql"))).unwrap()
}

/// The query of a series: that of its file, with its own legs.
fn query_of(series: &str, file: &str) -> String {
    let changes = OTHER_LEGS.iter().filter(|(name, _)| *name == series);
    changes
        .flat_map(|(_, changes)| *changes)
        .fold(query(file), |sql, [from, to]| {
            assert!(sql.contains(from), "{file}: {from}");
            sql.replace(from, to)
        })
}

/// What each of these queries returns: tenant, time and value.
fn values(pipeline: &Pipeline, sql: impl Fn(&str, &str) -> String) -> Values {
    let of_series = |(series, file): (&'static str, &str)| {
        let sql = format!(
            "SELECT tenant_id, toString(timestamp), ifNull(toString(value), '{NULL}') FROM ({}\n) ORDER BY tenant_id, timestamp",
            sql(series, file)
        );
        (series, pipeline.clickhouse.rows(&sql).unwrap())
    };
    SERIES.map(of_series).into()
}

fn recomputed(pipeline: &Pipeline) -> Values {
    values(pipeline, query_of)
}

fn stored(pipeline: &Pipeline, view: &str) -> Values {
    values(pipeline, |series, _| {
        format!("SELECT tenant_id, timestamp, value FROM {view} WHERE series = '{series}'")
    })
}

/// Every series has values, and exactly those that are wanted: no time more or less, no digit different.
fn assert_same(found: &Values, wanted: &Values) {
    for (series, _) in SERIES {
        let (found, wanted) = (&found[series], &wanted[series]);
        let lacks = |rows: &[Row], others: &[Row]| rows.iter().find(|row| !others.contains(row)).cloned();
        assert!(wanted.iter().any(|row| row[2] != NULL), "{series} has no values");
        assert!(
            found == wanted,
            "{series}: {} rows instead of {}; first one that is not recomputed: {:?}, that is not stored: {:?}",
            found.len(),
            wanted.len(),
            lacks(found, wanted),
            lacks(wanted, found)
        );
    }
}

/// The series have enough values to compare, and those of the quotes differ.
fn assert_values(values: &Values) {
    for (series, least) in LEAST {
        let count = values[series].iter().filter(|row| row[2] != NULL).count();
        assert!(count >= least, "{series}: {count}");
    }
    let widths: BTreeSet<&String> = values["quote"].iter().map(|row| &row[2]).collect();
    assert!(widths.len() > 1, "{widths:?}");
}

/// The cells of a line of a table.
fn cells(line: &str) -> Vec<&str> {
    line.split(['│', '┆'])
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
        .collect()
}

/// The table has the newest value of each series, with the number of its times, as ClickHouse has them.
fn assert_series_are_shown(printed: &str, values: &Values) {
    for (series, _) in SERIES {
        let rows: Vec<&Row> = values[series].iter().filter(|row| row[0] == "default").collect();
        let newest = rows.last().unwrap();
        let name = format!("{series} at {}", &newest[1][..19]);
        let shown = printed.lines().map(cells).find(|cells| cells.first() == Some(&&*name));
        let Some([_, times, value, unit]) = shown.as_deref() else {
            panic!("{name}: {shown:?}\n{printed}");
        };
        assert_eq!(times.replace(',', ""), rows.len().to_string(), "{name}");
        assert_eq!(*value, newest[2], "{name}");
        if SHOWN.contains(&series) {
            assert!(value.parse::<f64>().is_ok(), "{name}: {value}");
            assert_eq!(*unit, "USD/MWh", "{name}");
        }
    }
}

/// The table has the market day of each market, complete, and of no other.
fn assert_market_days_are_shown(printed: &str) {
    let is_day = |cells: &Vec<&str>| cells.len() == 4 && cells[1].contains(" of ");
    let days: Vec<Vec<&str>> = printed.lines().map(cells).filter(is_day).collect();
    assert_eq!(days, MARKET_DAYS, "{printed}");
}

/// The price and first place of the drawing of a line of the chart.
fn drawn(line: &str) -> Option<(&str, &str)> {
    let (price, dots) = line.split_once('┤')?;
    let is_braille = |dot: char| ('\u{2800}'..='\u{28ff}').contains(&dot);
    (!dots.is_empty() && dots.chars().all(is_braille)).then(|| (price.trim(), dots))
}

/// Below its heading the curve is drawn between its highest and its lowest price, from the first month to the last one, which the table
/// lists with their prices.
fn assert_curve_is_drawn(pipeline: &Pipeline, printed: &str) {
    let (_, below) = printed.split_once(HEADING[0]).unwrap_or_else(|| panic!("{printed}"));
    assert!(below.contains(HEADING[1]), "{below}");
    let lines: Vec<&str> = below.lines().collect();
    let first = lines.iter().position(|line| drawn(line).is_some()).unwrap();
    let chart: Vec<(&str, &str)> = lines[first..].iter().map_while(|line| drawn(line)).collect();
    assert_eq!(chart.len(), LINES, "{below}");
    let shown = pipeline
        .dp_ok(&["curve", "show", CURVE, "--horizon", "1y", "--json"])
        .unwrap();
    let curve: Value = serde_json::from_str(&shown).unwrap();
    let points: Vec<(&str, f64)> = curve["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| (point["contract"].as_str().unwrap(), point["price"].as_f64().unwrap()))
        .collect();
    let high = points.iter().map(|(_, price)| *price).fold(f64::MIN, f64::max);
    let low = points.iter().map(|(_, price)| *price).fold(f64::MAX, f64::min);
    let labels = (chart[0].0.to_owned(), chart[LINES - 1].0.to_owned());
    assert_eq!(labels, (format!("{high:.2}"), format!("{low:.2}")), "{below}");
    // Both ends have a dot, so it is a line and not an empty frame.
    let has_dot = |(_, dots): &(&str, &str)| dots.chars().any(|dot| dot != '\u{2800}');
    assert!(has_dot(&chart[0]) && has_dot(&chart[LINES - 1]), "{below}");
    let ends: Vec<&str> = lines[first + LINES].split_whitespace().collect();
    assert_eq!(ends, [points[0].0, points[points.len() - 1].0], "{below}");
    assert_eq!(points.len(), MONTHS, "{points:?}");
    let table: Vec<Vec<&str>> = lines.iter().map(|line| cells(line)).collect();
    for (month, price) in &points {
        let price = format!("{price:.4}");
        let is_its = |row: &&Vec<&str>| row.len() == 5 && row[0] == *month && row[1] == "flat" && row[3] == price;
        assert_eq!(table.iter().filter(is_its).count(), 1, "{month} {price}: {below}");
    }
    for (month, price) in QUOTED {
        let row = vec![month, "flat", "quoted", price, "1.0"];
        assert!(table.contains(&row), "{row:?}: {below}");
    }
}

/// The curve that is drawn has a snapshot: the demo lasted until the interval of its quotes was over.
fn assert_curve_has_a_snapshot(pipeline: &Pipeline) {
    let sql = format!(
        "SELECT contract, toString(price) FROM curve_points WHERE curve_id = '{CURVE}' AND horizon = '1y' AND method = 'quoted' ORDER BY contract"
    );
    let stored = pipeline.clickhouse.rows(&sql).unwrap();
    let prices = |rows: Vec<(&str, &str)>| -> Vec<(String, f64)> {
        let parsed = rows
            .into_iter()
            .map(|(month, price)| (month.to_owned(), price.parse().unwrap()));
        parsed.collect()
    };
    let stored = prices(stored.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect());
    assert_eq!(stored, prices(QUOTED.to_vec()));
}

fn message(of: [&str; 3], time: i64, price: &str) -> Outgoing {
    tick(of, time, price, &[])
}

/// A tick with a quote.
fn quote(of: [&str; 3], time: i64, price: &str, [bid, ask]: [&str; 2]) -> Outgoing {
    tick(of, time, price, &[("bid", bid), ("ask", ask)])
}

fn tick([market, instrument, product]: [&str; 3], time: i64, price: &str, more: &[(&str, &str)]) -> Outgoing {
    let mut payload = json!({
        "envelope": {"event_type": "tick", "event_id": format!("{instrument}-{time}-{price}"), "timestamp": iso(time),
            "tenant_id": "default", "source": "s", "version": "1.0"},
        "payload": {"market": market, "instrument_id": instrument,
            "raw_data": {"timestamp": iso(time), "product": product, "price": price, "volume": "1"}},
    });
    for (name, value) in more {
        payload["payload"]["raw_data"][name] = json!(value);
    }
    Outgoing {
        key: Some(instrument.to_owned()),
        payload: payload.to_string().into_bytes(),
        ..Outgoing::default()
    }
}

fn newest_gas(pipeline: &Pipeline) -> i64 {
    let sql = "SELECT toUnixTimestamp64Micro(max(timestamp)) FROM enriched_ticks WHERE instrument_id = 'NG_HH_M1'";
    i64::try_from(pipeline.clickhouse.number(sql).unwrap()).unwrap()
}

/// The newest gas price becomes 9, then 0, and one a minute before it comes late. Gas of three hours ago comes, and power after it, of
/// which the last price is a microsecond too late for the gas. Prices of two hubs come more than a day late. A quote of ten minutes ago is
/// followed by a price of the same time without a quote, and by another quote. A price of the next month comes late, and one of a third
/// hub is corrected.
fn publish_corrections(pipeline: &Pipeline, newest_gas: i64) {
    // One partition for all: of two prices of one time, the last origin counts.
    let partition = "SELECT any(raw_partition) FROM enriched_ticks WHERE instrument_id = 'NG_HH_M1'";
    let partition = i32::try_from(pipeline.clickhouse.number(partition).unwrap()).unwrap();
    let gas = |ago: i64, price: &str| message(GAS, newest_gas - ago, price);
    let power = |ago: i64, price: &str| message(POWER, newest_gas - ago, price);
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    for message in [
        gas(0, "9"),
        gas(0, "0"),
        gas(60 * SECOND - 7, "3.333"),
        gas(3 * HOUR, "2.5"),
        power(2 * HOUR + 1_800 * SECOND, "41.07"),
        power(2 * HOUR, "40"),
        power(2 * HOUR - 1, "39"),
        power(25 * HOUR, "38"),
        message(OTHER, newest_gas - 25 * HOUR + SECOND, "36"),
        quote(POWER, newest_gas - 600 * SECOND - 3, "40", ["39.9", "40.1"]),
        power(600 * SECOND + 3, "40.5"),
        quote(POWER, newest_gas - 600 * SECOND - 3, "40.6", ["40.5", "40.75"]),
        message(NEXT_MONTH, newest_gas - 90 * SECOND, "3.8"),
        message(DOMINION, newest_gas - 600 * SECOND - 2, "42"),
        message(DOMINION, newest_gas - 600 * SECOND - 2, "43"),
    ] {
        let partition = Some(partition);
        publisher.send(&Outgoing { partition, ..message }).unwrap();
    }
    publisher.finish().unwrap();
}

/// A document of PJM corrects the day-ahead price of the last hour that has both prices, and lists an earlier vintage after it. The other
/// hub has a newer price without congestion, which does not count.
fn ingest_vintages(pipeline: &Pipeline) {
    let hour =
        "SELECT formatDateTime(max(timestamp), '%m/%d/%Y %H:%i:%S') FROM derived_prices_latest WHERE series = 'da_rt'";
    let hour = pipeline.clickhouse.rows(hour).unwrap()[0][0].clone();
    let document = format!(
        "datetime_beginning_utc,pnode_id,pnode_name,type,total_lmp_da,congestion_price_da,marginal_loss_price_da,row_is_current,version_nbr\n\
         {hour},51288,WESTERN HUB,HUB,31.55,1.25,-0.3,True,2\n\
         {hour},51288,WESTERN HUB,HUB,99,9,9,False,1\n\
         {hour},51217,EASTERN HUB,HUB,30,,0.5,True,2\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pjm_da_hrl_lmps.csv");
    std::fs::write(&file, document).unwrap();
    pipeline.dp_ok(&["ingest", &file.to_string_lossy()]).unwrap();
}

/// All prices of a leg count for the same time, so the newest one counts for longest: else an `ASOF JOIN` would not find the right one.
fn assert_legs_are_uniform(pipeline: &Pipeline) {
    let sql = "SELECT instrument_id FROM enriched_ticks \
               WHERE instrument_id IN (SELECT arrayJoin([first_instrument, second_instrument]) FROM derived_prices) GROUP BY instrument_id \
               HAVING uniqExact(kind, if(kind = 'trade', 0, dateDiff('second', timestamp, \
               ifNull(interval_end, timestamp + INTERVAL 1 HOUR)))) > 1";
    assert_eq!(pipeline.clickhouse.rows(sql).unwrap(), Vec::<Row>::new());
}

/// Every revision has a cause and names a tick; the prices that were published after this time have caused these ones.
fn assert_causes(pipeline: &Pipeline, clock: &str) {
    let odd = "SELECT countIf((cause = 'first') != (revision = 0)), countIf(cause_origin NOT IN (SELECT tick_id FROM enriched_ticks)) \
               FROM derived_prices";
    assert_eq!(pipeline.clickhouse.rows(odd).unwrap(), [["0", "0"]]);
    let sql = format!(
        "SELECT DISTINCT toString(d.series), toString(d.cause), toString(t.price) FROM derived_prices AS d \
         INNER JOIN enriched_ticks AS t ON d.cause_origin = t.tick_id WHERE d.revision > 0 AND t.appended_at > '{clock}'"
    );
    let causes = pipeline.clickhouse.rows(&sql).unwrap();
    for cause in [
        ["congestion", "correction", "31.55"],
        ["da_rt", "correction", "31.55"],
        ["gas_months", "correction", "0"],
        ["gas_months", "late", "3.8"],
        ["gas_range", "correction", "0"],
        ["gas_range", "late", "3.8"],
        ["heat", "correction", "0"],
        ["heat", "late", "3.333"],
        ["hub", "correction", "40.6"],
        ["hub_mean", "correction", "40.6"],
        ["hub_mean", "late", "41.07"],
        ["quote", "correction", "40.6"],
        ["spark", "correction", "0"],
        ["spark", "late", "3.333"],
        ["spark_mean", "correction", "0"],
        ["spark_mean", "late", "3.333"],
        ["spark_score", "correction", "0"],
        ["spark_score", "late", "3.333"],
    ] {
        assert!(causes.iter().any(|found| found[..] == cause), "{cause:?}: {causes:?}");
    }
    assert!(!causes.iter().any(|cause| cause[2] == "99"), "{causes:?}");
}

#[test]
fn every_derived_value_of_a_demo_is_recomputed_by_sql_before_and_after_corrections() {
    let (pipeline, printed) = Pipeline::of_demo(20_000).unwrap();
    let series = "SELECT DISTINCT toString(series) AS name FROM derived_prices ORDER BY name";
    let series = pipeline.clickhouse.rows(series).unwrap();
    assert_eq!(series, SERIES.map(|(name, _)| [name]));
    let of_demo = recomputed(&pipeline);
    assert_same(&stored(&pipeline, "derived_prices_latest"), &of_demo);
    assert_values(&of_demo);
    assert_series_are_shown(&printed, &of_demo);
    assert_market_days_are_shown(&printed);
    assert_curve_is_drawn(&pipeline, &printed);
    assert_curve_has_a_snapshot(&pipeline);
    let clock = "SELECT toString(max(log_clock)) FROM derived_prices";
    let clock = pipeline.clickhouse.rows(clock).unwrap()[0][0].clone();

    let gas = newest_gas(&pipeline);
    publish_corrections(&pipeline, gas);
    ingest_vintages(&pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{}", verified.report);
    let corrected = recomputed(&pipeline);
    assert_same(&stored(&pipeline, "derived_prices_latest"), &corrected);
    assert_legs_are_uniform(&pipeline);
    assert_causes(&pipeline, &clock);
    // What was known before the corrections stays known as of then.
    assert_same(
        &stored(&pipeline, &format!("derived_prices_asof(at = '{clock}')")),
        &of_demo,
    );

    // A gas price of zero has no heat rate, and one that is older than its maximum age no value at all.
    let nulls = |values: &Values| values["heat"].iter().filter(|row| row[2] == NULL).count();
    let (before, after) = (nulls(&of_demo), nulls(&corrected));
    assert!(before == 0 && after > 0, "{before} {after}");
    let at = |series: &str, ago: i64| {
        let sql = format!(
            "SELECT toString(fromUnixTimestamp64Micro(toInt64({}), 'UTC'))",
            gas - ago
        );
        let time = pipeline.clickhouse.rows(&sql).unwrap()[0][0].clone();
        corrected[series]
            .iter()
            .find(|row| row[1] == time)
            .map(|row| row[2].clone())
    };
    assert_eq!(at("spark", 2 * HOUR).as_deref(), Some("21.25"));
    assert_eq!(at("spark", 2 * HOUR - 1), None);
    assert_eq!(at("quote", 600 * SECOND + 3).as_deref(), Some("0.25"));
    // Gas of three hours ago has no price of the next month beside it.
    assert_eq!(at("gas_months", 3 * HOUR), None);
}

#[test]
fn the_query_that_the_guide_shows_is_the_one_that_is_checked() {
    let guide = std::fs::read_to_string(root().join("docs/derived.md")).unwrap();
    assert!(guide.contains(&query("location_spread")));
}
