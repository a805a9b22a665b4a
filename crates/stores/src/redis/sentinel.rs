//! What a sentinel of Redis says of the masters that it watches. For operators: no client of the pipeline asks a sentinel.
//!
//! Role: three read-only commands on a connection of their own, without login and TLS. The fields have the names that Redis gives them.
//! Failure: the error of the server; a server that is no sentinel is `None`.

use std::collections::BTreeMap;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, RedisError};

use super::link::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use crate::metrics::timed;
use crate::{Store, StoreError};

const OPERATION: &str = "ask a sentinel";

/// Fields by name, such as `flags`.
pub type Fields = BTreeMap<String, String>;

/// A master that a sentinel watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// What it says of the master.
    pub master: Fields,
    /// What it says of each replica.
    pub replicas: Vec<Fields>,
    /// Why the sentinels that answer could not agree on a failover; `None` if they could.
    pub no_quorum: Option<String>,
}

/// The masters that the sentinel at this address watches; `None` if the server there is no sentinel.
///
/// # Errors
/// Nothing answers there, or the answer is none of a sentinel.
pub async fn ask(host: &str, port: u16) -> Result<Option<Vec<Watched>>, StoreError> {
    let asked = async {
        match watched(host, port).await {
            Ok(watched) => Ok(Some(watched)),
            Err(error) if is_no_sentinel(&error) => Ok(None),
            Err(error) => Err(StoreError::redis(OPERATION, &error)),
        }
    };
    timed(Store::Redis.name(), OPERATION, asked).await
}

async fn watched(host: &str, port: u16) -> Result<Vec<Watched>, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    let client = Client::open((host, port))?;
    let mut link = client.get_multiplexed_async_connection_with_config(&config).await?;
    let masters: Vec<Fields> = sentinel("MASTERS").query_async(&mut link).await?;
    let mut watched = Vec::with_capacity(masters.len());
    for master in masters {
        let name = master.get("name").cloned().unwrap_or_default();
        let replicas = sentinel("REPLICAS").arg(&name).query_async(&mut link).await?;
        let no_quorum = no_quorum(&mut link, &name).await?;
        watched.push(Watched {
            master,
            replicas,
            no_quorum,
        });
    }
    Ok(watched)
}

async fn no_quorum(link: &mut MultiplexedConnection, name: &str) -> Result<Option<String>, RedisError> {
    match sentinel("CKQUORUM").arg(name).query_async::<String>(link).await {
        Ok(_) => Ok(None),
        Err(error) if error.code() == Some("NOQUORUM") => Ok(Some(error.detail().unwrap_or_default().to_owned())),
        Err(error) => Err(error),
    }
}

fn sentinel(subcommand: &str) -> Cmd {
    let mut command = ::redis::cmd("SENTINEL");
    command.arg(subcommand);
    command
}

fn is_no_sentinel(error: &RedisError) -> bool {
    error
        .detail()
        .is_some_and(|detail| detail.starts_with("unknown command"))
}
