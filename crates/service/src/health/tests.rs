#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::life::Threads;
use std::sync::atomic::{AtomicBool, Ordering};
use stream::Partition;

const BREAKER: crate::settings::BreakerSettings = crate::settings::BreakerSettings {
    failure_threshold: 5,
    success_threshold: 2,
    base_timeout: Duration::from_secs(30),
    max_timeout: Duration::from_secs(300),
};

fn record(status: Outcome, critical: bool) -> CheckRecord {
    CheckRecord {
        status,
        critical,
        duration_ms: 1,
        target: "t".into(),
        error: None,
        lag: BTreeMap::new(),
        last_check: None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn three_levels_follow_from_criticality() {
    for (records, level) in [
        (vec![], Level::Healthy),
        (
            vec![record(Outcome::Pass, true), record(Outcome::Pass, false)],
            Level::Healthy,
        ),
        (
            vec![record(Outcome::Pass, true), record(Outcome::Fail, false)],
            Level::Degraded,
        ),
        (
            vec![record(Outcome::Timeout, false), record(Outcome::Timeout, true)],
            Level::Unhealthy,
        ),
        (
            vec![record(Outcome::Fail, true), record(Outcome::Pass, true)],
            Level::Unhealthy,
        ),
    ] {
        assert_eq!(level_of(&records), level, "{records:?}");
    }
}

#[test]
fn a_dependency_that_comes_back_makes_the_service_healthy_again_by_itself() {
    let (runtime, health) = (runtime(), Health::new(Shutdown::default()));
    let breaker = Arc::new(Breaker::new("postgres", BREAKER));
    let up = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&up);
    health.watch(
        &Threads::default().tasks(runtime.handle()),
        Check {
            name: "postgres",
            critical: true,
            target: "db:5432".into(),
            ask: Box::new(move || {
                let up = asked.load(Ordering::SeqCst);
                Box::pin(async move {
                    if up {
                        Ok(())
                    } else {
                        Err("connection refused".to_owned().into())
                    }
                })
            }),
            breaker: Some(Arc::clone(&breaker)),
        },
    );
    wait_until("the failure is detected", || {
        health.report().checks["postgres"].last_check.is_some()
    });
    assert_eq!(health.report().level, Level::Unhealthy);
    assert_eq!(
        health.report().checks["postgres"].error.as_deref(),
        Some("connection refused")
    );
    assert_eq!(health.is_live(), Ok(()), "a failed database does not affect liveness");
    assert!(health.is_ready().unwrap_err().contains("connection refused"));
    assert_eq!(health.report().breaker, BreakerState::Open);
    up.store(true, Ordering::SeqCst);
    wait_until("the recovery is detected", || health.report().level == Level::Healthy);
    assert_eq!(health.is_ready(), Ok(()));
    wait_until("the breaker closes by itself", || {
        breaker.state() == BreakerState::Closed
    });
}

#[test]
fn a_check_that_never_returns_times_out() {
    let runtime = runtime();
    let check = Check {
        name: "redis",
        critical: false,
        target: "r".into(),
        ask: Box::new(|| Box::pin(std::future::pending())),
        breaker: None,
    };
    let record = runtime.block_on(run(&check));
    assert_eq!(record.status, Outcome::Timeout);
    assert!(record.error.unwrap().contains("no response"));
}

#[test]
fn a_worker_that_has_not_joined_is_not_ready_and_shutdown_ends_readiness_first() {
    let shutdown = Shutdown::default();
    let health = Health::new(shutdown.clone());
    assert_eq!(health.is_ready(), Ok(()));
    health.add_worker(WorkerStatus::new("normalize-0"), true);
    assert!(health.is_ready().unwrap_err().contains("joining"));
    assert_eq!(health.report().level, Level::Unhealthy);
    shutdown.request();
    assert_eq!(health.is_ready(), Err("shutting down".to_owned()));
    assert_eq!(health.is_live(), Ok(()));
}

#[test]
fn a_writer_that_waits_for_its_store_only_degrades() {
    let health = Health::new(Shutdown::default());
    health.add_worker(WorkerStatus::new("clickhouse-writer"), false);
    assert_eq!(health.report().level, Level::Degraded);
    assert_eq!(health.is_ready(), Ok(()));
}

#[test]
fn the_lag_of_a_group_without_a_worker_here_is_no_matter_of_this_process() {
    let health = Health::new(Shutdown::default());
    // Both groups read the same topic; the stage of derived prices is switched off.
    let groups = ["aggregation-local-curves", "aggregation-local-derived"];
    let lag = |group: &str| {
        let of_partition = PartitionLag {
            partition: Partition {
                topic: "legs".into(),
                number: 0,
            },
            committed: None,
            start: 0,
            end: 10,
        };
        (group.to_owned(), of_partition)
    };
    health.add_worker(WorkerStatus::new("curves"), false);
    health.join("curves", groups[0]);
    health.set_lag(&groups.map(lag));
    let report = health.report();
    let shown: Vec<_> = report.checks["partitions"].lag.iter().collect();
    assert_eq!(shown, [(&groups[0].to_owned(), &10)]);
    assert!(health.runs(groups[0]) && !health.runs(groups[1]));
}
