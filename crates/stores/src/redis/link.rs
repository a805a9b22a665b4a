//! The connection to Redis: to one server, or to every master of a cluster.
//!
//! Role: detects which of the two an address leads to, and sends a command to the server of its key (the client library
//! follows MOVED and ASK). The address is read from its secret for each new connection.
//! Failure: the error of the library; a connection whose login was rejected is dropped.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use ::redis::cluster::ClusterClient;
use ::redis::cluster_async::ClusterConnection;
use ::redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo, SingleNodeRoutingInfo};
use ::redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisError, RedisFuture,
    TlsCertificates, Value, from_redis_value,
};
use security::{Secret, Trust};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a command is retried after MOVED, ASK or TRYAGAIN.
const REDIRECTS: u32 = 5;

/// A connection, shared by all calls.
#[derive(Clone)]
pub(super) enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// A node to query for keys: `None` is the only server.
pub(super) type Node = Option<(String, u16)>;

impl Link {
    /// Whether keys are on different servers, so that a script or a pipeline may use only one key.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Link::Cluster(_))
    }

    /// Queries every master.
    pub(super) async fn on_masters(&mut self, command: Cmd) -> Result<Vec<(Node, String)>, RedisError> {
        let cluster = match self {
            Link::Single(manager) => return Ok(vec![(None, command.query_async(manager).await?)]),
            Link::Cluster(cluster) => cluster,
        };
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::Special)));
        let answers: Vec<(String, String)> = from_redis_value(cluster.route_command(command, all).await?)?;
        let parsed = answers.into_iter().map(|(address, answer)| {
            let unreadable = || RedisError::from((ErrorKind::Client, "a node without host and port", address.clone()));
            let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
            let port = port.parse().map_err(|_| unreadable())?;
            Ok((Some((host.to_owned(), port)), answer))
        });
        parsed.collect()
    }

    /// Queries one node.
    pub(super) async fn on_node(&mut self, node: &Node, command: Cmd) -> Result<Value, RedisError> {
        match (self, node) {
            (Link::Cluster(cluster), Some((host, port))) => {
                let (host, port) = (host.clone(), *port);
                let there = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
                cluster.route_command(command, there).await
            }
            (link, _) => link.req_packed_command(&command).await,
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::Single(manager) => manager.req_packed_command(command),
            Link::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::Single(manager) => manager.req_packed_commands(pipeline, offset, count),
            Link::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::Single(manager) => manager.get_db(),
            Link::Cluster(cluster) => cluster.get_db(),
        }
    }
}

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    /// One address, or several nodes of a cluster, separated by commas.
    url: Secret,
    trust: Trust,
    /// Created in the first call, since it needs the async runtime.
    link: Arc<Mutex<Option<Link>>>,
}

impl Connector {
    /// Nothing is sent yet.
    pub(super) fn new(url: &Secret, trust: &Trust) -> Result<Connector, RedisError> {
        let connector = Connector {
            url: url.clone(),
            trust: trust.clone(),
            link: Arc::default(),
        };
        connector.addresses()?;
        connector.certificates()?;
        Ok(connector)
    }

    /// The connection, opened if there is none.
    pub(super) async fn link(&self) -> Result<Link, RedisError> {
        let mut kept = self.link.lock().await;
        if let Some(link) = kept.as_ref() {
            return Ok(link.clone());
        }
        let link = self.connect().await?;
        *kept = Some(link.clone());
        Ok(link)
    }

    /// Drops the connection, so that the next call opens a new one and reads the secret again.
    pub(super) async fn forget(&self) {
        *self.link.lock().await = None;
    }

    async fn connect(&self) -> Result<Link, RedisError> {
        let addresses = self.addresses()?;
        let is_tls = self.url.expose().starts_with("rediss://");
        if let [address] = addresses.as_slice() {
            let client = match is_tls {
                true => Client::build_with_tls(address.clone(), self.certificates()?)?,
                false => Client::open(address.clone())?,
            };
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT));
            let mut manager = ConnectionManager::new_lazy_with_config(client, config)?;
            let mut question = ::redis::cmd("INFO");
            let info: String = question.arg("cluster").query_async(&mut manager).await?;
            if !info.lines().any(|line| line.trim() == "cluster_enabled:1") {
                return Ok(Link::Single(manager));
            }
        }
        let mut builder = ClusterClient::builder(addresses)
            .connection_timeout(CONNECT_TIMEOUT)
            .response_timeout(RESPONSE_TIMEOUT)
            .retries(REDIRECTS);
        if is_tls {
            builder = builder.certs(self.certificates()?);
        }
        Ok(Link::Cluster(builder.build()?.get_async_connection().await?))
    }

    /// Whether the server responds without TLS although TLS is configured. Such a server reads the TLS handshake as an
    /// unfinished line, and never responds. No login is sent.
    pub(super) async fn lacks_tls(&self) -> bool {
        let url = self.url.expose();
        let Some(Ok(address)) = url
            .split(',')
            .next()
            .map(|address| address.trim().into_connection_info())
        else {
            return false;
        };
        let ConnectionAddr::TcpTls { host, port, .. } = address.addr() else {
            return false;
        };
        let ask = async {
            let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.write_all(b"PING\r\n").await?;
            let mut first = [0];
            stream.read_exact(&mut first).await?;
            Ok::<bool, std::io::Error>(matches!(first, [b'+' | b'-']))
        };
        matches!(tokio::time::timeout(CONNECT_TIMEOUT, ask).await, Ok(Ok(true)))
    }

    fn addresses(&self) -> Result<Vec<ConnectionInfo>, RedisError> {
        let url = self.url.expose();
        url.split(',')
            .map(|address| address.trim().into_connection_info())
            .collect()
    }

    fn certificates(&self) -> Result<TlsCertificates, RedisError> {
        let refused = |error: security::TrustError| {
            RedisError::from((ErrorKind::InvalidClientConfig, "set up TLS", error.to_string()))
        };
        Ok(TlsCertificates {
            client_tls: None,
            root_cert: Some(self.trust.to_pem().map_err(refused)?.into_bytes()),
        })
    }
}
