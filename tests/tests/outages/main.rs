//! The outage in which the server answers, but late; short. Servers that are away, a full disk, and the long form of all
//! of them: `make test-outages`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use e2e::outages::{Outage, on_own_stack};

#[test]
fn a_slow_clickhouse_stops_nothing_else_and_loses_nothing() {
    e2e::build_programs().unwrap();
    let outages = [Outage::SlowClickHouse];
    let passed = on_own_stack(&outages, Duration::from_secs(20), 254, 400, |passed| {
        println!("{passed}")
    })
    .unwrap();
    for passed in passed {
        assert!(passed.findings.is_empty(), "{passed}");
    }
}
