//! What an operator sees during failures: few log lines that count every message, and `dp` commands that end with a reason.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use e2e::{Pipeline, RAW, eventually};
use localstack::{Name, Server, Service};
use serde_json::Value;
use testkit::kafka::{self, Outgoing, Publisher};

const FLOOD: u64 = 5_000;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_flood_of_poison_gives_few_log_lines_that_count_every_message() {
    let pipeline = Pipeline::shared();
    let (bootstrap, log) = (pipeline.bootstrap(), pipeline.stack().log(Service::Normalization));
    let began = fs::metadata(&log).unwrap().len() as usize;
    let dead_letters =
        || -> anyhow::Result<i64> { Ok(kafka::ends(&bootstrap, "dlq")?.iter().map(|(_, end)| end).sum::<i64>()) };
    let before = dead_letters().unwrap();

    let mut publisher = Publisher::new(&bootstrap, RAW).unwrap();
    let one_byte = Outgoing {
        payload: b"x".to_vec(),
        ..Outgoing::default()
    };
    for _ in 0..FLOOD {
        publisher.send(&one_byte).unwrap();
    }
    publisher.finish().unwrap();
    eventually("each is a dead letter", || Ok(dead_letters()? - before >= FLOOD as i64)).unwrap();

    let lines = || -> anyhow::Result<Vec<Value>> {
        let bytes = fs::read(&log)?;
        let text = String::from_utf8_lossy(bytes.get(began..).unwrap_or_default()).into_owned();
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    };
    let dlq = |lines: &[Value]| {
        lines
            .iter()
            .filter(|line| line["event"] == "dlq")
            .cloned()
            .collect::<Vec<_>>()
    };
    // A summary line only counts; every other line stands for one message.
    let counted = |line: &Value| line["suppressed"].as_u64().unwrap_or(0) + u64::from(line["see"].is_null());
    eventually("the log counts each", || {
        Ok(dlq(&lines()?).iter().map(counted).sum::<u64>() >= FLOOD)
    })
    .unwrap();
    let lines = lines().unwrap();
    let dlq = dlq(&lines);
    assert_eq!(dlq.iter().map(counted).sum::<u64>(), FLOOD);
    assert!(dlq.len() < 300, "{} lines for {FLOOD} messages", dlq.len());
    assert!(dlq.iter().any(|line| line["see"] == "dp tail dlq"), "{dlq:?}");
    let with_place = dlq.iter().find(|line| line["offset"].is_i64()).unwrap();
    let place = format!("{RAW}/{}/{}", with_place["partition"], with_place["offset"]);
    assert_eq!(with_place["correlation_id"], place);
    for line in lines
        .iter()
        .filter(|line| line["level"] == "WARN" || line["level"] == "ERROR")
    {
        assert!(
            line["correlation_id"].as_str().is_some_and(|id| !id.is_empty()),
            "{line}"
        );
    }
    pipeline.agree().unwrap();
}

#[test]
fn with_a_frozen_server_status_and_every_command_name_it() {
    let pipeline = Pipeline::shared();
    let stack = pipeline.stack();
    eventually("all is healthy", || {
        Ok(pipeline.dp(&["status"]).output()?.status.success())
    })
    .unwrap();
    for (server, commands) in [
        (Server::ClickHouse, &[&["sql", "SELECT 1"][..]][..]),
        (Server::Kafka, &[&["groups"][..], &["tail", "raw"]]),
    ] {
        stack.pause(server).unwrap();
        let asked: Vec<(Vec<&str>, Duration, Output)> = commands
            .iter()
            .map(|arguments| {
                let began = Instant::now();
                let output = pipeline.dp(arguments).output().unwrap();
                (arguments.to_vec(), began.elapsed(), output)
            })
            .collect();
        let status = pipeline.dp(&["status"]).output().unwrap();
        stack.resume(server).unwrap();
        let port = stack.port(server).unwrap().to_string();
        for (arguments, took, output) in asked {
            let text = text(&output);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
            assert!(
                text.contains(&port) && text.contains("does not answer") || text.contains("is it running"),
                "{text}"
            );
            assert!(took < Duration::from_secs(40), "{arguments:?} took {took:?}");
        }
        assert_eq!(status.status.code(), Some(1));
        assert!(
            text(&status).contains(&format!("{}: frozen", Name::from(server))),
            "{}",
            text(&status)
        );
    }
    eventually("all is healthy again", || {
        Ok(pipeline.dp(&["status"]).output()?.status.success())
    })
    .unwrap();
}

#[test]
fn sql_is_read_only_without_the_write_flag() {
    let pipeline = Pipeline::shared();
    for (arguments, why) in [
        (&["sql", "DROP TABLE market_ticks"][..], "--write allows it"),
        (&["sql", "SYSTEM SHUTDOWN"], "administers"),
        (&["sql", "--write", "SYSTEM SHUTDOWN"], "administers"),
        (&["sql", "--write", "DROP TABLE market_ticks"], "data or tables (DROP)"),
        (
            &["sql", "--write", "ALTER TABLE market_ticks DELETE WHERE 1"],
            "with --yes",
        ),
    ] {
        let output = pipeline.dp(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output).contains(why), "{arguments:?}: {}", text(&output));
    }
    pipeline.clickhouse.number("SELECT count() FROM market_ticks").unwrap();
    let made = pipeline
        .dp(&["sql", "--write", "CREATE TABLE scratch (a Int8) ENGINE = Memory"])
        .output()
        .unwrap();
    assert!(made.status.success() && text(&made).contains("done"), "{}", text(&made));
    pipeline
        .dp_ok(&["sql", "--write", "--yes", "DROP TABLE scratch"])
        .unwrap();
}

#[test]
fn user_settings_override_the_tuning_of_the_stack_and_services_use_their_own_stack() {
    let pipeline = Pipeline::shared();
    let configured = |service: Service, name: &str| {
        let info: Value = serde_json::from_str(&pipeline.get(service, "/info").unwrap().1).unwrap();
        info["configuration"][name].as_str().map(str::to_owned)
    };
    let projection = format!("http://127.0.0.1:{}", pipeline.stack().config().ports.projection);
    assert_eq!(
        configured(Service::Normalization, "NORMALIZATION_PROJECTION_URL"),
        Some(projection)
    );
    for (set, expected) in [(Some("777"), "777"), (None, "25000")] {
        let mut restart = pipeline.dp(&["restart", "projection"]);
        restart.envs(set.map(|value| ("DATA_PROC_MAX_BATCH_SIZE", value)));
        let output = restart.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(
            configured(Service::Projection, "DATA_PROC_MAX_BATCH_SIZE").as_deref(),
            Some(expected)
        );
    }
    let mut elsewhere = pipeline.dp(&["restart", "projection"]);
    let output = elsewhere.env("DATA_PROC_ENV", "prod").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("DATA_PROC_ENV is prod"), "{}", text(&output));
    eventually("all is healthy", || {
        Ok(pipeline.dp(&["status"]).output()?.status.success())
    })
    .unwrap();
    // A process that `dp` has started is not a child of this program, but other tests wait for their child processes.
    assert!(pipeline.stack().stop(Service::Projection).unwrap());
    pipeline.stack().start_services().unwrap();
}

#[test]
fn an_interrupted_command_reports_it() {
    let pipeline = Pipeline::shared();
    let mut tail = pipeline
        .dp(&["tail", "raw", "--follow", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdout, (sender, seen)) = (BufReader::new(tail.stdout.take().unwrap()), std::sync::mpsc::channel());
    // Reads to the end: without a reader the next message, of any test, would end the command as a closed pipe does.
    let reader = std::thread::spawn(move || stdout.lines().for_each(|line| sender.send(line.unwrap()).unwrap_or(())));
    // It follows once it shows a message that was published after its start.
    eventually("it follows", || {
        pipeline.dp_ok(&["send", "--market", "miso", "--instrument", "TAIL", "--price", "1"])?;
        Ok(seen.try_recv().is_ok())
    })
    .unwrap();
    let interrupted = Command::new("kill")
        .args(["-INT", &tail.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let status = tail.wait().unwrap();
    let mut told = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    reader.join().unwrap();
    assert_eq!(
        (status.code(), told.contains("interrupted")),
        (Some(130), true),
        "{told}"
    );
}
