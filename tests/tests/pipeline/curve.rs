//! Settlements through the running pipeline, and the curve that is made from them: every quote is repriced, a correction and a change of the
//! definition count while everything runs, and the past stays as it was known.

use e2e::{Pipeline, eventually};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

const HEADER: &str = "as_of,curve_id,contract,block,price,volume";
/// Quotes of 5 March 2025: contract as quoted, price, contract as shown, first day and the day after the last one. Clocks change on 9
/// March and 2 November.
const QUOTES: [(&str, &str, &str, &str, &str); 5] = [
    ("BALMO", "38.10", "BALMO", "2025-03-06", "2025-04-01"),
    ("M1", "41.255", "2025-04", "2025-04-01", "2025-05-01"),
    ("Q2-25", "45.00", "Q2-25", "2025-04-01", "2025-07-01"),
    ("Q4-25", "-3.75", "Q4-25", "2025-10-01", "2026-01-01"),
    ("CAL-26", "52.40", "CAL-26", "2026-01-01", "2027-01-01"),
];
const CURVE: &str = "TEST_WESTERN";

fn document(rows: &[String]) -> String {
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

fn ingest(pipeline: &Pipeline, text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("curve.settlements.csv");
    std::fs::write(&file, text).unwrap();
    pipeline.dp_ok(&["ingest", &file.to_string_lossy()]).unwrap();
}

fn shown(pipeline: &Pipeline, arguments: &[&str]) -> Value {
    let output = pipeline
        .dp(&[&["curve", "show", CURVE, "--json"], arguments].concat())
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Hours of the clock in New York from the first to the second day.
fn hours(first: Date, end: Date) -> f64 {
    let zone = TimeZone::get("America/New_York").unwrap();
    let second = |day: Date| day.to_zoned(zone.clone()).unwrap().timestamp().as_second();
    (second(end) - second(first)) as f64 / 3600.0
}

/// The mean of the points of these days, weighted by hours.
fn mean(curve: &Value, first: Date, end: Date) -> f64 {
    let day = |point: &Value, name: &str| -> Date { point[name].as_str().unwrap()[..10].parse().unwrap() };
    let (mut sum, mut weights) = (0.0, 0.0);
    for point in curve["points"].as_array().unwrap() {
        let (from, until) = (day(point, "delivery_start"), day(point, "delivery_end"));
        if from >= first && until <= end {
            sum += hours(from, until) * point["price"].as_f64().unwrap();
            weights += hours(from, until);
        }
    }
    assert_eq!(weights, hours(first, end), "the points cover {first} to {end}");
    sum / weights
}

fn price_of(curve: &Value, contract: &str) -> f64 {
    let inputs = curve["inputs"].as_array().unwrap();
    let input = inputs.iter().find(|input| input["contract"] == contract).unwrap();
    input["price"].as_f64().unwrap()
}

/// A stack of its own: the oracle of the shared one does not read settlements.
#[test]
fn settlements_become_a_curve_that_reprices_them_as_known_at_any_time() {
    let pipeline = Pipeline::start().unwrap();
    pipeline
        .postgres
        .rows(
            "INSERT INTO taxonomy_commodities (commodity) VALUES ('electricity') ON CONFLICT DO NOTHING; \
             INSERT INTO taxonomy_regions (region) VALUES ('northeast') ON CONFLICT DO NOTHING; \
             INSERT INTO curve_metadata (tenant_id, curve_id, curve_name, commodity, region, interpolation_method, instruments) \
             VALUES ('default', 'TEST_WESTERN', 'Test', 'electricity', 'northeast', 'smooth', \
                     '{PJM.TEST%20WESTERN.*.SETTLEMENT}')",
        )
        .unwrap();
    // The definition counts for new ticks as soon as enrichment has heard of it.
    let mut attempt = 0;
    eventually("enrichment knows the curve", || {
        attempt += 1;
        // Its delivery is over when the other quotes are made.
        let row = format!("2025-01-15,PJM.TEST WESTERN,2025-02,flat,{attempt},");
        ingest(&pipeline, &document(&[row]));
        let sql = format!("SELECT count() FROM enriched_ticks WHERE curve_id = '{CURVE}' AND product_tier = 'futures'");
        Ok(pipeline.clickhouse.number(&sql)? > 0)
    })
    .unwrap();

    let mut rows: Vec<String> = QUOTES
        .iter()
        .map(|(contract, price, ..)| format!("2025-03-05,PJM.TEST WESTERN,{contract},flat,{price},7"))
        .collect();
    rows.push("2025-03-05,PJM.TEST WESTERN,F277,flat,1,".to_owned());
    ingest(&pipeline, &document(&rows));
    let day = "PJM.TEST%20WESTERN.%' AND timestamp = '2025-03-05 05:00:00'";
    let arrived =
        format!("SELECT count() FROM enriched_ticks WHERE curve_id = '{CURVE}' AND instrument_id LIKE '{day}");
    eventually("the quotes arrive", || {
        Ok(pipeline.clickhouse.number(&arrived)? == QUOTES.len() as i128)
    })
    .unwrap();

    let before = shown(&pipeline, &[]);
    assert_eq!(
        (before["day"].as_str(), before["method"].as_str()),
        (Some("2025-03-05"), Some("smooth"))
    );
    for (_, price, contract, first, end) in QUOTES {
        let (first, end): (Date, Date) = (first.parse().unwrap(), end.parse().unwrap());
        let price: f64 = price.parse().unwrap();
        let difference = mean(&before, first, end) - price;
        assert!(difference.abs() <= 1e-8, "{contract}: {difference}");
        assert!((price_of(&before, contract) - price).abs() < 1e-12, "{contract}");
    }

    a_correction_replaces_and_the_past_stays(&pipeline, &before);
    the_definition_changes_while_everything_runs(&pipeline);
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{:?}", verified.differences());
}

fn a_correction_replaces_and_the_past_stays(pipeline: &Pipeline, before: &Value) {
    let known = pipeline
        .clickhouse
        .number(&format!(
            "SELECT max(toUnixTimestamp64Micro(appended_at)) FROM enriched_ticks WHERE curve_id = '{CURVE}'"
        ))
        .unwrap();
    let known = jiff::Timestamp::from_microsecond(known as i64).unwrap().to_string();
    ingest(
        pipeline,
        &document(&["2025-03-05,PJM.TEST WESTERN,CAL-26,flat,53.5,".to_owned()]),
    );
    eventually("the corrected quote counts", || {
        Ok(price_of(&shown(pipeline, &[]), "CAL-26") == 53.5)
    })
    .unwrap();
    let corrected = shown(pipeline, &[]);
    let (first, end) = ("2026-01-01".parse().unwrap(), "2027-01-01".parse().unwrap());
    assert!((mean(&corrected, first, end) - 53.5).abs() <= 1e-8);
    let past = shown(pipeline, &["--as-of", &known]);
    assert_eq!(
        (&past["points"], &past["inputs"]),
        (&before["points"], &before["inputs"])
    );
    // The definition has no history.
    assert!(past["note"].as_str().unwrap().contains("curve_metadata"), "{past}");
    assert_eq!(before["note"], Value::Null);
}

fn the_definition_changes_while_everything_runs(pipeline: &Pipeline) {
    let set = |columns: &str| {
        let sql = format!("UPDATE curve_metadata SET {columns} WHERE curve_id = '{CURVE}'");
        pipeline.postgres.rows(&sql).unwrap();
    };
    set("interpolation_method = 'flat'");
    assert_eq!(shown(pipeline, &["--horizon", "1m"])["method"], "flat");
    let listed = pipeline.dp_ok(&["curve", "list", "--json"]).unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let curves = listed.as_array().unwrap();
    assert!(curves.iter().any(|curve| curve["curve_id"] == CURVE), "{listed}");
    set("instruments = '{}'");
    for (curve, expected) in [(CURVE, "has no instruments"), ("NO_SUCH_CURVE", CURVE)] {
        let output = pipeline.dp(&["curve", "show", curve]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
}
