//! Logs that differ from what was read: the named command builds a new generation.

use std::path::PathBuf;

use localstack::Server;

use super::*;

/// Runs the command in the message, and checks that the new generation agrees with the raw log.
fn next_generation(pipeline: &Pipeline, message: &str, generation: &str) {
    let command = command_in(message);
    assert!(
        command.contains(&format!("DATA_PROC_GENERATION={generation} dp restart")),
        "{command}"
    );
    stop(pipeline, &SERVICES);
    run_as_typed(pipeline, &command);
    publish_to(pipeline, 1, 30, &format!("NEW{generation}"));
    let verified = pipeline
        .dp(&["--json", "verify", "--wait", "120"])
        .env("DATA_PROC_GENERATION", generation)
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}{}",
        String::from_utf8_lossy(&verified.stdout),
        String::from_utf8_lossy(&verified.stderr)
    );
    let rows = format!("SELECT count() FROM market_ticks_{generation} WHERE instrument_id LIKE '%NEW{generation}%'");
    assert_eq!(pipeline.clickhouse.number(&rows).unwrap(), 30);
}

fn segments(pipeline: &Pipeline, partition: i32) -> Vec<PathBuf> {
    let folder = format!("{RAW}-{partition}");
    let mut found = Vec::new();
    let mut folders = vec![pipeline.stack().config().dir.clone()];
    while let Some(dir) = folders.pop() {
        for entry in std::fs::read_dir(dir)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_dir())
        {
            if entry.file_name().to_string_lossy() == folder {
                let files = std::fs::read_dir(entry.path())
                    .unwrap()
                    .flatten()
                    .map(|file| file.path());
                found.extend(files.filter(|file| file.extension().is_some_and(|kind| kind != "metadata")));
            } else {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Simulates data loss in Kafka: removes the files of a partition while it is down.
fn lose_the_log(pipeline: &Pipeline, partition: i32) {
    pipeline.stack().stop(Server::Kafka).unwrap();
    let files = segments(pipeline, partition);
    assert!(!files.is_empty());
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    pipeline.stack().start(Server::Kafka).unwrap();
    pipeline.stack().wait_ready(Server::Kafka, PATIENCE).unwrap();
}

/// The cases run one after the other on one stack. Each leaves a generation behind.
#[test]
fn a_truncated_log_a_refilled_log_and_a_recreated_topic_are_refused_until_a_new_generation() {
    let pipeline = Pipeline::start().unwrap();
    publish_to(&pipeline, 2, 40, "FIRST");
    agrees(&pipeline);

    stop(&pipeline, &SERVICES);
    lose_the_log(&pipeline, 2);
    let message = refuses_to_run(&pipeline, Service::Normalization);
    all_hold(&message, &[format!("{RAW}[2]"), "from 0 to 39".to_owned()]);

    // New records get the old offsets, so the position is within the log again.
    publish_to(&pipeline, 2, 60, "SECOND");
    let message = refuses_to_run(&pipeline, Service::Normalization);
    all_hold(
        &message,
        &[
            format!("{RAW}[2]"),
            "from 0 to 39".to_owned(),
            "other records".to_owned(),
        ],
    );

    let topics = topics(&pipeline);
    topics.add_partitions(NORMALIZED, 6).unwrap();
    let differs = refuses_to_run(&pipeline, Service::Enrichment);
    all_hold(&differs, &[format!("{NORMALIZED} has 6"), command_in(&message)]);
    next_generation(&pipeline, &message, "g2");

    let log_from = log_length(&pipeline, Service::Normalization);
    topics.delete(RAW).unwrap();
    eventually("the topic is recreated", || {
        let made = pipeline
            .dp(&["topics", "create"])
            .env("DATA_PROC_GENERATION", "g2")
            .output()?;
        Ok(made.status.success() && String::from_utf8_lossy(&made.stdout).contains(RAW))
    })
    .unwrap();
    publish_to(&pipeline, 1, 10, "THIRD");
    let message = ended(&pipeline, Service::Normalization, log_from);
    all_hold(
        &message,
        &[
            RAW.to_owned(),
            "deleted and recreated".to_owned(),
            "from 0 on".to_owned(),
        ],
    );
    next_generation(&pipeline, &message, "g3");
}
