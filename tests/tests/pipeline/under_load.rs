//! `dp verify` and `dp reconcile` while ticks arrive without a pause: they agree, find what somebody has deleted or changed, count each row, and
//! repair it.

use e2e::{Pipeline, RAW};
use serde_json::Value;
use testkit::load::{Load, LoadPlan};

use crate::repair::reconcile;

/// Messages a second: an ordinary day of all markets.
const RATE: u32 = 300;

/// How many differences a check of `dp verify` has.
fn differences(report: &Value, check: &str) -> u64 {
    let checks = report["checks"].as_array().into_iter().flatten();
    let mut of = checks.filter(|one| one["name"].as_str().is_some_and(|name| name.starts_with(check)));
    of.next()
        .and_then(|one| one["differences"]["total"].as_u64())
        .unwrap_or(0)
}

/// Ids of some ticks that are in the table for a while.
fn old_ticks(pipeline: &Pipeline) -> Vec<String> {
    let sql = "SELECT tick_id FROM market_ticks WHERE ingested_at <= (SELECT quantileExact(0.5)(ingested_at) FROM market_ticks) \
               ORDER BY cityHash64(tick_id) LIMIT 7";
    let rows = pipeline.clickhouse.rows(sql).unwrap();
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

fn listed(ids: &[String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    ids.join(", ")
}

#[test]
fn a_market_that_is_never_quiet_agrees_and_what_was_lost_or_changed_is_found_and_repaired() {
    let pipeline = Pipeline::shared();
    let plan = LoadPlan {
        topic: RAW.to_owned(),
        seed: 77,
        session: 1,
        rate: RATE,
        extras: false,
    };
    let load = Load::start(&pipeline.bootstrap(), plan).unwrap();
    pipeline.wait_for_more(2_000).unwrap();

    // Several runs, since each meets other ticks on their way.
    for _ in 0..3 {
        let verified = pipeline.verify().unwrap();
        let report = &verified.report;
        assert_eq!((verified.code, verified.differences()), (0, Vec::new()), "{report}");
        assert!(
            report["arrived"].as_u64() > Some(0),
            "ticks arrived meanwhile: {report}"
        );
        let (code, report) = reconcile(&pipeline, &[]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["left"], Value::Array(Vec::new()), "{report}");
    }

    let doomed = old_ticks(&pipeline);
    let (lost, changed) = doomed.split_at(5);
    let alter = |what: &str| {
        pipeline
            .clickhouse
            .run(&format!("ALTER TABLE market_ticks {what}"))
            .unwrap()
    };
    alter(&format!("DELETE WHERE tick_id IN ({})", listed(lost)));
    alter(&format!(
        "UPDATE price = price + 1 WHERE tick_id IN ({})",
        listed(changed)
    ));
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 1, "{}", verified.report);
    let found = differences(&verified.report, "market_ticks: ticks match the raw log");
    assert_eq!(found, 7, "{}", verified.report);
    assert!(
        doomed.iter().all(|id| verified.names(&[id.as_str()])),
        "{}",
        verified.report
    );

    // Only those two are named for deletion.
    let (code, report) = reconcile(&pipeline, &["--repair", "--yes"]);
    let left = report["left"].as_array().unwrap();
    let is_changed = |left: &Value| {
        let row = left["row"].as_str().unwrap_or_default();
        changed.iter().any(|id| row.starts_with(id.as_str()))
    };
    assert_eq!((code, left.len()), (1, 2), "{report}");
    assert!(left.iter().all(is_changed), "{report}");
    alter(&format!("DELETE WHERE tick_id IN ({})", listed(changed)));
    let (code, report) = reconcile(&pipeline, &["--repair", "--yes"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(pipeline.verify().unwrap().code, 0);

    load.pause().unwrap();
    pipeline.agree().unwrap();
}

/// Differences beyond those that are looked at one by one are counted by rows.
#[test]
fn a_column_that_is_wrong_in_every_row_gives_the_number_of_rows() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(3_000, 77_000).unwrap();
    pipeline.agree().unwrap();
    let rows = pipeline.clickhouse.number("SELECT count() FROM market_ticks").unwrap();
    let alter = |by: i32| {
        let sql = format!("ALTER TABLE market_ticks UPDATE price = price + {by} WHERE 1");
        pipeline.clickhouse.run(&sql).unwrap();
    };
    alter(1);
    let verified = pipeline.verify().unwrap();
    alter(-1);
    let found = differences(&verified.report, "market_ticks: ticks match the raw log");
    assert_eq!(i128::from(found), rows, "{}", verified.report);
    pipeline.agree().unwrap();
}
