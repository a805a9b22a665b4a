//! What `dp` and the services must not do: remove or write data without consent, show a secret, or continue after Ctrl-C.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod interrupts;
mod secrets;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use e2e::{Pipeline, RAW, eventually};
use localstack::{Ports, Server, Service, Stack, StackConfig};
use testkit::kafka::{self, Outgoing, Publisher};

/// The stdout and stderr of a program.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// `dp` with these arguments and without the `DATA_PROC_` variables of the test, for another stack.
pub fn bare_dp(pipeline: &Pipeline, arguments: &[&str]) -> Command {
    let mut command = Command::new(pipeline.stack().config().bin_dir.join("dp"));
    let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in ours.filter(|name| name.starts_with("DATA_PROC_") && name != "DATA_PROC_CACHE") {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A stack in its own folder that was created but never started.
fn idle_stack(parent: &Path) -> Stack {
    Stack::new(StackConfig::new(parent.join("stack"), Ports::free().unwrap())).unwrap()
}

#[test]
fn data_is_removed_only_with_consent_and_foreign_files_are_kept() {
    let pipeline = Pipeline::shared();
    let parent = tempfile::tempdir().unwrap();
    let stack = idle_stack(parent.path());
    let dir = &stack.config().dir;
    for (folder, file) in [
        (".", "thesis.txt"),
        ("logs", "notes.txt"),
        ("logs", "kafka.log"),
        ("redis", "redis.conf"),
    ] {
        fs::create_dir_all(dir.join(folder)).unwrap();
        fs::write(dir.join(folder).join(file), "years of work").unwrap();
    }
    let clean = |more: &[&str]| {
        let arguments = [&["--dir", dir.to_str().unwrap(), "clean-data"], more].concat();
        bare_dp(&pipeline, &arguments).output().unwrap()
    };
    let refused = clean(&[]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("--yes"), "{}", text(&refused));
    assert!(dir.join("redis/redis.conf").exists() && dir.join("stack.json").exists());
    let tried = clean(&["--dry-run"]);
    assert!(tried.status.success(), "{}", text(&tried));
    assert!(
        text(&tried).contains(&format!("would remove {}; nothing runs there", dir.display())),
        "{}",
        text(&tried)
    );
    assert!(dir.join("redis/redis.conf").exists() && dir.join("stack.json").exists());
    let done = clean(&["--yes"]);
    assert!(done.status.success(), "{}", text(&done));
    for (file, stays) in [
        ("thesis.txt", true),
        ("logs/notes.txt", true),
        ("logs/kafka.log", false),
        ("redis", false),
        ("stack.json", false),
    ] {
        assert_eq!(dir.join(file).exists(), stays, "{file}");
    }
    // A folder with other files is rejected as the folder of a stack.
    let up = bare_dp(
        &pipeline,
        &["--dir", dir.to_str().unwrap(), "up", "--port-offset", "11000"],
    )
    .output()
    .unwrap();
    assert_eq!(up.status.code(), Some(2), "{}", text(&up));
    assert!(text(&up).contains("other files"), "{}", text(&up));
}

#[test]
fn a_stack_and_an_environment_with_different_servers_are_refused_and_both_are_named() {
    let pipeline = Pipeline::shared();
    let own = pipeline.bootstrap();
    for arguments in [
        &["groups"][..],
        &["simulate", "--ticks", "1"],
        &["sql", "SELECT 1"],
        &["start", "normalization"],
    ] {
        let output = pipeline
            .dp(arguments)
            .env("DATA_PROC_KAFKA_BOOTSTRAP", "kafka.example:9092")
            .output()
            .unwrap();
        let told = text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(
            told.contains("DATA_PROC_KAFKA_BOOTSTRAP is kafka.example:9092") && told.contains(&own),
            "{arguments:?}: {told}"
        );
    }
}

#[test]
fn nothing_is_written_to_another_environment_unless_the_user_agrees() {
    let pipeline = Pipeline::shared();
    let ends = || kafka::ends(&pipeline.bootstrap(), RAW).unwrap();
    let document = tempfile::NamedTempFile::new().unwrap();
    let before = ends();
    let env = pipeline.stack().env();
    let elsewhere = |arguments: &[&str]| {
        let mut command = bare_dp(&pipeline, arguments);
        command
            .envs(&env)
            .env("DATA_PROC_ENV", "staging")
            .env("DATA_PROC_CLICKHOUSE_PASSWORD", "x")
            .env("DATA_PROC_POSTGRES_DSN", "postgresql://dp:x@127.0.0.1:1/db")
            .env("DATA_PROC_TOPIC_PARTITIONS", "4");
        command
    };
    for arguments in [
        &["simulate", "--ticks", "1"][..],
        &["send", "--raw", "{}"],
        &["ingest", document.path().to_str().unwrap()],
        &["migrate"],
        &["topics", "create"],
        &["sql", "--write", "DROP TABLE market_ticks"],
        &["position", "accept", "enrichment"],
        &[
            "position",
            "skip",
            "enrichment",
            "--topic",
            RAW,
            "--partition",
            "0",
            "--to",
            "1",
        ],
    ] {
        let output = elsewhere(arguments).output().unwrap();
        let told = text(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(
            told.contains("write to staging") && told.contains("--yes"),
            "{arguments:?}: {told}"
        );
    }
    assert_eq!(ends(), before);
    // A dry run is a read, whatever it says about the servers.
    let dry = text(
        &elsewhere(&["position", "accept", "enrichment", "--dry-run"])
            .output()
            .unwrap(),
    );
    assert!(!dry.contains("write to staging"), "{dry}");
    let read = elsewhere(&["topics", "list"]).output().unwrap();
    assert!(read.status.success(), "{}", text(&read));
}

#[test]
fn a_dropped_table_is_named_by_verify_and_recreated_by_migrate() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(2_000, 71_000).unwrap();
    pipeline.agree().unwrap();
    pipeline
        .dp_ok(&["sql", "--write", "--yes", "DROP TABLE market_ticks"])
        .unwrap();
    pipeline.publish_once(2_000, 72_000).unwrap();
    eventually("the health of normalization names the table and the remedy", || {
        let (_, health) = pipeline.get(Service::Normalization, "/health")?;
        Ok(health.contains("market_ticks") && health.contains("dp migrate"))
    })
    .unwrap();
    let verified = pipeline.dp(&["verify"]).output().unwrap();
    let told = text(&verified);
    assert_eq!(verified.status.code(), Some(2), "{told}");
    assert!(
        told.contains("has no market_ticks") && told.contains("migrate`"),
        "{told}"
    );
    let migrated = pipeline.dp_ok(&["migrate"]).unwrap();
    assert!(migrated.contains("recreated in ClickHouse: market_ticks"), "{migrated}");
    pipeline.agree().unwrap();
    let again = pipeline.dp_ok(&["migrate"]).unwrap();
    assert!(!again.contains("recreated"), "{again}");
}

#[test]
fn a_table_that_is_recreated_while_its_writer_runs_is_complete() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(2_000, 73_000).unwrap();
    pipeline.agree().unwrap();
    // Nothing is published in between, so no writer can have noticed.
    pipeline
        .dp_ok(&["sql", "--write", "--yes", "DROP TABLE enriched_ticks"])
        .unwrap();
    pipeline.dp_ok(&["migrate"]).unwrap();
    pipeline.publish_once(2_000, 74_000).unwrap();
    pipeline.stack().start_services().unwrap();
    pipeline.agree().unwrap();
}

#[test]
fn verify_waits_until_a_table_that_was_renamed_is_filled_again() {
    let pipeline = Pipeline::shared();
    pipeline.publish_once(2_000, 75_000).unwrap();
    pipeline.agree().unwrap();
    let stack = pipeline.stack();
    assert!(stack.stop(Service::Aggregation).unwrap());
    let sql = |statement: &str| pipeline.dp_ok(&["sql", "--write", "--yes", statement]).unwrap();
    sql("RENAME TABLE bars TO bars_damaged");
    pipeline.dp_ok(&["migrate"]).unwrap();
    // The group has committed the ends of its topics, and its writer has not found its table empty yet.
    stack.start(Service::Aggregation).unwrap();
    let verified = pipeline.verify().unwrap();
    assert_eq!(verified.code, 0, "{}", verified.report);
    sql("DROP TABLE bars_damaged SYNC");
}

#[test]
fn control_characters_of_producers_never_reach_a_terminal() {
    let pipeline = Pipeline::shared();
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let odd = "key\u{1b}[2J\r\n\u{9b}31m";
    publisher
        .send(&Outgoing {
            partition: Some(0),
            key: Some(odd.to_owned()),
            payload: format!("no JSON {odd}").into_bytes(),
            headers: vec![("x\u{1b}]0;title\u{7}".to_owned(), odd.to_owned())],
        })
        .unwrap();
    publisher.finish().unwrap();
    let (partition, end) = kafka::ends(&pipeline.bootstrap(), RAW).unwrap()[0];
    let offset = (end - 1).to_string();
    eventually("it is a dead letter", || {
        Ok(text(&pipeline.dp(&["tail", "dlq", "--limit", "1"]).output()?).contains("key"))
    })
    .unwrap();
    for arguments in [
        &[
            "tail",
            "raw",
            "--partition",
            &partition.to_string(),
            "--offset",
            &offset,
            "--limit",
            "1",
        ][..],
        &["tail", "raw", "--limit", "1", "--json"],
        &["tail", "dlq", "--limit", "1"],
        &[
            "explain",
            "row",
            "--partition",
            &partition.to_string(),
            "--offset",
            &offset,
        ],
        &["logs", "normalization"],
        &["sql", "SELECT 'a\u{1b}[2J' FORMAT JSON"],
        &["sql", "SELECT 'a\u{1b}[2J', char(0, 27, 155)"],
        &["sql", "SELECT 'a\u{1b}[2J' FORMAT Vertical"],
    ] {
        let output = pipeline.dp(arguments).output().unwrap();
        let told = text(&output);
        let bad = told.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        assert_eq!(bad, None, "{arguments:?}: {}", told.escape_debug());
    }
}

#[test]
fn an_empty_result_prints_0_rows_and_an_invalid_time_is_answered_with_an_example() {
    let pipeline = Pipeline::shared();
    let output = pipeline
        .dp(&["sql", "SELECT * FROM market_ticks WHERE 0"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "0 rows");
    let json = pipeline
        .dp_ok(&["--json", "sql", "SELECT * FROM market_ticks WHERE 0"])
        .unwrap();
    assert_eq!(json.split_whitespace().collect::<String>(), "[]");
    let bar = [
        "explain",
        "bar",
        "--instrument",
        "X",
        "--interval",
        "1h",
        "--start",
        "yesterday",
    ];
    let output = pipeline.dp(&bar).output().unwrap();
    assert!(text(&output).contains("2026-10-01T00:05Z"), "{}", text(&output));
}

#[test]
fn status_shows_no_unrelated_log_line_as_the_reason_of_an_end() {
    let pipeline = Pipeline::shared();
    let stack = pipeline.stack();
    let pid = stack.pid(Server::Redis).unwrap();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    eventually("it has ended", || Ok(stack.pid(Server::Redis).is_none())).unwrap();
    let status = text(&pipeline.dp(&["status"]).output().unwrap());
    stack.up().unwrap();
    assert!(status.contains("redis: ended, and its log names no reason"), "{status}");
}
