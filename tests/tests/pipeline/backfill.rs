//! A folder of documents is backfilled once, however often the command runs; a range of the raw log is processed again without
//! counting a tick twice.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use e2e::{Pipeline, RAW, eventually};
use serde_json::Value;
use testkit::kafka::{Outgoing, Publisher};

/// Exit code and report of `dp backfill --json` with these arguments.
fn backfill(pipeline: &Pipeline, arguments: &[&str]) -> (i32, Value) {
    let output = pipeline
        .dp(&[&["backfill", "--json"], arguments].concat())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_str(&text)
        .with_context(|| format!("no report: {text}{said}"))
        .unwrap();
    (output.status.code().unwrap_or(-1), report)
}

/// A folder of its own in the folder of the stack, which is removed with it.
fn folder(pipeline: &Pipeline, name: &str) -> PathBuf {
    let folder = pipeline.stack().config().dir.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A document with two prices of this day of October.
fn write_document(folder: &Path, name: &str, day: u8) {
    let row = |node: &str| format!(r#"["2026-10-{day:02}T05:00:00","BACKFILL.{node}{day}","1.50","0.00","0.00"]"#);
    let rows = [row("A"), row("B")].join(",");
    let text = format!(r#"{{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[{rows}]}}"#);
    std::fs::write(folder.join(format!("GetRealTimeFiveMinExPost_{name}.json")), text).unwrap();
}

/// Outcome and ticks of each document, in the order of the report.
fn outcomes(report: &Value) -> Vec<(String, u64)> {
    let documents = report["documents"].as_array().into_iter().flatten();
    let of = |done: &Value| {
        let outcome = done["outcome"].as_str().unwrap_or_default().to_owned();
        (outcome, done["ticks"].as_u64().unwrap_or(0))
    };
    documents.map(of).collect()
}

#[test]
fn a_folder_is_published_once_the_oldest_day_first_and_can_grow() {
    let pipeline = Pipeline::shared();
    let folder = folder(&pipeline, "backfill-documents");
    // The names are in another order than the days.
    write_document(&folder, "a", 3);
    write_document(&folder, "b", 1);
    let path = folder.to_string_lossy().into_owned();
    let taken = "SELECT count() FROM market_ticks WHERE startsWith(instrument_id, 'MISO.BACKFILL.')";
    let count = || pipeline.clickhouse.number(taken);

    let (code, report) = backfill(&pipeline, &["--documents", &path, "--dry-run"]);
    let new = || ("published".to_owned(), 2);
    assert_eq!((code, outcomes(&report)), (0, vec![new(), new()]), "{report}");
    let days: Vec<&str> = report["documents"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|done| done["day"].as_str())
        .collect();
    assert_eq!(days, ["2026-10-01", "2026-10-03"]);
    assert_eq!(count().unwrap(), 0, "a dry run publishes nothing");

    let (code, report) = backfill(&pipeline, &["--documents", &path, "--market", "miso"]);
    assert_eq!((code, outcomes(&report)), (0, vec![new(), new()]), "{report}");
    // At once, before any row is stored: the raw log knows them.
    write_document(&folder, "c", 2);
    let old = || ("repeated".to_owned(), 0);
    let (code, report) = backfill(&pipeline, &["--documents", &path]);
    assert_eq!((code, outcomes(&report)), (0, vec![old(), new(), old()]), "{report}");
    eventually("the ticks are stored", || Ok(count()? >= 6)).unwrap();
    let (_, report) = backfill(&pipeline, &["--documents", &path]);
    assert_eq!(outcomes(&report), [old(), old(), old()], "{report}");
    assert_eq!(report["documents"][0]["stored"], 2, "{report}");

    std::fs::write(folder.join("strange.txt"), "no document").unwrap();
    let (code, report) = backfill(&pipeline, &["--documents", &path]);
    assert_eq!((code, outcomes(&report).len()), (1, 4), "{report}");
    std::fs::remove_dir_all(&folder).unwrap();
    pipeline.agree().unwrap();
    assert_eq!(count().unwrap(), 6);
}

#[test]
fn a_range_gets_its_lost_rows_back_and_no_tick_counts_twice() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(500, 77_000).unwrap();
    pipeline.agree().unwrap();
    let now = r#"SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#;
    let from = pipeline.postgres.rows(now).unwrap()[0][0].clone();
    pipeline.publish_once(500, 78_000).unwrap();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let poison = Outgoing {
        payload: b"{ backfill".to_vec(),
        ..Outgoing::default()
    };
    publisher.send(&poison).unwrap();
    publisher.finish().unwrap();
    pipeline.agree().unwrap();
    let since = format!("parseDateTime64BestEffort('{from}', 6, 'UTC')");
    let rows = |when: &str| {
        let sql = format!(
            "SELECT tick_id FROM market_ticks WHERE appended_at {when} {since} ORDER BY cityHash64(tick_id) LIMIT 3"
        );
        let rows = pipeline.clickhouse.rows(&sql).unwrap();
        rows.into_iter().map(|row| format!("'{}'", row[0])).collect::<Vec<_>>()
    };
    let (earlier, later) = (rows("<"), rows(">="));
    let all = [earlier.clone(), later.clone()].concat().join(", ");
    pipeline
        .clickhouse
        .run(&format!("ALTER TABLE market_ticks DELETE WHERE tick_id IN ({all})"))
        .unwrap();

    let (code, report) = backfill(&pipeline, &["--from", &from, "--dry-run"]);
    assert_eq!(code, 1, "{report}");
    assert!(
        report["letters"]["replayed"]
            .as_array()
            .is_some_and(|letters| !letters.is_empty()),
        "{report}"
    );
    assert_eq!(report["stores"]["found"][0]["missing"], 3, "{report}");

    let (code, report) = backfill(&pipeline, &["--from", &from, "--stage", "store", "--yes"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(
        (&report["letters"], &report["stores"]["written"][0]["rows"]),
        (&Value::Null, &3.into())
    );
    let missing = pipeline.verify().unwrap();
    assert!(
        missing.names(&[earlier[0].trim_matches('\''), "is missing"]),
        "{:?}",
        missing.differences()
    );
    assert!(
        !missing.names(&[later[0].trim_matches('\''), "is missing"]),
        "{:?}",
        missing.differences()
    );

    let (code, report) = backfill(&pipeline, &["--from", "2026-01-01T00:00Z", "--stage", "store", "--yes"]);
    assert_eq!(
        (code, &report["stores"]["written"][0]["rows"]),
        (0, &3.into()),
        "{report}"
    );
    pipeline.agree().unwrap();
}
