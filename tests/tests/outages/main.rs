//! Short outages in which ClickHouse is slow or its disk is full. `make test-outages` runs all outages for minutes, including
//! servers that are down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use e2e::outages::{Outage, SmallDisk, on_own_stack};
use e2e::{PATIENCE, eventually};
use localstack::{Server, Temporary};
use testkit::stores::ClickHouse;

#[test]
fn a_slow_clickhouse_and_a_full_disk_stop_nothing_else_and_lose_nothing() {
    e2e::build_programs().unwrap();
    let outages = [Outage::SlowClickHouse, Outage::FullDisk];
    let results = on_own_stack(&outages, Duration::from_secs(20), 254, 400, |result| {
        println!("{result}")
    })
    .unwrap();
    for result in results {
        assert!(result.findings.is_empty(), "{result}");
    }
}

/// Without `dp-clickhouse`, the engine of the local stack would commit the merged part with empty files.
#[test]
fn a_merge_during_which_the_disk_fills_waits_for_room_and_ends_whole() {
    e2e::build_programs().unwrap();
    let stack = Temporary::new().unwrap();
    let mounted = SmallDisk::mount(&stack.config().dir.join("clickhouse/data"), 300).unwrap();
    let Some(disk) = mounted.or_skipped() else {
        return;
    };
    stack.start(Server::ClickHouse).unwrap();
    stack.wait_ready(Server::ClickHouse, PATIENCE).unwrap();
    let url = format!("http://127.0.0.1:{}", stack.config().ports.clickhouse_http);
    let clickhouse = ClickHouse::new(&url, "default");
    let run = |sql: &str| clickhouse.run(sql).unwrap();
    run("CREATE TABLE slow_to_merge (n UInt64, text String CODEC(ZSTD(19))) ENGINE = MergeTree ORDER BY n");
    run("SYSTEM STOP MERGES slow_to_merge");
    for part in 0..4 {
        run(&format!(
            "INSERT INTO slow_to_merge SELECT number + {part}, randomPrintableASCII(200) FROM numbers(20000)"
        ));
    }
    let content = "SELECT sum(cityHash64(n, text)) % 1000000007 FROM slow_to_merge";
    let before = clickhouse.number(content).unwrap();

    run("SYSTEM START MERGES slow_to_merge");
    std::thread::scope(|scope| {
        let merged = scope.spawn(|| clickhouse.run("OPTIMIZE TABLE slow_to_merge FINAL"));
        eventually("the merge is running", || {
            Ok(clickhouse.number("SELECT count() FROM system.merges WHERE progress > 0")? > 0)
        })
        .unwrap();
        disk.fill().unwrap();
        eventually("a write waits for room", || {
            let log = std::fs::read_to_string(stack.log(Server::ClickHouse))?;
            Ok(log.contains("the disk is full: writes wait until there is room"))
        })
        .unwrap();
        disk.empty().unwrap();
        merged.join().unwrap().unwrap();
    });
    let parts = "SELECT count() FROM system.parts WHERE table = 'slow_to_merge' AND active";
    assert_eq!(clickhouse.number(parts).unwrap(), 1);
    assert_eq!(clickhouse.number(content).unwrap(), before);
    // Columns: part, whether it is intact, and its error.
    let checked = clickhouse.rows("CHECK TABLE slow_to_merge").unwrap();
    assert_eq!(
        checked.iter().map(|part| part[1].as_str()).collect::<Vec<_>>(),
        ["1"],
        "{checked:?}"
    );
}
