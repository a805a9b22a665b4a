//! Outages in which the server answers, but badly; short. Servers that are away, and the long form of all of them:
//! `make test-outages`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use e2e::outages::{Outage, on_own_stack};

#[test]
fn a_slow_clickhouse_and_a_full_disk_stop_nothing_else_and_lose_nothing() {
    e2e::build_programs().unwrap();
    let outages = [Outage::SlowClickHouse, Outage::FullDisk];
    let passed = on_own_stack(&outages, Duration::from_secs(20), 254, 400, |passed| {
        println!("{passed}")
    })
    .unwrap();
    for passed in passed {
        assert!(passed.findings.is_empty(), "{passed}");
    }
}
