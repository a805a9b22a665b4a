//! `dp alerts` on a real Alertmanager: what fires is listed, acknowledged and heard again.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::alertmanager::Alertmanager;

fn ask(alertmanager: &Alertmanager, arguments: &[&str]) -> (i32, String) {
    dp(arguments, &[("DATA_PROC_ALERTMANAGER_URL", &alertmanager.url())])
}

fn listed(alertmanager: &Alertmanager, code: i32) -> Value {
    let (found, text) = ask(alertmanager, &["alerts", "list", "--json"]);
    assert_eq!(found, code, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn dp(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_dp"))
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout) + &text(&stderr))
}

fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The only alert with this name and of this service.
fn alert<'l>(listed: &'l Value, name: &str, service: &str) -> &'l Value {
    let is_it = |alert: &&Value| alert["name"] == name && alert["labels"]["service"] == service;
    listed["alerts"].as_array().unwrap().iter().find(is_it).unwrap()
}

#[test]
fn an_alert_is_listed_acknowledged_and_heard_again() {
    let running = Alertmanager::start("").unwrap();
    let (code, text) = ask(&running, &["alerts", "list"]);
    assert_eq!(
        (code, text.trim()),
        (0, "0 firing, 0 silenced or inhibited; 0 silence(s)")
    );

    running.fire("Late", "info", "projection").unwrap();
    running.fire("ServiceDown", "critical", "projection").unwrap();
    running.fire("ServiceDown", "critical", "enrichment").unwrap();
    eventually("all fire", || {
        listed(&running, 1)["alerts"].as_array().unwrap().len() == 3
    });
    let shown = listed(&running, 1);
    assert_eq!(shown["alerts"][2]["name"], "Late", "the worst come first: {shown:#}");
    let (code, text) = ask(&running, &["alerts", "list", "--severity", "critical"]);
    assert_eq!(code, 1, "{text}");
    for expected in [
        "critical  ServiceDown, for 10 min, id ",
        "          projection is down.",
        "          runbook: docs/runbooks/ServiceDown.md",
        "2 firing, 0 silenced or inhibited; 0 silence(s)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");

    // The name is that of two.
    let (code, text) = ask(
        &running,
        &["alerts", "ack", "ServiceDown", "--by", "ann", "--message", "known"],
    );
    assert!(code == 2 && text.contains("use one of their ids"), "{text}");
    let id = alert(&shown, "ServiceDown", "projection")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (code, text) = ask(
        &running,
        &[
            "alerts",
            "ack",
            &id,
            "--by",
            "ann",
            "--message",
            "disk is replaced",
            "--for",
            "30m",
        ],
    );
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("silenced for 30 min: alertname=ServiceDown, service=projection, severity=critical"),
        "{text}"
    );
    eventually("one is silenced", || {
        alert(&listed(&running, 1), "ServiceDown", "projection")["state"] == "silenced"
    });
    let shown = listed(&running, 1);
    let silence = &alert(&shown, "ServiceDown", "projection")["silences"][0];
    assert_eq!(silence["created_by"], "ann");
    assert_eq!(silence["comment"], "disk is replaced");
    let until: jiff::Timestamp = silence["ends_at"].as_str().unwrap().parse().unwrap();
    let minutes = until.duration_since(jiff::Timestamp::now()).as_secs() / 60;
    assert!((28..=30).contains(&minutes), "{silence}");
    // The other one of this name is not affected.
    assert_eq!(alert(&shown, "ServiceDown", "enrichment")["state"], "firing");
    let (_, text) = ask(&running, &["alerts", "list"]);
    assert!(
        text.contains("by ann: disk is replaced") && text.contains("2 firing, 1 silenced"),
        "{text}"
    );

    let (code, text) = ask(&running, &["alerts", "unsilence", &id]);
    assert!(code == 0 && text.starts_with("ended: "), "{text}");
    eventually("it fires again", || {
        alert(&listed(&running, 1), "ServiceDown", "projection")["state"] == "firing"
    });

    // Before maintenance: everything of a service.
    let everything = [
        "alerts",
        "silence",
        "service=~.*",
        "alertname!=Late",
        "--by",
        "ann",
        "--message",
        "upgrade",
        "--json",
    ];
    let (code, text) = ask(&running, &everything);
    assert_eq!(code, 0, "{text}");
    let made: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(made["seconds"], 7_200);
    eventually("only one is heard", || {
        let shown = listed(&running, 1);
        let alerts = shown["alerts"].as_array().unwrap();
        alerts.iter().filter(|alert| alert["state"] == "firing").count() == 1
    });
    let silence = made["silence"].as_str().unwrap();
    let (code, text) = ask(&running, &["alerts", "unsilence", &silence[..8]]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = ask(&running, &["alerts", "unsilence", silence]);
    assert!(code == 2 && text.contains("no silence has the id"), "{text}");
}

#[test]
fn without_an_alertmanager_it_says_how_to_name_one_and_no_secret() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://u:s3cret@{closed}");
    let (code, text) = dp(&["alerts", "list"], &[("DATA_PROC_ALERTMANAGER_URL", &url)]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("does not answer") && text.contains("is DATA_PROC_ALERTMANAGER_URL right?"),
        "{text}"
    );
    assert!(!text.contains("s3cret"), "{text}");
    let (code, text) = dp(&["alerts", "list"], &[("DATA_PROC_ALERTMANAGER_URL", "s3cret:9093")]);
    assert!(
        code == 2 && text.contains("must begin with http://") && !text.contains("s3cret"),
        "{text}"
    );
    let other = [
        ("DATA_PROC_KAFKA_BOOTSTRAP", "localhost:1"),
        ("DATA_PROC_ENV", "dev"),
        ("DATA_PROC_CLICKHOUSE_URL", "http://localhost:1"),
        ("DATA_PROC_CLICKHOUSE_PASSWORD", "of-a-test"),
        ("DATA_PROC_POSTGRES_DSN", "postgresql://p@localhost/db"),
        ("DATA_PROC_REDIS_URL", "redis://localhost:1/0"),
    ];
    let (code, text) = dp(&["alerts", "list"], &other);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("no Alertmanager is named: set DATA_PROC_ALERTMANAGER_URL"),
        "{text}"
    );
}
