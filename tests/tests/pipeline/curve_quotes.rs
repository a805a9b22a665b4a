//! Quotes of curves beyond settlements that agree. Prices of an instrument to which reference data gives a tenor become quotes of
//! absolute contracts, and so do the nearby contracts of a page of EIA's futures. Documents that contradict each other lead to a residual that is in the topic, the table and both routes, and in the metric of an
//! alert, whose runbook names curve and contract. `dp verify` computes both curves again.

use e2e::{Pipeline, RAW, eventually, root};
use localstack::Service;
use serde_json::{Value, json};
use testkit::http::encoded;
use testkit::kafka::{Outgoing, Publisher};

use crate::curve::{document, ingest, snapshots_were_compared, tick};

/// Of prices of [`INSTRUMENT`].
const OF_TENOR: &str = "TEST_PROMPT";
const INSTRUMENT: &str = "TESTGAS_M1";
/// Times and prices of the instrument, and the month that `M1` is at the time. December's contract of gas has its last trading day on 25
/// November 2025, three business days before the month.
const PRICES: [(&str, &str, &str); 2] = [
    ("2025-11-25T18:00:00Z", "4.375", "2025-12"),
    ("2025-11-26T18:00:00Z", "4.625", "2026-01"),
];
/// Of documents that contradict each other.
const CONTRADICTORY: &str = "TEST_CONTRADICTORY";
/// April, May and June have 720, 744 and 720 hours, so these months give the quarter a price of exactly 41.
const MONTHS: [(&str, f64); 3] = [("2025-04", 40.0), ("2025-05", 41.0), ("2025-06", 42.0)];
const QUARTER: (&str, f64, f64) = ("Q2-25", 45.0, 41.0);
const ALERT: &str = "CurveQuotesContradict";
/// Of prices of an instrument with an absolute tenor and a block, and the tier of its row.
const OF_STRIP: &str = "TEST_STRIP";
const STRIP: (&str, &str) = ("TESTPOWER_Q1", "Q1-26 PEAK");
/// Time and price of the instrument.
const STRIP_PRICE: (&str, &str) = ("2025-11-25T18:00:00Z", "61.25");
/// Of a page of futures of EIA. By id it is before the sample curve of Henry Hub, if there is one.
const OF_EIA: &str = "EIA_FUTURES";
/// The trade date of the page; July's contract of gas has its last trading day on 26 June.
const TRADED: &str = "2025-06-10";
/// Series of the page, its price, and the month that it is on the trade date.
const FUTURES: [(&str, &str, &str); 4] = [
    ("RNGC1", "3.517", "2025-07"),
    ("RNGC2", "3.628", "2025-08"),
    ("RNGC3", "3.661", "2025-09"),
    ("RNGC4", "3.742", "2025-10"),
];

#[test]
fn a_relative_tenor_is_an_absolute_month_and_a_contradiction_is_seen_wherever_its_curve_is() {
    let interval = ("AGGREGATION_CURVES_INTERVAL_S".to_owned(), "1".to_owned());
    let pipeline = Pipeline::with_settings([interval]).unwrap();
    define(&pipeline);
    prices_of_a_tenor_are_quotes_of_absolute_months(&pipeline);
    a_price_of_a_strip_and_its_block_is_a_quote(&pipeline);
    a_page_of_eia_is_a_curve_of_four_months(&pipeline);
    let snapshot = a_contradiction_has_its_residual_in_table_and_routes(&pipeline);
    the_alert_fires_and_its_runbook_names_the_quote(&pipeline, &snapshot);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
    snapshots_were_compared(&pipeline, &verified);
    the_right_settlement_ends_it(&pipeline);
}

/// All curves, and the instrument once enrichment knows its curve: a price before would carry no definition.
fn define(pipeline: &Pipeline) {
    let curves = "INSERT INTO taxonomy_commodities (commodity) VALUES ('electricity'), ('natural_gas') ON CONFLICT DO NOTHING; \
         INSERT INTO taxonomy_regions (region) VALUES ('northeast'), ('texas') ON CONFLICT DO NOTHING; \
         INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, interpolation_method, instruments) VALUES \
         ('default', 'EIA_FUTURES', 'Test', 'natural_gas', 'texas', 'flat', '{GAS.HENRY_HUB.*.SETTLEMENT}'), \
         ('default', 'TEST_STRIP', 'Test', 'electricity', 'northeast', 'flat', '{PJM.TESTSTRIP.*.SETTLEMENT}'), \
         ('default', 'TEST_PROMPT', 'Test', 'natural_gas', 'texas', 'flat', '{GAS.TESTHUB.*.SETTLEMENT}'), \
         ('default', 'TEST_CONTRADICTORY', 'Test', 'electricity', 'northeast', 'flat', '{PJM.TESTCONTRA.*.SETTLEMENT}')";
    pipeline.postgres.rows(curves).unwrap();
    for (fits, curve) in [
        ("GAS.HENRY_HUB.2026-03.FLAT.SETTLEMENT", OF_EIA),
        ("PJM.TESTSTRIP.2026-03.FLAT.SETTLEMENT", OF_STRIP),
        ("GAS.TESTHUB.2026-03.FLAT.SETTLEMENT", OF_TENOR),
        ("PJM.TESTCONTRA.2026-03.FLAT.SETTLEMENT", CONTRADICTORY),
    ] {
        is_known(pipeline, fits, |known| known["curve_id"] == curve);
    }
    let instrument = "INSERT INTO taxonomy_instruments (tenant_id, instrument_id, commodity, region, product_tier, unit, curve_id) \
         VALUES ('default', 'TESTGAS_M1', 'natural_gas', 'texas', 'M1', 'MMBtu', 'TEST_PROMPT'), \
         ('default', 'TESTPOWER_Q1', 'electricity', 'northeast', 'Q1-26 PEAK', 'MWh', 'TEST_STRIP')";
    pipeline.postgres.rows(instrument).unwrap();
    is_known(pipeline, STRIP.0, |known| {
        known["curve_id"] == OF_STRIP && known["taxonomy"]["product_tier"] == STRIP.1
    });
    is_known(pipeline, INSTRUMENT, |known| {
        known["curve_id"] == OF_TENOR && known["taxonomy"]["product_tier"] == "M1"
    });
}

/// Waits until enrichment has this to say about an instrument.
fn is_known(pipeline: &Pipeline, instrument: &str, mut is_it: impl FnMut(&Value) -> bool) {
    let (path, mut last) = (format!("/taxonomy/{}", encoded(instrument)), Value::Null);
    let known = eventually("enrichment knows the reference data", || {
        let (status, body) = pipeline.get(Service::Enrichment, &path)?;
        last = serde_json::from_str(&body)?;
        Ok(status == 200 && is_it(&last))
    });
    assert!(known.is_ok(), "{instrument}: {last}");
}

fn publish_prices(pipeline: &Pipeline) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let of_tenor = PRICES.map(|(time, price, _)| (time, price, "GAS", INSTRUMENT));
    let (time, price) = STRIP_PRICE;
    for (time, price, market, instrument) in of_tenor.into_iter().chain([(time, price, "PJM", STRIP.0)]) {
        let payload = json!({
            "envelope": {"event_type": "tick", "event_id": format!("{instrument}-{time}"), "timestamp": time, "tenant_id": "default",
                "source": "s", "version": "1.0"},
            "payload": {"market": market, "instrument_id": instrument,
                "raw_data": {"timestamp": time, "product": "trade", "price": price, "volume": "1"}},
        });
        let outgoing = Outgoing {
            key: Some(instrument.to_owned()),
            payload: payload.to_string().into_bytes(),
            ..Outgoing::default()
        };
        publisher.send(&outgoing).unwrap();
    }
    publisher.finish().unwrap();
}

/// The newest snapshot of a curve as aggregation shows it, once it is as wanted. The clocks of the log go on meanwhile.
fn snapshot(pipeline: &Pipeline, curve: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = eventually("a snapshot has these quotes", || {
        tick(pipeline);
        let (status, body) = pipeline.get(Service::Aggregation, &format!("/curves/{curve}"))?;
        last = serde_json::from_str(&body)?;
        Ok(status == 200 && is_it(&last))
    });
    assert!(found.is_ok(), "{curve}: {last}");
    last
}

fn inputs(snapshot: &Value) -> &[Value] {
    snapshot["inputs"].as_array().map_or(&[], Vec::as_slice)
}

fn of_contract<'v>(entries: &'v [Value], contract: &str) -> Option<&'v Value> {
    entries.iter().find(|entry| entry["contract"] == contract)
}

/// After the expiry `M1` is another month, and what was quoted before stays a quote of the one before.
fn prices_of_a_tenor_are_quotes_of_absolute_months(pipeline: &Pipeline) {
    publish_prices(pipeline);
    let snapshot = snapshot(pipeline, OF_TENOR, |shown| inputs(shown).len() == PRICES.len());
    assert_eq!(
        (&snapshot["market"], &snapshot["day"]),
        (&json!("GAS"), &json!("2025-11-26")),
        "{snapshot}"
    );
    let points = snapshot["points"].as_array().unwrap();
    for (_, price, month) in PRICES {
        let price: f64 = price.parse().unwrap();
        let input = of_contract(inputs(&snapshot), month).unwrap();
        let shown = (input["price"].as_f64(), &input["block"], &input["state"]);
        assert_eq!(
            shown,
            (Some(price), &json!("flat"), &json!("repriced")),
            "{month}: {snapshot}"
        );
        let point = of_contract(points, month).unwrap();
        let shown = (&point["method"], &point["sources"]);
        assert_eq!(
            shown,
            (&json!("quoted"), &json!([input["source"]])),
            "{month}: {snapshot}"
        );
        assert!((point["price"].as_f64().unwrap() - price).abs() <= 1e-8, "{point}");
        let start = point["delivery_start"].as_str().unwrap();
        assert!(start.starts_with(&format!("{month}-01T")), "{point}");
    }
    // In the table, each month names the price of the instrument.
    let sql = format!(
        "SELECT toString(i.contract), toString(t.instrument_id), toString(t.price) FROM curve_inputs AS i \
         JOIN enriched_ticks AS t ON t.tick_id = i.source WHERE i.tenant_id = 'default' AND i.curve_id = '{OF_TENOR}' ORDER BY i.contract"
    );
    has_rows(
        pipeline,
        &sql,
        &PRICES.map(|(_, price, month)| [month, INSTRUMENT, price]),
    );
    dp_shows_them_too(pipeline, &snapshot);
}

/// The peak hours of a quarter, of an instrument whose row says so. Its three months have the price; other hours have none.
fn a_price_of_a_strip_and_its_block_is_a_quote(pipeline: &Pipeline) {
    let snapshot = snapshot(pipeline, OF_STRIP, |shown| inputs(shown).len() == 1);
    let price: f64 = STRIP_PRICE.1.parse().unwrap();
    let input = of_contract(inputs(&snapshot), "Q1-26").unwrap();
    let shown = (input["price"].as_f64(), &input["block"], &input["state"]);
    assert_eq!(shown, (Some(price), &json!("peak"), &json!("repriced")), "{snapshot}");
    for month in ["2026-01", "2026-02", "2026-03"] {
        let point = of_contract(snapshot["points"].as_array().unwrap(), month).unwrap();
        assert_eq!(point["block"], "peak", "{snapshot}");
        assert!((point["price"].as_f64().unwrap() - price).abs() <= 1e-8, "{point}");
    }
    let shown: Value = serde_json::from_str(&pipeline.dp_ok(&["curve", "show", OF_STRIP, "--json"]).unwrap()).unwrap();
    assert_eq!(shown["points"], snapshot["points"], "{shown}");
}

/// `dp curve show` builds the curve of the snapshot, and `dp curve list` names the instrument.
fn dp_shows_them_too(pipeline: &Pipeline, snapshot: &Value) {
    let dp = |arguments: &[&str]| -> Value { serde_json::from_str(&pipeline.dp_ok(arguments).unwrap()).unwrap() };
    let shown = dp(&["curve", "show", OF_TENOR, "--json"]);
    for name in ["market", "day", "method", "points"] {
        assert_eq!(shown[name], snapshot[name], "{name}: {shown}");
    }
    for (_, price, month) in PRICES {
        let input = of_contract(inputs(&shown), month).unwrap();
        let snapshot = of_contract(inputs(snapshot), month).unwrap();
        assert_eq!(input["price"].as_f64(), price.parse().ok(), "{shown}");
        assert_eq!(input["source"], snapshot["source"], "{shown}");
    }
    let listed = dp(&["curve", "list", "--json"]);
    let curve = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["curve_id"] == OF_TENOR);
    assert_eq!(
        curve.unwrap()["tenor_instruments"],
        json!([{"instrument_id": INSTRUMENT, "product_tier": "M1"}]),
        "{listed}"
    );
}

/// A page as the API of EIA returns it.
fn a_page_of_eia_is_a_curve_of_four_months(pipeline: &Pipeline) {
    let row = |(series, price, _): (&str, &str, &str)| json!({"period": TRADED, "series": series, "value": price, "units": "$/MMBTU"});
    let page = json!({
        "response": {"total": FUTURES.len().to_string(), "dateFormat": "YYYY-MM-DD", "frequency": "daily", "data": FUTURES.map(row)},
        "apiVersion": "2.1.14",
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("futures.json");
    std::fs::write(&file, page.to_string()).unwrap();
    pipeline
        .dp_ok(&["ingest", "--as", "gas.eia_futures.json", &file.to_string_lossy()])
        .unwrap();

    let snapshot = snapshot(pipeline, OF_EIA, |shown| inputs(shown).len() == FUTURES.len());
    assert_eq!(
        (&snapshot["market"], &snapshot["day"]),
        (&json!("GAS"), &json!(TRADED)),
        "{snapshot}"
    );
    let points = snapshot["points"].as_array().unwrap();
    assert_eq!(points.len(), FUTURES.len(), "{snapshot}");
    for (series, price, month) in FUTURES {
        let price: f64 = price.parse().unwrap();
        let input = of_contract(inputs(&snapshot), month).unwrap();
        let shown = (input["price"].as_f64(), &input["state"]);
        assert_eq!(shown, (Some(price), &json!("repriced")), "{series}: {snapshot}");
        let point = of_contract(points, month).unwrap();
        assert_eq!(point["method"], "quoted", "{series}: {snapshot}");
        assert!((point["price"].as_f64().unwrap() - price).abs() <= 1e-8, "{point}");
        assert!(
            point["delivery_start"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{month}-01T")),
            "{point}"
        );
    }
    let sql = format!(
        "SELECT toString(i.contract), toString(t.instrument_id), toString(t.price) FROM curve_inputs AS i \
         JOIN enriched_ticks AS t ON t.tick_id = i.source WHERE i.tenant_id = 'default' AND i.curve_id = '{OF_EIA}' ORDER BY i.contract"
    );
    let ids = FUTURES.map(|(_, _, month)| format!("GAS.HENRY_HUB.{month}.FLAT.SETTLEMENT"));
    let rows: Vec<[&str; 3]> = FUTURES
        .iter()
        .zip(&ids)
        .map(|((_, price, month), id)| [*month, id.as_str(), *price])
        .collect();
    has_rows(pipeline, &sql, &rows);
}

/// Waits until the tables have these rows: the routes show a snapshot before the writer has stored it.
fn has_rows<const COLUMNS: usize>(pipeline: &Pipeline, sql: &str, expected: &[[&str; COLUMNS]]) {
    let mut last = Vec::new();
    let found = eventually("the tables have the rows", || {
        last = pipeline.clickhouse.rows(sql)?;
        Ok(last == expected)
    });
    assert!(found.is_ok(), "{sql}: {last:?} instead of {expected:?}");
}

/// A document with three months, then one with their quarter.
fn a_contradiction_has_its_residual_in_table_and_routes(pipeline: &Pipeline) -> Value {
    let row = |contract: &str, price: f64| format!("2025-03-05,PJM.TESTCONTRA,{contract},flat,{price},");
    let months: Vec<String> = MONTHS.iter().map(|(month, price)| row(month, *price)).collect();
    ingest(pipeline, &document(&months));
    let (quarter, quoted, implied) = QUARTER;
    ingest(pipeline, &document(&[row(quarter, quoted)]));
    let snapshot = snapshot(pipeline, CONTRADICTORY, |shown| inputs(shown).len() == MONTHS.len() + 1);
    let implied_by: Vec<String> = MONTHS.iter().map(|(month, _)| format!("{month} flat")).collect();
    let input = of_contract(inputs(&snapshot), quarter).unwrap();
    assert_eq!(
        (&input["state"], input["price"].as_f64(), &input["implied_by"]),
        (&json!("contradictory"), Some(quoted), &json!(implied_by)),
        "{snapshot}"
    );
    let differs = |name: &str, from: f64| (input[name].as_f64().unwrap() - from).abs();
    assert!(
        differs("curve_price", implied) <= 1e-8 && differs("residual", quoted - implied) <= 1e-8,
        "{input}"
    );
    // Nothing is averaged: the others are what they were quoted at.
    for (month, price) in MONTHS {
        let input = of_contract(inputs(&snapshot), month).unwrap();
        assert_eq!(input["state"], "repriced", "{snapshot}");
        let point = of_contract(snapshot["points"].as_array().unwrap(), month).unwrap();
        assert!((point["price"].as_f64().unwrap() - price).abs() <= 1e-8, "{point}");
    }
    let sql = format!(
        "SELECT contract, round(residual, 8), arrayStringConcat(implied_by, ', ') FROM curve_inputs \
         WHERE tenant_id = 'default' AND curve_id = '{CONTRADICTORY}' AND state = 'contradictory'"
    );
    let (residual, by) = ((quoted - implied).to_string(), implied_by.join(", "));
    has_rows(pipeline, &sql, &[[quarter, residual.as_str(), by.as_str()]]);
    is_served(pipeline, &snapshot);
    snapshot
}

/// The route of projection shows the same quotes, from Postgres.
fn is_served(pipeline: &Pipeline, snapshot: &Value) {
    let (mut last, path) = (
        Value::Null,
        format!("/curves/snapshots?curve_id={CONTRADICTORY}&horizon=all"),
    );
    let served = eventually("projection serves the snapshot", || {
        let (_, body) = pipeline.get(Service::Projection, &path)?;
        last = serde_json::from_str(&body)?;
        Ok(last["snapshots"][0]["version"] == snapshot["version"])
    });
    assert!(served.is_ok(), "{last} instead of {snapshot}");
    assert_eq!(last["snapshots"][0]["inputs"], snapshot["inputs"], "{last}");
}

/// The value of a metric of aggregation that has no labels of its own.
fn metric(pipeline: &Pipeline, name: &str) -> anyhow::Result<Option<f64>> {
    let (_, scrape) = pipeline.get(Service::Aggregation, "/metrics")?;
    let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = scrape.lines().find(is_it).and_then(|line| line.rsplit_once(' '));
    Ok(value.and_then(|(_, value)| value.parse().ok()))
}

/// Waits for this ratio of the largest residual.
fn has_ratio(pipeline: &Pipeline, expected: f64) {
    let mut last = None;
    let has = eventually("the ratio of the largest residual", || {
        last = metric(pipeline, "curve_residual_ratio")?;
        Ok(last.is_some_and(|ratio| (ratio - expected).abs() <= 1e-9))
    });
    assert!(has.is_ok(), "{last:?} instead of {expected}");
}

/// The expression of the alert is one of a metric that is above its threshold, and the query of its runbook names curve and contract.
fn the_alert_fires_and_its_runbook_names_the_quote(pipeline: &Pipeline, snapshot: &Value) {
    let (contract, quoted, implied) = QUARTER;
    let ratio = (quoted - implied) / quoted;
    has_ratio(pipeline, ratio);
    let sent = metric(pipeline, "curve_snapshots_contradictory_total").unwrap();
    assert!(sent.is_some_and(|sent| sent >= 1.0), "{sent:?}");
    let rules = std::fs::read_to_string(root().join("monitoring/alert_rules.yml")).unwrap();
    let (_, rule) = rules.split_once(&format!("- alert: {ALERT}\n")).unwrap();
    let expression = rule.lines().next().unwrap().trim();
    let threshold = expression.strip_prefix("expr: max(curve_residual_ratio) > ").unwrap();
    assert!(ratio > threshold.parse::<f64>().unwrap(), "{expression}");

    let runbook = std::fs::read_to_string(root().join(format!("docs/runbooks/{ALERT}.md"))).unwrap();
    let (_, query) = runbook.split_once("dp sql \"").unwrap();
    let (query, _) = query.split_once('"').unwrap();
    let rows: Value = serde_json::from_str(&pipeline.dp_ok(&["sql", "--json", query]).unwrap()).unwrap();
    let tick = of_contract(inputs(snapshot), contract).unwrap()["source"].clone();
    let [row] = rows.as_array().unwrap().as_slice() else {
        panic!("one quote contradicts others: {rows}");
    };
    let named = ["tenant_id", "curve_id", "contract", "source"].map(|name| row[name].clone());
    assert_eq!(
        named,
        [json!("default"), json!(CONTRADICTORY), json!(contract), tick],
        "{row}"
    );
    // `dp curve show` says so too, with its exit code.
    let shown = pipeline.dp(&["curve", "show", CONTRADICTORY]).output().unwrap();
    assert_eq!(
        shown.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
    assert!(String::from_utf8_lossy(&shown.stdout).contains("contradict"));
}

/// The newest quote of the contract counts: it agrees, and the ratio falls.
fn the_right_settlement_ends_it(pipeline: &Pipeline) {
    let (contract, _, implied) = QUARTER;
    let row = format!("2025-03-05,PJM.TESTCONTRA,{contract},flat,{implied},");
    ingest(pipeline, &document(&[row]));
    let is_consistent =
        |shown: &Value| of_contract(inputs(shown), contract).is_some_and(|input| input["state"] == "consistent");
    snapshot(pipeline, CONTRADICTORY, is_consistent);
    has_ratio(pipeline, 0.0);
}
