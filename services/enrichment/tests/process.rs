//! The process as an operator sees it: exit codes, log lines, probes and SIGTERM, while every dependency is down.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn command(env: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enrichment"));
    command
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped());
    command
}

/// A port without a listener.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

struct Service {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Service {
    fn start() -> Service {
        let closed = closed_port();
        let mut child = command(&[
            ("DATA_PROC_HEALTH_PORT", "0".to_owned()),
            ("DATA_PROC_KAFKA_BOOTSTRAP", format!("127.0.0.1:{closed}")),
            ("DATA_PROC_CLICKHOUSE_URL", format!("http://127.0.0.1:{closed}")),
            (
                "DATA_PROC_POSTGRES_DSN",
                format!("postgresql://u:p@127.0.0.1:{closed}/db"),
            ),
            ("DATA_PROC_REDIS_URL", format!("redis://127.0.0.1:{closed}/0")),
            ("DATA_PROC_WORKER", "3".to_owned()),
        ])
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut seen = Vec::new();
        let port = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "ended early: {seen:?}");
            let parsed: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if parsed["event"] == "started" {
                let addresses = parsed["addresses"].as_str().unwrap().to_owned();
                break addresses
                    .trim_matches(['[', ']'])
                    .rsplit(':')
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
            }
            seen.push(parsed);
        };
        let unknown = seen.iter().find(|line| line["variable"] == "DATA_PROC_WORKER");
        assert_eq!(unknown.map(|line| &line["level"]), Some(&"WARN".into()), "{seen:?}");
        assert_eq!(
            unknown.map(|line| &line["nearest"]),
            Some(&"DATA_PROC_WORKERS".into()),
            "{seen:?}"
        );
        Service { child, lines, port }
    }

    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn each_invalid_setting_is_logged_as_fatal_and_the_exit_code_is_two() {
    let output = command(&[
        ("DATA_PROC_ENV", "production".to_owned()),
        ("DATA_PROC_WORKERS", "none".to_owned()),
        ("ENRICHMENT_CONFIDENCE_THRESHOLD", "7".to_owned()),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, name) in lines
        .iter()
        .zip(["DATA_PROC_ENV", "DATA_PROC_WORKERS", "ENRICHMENT_CONFIDENCE_THRESHOLD"])
    {
        assert_eq!(line["level"], "FATAL");
        assert!(line["error"].as_str().unwrap().contains(name), "{line}");
    }
}

#[test]
fn a_port_in_use_is_logged_as_fatal_and_the_exit_code_is_one() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let closed = closed_port();
    let output = command(&[
        ("DATA_PROC_HEALTH_PORT", port.to_string()),
        ("DATA_PROC_KAFKA_BOOTSTRAP", format!("127.0.0.1:{closed}")),
        (
            "DATA_PROC_POSTGRES_DSN",
            format!("postgresql://u:p@127.0.0.1:{closed}/db"),
        ),
    ])
    .output()
    .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("FATAL") && text.contains(&port.to_string()) && text.contains("DATA_PROC_HEALTH_PORT"),
        "{text}"
    );
}

#[test]
fn while_all_dependencies_are_down_it_is_live_but_not_ready_classifies_by_rules_and_stops_cleanly() {
    let mut service = Service::start();
    let deadline = Instant::now() + Duration::from_secs(20);
    let health = loop {
        let (status, body) = service.get("/health");
        assert_eq!(status, 503, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let asked = |name: &str| body["checks"][name]["last_check"].is_string();
        if ["kafka", "clickhouse", "postgres", "redis"].into_iter().all(asked) {
            break body;
        }
        assert!(Instant::now() < deadline, "{body}");
    };
    for name in ["kafka", "clickhouse", "postgres", "redis"] {
        assert_eq!(health[name], false, "{health}");
        assert!(health["checks"][name]["error"].is_string(), "{health}");
    }
    assert_eq!(health["checks"]["kafka"]["critical"], true);
    assert_eq!(health["checks"]["postgres"]["critical"], false);
    assert!(!health.to_string().contains(":p@"), "the password is shown: {health}");
    assert_eq!(service.get("/health/live").0, 200);
    assert_eq!(service.get("/health/ready").0, 503);

    let (status, body) = service.get("/taxonomy/HEATING_OIL");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &body["taxonomy"]["commodity"]),
        (200, &"refined_products".into()),
        "{body}"
    );
    assert_eq!(body["classification_method"], "rule_based");
    let metrics = service.get("/metrics").1;
    for name in [
        "messages_processed_total",
        "enrichment_classifications_total",
        "dlq_messages_total",
        "errors_total",
    ] {
        assert!(
            metrics.contains(&format!("{name}{{")),
            "{name} is missing in\n{metrics}"
        );
    }

    let asked = Instant::now();
    Command::new("kill")
        .args(["-TERM", &service.child.id().to_string()])
        .status()
        .unwrap();
    let status = service.child.wait().unwrap();
    let mut rest = String::new();
    service.lines.read_to_string(&mut rest).unwrap();
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert!(rest.contains("\"event\":\"stopped\""), "{rest}");
}

#[test]
fn help_and_version_are_printed_and_other_arguments_are_refused() {
    let run = |argument: &str| {
        let output = command(&[]).arg(argument).stderr(Stdio::piped()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, help, _) = run("--help");
    assert_eq!(code, Some(0), "{help}");
    for part in [
        "commodity",
        "DATA_PROC_KAFKA_BOOTSTRAP",
        "ENRICHMENT_REFRESH_INTERVAL",
        "GET /taxonomy/{instrument_id}",
        "Exit codes: 0",
    ] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
    assert!(!help.contains("user:password"), "{help}");
    let (code, version, _) = run("--version");
    assert_eq!(
        (code, version.trim()),
        (Some(0), concat!("enrichment ", env!("CARGO_PKG_VERSION")))
    );
    let (code, _, error) = run("--port=1");
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("--port"), "{error}");
}

#[test]
fn sigusr1_writes_the_state_to_a_file_and_the_service_continues() {
    let mut service = Service::start();
    for _ in 0..2 {
        let pid = service.child.id().to_string();
        assert!(Command::new("kill").args(["-USR1", &pid]).status().unwrap().success());
        let path = loop {
            let mut line = String::new();
            assert!(service.lines.read_line(&mut line).unwrap() > 0, "the service ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["event"] == "state_dump" {
                break line["path"].as_str().unwrap().to_owned();
            }
        };
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state["info"]["pid"], service.child.id());
        assert!(state["health"]["checks"]["kafka"]["status"].is_string(), "{state}");
        assert_eq!(state["workers"][0]["name"], "enrich-0");
        assert!(state["memory"]["VmRSS"].is_string(), "{state}");
        assert!(!text.contains("u:p@"), "the password is shown: {text}");
    }
    assert_eq!(service.get("/health/live").0, 200);
}
