//! A short fault run: every kind of fault for every process, several at a time, under load.
//! The long run is `make test-faults KILLS=500`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use e2e::fault_plan::DECK;
use e2e::fault_run::{self, Options};
use e2e::{Pipeline, root};

#[test]
fn forty_faults_of_every_kind_lose_and_double_nothing() {
    let seed = std::env::var("SEED").map_or(255, |seed| seed.parse().expect("SEED is a number"));
    let report = root().join("target/test-faults").join(format!("short-{seed}.json"));
    // The stack of an earlier test is gone, so its run cannot be resumed.
    let _absent = std::fs::remove_file(&report);
    let pipeline = Pipeline::with_settings(fault_run::settings(seed)).unwrap();
    let report = fault_run::run(
        &pipeline,
        &Options {
            kills: DECK as u32,
            seed,
            rate: 300,
            actors: 4,
            check_every: DECK as u32,
            report,
            disk_limit_mb: 10_000,
        },
    )
    .unwrap();
    println!("{report}");
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.done.len(), DECK);
    let last = report.checks.last().unwrap();
    assert!(
        last.documents > 0 && last.rejected_rows > 0 && last.corrections > 0 && last.late_ticks > 0,
        "the load lacks documents, corrections or late ticks: {report}"
    );
    assert!(
        last.derived > 100,
        "there are {} derived prices: {report}",
        last.derived
    );
    assert!(
        last.quotes > 100 && last.snapshots > 50,
        "there are {} quotes and {} snapshots of curves: {report}",
        last.quotes,
        last.snapshots
    );
}
