//! The health of services and servers, asked from here and all at the same time.
//!
//! Role: services report their own health; servers are checked with the checks that services use.
//! Failure: what gives no answer in time is down; that is a result, not an error.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::join_all;
use localstack::{Condition, FROZEN};
use serde::Serialize;
use serde_json::Value;
use service::clients::{Clients, Dependency, Use};
use service::health::{Check, Wrong};
use service::settings::mask;

use crate::connection::{Connection, stack_in_use};
use crate::place::Place;
use crate::targets::{self, Target, Where};

/// Longer than a service or a server takes that works.
const LIMIT: Duration = Duration::from_secs(3);

/// How a service or server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A server that responds.
    Up,
    /// A service whose checks all pass.
    Healthy,
    /// A service whose critical checks pass, but not all.
    Degraded,
    /// A service of which a critical check fails.
    Unhealthy,
    /// A server that answers, and refuses this client: its login, its rights, or how it encrypts.
    Refused,
    /// It gives no answer.
    Down,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Unhealthy => "unhealthy",
            State::Refused => "refused",
            State::Down => "down",
        }
    }

    /// Whether it does not work.
    pub fn is_bad(self) -> bool {
        matches!(self, State::Unhealthy | State::Refused | State::Down)
    }
}

/// One service or server.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Name.
    pub name: String,
    /// `service` or `server`.
    pub kind: &'static str,
    /// How it is.
    pub state: State,
    /// How long its answer took.
    pub duration_ms: u64,
    /// The address, without secrets.
    pub target: String,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why the service does not take work, by `/health/ready`; it may be healthy meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// The service's own report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

impl Line {
    /// Whether it is one of the four servers.
    pub fn is_server(&self) -> bool {
        self.kind == SERVER
    }

    /// Whether it cannot be used at all from here.
    pub fn is_gone(&self) -> bool {
        matches!(self.state, State::Refused | State::Down)
    }
}

const SERVER: &str = "server";

/// All services and servers together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// The worst of all: healthy, degraded, or unhealthy.
    pub status: State,
    /// How many are healthy or up.
    pub healthy: usize,
    /// How many there are.
    pub total: usize,
    /// Names of the degraded ones.
    pub degraded: Vec<String>,
    /// Names of those that are unhealthy or down.
    pub unhealthy: Vec<String>,
    /// Whether more than half of the services and more than half of the servers work.
    pub has_quorum: bool,
}

impl Overview {
    /// Of these services and servers.
    pub fn of(lines: &[Line]) -> Overview {
        let named = |is_its: &dyn Fn(State) -> bool| {
            let of_state = lines.iter().filter(|line| is_its(line.state));
            of_state.map(|line| line.name.clone()).collect::<Vec<String>>()
        };
        let degraded = named(&|state| state == State::Degraded);
        let unhealthy = named(&State::is_bad);
        let works = |is_server: bool| {
            let kind = lines.iter().filter(|line| line.is_server() == is_server);
            let (working, broken): (Vec<&Line>, Vec<&Line>) = kind.partition(|line| !line.state.is_bad());
            working.len() > broken.len()
        };
        Overview {
            status: match (unhealthy.is_empty(), degraded.is_empty()) {
                (false, _) => State::Unhealthy,
                (true, false) => State::Degraded,
                (true, true) => State::Healthy,
            },
            healthy: lines.len() - degraded.len() - unhealthy.len(),
            total: lines.len(),
            degraded,
            unhealthy,
            has_quorum: works(false) && works(true),
        }
    }
}

/// Asks the services that are named, else the usual ones, and all servers.
///
/// # Errors
/// An address cannot be parsed, or no services are named.
pub async fn ask_all(
    place: &Place,
    connection: &Connection,
    named: &[Target],
    usual: &[(&str, u16)],
) -> anyhow::Result<Vec<Line>> {
    let targets = targets::find(place, connection, named, usual)?;
    let client = http_client(connection)?;
    let (mut lines, servers) = tokio::join!(ask_services(&client, targets), ask_servers(connection));
    let mut servers = servers?;
    if servers.iter().any(|line| line.state == State::Down) {
        name_frozen(&mut servers, &frozen(place, connection));
    }
    lines.extend(servers);
    Ok(lines)
}

/// The servers of the local stack that something has frozen, if these are the servers in use.
fn frozen(place: &Place, connection: &Connection) -> Vec<String> {
    let stack = stack_in_use(place, &connection.env);
    let processes = stack.and_then(|stack| stack.status().ok()).unwrap_or_default();
    let frozen = processes
        .into_iter()
        .filter(|process| process.condition == Condition::Frozen);
    frozen.map(|process| process.name.to_string()).collect()
}

/// Over the network, a frozen server only gives no answer.
fn name_frozen(servers: &mut [Line], frozen: &[String]) {
    for line in servers {
        if line.state == State::Down && frozen.contains(&line.name) {
            line.reason = Some(FROZEN.to_owned());
        }
    }
}

/// The client that [`ask_services`] needs; it gives up after [`LIMIT`].
///
/// # Errors
/// A certificate authority cannot be read.
pub fn http_client(connection: &Connection) -> anyhow::Result<reqwest::Client> {
    Ok(security::http_client(&connection.settings.trust, Some(LIMIT))?)
}

/// Asks these services, in their order.
pub async fn ask_services(client: &reqwest::Client, targets: Vec<Target>) -> Vec<Line> {
    join_all(targets.into_iter().map(|target| ask_service(client, target))).await
}

/// Asks all servers.
///
/// # Errors
/// A client cannot be created with these settings.
pub async fn ask_servers(connection: &Connection) -> anyhow::Result<Vec<Line>> {
    Ok(Servers::connect(connection)?.ask().await)
}

/// The servers, asked repeatedly over the same connections.
pub struct Servers(Vec<Check>);

impl Servers {
    /// Creates the clients; a server that is down is not an error.
    ///
    /// # Errors
    /// A client cannot be created with these settings.
    pub fn connect(connection: &Connection) -> anyhow::Result<Servers> {
        let all = [
            Dependency::Kafka,
            Dependency::ClickHouse,
            Dependency::Postgres,
            Dependency::Redis,
        ];
        Servers::of(connection, &all)
    }

    fn of(connection: &Connection, dependencies: &[Dependency]) -> anyhow::Result<Servers> {
        let uses: Vec<Use> = dependencies.iter().copied().map(Use::required).collect();
        let clients = Clients::connect(&uses, &connection.settings, &connection.names)
            .map_err(|error| anyhow::anyhow!(error))
            .context("connect to the servers")?;
        Ok(Servers(clients.checks(&uses, &connection.settings, &connection.names)))
    }

    /// Asks all of them at the same time.
    pub async fn ask(&self) -> Vec<Line> {
        join_all(self.0.iter().map(ask_server)).await
    }
}

/// Fails within seconds if one of these servers cannot be used. The statements of a command may take minutes, so their own limits say
/// nothing of a server that accepts connections and is silent.
///
/// # Errors
/// Names the server, its address, the reason and what to do.
pub async fn require(place: &Place, connection: &Connection, needed: &[Dependency]) -> anyhow::Result<()> {
    let mut lines = Servers::of(connection, needed)?.ask().await;
    lines.retain(|line| needed.iter().any(|needed| needed.name() == line.name));
    if lines.iter().any(|line| line.state == State::Down) {
        name_frozen(&mut lines, &frozen(place, connection));
    }
    match lines.iter().find(|line| line.state.is_bad()) {
        Some(line) => anyhow::bail!("{}", cannot_be_used(line)),
        None => Ok(()),
    }
}

fn cannot_be_used(line: &Line) -> String {
    let Line { name, target, .. } = line;
    let reason = line.reason.as_deref().unwrap_or("no answer");
    let (state, next) = match (line.state, reason) {
        (State::Refused, _) => (
            "refuses this client",
            "`dp config env --set` shows the settings".to_owned(),
        ),
        (_, FROZEN) => ("does not answer", format!("`dp restart {name}`")),
        _ => ("does not answer", "`dp doctor` looks for the cause".to_owned()),
    };
    format!("{name} at {target} {state}: {reason}; {next}")
}

async fn ask_server(check: &Check) -> Line {
    let started = Instant::now();
    let answer = tokio::time::timeout(LIMIT, (check.ask)()).await;
    let (state, reason) = match answer {
        Ok(Ok(())) => (State::Up, None),
        Ok(Err(Wrong::Refused(reason))) => (State::Refused, Some(reason)),
        Ok(Err(Wrong::Failed(reason) | Wrong::Silent(reason))) => (State::Down, Some(reason)),
        Err(_) => (State::Down, Some(silent())),
    };
    Line {
        name: check.name.to_owned(),
        kind: SERVER,
        state,
        duration_ms: millis(started),
        target: check.target.clone(),
        reason,
        not_ready: None,
        report: None,
    }
}

async fn ask_service(client: &reqwest::Client, target: Target) -> Line {
    let started = Instant::now();
    let (shown, answer, not_ready) = match &target.at {
        Where::Url(url) => {
            let (answer, not_ready) = tokio::join!(report(client, url), not_ready(client, url));
            (mask(url), answer, not_ready)
        }
        Where::Stopped(reason) => ("local stack".to_owned(), Err(reason.clone()), None),
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
        // What gives no answer is down, and says so already.
        not_ready: not_ready.filter(|_| report.is_some()),
        reason,
        report,
    }
}

/// Why `/health/ready` is refused.
async fn not_ready(client: &reqwest::Client, url: &str) -> Option<String> {
    let url = format!("{}/health/ready", url.trim_end_matches('/'));
    let response = client.get(url).send().await.ok()?;
    let status = response.status();
    if status.is_success() {
        return None;
    }
    let body: Value = response.json().await.unwrap_or_default();
    let reason = body.get("error").and_then(Value::as_str);
    Some(reason.map_or_else(|| format!("status {status}"), str::to_owned))
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
    let failing: Vec<String> = failing(report)
        .map(|(name, check)| {
            format!(
                "{name}: {}",
                check.get("error").and_then(Value::as_str).unwrap_or("failing")
            )
        })
        .collect();
    (state, (!failing.is_empty()).then(|| failing.join("; ")))
}

/// The checks that do not pass.
pub fn failing(report: &Value) -> impl Iterator<Item = (&String, &Value)> {
    checks(report).filter(|(_, check)| check.get("status").and_then(Value::as_str) != Some("pass"))
}

/// The checks in the report of a service.
pub fn checks(report: &Value) -> impl Iterator<Item = (&String, &Value)> {
    report.get("checks").and_then(Value::as_object).into_iter().flatten()
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

    use serde_json::json;

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
        let checked: Vec<&String> = line.report.iter().flat_map(checks).map(|(name, _)| name).collect();
        assert_eq!(checked, ["kafka", "redis"]);
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

    fn lines(states: &[(&'static str, State)]) -> Vec<Line> {
        let line = |(kind, state): &(&'static str, State)| Line {
            name: format!("{kind} {}", state.name()),
            kind,
            state: *state,
            duration_ms: 1,
            target: String::new(),
            reason: None,
            not_ready: None,
            report: None,
        };
        states.iter().map(line).collect()
    }

    #[test]
    fn the_overview_counts_and_half_is_no_quorum() {
        let mut of = vec![
            ("service", State::Healthy),
            ("service", State::Degraded),
            (SERVER, State::Up),
        ];
        let found = Overview::of(&lines(&of));
        assert_eq!((found.status, found.healthy, found.total), (State::Degraded, 2, 3));
        assert_eq!(
            (found.degraded.as_slice(), found.has_quorum),
            (["service degraded".to_owned()].as_slice(), true)
        );
        of.push((SERVER, State::Down));
        let found = Overview::of(&lines(&of));
        assert_eq!((found.status, found.has_quorum), (State::Unhealthy, false));
        assert_eq!(found.unhealthy, ["server down"]);
        of.extend([(SERVER, State::Up), ("service", State::Unhealthy)]);
        assert!(Overview::of(&lines(&of)).has_quorum);
    }

    #[test]
    fn a_frozen_server_is_named_so_and_one_that_answers_is_not() {
        let mut servers = lines(&[(SERVER, State::Down), (SERVER, State::Up)]);
        let names: Vec<String> = servers.iter().map(|line| line.name.clone()).collect();
        name_frozen(&mut servers, &names);
        let reasons: Vec<Option<&str>> = servers.iter().map(|line| line.reason.as_deref()).collect();
        assert_eq!(reasons, [Some(FROZEN), None]);
    }

    #[tokio::test]
    async fn a_server_that_refuses_the_login_is_not_down() {
        let asked = |wrong: fn(String) -> Wrong| async move {
            let check = Check {
                name: "postgres",
                critical: true,
                target: String::new(),
                ask: Box::new(move || Box::pin(async move { Err(wrong("why".to_owned())) })),
                breaker: None,
            };
            ask_server(&check).await.state
        };
        assert_eq!(asked(Wrong::Refused).await, State::Refused);
        assert_eq!(asked(Wrong::Failed).await, State::Down);
    }

    #[tokio::test]
    async fn a_command_does_not_wait_for_a_server_that_accepts_connections_and_is_silent() {
        security::install_provider();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let env = crate::connection::tests::env(&[("DATA_PROC_CLICKHOUSE_URL", &url)]);
        let connection = Connection::from_env(env, false).unwrap();
        let place = Place {
            dir: Some(std::env::temp_dir().join("a-stack-that-nobody-made")),
            port_offset: 0,
        };
        let asked = require(&place, &connection, &[Dependency::ClickHouse]);
        let asked = tokio::time::timeout(LIMIT * 4, asked).await.unwrap();
        let error = asked.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("clickhouse at {url}")) && error.contains("`dp doctor`"),
            "{error}"
        );
    }

    #[test]
    fn the_error_of_a_server_that_cannot_be_used_leads_to_its_cure() {
        let line = |state, reason: &str| Line {
            name: "clickhouse".to_owned(),
            reason: Some(reason.to_owned()),
            ..lines(&[(SERVER, state)]).remove(0)
        };
        assert!(cannot_be_used(&line(State::Down, FROZEN)).ends_with("`dp restart clickhouse`"));
        assert!(
            cannot_be_used(&line(State::Refused, "wrong password")).contains("refuses this client: wrong password")
        );
    }

    #[test]
    fn degraded_is_not_down() {
        let report = json!({"status": "degraded", "checks": {"clickhouse": {"status": "fail"}}});
        let (state, reason) = judged(&report);
        assert!(!state.is_bad());
        assert_eq!(reason.as_deref(), Some("clickhouse: failing"));
    }
}
