//! Recorded runs of `dp verify` against a real Postgres.

use std::time::{SystemTime, UNIX_EPOCH};

use localstack::Server;
use security::{Secret, Trust};
use stores::Postgres;
use stores::postgres::{LastVerify, VerifyResult, VerifyRun, VerifyRuns, migrate};

use crate::common;

const DAY: i64 = 86_400_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_run_the_last_success_and_the_last_verdict_of_a_generation_are_found_and_old_runs_are_removed() {
    let stack = common::started(&[Server::Postgres]);
    let dsn = Secret::new(stack.env()["DATA_PROC_POSTGRES_DSN"].as_str());
    let postgres = Postgres::connect(&dsn, &Trust::default(), 2).unwrap();
    migrate(&postgres).await.unwrap();
    let runs = VerifyRuns::new(postgres.clone(), "");
    assert_eq!(runs.last().await.unwrap(), None);

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    let record = async |ago: i64, result, differences| {
        let run = VerifyRun {
            started_at: now - ago - 1_000_000,
            finished_at: now - ago,
            result,
            differences,
            failed_checks: vec!["market_ticks".to_owned()],
        };
        runs.record(&run).await.unwrap();
    };
    let seconds = |ago: i64| (now - ago) as f64 / 1e6;
    record(91 * DAY, VerifyResult::Ok, 0).await;
    record(3 * DAY, VerifyResult::CouldNotRun, 0).await;
    let of = |run, success, differences| {
        Some(LastVerify {
            run,
            success,
            differences,
        })
    };
    // The second insert has removed the first run.
    assert_eq!(runs.last().await.unwrap(), of(seconds(3 * DAY), None, None));
    record(2 * DAY, VerifyResult::Ok, 0).await;
    record(DAY, VerifyResult::Differs, 4).await;
    record(0, VerifyResult::Undecided, 9).await;
    let last = of(seconds(0), Some(seconds(2 * DAY)), Some(4));
    assert_eq!(runs.last().await.unwrap(), last);
    let readers = postgres.for_readers(1, std::time::Duration::from_secs(2)).unwrap();
    assert_eq!(VerifyRuns::new(readers, "").last().await.unwrap(), last);
    assert_eq!(VerifyRuns::new(postgres.clone(), "g2").last().await.unwrap(), None);
}
