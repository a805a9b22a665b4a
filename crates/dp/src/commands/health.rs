//! `dp health`: one line for each service and each server, wherever they run.
//!
//! Role: services report their own health; servers are checked from here, with the checks that services use. Everything is
//! asked at the same time.
//! Failure: what gives no answer in time is down. Exit code 1 if anything is down or unhealthy.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use service::clients::{Clients, Dependency, Use};
use service::health::{Check, Wrong};
use service::settings::mask;

use crate::definitions::DEFAULT_PORTS;
use ops::connection::Connection;
use ops::hints::localized;
use ops::place::Place;
use ops::present::{print_json, print_line, printable, table};
use ops::targets::{self, Target, Where};

/// Longer than a service or a server takes that works.
const LIMIT: Duration = Duration::from_secs(3);

/// Show the health of services and servers
///
/// One line each: state, time and the reason if something is wrong. Services: those of the local stack, else those that
/// DATA_PROC_SERVICE_URLS or --service name. Servers: Kafka, ClickHouse, PostgreSQL, Redis and the schema registry, if one is
/// configured, at the addresses in use. Exit code 1 if a service is unhealthy or down, or a server is down.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  dp health\n  dp health --all\n  \
    dp health --service aggregation=http://aggregation-service:8080")]
pub struct Args {
    /// Also show every check of each service
    #[arg(long)]
    all: bool,
    /// Ask this service instead of the usual ones; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = targets::parse)]
    service: Vec<Target>,
}

/// How a service or server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// A server that responds.
    Up,
    Healthy,
    /// A service whose critical checks pass, but not all.
    Degraded,
    Unhealthy,
    Down,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Unhealthy => "unhealthy",
            State::Down => "down",
        }
    }

    fn is_bad(self) -> bool {
        matches!(self, State::Unhealthy | State::Down)
    }
}

/// One line.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    kind: &'static str,
    state: State,
    duration_ms: u64,
    /// The address, without secrets.
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The service's own report.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
}

/// Runs `dp health`.
///
/// # Errors
/// An address cannot be parsed, or no services are named.
pub async fn run(place: &Place, connection: &Connection, args: &Args) -> anyhow::Result<ExitCode> {
    let targets = targets::find(place, connection, &args.service, &DEFAULT_PORTS)?;
    let client = security::http_client(&connection.settings.trust, Some(LIMIT))?;
    let uses = [
        Dependency::Kafka,
        Dependency::ClickHouse,
        Dependency::Postgres,
        Dependency::Redis,
    ]
    .map(Use::required);
    let clients = Clients::connect(&uses, &connection.settings, &connection.names)
        .map_err(|error| anyhow::anyhow!(error))
        .context("connect to the servers")?;
    let servers = clients.checks(&uses, &connection.settings, &connection.names);
    let (mut lines, servers) = tokio::join!(
        join_all(targets.into_iter().map(|target| ask_service(&client, target))),
        join_all(servers.iter().map(ask_server)),
    );
    lines.extend(servers);
    if !args.all {
        lines.iter_mut().for_each(|line| line.report = None);
    }
    let is_bad = lines.iter().any(|line| line.state.is_bad());
    if connection.json {
        print_json(&json!({ "ok": !is_bad, "lines": lines }))?;
    } else {
        print_line(&shown(&lines))?;
    }
    Ok(ExitCode::from(u8::from(is_bad)))
}

async fn ask_server(check: &Check) -> Line {
    let started = Instant::now();
    let answer = tokio::time::timeout(LIMIT, (check.ask)()).await;
    let reason = match answer {
        Ok(Ok(())) => None,
        Ok(Err(Wrong::Failed(reason) | Wrong::Silent(reason))) => Some(reason),
        Err(_) => Some(silent()),
    };
    Line {
        name: check.name.to_owned(),
        kind: "server",
        state: if reason.is_none() { State::Up } else { State::Down },
        duration_ms: millis(started),
        target: check.target.clone(),
        reason,
        report: None,
    }
}

async fn ask_service(client: &reqwest::Client, target: Target) -> Line {
    let started = Instant::now();
    let (shown, answer) = match &target.at {
        Where::Url(url) => (mask(url), report(client, url).await),
        Where::Stopped(reason) => ("local stack".to_owned(), Err(reason.clone())),
    };
    let (state, reason, report) = match answer {
        Ok(report) => {
            let (state, reason) = judged(&report);
            (state, reason, Some(report))
        }
        Err(reason) => (State::Down, Some(reason), None),
    };
    Line {
        name: target.name,
        kind: "service",
        state,
        duration_ms: millis(started),
        target: shown,
        reason,
        report,
    }
}

/// The body of `/health`, which a service returns with status 503 too.
async fn report(client: &reqwest::Client, url: &str) -> Result<Value, String> {
    let url = format!("{}/health", url.trim_end_matches('/'));
    let failed = |error: reqwest::Error| match error.is_timeout() {
        true => silent(),
        false if error.is_connect() => format!("cannot be reached: {}", root_cause(&error)),
        // The URL may contain a password.
        false => security::causes(&error.without_url()),
    };
    let response = client.get(url).send().await.map_err(failed)?;
    let status = response.status();
    let body: Option<Value> = response.json().await.ok();
    body.filter(|body| body.get("checks").is_some())
        .ok_or_else(|| format!("status {status} without a health report: is this a service of the pipeline?"))
}

/// The reason of the operating system or of TLS.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// State and reason of a service's report.
fn judged(report: &Value) -> (State, Option<String>) {
    let state = match report.get("status").and_then(Value::as_str) {
        Some("healthy") => State::Healthy,
        Some("degraded") => State::Degraded,
        _ => State::Unhealthy,
    };
    let failing: Vec<String> = checks(report)
        .filter(|(_, check)| check.get("status").and_then(Value::as_str) != Some("pass"))
        .map(|(name, check)| {
            format!(
                "{name}: {}",
                check.get("error").and_then(Value::as_str).unwrap_or("failing")
            )
        })
        .collect();
    (state, (!failing.is_empty()).then(|| failing.join("; ")))
}

fn checks(report: &Value) -> impl Iterator<Item = (&String, &Value)> {
    report.get("checks").and_then(Value::as_object).into_iter().flatten()
}

fn shown(lines: &[Line]) -> String {
    let mut rows = Vec::new();
    for line in lines {
        rows.push(vec![
            line.name.clone(),
            line.state.name().to_owned(),
            line.target.clone(),
            line.reason
                .as_deref()
                .map(localized)
                .as_deref()
                .map(printable)
                .unwrap_or_default(),
            format!("{} ms", line.duration_ms),
        ]);
        for (name, check) in line.report.iter().flat_map(checks) {
            let text = |key: &str| {
                check
                    .get(key)
                    .and_then(Value::as_str)
                    .map(printable)
                    .unwrap_or_default()
            };
            let millis = check.get("duration_ms").and_then(Value::as_u64).unwrap_or_default();
            rows.push(vec![
                format!("  {name}"),
                text("status"),
                text("target"),
                localized(&text("error")),
                format!("{millis} ms"),
            ]);
        }
    }
    table(&["name", "state", "address", "reason", "time"], 4, rows)
}

fn silent() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// A service that gives one answer.
    fn answering(answer: &'static str) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _length = stream.read(&mut request);
            let _closed_early = stream.write_all(answer.as_bytes());
        });
        format!("http://user:s3cret@{address}/")
    }

    async fn line(at: Where) -> Line {
        security::install_provider();
        let client = security::http_client(&security::Trust::default(), Some(LIMIT)).unwrap();
        let name = "aggregation".to_owned();
        ask_service(&client, Target { name, at }).await
    }

    #[tokio::test]
    async fn the_reason_of_a_service_is_its_failing_checks() {
        let url = answering(
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n{\"status\":\"unhealthy\",\"checks\":{\
             \"kafka\":{\"status\":\"timeout\",\"error\":\"does not respond\"},\"redis\":{\"status\":\"pass\"}}}",
        );
        let line = line(Where::Url(url)).await;
        assert_eq!(line.state, State::Unhealthy);
        assert_eq!(line.reason.as_deref(), Some("kafka: does not respond"));
        assert!(!line.target.contains("s3cret"), "{}", line.target);
        let text = shown(&[line]);
        assert!(text.contains("  kafka") && text.contains("timeout"), "{text}");
    }

    #[tokio::test]
    async fn what_is_no_service_or_gives_no_answer_is_down() {
        let other = answering("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n<html>");
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        for (at, reason) in [
            (Where::Url(other), "status 404"),
            (Where::Url(format!("http://u:s3cret@{closed}")), "refused"),
            (Where::Stopped("was stopped".to_owned()), "was stopped"),
        ] {
            let line = line(at).await;
            let said = line.reason.unwrap_or_default();
            assert_eq!(line.state, State::Down);
            assert!(said.contains(reason) && !said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn degraded_is_not_down() {
        let report = json!({"status": "degraded", "checks": {"clickhouse": {"status": "fail"}}});
        let (state, reason) = judged(&report);
        assert!(!state.is_bad());
        assert_eq!(reason.as_deref(), Some("clickhouse: failing"));
    }
}
