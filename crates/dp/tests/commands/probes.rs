//! The commands that probes and deployments call, as programs: output, exit codes, and no server but stand-ins.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

/// `dp` with these variables and no others.
fn dp(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_dp"))
        .args(arguments)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// A service that is alive and whose Kafka is down.
fn stand_in() -> String {
    const DOWN: &str =
        r#"{"status":"unhealthy","error":"kafka: down","checks":{"kafka":{"status":"fail","error":"down"}}}"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap_or_default();
            let is_live = request[..length].starts_with(b"GET /health/live ");
            let (status, body) = if is_live {
                ("200 OK", "{}")
            } else {
                ("503 Service Unavailable", DOWN)
            };
            let _closed_early = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    address.to_string()
}

fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string()
}

/// What a command says as JSON, with this exit code, when no server answers at `closed` and a service may at `service`. It shows none
/// of the passwords.
fn without_servers(command: &str, expected: i32, closed: &str, service: &str) -> Value {
    let (clickhouse, postgres, redis, service) = (
        format!("http://u:s3cret@{closed}"),
        format!("postgresql://u:s3cret@{closed}/db"),
        format!("redis://:s3cret@{closed}/0"),
        format!("aggregation=http://u:s3cret@{service}"),
    );
    let env = [
        ("DATA_PROC_KAFKA_BOOTSTRAP", closed),
        ("DATA_PROC_CLICKHOUSE_URL", &clickhouse),
        ("DATA_PROC_POSTGRES_DSN", &postgres),
        ("DATA_PROC_REDIS_URL", &redis),
        ("DATA_PROC_SERVICE_URLS", &service),
    ];
    let (code, stdout, stderr) = dp(&[command, "--json"], &env);
    assert_eq!(code, expected, "{stdout} {stderr}");
    assert!(
        !stdout.contains("s3cret") && !stderr.contains("s3cret"),
        "{stdout} {stderr}"
    );
    serde_json::from_str(&stdout).unwrap()
}

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn ping_needs_no_variable_and_prints_ok_or_fail_with_the_reason() {
    let address = stand_in();
    assert_eq!(
        dp(&["ping", "-s", &address], &[]),
        (0, "OK\n".to_owned(), String::new())
    );
    let port = address.rsplit(':').next().unwrap();
    let (code, stdout, _) = dp(&["ping"], &[("DATA_PROC_HEALTH_PORT", port)]);
    assert_eq!((code, stdout.as_str()), (0, "OK\n"));

    let (code, stdout, _) = dp(&["ping", "--ready", "-s", &address], &[]);
    assert_eq!(
        (code, stdout),
        (1, format!("FAIL {address}: status 503: kafka: down\n"))
    );
    let (code, stdout, _) = dp(&["ping", "-s", &closed_port()], &[]);
    assert!(
        code == 1 && stdout.starts_with("FAIL ") && stdout.contains("refused"),
        "{code} {stdout}"
    );
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let (code, stdout, _) = dp(&["ping", "--timeout", "50ms", "-s", &address], &[]);
    assert!(code == 1 && stdout.contains("no answer within 50ms"), "{code} {stdout}");
    assert_eq!(dp(&["ping", "-s", "https://host"], &[]).0, 2);
}

#[test]
fn health_names_what_is_down_and_shows_no_secret() {
    let (service, closed) = (stand_in(), closed_port());
    let shown = without_servers("health", 1, &closed, &service);
    let lines: Vec<(&str, &str)> = shown["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["name"].as_str().unwrap(), line["state"].as_str().unwrap()))
        .collect();
    let expected = [
        ("aggregation", "unhealthy"),
        ("kafka", "down"),
        ("clickhouse", "down"),
        ("postgres", "down"),
        ("redis", "down"),
    ];
    assert_eq!(lines, expected);
    assert_eq!(shown["lines"][0]["reason"], "kafka: down");
}

#[test]
fn the_doctor_says_that_nothing_could_be_checked() {
    let closed = closed_port();
    let diagnosis = without_servers("doctor", 2, &closed, &closed);
    let findings = diagnosis["findings"].as_array().unwrap();
    let down: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["severity"] == "critical")
        .map(|finding| finding["what"].as_str().unwrap())
        .collect();
    let expected = ["kafka", "clickhouse", "postgres", "redis", "aggregation"].map(|name| format!("{name} is down"));
    assert_eq!(down, expected);
    let command = |finding: &Value| finding["next"].as_str().is_some_and(|next| !next.is_empty());
    assert!(findings.iter().all(command), "{diagnosis}");
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let folder = std::env::temp_dir().join(format!("dp-probes-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let good = write(
        &folder,
        "good.toml",
        "workers = 2\n[aggregation]\ncheckpoint_ms = 500\n",
    );
    let bad = write(
        &folder,
        "bad.toml",
        "worker = 2\nclickhouse_password = \"s3cret\"\n[aggregation]\ncheckpoint_ms = \"often\"\n",
    );
    let prod = write(
        &folder,
        "prod.env",
        "# of a deployment\nDATA_PROC_ENV=prod\nDATA_PROC_WORKER=2\n",
    );

    let (code, stdout, stderr) = dp(&["config", "check", "--file", &good], &[]);
    let all = "valid: normalization, enrichment, aggregation, projection\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, all, ""));

    let (code, stdout, stderr) = dp(&["config", "check"], &[("DATA_PROC_CONFIG_FILE", &bad)]);
    assert_eq!((code, stdout.as_str()), (2, "invalid: 2 problems\n"), "{stderr}");
    for line in [
        format!("refused: {bad}:1:1: unknown key worker; did you mean workers?"),
        format!("refused by aggregation: {bad}:4:1: aggregation.checkpoint_ms must be an integer, got a string"),
    ] {
        assert!(stderr.lines().any(|found| found == line), "{line}\n{stderr}");
    }
    assert!(!stderr.contains("s3cret"), "{stderr}");
    let (code, ..) = dp(&["config", "check", "--file", &good, "--service", "projection"], &[]);
    assert_eq!(code, 0);

    let (code, _, stderr) = dp(
        &["config", "check", "--env-file", &prod, "--file", &good],
        &[("DATA_PROC_WORKERS", "x")],
    );
    assert_eq!(code, 2);
    assert!(
        stderr.contains("DATA_PROC_KAFKA_BOOTSTRAP must be set if DATA_PROC_ENV is prod"),
        "{stderr}"
    );
    assert!(
        stderr.contains("warning: unknown variable DATA_PROC_WORKER;"),
        "{stderr}"
    );
    assert!(
        !stderr.contains("DATA_PROC_WORKERS must"),
        "the shell's own variables are not checked: {stderr}"
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_check_reads_certificates_and_connects_to_no_server() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (clickhouse, postgres, redis) = (
        format!("http://{address}"),
        format!("postgresql://u@{address}/db"),
        format!("redis://{address}/0"),
    );
    let env = [
        ("DATA_PROC_KAFKA_BOOTSTRAP", address.as_str()),
        ("DATA_PROC_KAFKA_SECURITY_PROTOCOL", "SSL"),
        ("DATA_PROC_CLICKHOUSE_URL", &clickhouse),
        ("DATA_PROC_POSTGRES_DSN", &postgres),
        ("DATA_PROC_REDIS_URL", &redis),
    ];
    let (code, _, stderr) = dp(&["config", "check"], &env);
    assert_eq!(code, 0, "{stderr}");
    let no_certificate = [env.as_slice(), &[("DATA_PROC_KAFKA_SSL_CA", "/dev/null")]].concat();
    let (code, _, stderr) = dp(&["config", "check", "--service", "normalization"], &no_certificate);
    assert!(
        code == 2 && stderr.contains("check the file of DATA_PROC_KAFKA_SSL_CA"),
        "{code} {stderr}"
    );
    server.set_nonblocking(true).unwrap();
    assert!(server.accept().is_err(), "a check has connected");
}

#[test]
fn a_kafka_that_refuses_connections_is_told_at_once_with_its_address_and_what_to_do() {
    let closed = closed_port();
    let env = [
        ("DATA_PROC_KAFKA_BOOTSTRAP", closed.as_str()),
        ("DATA_PROC_CLICKHOUSE_URL", &format!("http://{closed}")),
        ("DATA_PROC_POSTGRES_DSN", &format!("postgresql://u@{closed}/db")),
        ("DATA_PROC_REDIS_URL", &format!("redis://{closed}/0")),
    ];
    for line in ["groups", "tail raw", "topics list", "pause"] {
        let began = Instant::now();
        let (code, _, stderr) = dp(&line.split(' ').collect::<Vec<_>>(), &env);
        let took = began.elapsed();
        assert_eq!(code, 2, "{line}: {stderr}");
        assert!(
            stderr.contains(&format!("Kafka at {closed} does not answer")) && stderr.contains("`dp up`"),
            "{line}: {stderr}"
        );
        // A client alone would try for ten seconds.
        assert!(took < Duration::from_secs(8), "{line} took {took:?}");
    }
}
