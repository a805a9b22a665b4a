//! The way to each server, step by step: name, connection, TLS, and the first exchange of its protocol, each with its time.
//!
//! A server may have several addresses; the last step uses them as the services do, so it is one for each
//! server.
//! Failure: a step that fails is a result with its reason. The later steps of that address are not tried.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use security::examine_certificate;
use serde::Serialize;
use service::clients::endpoints::{Endpoint, endpoints};
use tokio::net::{TcpStream, lookup_host};

use crate::connection::Connection;
use crate::health::{self, State};
use crate::sockets::{self, Sockets};

const LIMIT: Duration = Duration::from_secs(3);

/// What became of the steps to one address. Times in milliseconds; `None` means not tried or failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Path {
    pub server: &'static str,
    pub address: String,
    pub resolve_ms: Option<f64>,
    pub connect_ms: Option<f64>,
    pub tls_ms: Option<f64>,
    /// Login included.
    pub hello_ms: Option<f64>,
    /// The step that failed, and why.
    pub problem: Option<String>,
}

/// Tries every step to every server, all servers at the same time.
///
/// # Errors
/// A client cannot be created with these settings.
pub async fn check(connection: &Connection) -> anyhow::Result<Vec<Path>> {
    let asked = join_all(
        endpoints(&connection.settings)
            .into_iter()
            .map(|endpoint| reached(connection, endpoint)),
    );
    let (mut paths, servers) = tokio::join!(asked, health::ask_servers(connection));
    for server in servers? {
        for path in paths
            .iter_mut()
            .filter(|path| path.server == server.name && path.problem.is_none())
        {
            match server.state {
                State::Up => path.hello_ms = Some(server.duration_ms as f64),
                _ => path.problem = server.reason.as_ref().map(|reason| format!("hello: {reason}")),
            }
        }
    }
    Ok(paths)
}

/// The listeners of this machine, and the processes that are connected to the servers of the settings.
///
/// # Errors
/// `/proc` cannot be read.
pub async fn connected(connection: &Connection) -> anyhow::Result<Sockets> {
    let mut servers = Vec::new();
    for endpoint in endpoints(&connection.settings) {
        // A name that does not resolve has no peers; `check` says why.
        let found = tokio::time::timeout(LIMIT, lookup_host(&endpoint.address)).await;
        let addresses = found.ok().and_then(Result::ok).into_iter().flatten();
        servers.extend(addresses.map(|address| (endpoint.server, address)));
    }
    tokio::task::spawn_blocking(move || sockets::read(&servers)).await?
}

async fn reached(connection: &Connection, endpoint: Endpoint) -> Path {
    let mut path = Path {
        server: endpoint.server,
        address: endpoint.address.clone(),
        resolve_ms: None,
        connect_ms: None,
        tls_ms: None,
        hello_ms: None,
        problem: None,
    };
    path.problem = steps(connection, &endpoint, &mut path).await.err();
    path
}

async fn steps(connection: &Connection, endpoint: &Endpoint, path: &mut Path) -> Result<(), String> {
    let silent = |step: &str| format!("{step}: no answer within {} s", LIMIT.as_secs());
    let began = Instant::now();
    let found = tokio::time::timeout(LIMIT, lookup_host(&endpoint.address)).await;
    let found: Vec<_> = found
        .map_err(|_| silent("name"))?
        .map_err(|error| format!("name: {error}"))?
        .collect();
    path.resolve_ms = Some(millis(began));
    let began = Instant::now();
    let connected = tokio::time::timeout(LIMIT, TcpStream::connect(found.as_slice())).await;
    drop(
        connected
            .map_err(|_| silent("connect"))?
            .map_err(|error| format!("connect: {error}"))?,
    );
    path.connect_ms = Some(millis(began));
    if endpoint.begins_with_tls {
        let (address, trust, began) = (
            endpoint.address.clone(),
            connection.settings.trust.clone(),
            Instant::now(),
        );
        let examined = tokio::task::spawn_blocking(move || examine_certificate(&address, &trust, LIMIT)).await;
        if let Some(wrong) = examined.map_err(|error| format!("tls: {error}"))? {
            return Err(format!("tls: the certificate is not accepted: {wrong}"));
        }
        path.tls_ms = Some(millis(began));
    }
    Ok(())
}

fn millis(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e4).round() / 10.0
}
