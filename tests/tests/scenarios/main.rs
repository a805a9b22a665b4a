//! Four faults of `docs/faults.md`, each with its signs and its cure. `make test-scenarios` runs all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use e2e::scenarios::{Ground, described};

/// A process, the server with the tables, the server with the latest prices, and a foreign program at the third server. Their signs come
/// and go within seconds, but for the log line about a group that has committed nothing for a minute. Those of the others need a rate over
/// a minute or more, a lag that grows, or a disk of 3 GB in memory.
const IN_EVERY_RUN: [&str; 4] = [
    "A service is down",
    "ClickHouse is down",
    "Redis is down",
    "The connections of PostgreSQL are nearly used up",
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
