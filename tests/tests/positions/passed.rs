//! Records that were removed before they were processed, and records that an operator skips.

use super::*;

/// Checks that the service refuses to run with the partition and the offsets, runs the command in its message, and restarts
/// the service.
fn accept(pipeline: &Pipeline, service: Service, (topic, partition): (&str, i32), (from, to): (i64, i64)) {
    let message = refuses_to_run(pipeline, service);
    all_hold(
        &message,
        &[
            format!("{topic}[{partition}]"),
            format!("from {from} to {}", to - 1),
            format!(
                "`dp position accept {} --topic {topic} --partition {partition}`",
                service.name()
            ),
        ],
    );
    let shown = pipeline.dp(&["position", "show", service.name()]).output().unwrap();
    assert_eq!(shown.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    // The tool adds the options of its stack after its own name.
    let command = command_in(&message);
    assert!(shown.contains(command.trim_start_matches("dp ")), "{shown}");
    let answer = run_as_typed(pipeline, &command_in(&message));
    assert!(answer.contains(&format!("offsets {from} to {}", to - 1)), "{answer}");
    start(pipeline, &[service]);
}

fn shows_gap(checks: &[String], group: &str, topic: &str, partition: i32, (from, to): (i64, i64)) {
    let gap = format!(
        "accepted gap: {group} skipped {topic}[{partition}] offsets {from} to {}",
        to - 1
    );
    assert!(checks.contains(&gap), "{gap} is not among {checks:?}");
}

#[test]
fn raw_records_removed_before_reading_are_accepted_with_the_named_command() {
    let pipeline = filled();
    agrees(&pipeline);
    stop(&pipeline, &[Service::Normalization]);
    let from = end(&pipeline, RAW, 0);
    publish_to(&pipeline, 0, 20, "REMOVED");
    let to = from + 15;
    topics(&pipeline).delete_records(RAW, 0, to).unwrap();
    accept(&pipeline, Service::Normalization, (RAW, 0), (from, to));
    shows_gap(&agrees(&pipeline), "normalization-local", RAW, 0, (from, to));
}

/// A frozen stage detects the removal while running: Kafka has no record at its next offset.
#[test]
fn records_removed_from_a_running_stage_end_it_with_the_named_command() {
    let pipeline = filled();
    agrees(&pipeline);
    let (from, log_from) = (end(&pipeline, RAW, 3), log_length(&pipeline, Service::Normalization));
    pipeline.stack().pause(Service::Normalization).unwrap();
    // A fetch that waits at the broker takes the first of these to the frozen service, which cannot send another one.
    publish_to(&pipeline, 3, 1, "FROZEN");
    publish_to(&pipeline, 3, 100, "FROZEN-UNREAD");
    let to = end(&pipeline, RAW, 3);
    topics(&pipeline).delete_records(RAW, 3, to).unwrap();
    pipeline.stack().resume(Service::Normalization).unwrap();
    let message = ended(&pipeline, Service::Normalization, log_from);
    // Records that had already been fetched count as processed.
    all_hold(
        &message,
        &[format!("{RAW}[3]"), format!("to {}", to - 1), "in all".to_owned()],
    );
    run_as_typed(&pipeline, &command_in(&message));
    start(&pipeline, &[Service::Normalization]);
    let checks = agrees(&pipeline);
    let gap = format!("accepted gap: normalization-local skipped {RAW}[3] ");
    let shown = checks.iter().find(|check| check.starts_with(&gap));
    assert!(
        shown.is_some_and(|shown| shown.ends_with(&format!(" to {}", to - 1))),
        "{shown:?}, from {from}"
    );
}

/// One removal that affects positions in three locations: the state topic, PostgreSQL, and the floor of a table.
#[test]
fn enriched_records_removed_before_reading_are_accepted_for_stage_writer_and_projection() {
    let pipeline = filled();
    agrees(&pipeline);
    stop(&pipeline, &[Service::Aggregation, Service::Projection]);
    // The writer of this topic runs in the service that fills it. It must not write while the stage continues.
    pipeline.stack().kill9(localstack::Server::ClickHouse).unwrap();
    let from = end(&pipeline, ENRICHED, 1);
    publish_to(&pipeline, 1, 60, "UNREAD");
    eventually("records arrive", || Ok(end(&pipeline, ENRICHED, 1) > from + 2)).unwrap();
    stop(&pipeline, &[Service::Enrichment]);
    let to = end(&pipeline, ENRICHED, 1);
    topics(&pipeline).delete_records(ENRICHED, 1, to).unwrap();
    pipeline.stack().start(localstack::Server::ClickHouse).unwrap();
    pipeline
        .stack()
        .wait_ready(localstack::Server::ClickHouse, PATIENCE)
        .unwrap();
    for service in [Service::Enrichment, Service::Aggregation, Service::Projection] {
        accept(&pipeline, service, (ENRICHED, 1), (from, to));
    }
    publish_to(&pipeline, 1, 20, "AFTERWARDS");
    let checks = agrees(&pipeline);
    for group in ["enrichment-local-clickhouse", "aggregation-local", "projection-local"] {
        shows_gap(&checks, group, ENRICHED, 1, (from, to));
    }
}

/// The tables lack records that the stages have read: bars and prices contain ticks that `enriched_ticks` does not.
#[test]
fn records_removed_before_they_were_inserted_are_accepted_for_the_writer() {
    const BARS: &str = "aggregation.bars.v1";
    let pipeline = filled();
    agrees(&pipeline);
    pipeline.stack().kill9(localstack::Server::ClickHouse).unwrap();
    let (from, bars_from) = (end(&pipeline, ENRICHED, 2), end(&pipeline, BARS, 2));
    publish_to(&pipeline, 1, 60, "UNWRITTEN");
    eventually("bars arrive", || Ok(end(&pipeline, BARS, 2) > bars_from + 10)).unwrap();
    stop(&pipeline, &[Service::Enrichment, Service::Aggregation]);
    let (to, bars_to) = (end(&pipeline, ENRICHED, 2), end(&pipeline, BARS, 2));
    topics(&pipeline).delete_records(ENRICHED, 2, to).unwrap();
    topics(&pipeline).delete_records(BARS, 2, bars_to).unwrap();
    pipeline.stack().start(localstack::Server::ClickHouse).unwrap();
    pipeline
        .stack()
        .wait_ready(localstack::Server::ClickHouse, PATIENCE)
        .unwrap();
    accept(&pipeline, Service::Enrichment, (ENRICHED, 2), (from, to));
    accept(&pipeline, Service::Aggregation, (BARS, 2), (bars_from, bars_to));
    let checks = agrees(&pipeline);
    shows_gap(&checks, "enrichment-local-clickhouse", ENRICHED, 2, (from, to));
    shows_gap(&checks, "aggregation-local-clickhouse", BARS, 2, (bars_from, bars_to));
}

#[test]
fn normalized_records_removed_before_reading_are_accepted_for_the_next_stage() {
    let pipeline = filled();
    agrees(&pipeline);
    stop(&pipeline, &[Service::Enrichment]);
    let from = end(&pipeline, NORMALIZED, 2);
    publish_to(&pipeline, 2, 60, "LOST");
    eventually("records arrive", || Ok(end(&pipeline, NORMALIZED, 2) > from + 2)).unwrap();
    let to = end(&pipeline, NORMALIZED, 2);
    eventually("the writer has them", || {
        let sql = format!(
            "SELECT count() FROM market_ticks WHERE src_partition = 2 AND src_offset = {}",
            to - 1
        );
        Ok(pipeline.clickhouse.number(&sql)? == 1)
    })
    .unwrap();
    topics(&pipeline).delete_records(NORMALIZED, 2, to).unwrap();
    accept(&pipeline, Service::Enrichment, (NORMALIZED, 2), (from, to));
    shows_gap(&agrees(&pipeline), "enrichment-local", NORMALIZED, 2, (from, to));
}

#[test]
fn skipped_records_are_shown_as_an_accepted_gap_and_are_missing_without_it() {
    let pipeline = filled();
    agrees(&pipeline);
    let (from, command) = (end(&pipeline, RAW, 1), |to: i64| {
        format!("dp position skip normalization --topic {RAW} --partition 1 --to {to} --reason 'a test'")
    });
    for (to, why) in [(from + 1, "between"), (from - 1, "a position cannot move backward")] {
        let refused = pipeline
            .dp(&[
                "position",
                "skip",
                "normalization",
                "--topic",
                RAW,
                "--partition",
                "1",
                "--to",
                &to.to_string(),
            ])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains(why), "{told}");
    }
    stop(&pipeline, &[Service::Normalization]);
    publish_to(&pipeline, 1, 12, "PASSED");
    run_as_typed(&pipeline, &format!("{} --dry-run", command(from + 5)));
    assert_eq!(
        pipeline
            .clickhouse
            .number("SELECT count() FROM accepted_gaps WHERE reason = 'a test'")
            .unwrap(),
        0
    );
    run_as_typed(&pipeline, &command(from + 5));
    start(&pipeline, &[Service::Normalization]);
    shows_gap(&agrees(&pipeline), "normalization-local", RAW, 1, (from, from + 5));

    pipeline
        .clickhouse
        .run("CREATE TABLE kept ENGINE = Memory AS SELECT * FROM accepted_gaps")
        .unwrap();
    pipeline.clickhouse.run("TRUNCATE TABLE accepted_gaps").unwrap();
    let verified = pipeline.verify().unwrap();
    pipeline
        .clickhouse
        .run("INSERT INTO accepted_gaps SELECT * FROM kept")
        .unwrap();
    pipeline.clickhouse.run("DROP TABLE kept").unwrap();
    assert_eq!(verified.code, 1, "{:?}", verified.failed());
    assert!(
        verified.names(&[&format!("{RAW}/1/{from}/0"), "is missing"]),
        "{:?}",
        verified.differences()
    );
    agrees(&pipeline);
}
