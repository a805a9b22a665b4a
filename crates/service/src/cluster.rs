//! The state of all services, asked by one of them: for `GET /health/cluster`.
//!
//! Role: [`Cluster`] asks the peers that `DATA_PROC_CLUSTER_PEERS` names, all at the same time; [`Overview`] judges their answers.
//! Invariants: only configured addresses are asked, no redirect is followed, and only `/health` is asked, which a service
//! answers from memory and without asking others. Time and size of an answer are limited.
//! Failure: a peer that gives no answer is down; that is a result, not an error.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Response};
use security::{Trust, TrustError, causes};
use serde::{Deserialize, Serialize};

use crate::health::{Level, Outcome, Report};
use crate::settings::Peer;

/// Longer than a service takes that works, and shorter than the time-out of a usual probe.
const LIMIT: Duration = Duration::from_secs(2);
/// Larger than the report of a service with all its checks.
const MAX_ANSWER: usize = 256 << 10;
/// Failing checks that are named for a peer.
const MAX_NAMED: usize = 8;

/// How a service is, seen by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub(crate) enum Status {
    Healthy,
    Degraded,
    Unhealthy,
    /// It gives no answer.
    Down,
}

impl From<Level> for Status {
    fn from(level: Level) -> Status {
        match level {
            Level::Healthy => Status::Healthy,
            Level::Degraded => Status::Degraded,
            Level::Unhealthy => Status::Unhealthy,
        }
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Node {
    name: String,
    status: Status,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// All services together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Overview {
    status: Level,
    nodes: Vec<Node>,
    healthy: usize,
    total: usize,
    degraded: Vec<String>,
    unhealthy: Vec<String>,
    quorum: bool,
}

impl Overview {
    /// Of these services. A degraded one works, so it counts for the quorum; half of them are none.
    fn of(nodes: Vec<Node>) -> Overview {
        let named = |statuses: &[Status]| -> Vec<String> {
            let found = nodes.iter().filter(|node| statuses.contains(&node.status));
            found.map(|node| node.name.clone()).collect()
        };
        let degraded = named(&[Status::Degraded]);
        let unhealthy = named(&[Status::Unhealthy, Status::Down]);
        let total = nodes.len();
        Overview {
            status: match (unhealthy.is_empty(), degraded.is_empty()) {
                (false, _) => Level::Unhealthy,
                (true, false) => Level::Degraded,
                (true, true) => Level::Healthy,
            },
            healthy: total - degraded.len() - unhealthy.len(),
            total,
            quorum: (total - unhealthy.len()) * 2 > total,
            degraded,
            unhealthy,
            nodes,
        }
    }

    /// Whether more than half of the services work.
    pub(crate) fn has_quorum(&self) -> bool {
        self.quorum
    }
}

/// Asks the services of the pipeline.
#[derive(Debug, Default)]
pub struct Cluster(Option<(Client, Vec<Peer>)>);

impl Cluster {
    /// Of these peers; without any, of the process alone.
    ///
    /// # Errors
    /// A certificate authority cannot be read.
    pub(crate) fn new(peers: &[Peer], trust: &Trust) -> Result<Cluster, TrustError> {
        if peers.is_empty() {
            return Ok(Cluster::default());
        }
        let client = security::direct_http_client(trust, LIMIT)?;
        Ok(Cluster(Some((client, peers.to_vec()))))
    }

    /// Whether peers are configured.
    pub(crate) fn has_peers(&self) -> bool {
        self.0.is_some()
    }

    /// All peers, asked now; without any, this service from memory.
    pub(crate) async fn ask(&self, service: &str, own: &Report) -> Overview {
        let nodes = match &self.0 {
            Some((client, peers)) => join_all(peers.iter().map(|peer| ask(client, peer))).await,
            None => vec![Node {
                name: service.to_owned(),
                status: own.level.into(),
                duration_ms: 0,
                error: failing(own.checks.iter().map(|(name, record)| (*name, record.status))),
            }],
        };
        Overview::of(nodes)
    }
}

/// What is read of the answer of `/health`.
#[derive(Deserialize)]
struct Reported {
    status: Level,
    checks: BTreeMap<String, ReportedCheck>,
}

#[derive(Deserialize)]
struct ReportedCheck {
    status: Outcome,
}

async fn ask(client: &Client, peer: &Peer) -> Node {
    let started = Instant::now();
    let (status, error) = match report(client, &peer.url).await {
        Ok(reported) => {
            let checks = reported.checks.iter();
            let error = failing(checks.map(|(name, check)| (name.as_str(), check.status)));
            (reported.status.into(), error)
        }
        Err(reason) => (Status::Down, Some(reason)),
    };
    Node {
        name: peer.name.clone(),
        status,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        error,
    }
}

/// The names of the checks that do not pass.
fn failing<'a>(checks: impl Iterator<Item = (&'a str, Outcome)>) -> Option<String> {
    let failing: Vec<&str> = checks
        .filter(|(_, outcome)| *outcome != Outcome::Pass)
        .map(|(name, _)| name)
        .take(MAX_NAMED)
        .collect();
    (!failing.is_empty()).then(|| format!("failing checks: {}", failing.join(", ")))
}

/// The report of a service, which comes with status 503 too.
async fn report(client: &Client, base: &str) -> Result<Reported, String> {
    let url = format!("{}/health", base.trim_end_matches('/'));
    let failed = |error: reqwest::Error| match error.is_timeout() {
        true => format!("no answer within {} ms", LIMIT.as_millis()),
        false => causes(&error.without_url()),
    };
    let response = client.get(&url).send().await.map_err(failed)?;
    let http_status = response.status();
    let body = read(response, failed).await?;
    serde_json::from_slice(&body)
        .map_err(|_| format!("status {http_status} without a health report: is this a service of the pipeline?"))
}

async fn read(mut response: Response, failed: impl Fn(reqwest::Error) -> String) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(&failed)? {
        if body.len() + part.len() > MAX_ANSWER {
            return Err(format!("the answer is larger than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn nodes(statuses: &[Status]) -> Vec<Node> {
        let node = |(number, status): (usize, &Status)| Node {
            name: format!("n{number}"),
            status: *status,
            duration_ms: 1,
            error: None,
        };
        statuses.iter().enumerate().map(node).collect()
    }

    #[test]
    fn more_than_half_is_a_quorum_and_a_degraded_service_works() {
        use Status::{Degraded, Down, Healthy, Unhealthy};
        for (statuses, level, healthy, quorum) in [
            (&[Healthy][..], Level::Healthy, 1, true),
            (&[Unhealthy], Level::Unhealthy, 0, false),
            (&[Healthy, Healthy, Healthy, Degraded], Level::Degraded, 3, true),
            (&[Healthy, Degraded, Degraded, Down], Level::Unhealthy, 1, true),
            (&[Healthy, Healthy, Unhealthy, Down], Level::Unhealthy, 2, false),
            (&[Healthy, Healthy, Down], Level::Unhealthy, 2, true),
            (&[], Level::Healthy, 0, false),
        ] {
            let overview = Overview::of(nodes(statuses));
            assert_eq!(
                (overview.status, overview.healthy, overview.quorum, overview.total),
                (level, healthy, quorum, statuses.len()),
                "{statuses:?}"
            );
        }
        let overview = Overview::of(nodes(&[Down, Degraded, Unhealthy]));
        assert_eq!(overview.degraded, ["n1"]);
        assert_eq!(overview.unhealthy, ["n0", "n2"]);
    }

    /// A server that gives one answer; returns its URL and what it was asked.
    fn answering(answer: String) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            // A client that has read enough closes the connection.
            _ = stream.write_all(answer.as_bytes());
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (url, asked)
    }

    async fn asked(url: &str) -> Node {
        security::install_provider();
        let client = security::direct_http_client(&Trust::default(), LIMIT).unwrap();
        let (name, url) = ("aggregation".to_owned(), url.to_owned());
        ask(&client, &Peer { name, url }).await
    }

    fn with_body(status: &str, headers: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n{body}")
    }

    #[tokio::test]
    async fn a_peer_is_asked_for_its_own_health_and_names_its_failing_checks() {
        let body = r#"{"status":"unhealthy","checks":{"kafka":{"status":"timeout"},"redis":{"status":"pass"}}}"#;
        let (url, request) = answering(with_body("503 Service Unavailable", "", body));
        let node = asked(&format!("{url}/")).await;
        assert_eq!(
            (node.status, node.error.as_deref()),
            (Status::Unhealthy, Some("failing checks: kafka"))
        );
        let request = request.join().unwrap();
        assert!(request.starts_with("GET /health HTTP/1.1\r\n"), "{request}");
    }

    #[tokio::test]
    async fn redirects_large_answers_and_closed_ports_are_down() {
        let healthy = r#"{"status":"healthy","checks":{}}"#;
        // Nobody asks it, so its thread ends with the process.
        let (elsewhere, _never_asked) = answering(with_body("200 OK", "", healthy));
        let (redirecting, _) = answering(with_body("302 Found", &format!("Location: {elsewhere}/health\r\n"), ""));
        let (large, _) = answering(with_body("200 OK", "", &" ".repeat(MAX_ANSWER + 1)));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (url, reason) in [
            (redirecting, "status 302"),
            (large, "larger than"),
            (format!("http://{closed}"), "refused"),
        ] {
            let node = asked(&url).await;
            let said = node.error.unwrap_or_default();
            assert_eq!(node.status, Status::Down, "{said}");
            assert!(said.contains(reason), "{said}");
        }
    }
}
