//! Runs of `dp verify` on the dashboard, and as an alert.

use e2e::{Pipeline, eventually};
use serde_json::Value;

use crate::figures::sum;
use e2e::watch::Watch;

const LABELS: [(&str, &str); 2] = [("alertname", "VerifyFailed"), ("severity", "critical")];

pub fn a_difference_is_shown_and_alerts_until_a_run_finds_none(pipeline: &Pipeline, watch: &Watch) {
    shows(watch, 0.0);
    assert!(!watch.is_notified("pager", "firing", &LABELS), "{}", watch.notified());
    let sql = |sql: &str| pipeline.postgres.rows(sql).unwrap();
    sql("CREATE TABLE untouched AS SELECT * FROM served_latest_prices");
    sql(
        "DELETE FROM served_latest_prices WHERE instrument_id IN (SELECT instrument_id FROM untouched ORDER BY instrument_id LIMIT 3)",
    );
    // A run that is not recorded changes nothing.
    let unrecorded = pipeline.dp(&["verify", "--no-record"]).output().unwrap();
    assert_eq!(unrecorded.status.code(), Some(1));
    let recorded = |result: &str| {
        let runs = format!("SELECT count(*) FROM verify_runs WHERE result = '{result}'");
        sql(&runs)[0][0].parse::<u64>().unwrap()
    };
    assert_eq!(recorded("differs"), 0);
    let verified = pipeline.verify().unwrap();
    assert_eq!((verified.code, recorded("differs")), (1, 1), "{}", verified.report);
    shows(watch, differences(&verified.report));
    notified(watch, "firing");

    sql("BEGIN; DELETE FROM served_latest_prices; INSERT INTO served_latest_prices SELECT * FROM untouched; COMMIT");
    sql("DROP TABLE untouched");
    pipeline.agree().unwrap();
    shows(watch, 0.0);
    notified(watch, "resolved");
    let age = sum(
        watch,
        "Data processing: markets and data quality: Last success of verify",
        "value",
        |_| true,
    )
    .unwrap();
    assert!((0.0..300.0).contains(&age), "{age}");
}

/// The differences of a report: each failed check has at least one.
fn differences(report: &Value) -> f64 {
    let failed: Vec<&Value> = report["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["ok"] == false)
        .collect();
    assert!(!failed.is_empty(), "{report}");
    failed
        .iter()
        .map(|check| check["differences"]["total"].as_f64().unwrap().max(1.0))
        .sum()
}

fn shows(watch: &Watch, differences: f64) {
    let panel = "Data processing: markets and data quality: Differences";
    eventually(&format!("{panel}: {differences}"), || {
        let rows = watch.panel(panel)?;
        anyhow::ensure!(rows.len() == 1 && rows[0]["value"] == differences, "{rows:?}");
        Ok(true)
    })
    .unwrap();
}

fn notified(watch: &Watch, status: &str) {
    eventually(&format!("VerifyFailed {status}"), || {
        anyhow::ensure!(watch.is_notified("pager", status, &LABELS), "{}", watch.notified());
        Ok(true)
    })
    .unwrap();
}
