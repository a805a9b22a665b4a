//! Four faults of `docs/faults.md`, each with its signs and its cure. `make test-scenarios` runs all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use e2e::scenarios::{Ground, described};

/// A process, the server with the tables, the server with the latest prices, and a producer: one fault of each kind.
const IN_EVERY_RUN: [&str; 4] = [
    "A service is down",
    "ClickHouse is down",
    "Redis is down",
    "A flood of messages that nothing can read",
];

#[test]
fn each_fault_shows_its_signs_and_the_documented_cure_ends_it() {
    let faults = described().unwrap();
    let ground = Ground::start(&[]).unwrap();
    for (seed, title) in (1..).zip(IN_EVERY_RUN) {
        let (fault, cause) = faults.iter().find(|(fault, _)| fault.title == title).unwrap();
        let outcome = ground
            .run(fault, *cause, seed, &mut |step| println!("{title}: {step}"))
            .unwrap();
        println!("{outcome}");
        assert!(outcome.findings.is_empty(), "{outcome}");
    }
}
