//! The state of all services, asked by one of them: for `GET /health/cluster`.
//!
//! Role: [`Cluster`] asks the peers that `DATA_PROC_CLUSTER_PEERS` names, all at the same time; if a name has several addresses, the replica
//! at each of them ([`replicas`]). [`Overview`] judges their answers.
//! Invariants: only configured names are asked, no redirect is followed, and only `/health` is asked, which a service
//! answers from memory and without asking others. Time and size of an answer, and the number of replicas, are limited.
//! Failure: a peer that gives no answer is down; that is a result, not an error.

mod replicas;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Response};
use security::{DirectClients, Trust, TrustError, causes};
use serde::{Deserialize, Serialize};

use crate::health::{Level, Outcome, Report};
use crate::settings::Peer;

/// Longer than a service takes that works, and shorter than the time-out of a usual probe.
const LIMIT: Duration = Duration::from_secs(2);
/// Larger than the report of a service with all its checks.
const MAX_ANSWER: usize = 256 << 10;
/// Failing checks that are named for a peer.
const MAX_NAMED: usize = 8;

/// How a replica is, seen by another one.
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

/// One replica of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Node {
    /// That of the service; with `@` and its address if the service has several.
    name: String,
    service: String,
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
    /// Replicas beyond the limit, which were not asked.
    left_out: usize,
    quorum: bool,
}

impl Overview {
    /// Of these replicas. A service works as long as one replica does, which takes over the partitions of the others; a degraded one works.
    /// Half of the services are no quorum.
    fn of(nodes: Vec<Node>, left_out: usize) -> Overview {
        let is_down = |node: &Node| matches!(node.status, Status::Unhealthy | Status::Down);
        let named = |wanted: &dyn Fn(&Node) -> bool| -> Vec<String> {
            let found = nodes.iter().filter(|node| wanted(node));
            found.map(|node| node.name.clone()).collect()
        };
        let degraded = named(&|node| node.status == Status::Degraded);
        let unhealthy = named(&is_down);
        let mut works: BTreeMap<&str, bool> = BTreeMap::new();
        for node in &nodes {
            *works.entry(&node.service).or_default() |= !is_down(node);
        }
        let working = works.values().filter(|works| **works).count();
        Overview {
            status: match (working == works.len(), degraded.is_empty() && unhealthy.is_empty()) {
                (false, _) => Level::Unhealthy,
                (true, false) => Level::Degraded,
                (true, true) => Level::Healthy,
            },
            healthy: nodes.len() - degraded.len() - unhealthy.len(),
            total: nodes.len(),
            quorum: working * 2 > works.len(),
            degraded,
            unhealthy,
            left_out,
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
pub struct Cluster(Option<Asked>);

#[derive(Debug)]
struct Asked {
    clients: DirectClients,
    /// For peers with one address: keeps its connections.
    client: Client,
    peers: Vec<Peer>,
}

impl Cluster {
    /// Of these peers; without any, of the process alone.
    ///
    /// # Errors
    /// A certificate authority cannot be read.
    pub(crate) fn new(peers: &[Peer], trust: &Trust) -> Result<Cluster, TrustError> {
        if peers.is_empty() {
            return Ok(Cluster::default());
        }
        let clients = DirectClients::new(trust, LIMIT)?;
        Ok(Cluster(Some(Asked {
            client: clients.client()?,
            clients,
            peers: peers.to_vec(),
        })))
    }

    /// Whether peers are configured.
    pub(crate) fn has_peers(&self) -> bool {
        self.0.is_some()
    }

    /// All peers, asked now; without any, this service from memory.
    pub(crate) async fn ask(&self, service: &str, own: &Report) -> Overview {
        let Some(asked) = &self.0 else {
            let node = Node {
                name: service.to_owned(),
                service: service.to_owned(),
                status: own.level.into(),
                duration_ms: 0,
                error: failing(own.checks.iter().map(|(name, record)| (*name, record.status))),
            };
            return Overview::of(vec![node], 0);
        };
        let of_peers = join_all(asked.peers.iter().map(|peer| asked.peer(peer))).await;
        let left_out = of_peers.iter().map(|(_, left_out)| left_out).sum();
        Overview::of(of_peers.into_iter().flat_map(|(nodes, _)| nodes).collect(), left_out)
    }
}

impl Asked {
    /// The replicas of a peer, and how many were left out.
    async fn peer(&self, peer: &Peer) -> (Vec<Node>, usize) {
        match replicas::of(&peer.url).await {
            Some(found) => {
                let nodes = found.addresses.iter();
                let nodes = nodes.map(|address| self.replica(peer, &found.host, *address));
                (join_all(nodes).await, found.left_out)
            }
            None => (vec![ask(&self.client, peer, peer.name.clone()).await], 0),
        }
    }

    async fn replica(&self, peer: &Peer, host: &str, address: SocketAddr) -> Node {
        let name = format!("{}@{address}", peer.name);
        match self.clients.pinned(host, address) {
            Ok(client) => ask(&client, peer, name).await,
            Err(error) => Node {
                name,
                service: peer.name.clone(),
                status: Status::Down,
                duration_ms: 0,
                error: Some(error.to_string()),
            },
        }
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

async fn ask(client: &Client, peer: &Peer, name: String) -> Node {
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
        name,
        service: peer.name.clone(),
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
            service: format!("n{number}"),
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
            let overview = Overview::of(nodes(statuses), 0);
            assert_eq!(
                (overview.status, overview.healthy, overview.quorum, overview.total),
                (level, healthy, quorum, statuses.len()),
                "{statuses:?}"
            );
        }
        let overview = Overview::of(nodes(&[Down, Degraded, Unhealthy]), 0);
        assert_eq!(overview.degraded, ["n1"]);
        assert_eq!(overview.unhealthy, ["n0", "n2"]);
    }

    /// A server that gives one answer; returns its URL and what it was asked.
    fn answering(answer: String) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (url, answer_once(listener, answer))
    }

    fn answer_once(listener: TcpListener, answer: String) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            // A client that has read enough closes the connection.
            _ = stream.write_all(answer.as_bytes());
            String::from_utf8_lossy(&request[..length]).into_owned()
        })
    }

    async fn asked(url: &str) -> Node {
        security::install_provider();
        let client = DirectClients::new(&Trust::default(), LIMIT).unwrap().client().unwrap();
        let (name, url) = ("aggregation".to_owned(), url.to_owned());
        ask(&client, &Peer { name, url }, "aggregation".to_owned()).await
    }

    #[test]
    fn a_service_works_as_long_as_one_of_its_replicas_does() {
        use Status::{Degraded, Down, Healthy, Unhealthy};
        let of = |services: &[&[Status]]| {
            let replica = |service: usize, number: usize, status: Status| Node {
                name: format!("s{service}@{number}"),
                service: format!("s{service}"),
                status,
                duration_ms: 1,
                error: None,
            };
            let of_service = |(service, replicas): (usize, &&[Status])| -> Vec<Node> {
                let numbered = replicas.iter().enumerate();
                numbered
                    .map(|(number, status)| replica(service, number, *status))
                    .collect()
            };
            let overview = Overview::of(services.iter().enumerate().flat_map(of_service).collect(), 0);
            (overview.status, overview.healthy, overview.total, overview.quorum)
        };
        assert_eq!(of(&[&[Healthy, Healthy], &[Healthy]]), (Level::Healthy, 3, 3, true));
        assert_eq!(of(&[&[Healthy, Down], &[Healthy]]), (Level::Degraded, 2, 3, true));
        assert_eq!(of(&[&[Down, Degraded], &[Healthy]]), (Level::Degraded, 1, 3, true));
        // Many working replicas of one service do not stand in for another service.
        assert_eq!(
            of(&[&[Healthy; 5], &[Down], &[Unhealthy]]),
            (Level::Unhealthy, 5, 7, false)
        );
        assert_eq!(
            of(&[&[Healthy], &[Healthy], &[Down, Down, Down]]),
            (Level::Unhealthy, 2, 5, true)
        );
    }

    #[tokio::test]
    async fn each_replica_of_a_name_is_asked_at_its_address_by_that_name() {
        security::install_provider();
        // Two replicas have one port at different addresses, as pods do.
        let first = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let url = format!("http://projection-replicas:{port}");
        let peers = [Peer {
            name: "projection".to_owned(),
            url,
        }];
        let Cluster(Some(asked)) = Cluster::new(&peers, &Trust::default()).unwrap() else {
            panic!("it has peers");
        };
        let body = r#"{"status":"healthy","checks":{}}"#;
        let request = answer_once(first, with_body("200 OK", "", body));
        let address = |last: u8| SocketAddr::from(([127, 0, 0, last], port));
        let (works, gone) = tokio::join!(
            asked.replica(&peers[0], "projection-replicas", address(2)),
            asked.replica(&peers[0], "projection-replicas", address(3))
        );
        assert_eq!(
            (works.name, works.service, works.status, works.error),
            (
                format!("projection@127.0.0.2:{port}"),
                "projection".to_owned(),
                Status::Healthy,
                None
            )
        );
        assert_eq!(
            (gone.name, gone.status),
            (format!("projection@127.0.0.3:{port}"), Status::Down)
        );
        let request = request.join().unwrap().to_ascii_lowercase();
        assert!(
            request.contains(&format!("host: projection-replicas:{port}\r\n")),
            "{request}"
        );
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
