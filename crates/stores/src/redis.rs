//! Redis: a copy for readers, and a cache shared by replicas. No data is stored here only.
//!
//! Role: the operations on keys; [`link`] distinguishes one server from a cluster. In a cluster every script and every write
//! uses one key, and queries over all keys are sent to each master.
//! Invariant: a price or snapshot is replaced only by one whose rank is not lower. The script compares on the server, so any number of
//! writers in any order leave the newest price.
//! Failure: every call is limited to a second or two; after a lost connection the next call reconnects once.

pub mod key;
mod link;
mod newer;
pub mod sentinel;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ::redis::{AsyncCommands, RedisError, Script, from_redis_value};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use security::{Secret, Trust};

pub use key::Key;

use crate::metrics::timed;
use crate::{Store, StoreError};
use domain::Classified as _;
use link::{CONNECT_TIMEOUT, Connector, Link, RESPONSE_TIMEOUT};

/// How long a price can be read without an update.
pub const PRICE_TTL: Duration = Duration::from_secs(3600);
/// Prices per script call: limits how long it blocks the server (about 2 µs each).
const CHUNK: usize = 500;
/// Concurrent single-key commands in a cluster.
const AT_ONCE: usize = 64;

/// The server's state of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// Id of this run of the server; in a cluster, of each master.
    pub run_id: String,
    /// The mark of the owner.
    pub mark: Option<String>,
    /// Keys that this run has evicted because of its memory limit.
    pub evicted_keys: u64,
}

/// A connection that is opened on first use. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    connector: Connector,
    keep_newer: Arc<Script>,
    /// Prefix of every key: empty, or `g2:`. Parallel generations must not serve each other's prices.
    namespace: String,
}

impl Redis {
    /// A client for `redis://host:port/db` or, with TLS, `rediss://user:password@host:port`. A server that belongs to a cluster
    /// is recognised; several of its nodes may be named, separated by commas. Nothing is sent yet.
    ///
    /// # Errors
    /// If the address or the authorities cannot be read.
    pub fn new(url: &Secret, trust: &Trust) -> Result<Redis, StoreError> {
        let refused =
            |error: RedisError| StoreError::fatal(Store::Redis, "read address", "invalid_address", error.to_string());
        Ok(Redis {
            connector: Connector::new(url, trust).map_err(refused)?,
            keep_newer: Arc::new(Script::new(newer::KEEP_NEWER)),
            namespace: String::new(),
        })
    }

    /// Uses the keys of this generation (empty for the first).
    #[must_use]
    pub fn of_generation(mut self, generation: &str) -> Redis {
        if !generation.is_empty() {
            self.namespace = format!("{generation}:");
        }
        self
    }

    fn named(&self, key: impl std::fmt::Display) -> String {
        format!("{}{key}", self.namespace)
    }

    /// Runs a call within its time-out, including connecting, and converts its error.
    async fn call<T, F>(&self, operation: &'static str, ask: impl FnOnce(Link) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let limit = CONNECT_TIMEOUT + RESPONSE_TIMEOUT;
        let call = async { ask(self.connector.link().await?).await };
        let limited = async {
            match tokio::time::timeout(limit, call).await {
                Ok(result) => result.map_err(|error| StoreError::redis(operation, &error)),
                Err(_) => Err(StoreError::timeout(Store::Redis, operation, limit)),
            }
        };
        let result = timed(Store::Redis.name(), operation, limited).await;
        match &result {
            Err(error) if error.code() == "access_denied" => self.connector.forget().await,
            Err(error) if error.is_timeout() && self.connector.lacks_tls().await => {
                return Err(StoreError::no_tls(Store::Redis, operation));
            }
            _ => {}
        }
        result
    }

    /// Checks that the server responds.
    ///
    /// # Errors
    /// If it does not respond.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.call("ping", async |mut link| {
            ::redis::cmd("PING").query_async(&mut link).await
        })
        .await
    }

    /// The values of these keys, in the given order.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<String>>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        let keys: Vec<String> = keys.iter().map(|key| self.named(key)).collect();
        for chunk in keys.chunks(CHUNK) {
            let found: Vec<Option<String>> = self.call("get", async |mut link| link.mget(chunk).await).await?;
            values.extend(found);
        }
        Ok(values)
    }

    /// Stores values that expire after `ttl`.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn set_many(&self, values: &[(String, String)], ttl: Duration) -> Result<(), StoreError> {
        let seconds = ttl.as_secs().max(1);
        for chunk in values.chunks(CHUNK) {
            let named: Vec<(String, String)> = chunk
                .iter()
                .map(|(key, value)| (self.named(key), value.clone()))
                .collect();
            let set = async |mut link: Link| {
                if link.is_cluster() {
                    let one = |(key, value): (String, String)| set_one(link.clone(), key, value, seconds);
                    let each: Vec<_> = named.into_iter().map(one).collect();
                    return stream::iter(each).buffer_unordered(AT_ONCE).try_collect::<()>().await;
                }
                let mut pipeline = ::redis::pipe();
                for (key, value) in &named {
                    pipeline.set_ex(key, value, seconds).ignore();
                }
                pipeline.query_async::<()>(&mut link).await
            };
            self.call("set", set).await?;
        }
        Ok(())
    }

    /// Removes keys; returns how many existed.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn delete(&self, keys: &[String]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let keys: Vec<String> = keys.iter().map(|key| self.named(key)).collect();
        self.call("delete", async |mut link| link.del(&keys).await).await
    }

    /// Publishes texts on a channel, in order.
    ///
    /// # Errors
    /// The error of the server; some texts may have been published.
    pub async fn publish(&self, channel: &str, texts: &[String]) -> Result<(), StoreError> {
        for chunk in texts.chunks(CHUNK) {
            let publish = async |mut link: Link| {
                if link.is_cluster() {
                    for text in chunk {
                        link.publish::<_, _, ()>(channel, text).await?;
                    }
                    return Ok(());
                }
                let mut pipeline = ::redis::pipe();
                for text in chunk {
                    pipeline.publish(channel, text).ignore();
                }
                pipeline.query_async::<()>(&mut link).await
            };
            self.call("publish", publish).await?;
        }
        Ok(())
    }

    /// Keys that match a pattern.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn scan(&self, pattern: &str) -> Result<Vec<String>, StoreError> {
        let mut keys = Vec::new();
        let all = |found: Vec<String>| {
            let own = |key: String| key.strip_prefix(&self.namespace).map(str::to_owned);
            keys.extend(found.into_iter().filter_map(own));
        };
        self.walk("scan", pattern, 1_000, all).await?;
        // A scan may return a key twice.
        keys.sort();
        keys.dedup();
        Ok(keys)
    }

    /// Counts the newest prices of every tenant. Keys are scanned in batches; the server can serve other clients in between.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn count_latest_prices(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        // A scan may return a key twice. Hashes suffice to detect that, and need less memory.
        let (hasher, mut seen) = (RandomState::new(), HashSet::new());
        let mut counts = BTreeMap::new();
        let count = |found: Vec<String>| {
            for key in found.iter().filter_map(|key| key.strip_prefix(&self.namespace)) {
                if let Some(Key::LatestPrice { tenant_id, .. }) = Key::parse(key)
                    && seen.insert(hasher.hash_one(key))
                {
                    *counts.entry(tenant_id.into_owned()).or_default() += 1;
                }
            }
        };
        self.walk("count", &key::every_latest_price(), 2_000, count).await?;
        Ok(counts)
    }

    /// Passes the matching keys of every master on, about `count` at a time.
    async fn walk(
        &self,
        operation: &'static str,
        pattern: &str,
        count: u32,
        mut take: impl FnMut(Vec<String>),
    ) -> Result<(), StoreError> {
        let pattern = self.named(pattern);
        let masters = async |mut link: Link| link.on_masters(::redis::cmd("PING")).await;
        for (node, _) in self.call(operation, masters).await? {
            let mut cursor = 0u64;
            loop {
                let mut command = ::redis::cmd("SCAN");
                command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(count);
                let ask = async |mut link: Link| Ok(from_redis_value(link.on_node(&node, command).await?)?);
                let (next, found): (u64, Vec<String>) = self.call(operation, ask).await?;
                take(found);
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        Ok(())
    }

    /// Which run of the server (of each master) has the copy, the mark of `owner`, and how many keys the run has evicted.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn copy_state(&self, owner: &str) -> Result<CopyState, StoreError> {
        self.state_with(&Key::copy_mark(owner)).await
    }

    /// The same with the mark under this key.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn state_with(&self, mark: &Key<'_>) -> Result<CopyState, StoreError> {
        const OPERATION: &str = "read copy state";
        let key = self.named(mark);
        let ask = async |mut link: Link| {
            let info = |section: &str| {
                let mut command = ::redis::cmd("INFO");
                command.arg(section);
                command
            };
            let server = link.on_masters(info("server")).await?;
            let stats = link.on_masters(info("stats")).await?;
            let mark: Option<String> = link.get(&key).await?;
            Ok((server, stats, mark))
        };
        let (server, stats, mark) = self.call(OPERATION, ask).await?;
        let mut runs = Vec::new();
        for (_, info) in &server {
            runs.push(told(info, "run_id")?);
        }
        runs.sort();
        let mut evicted_keys = 0;
        for (_, info) in &stats {
            let evicted = told(info, "evicted_keys")?;
            let unreadable = |_| {
                let reason = format!("INFO contains evicted_keys:{evicted}, which is not a number");
                StoreError::unexpected(Store::Redis, OPERATION, reason)
            };
            evicted_keys += evicted.parse::<u64>().map_err(unreadable)?;
        }
        Ok(CopyState {
            run_id: runs.join(","),
            mark,
            evicted_keys,
        })
    }

    /// A section of INFO, of each master: its address (empty for a single server) and the text.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn info(&self, section: &str) -> Result<Vec<(String, String)>, StoreError> {
        let ask = async |mut link: Link| {
            let mut command = ::redis::cmd("INFO");
            command.arg(section);
            link.on_masters(command).await
        };
        let told = self.call("read information", ask).await?;
        let address = |node: link::Node| node.map_or_else(String::new, |(host, port)| format!("{host}:{port}"));
        Ok(told.into_iter().map(|(node, text)| (address(node), text)).collect())
    }

    /// The time of the server (in a cluster, of one of them), in microseconds since 1970.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn time(&self) -> Result<i64, StoreError> {
        let ask = async |mut link: Link| ::redis::cmd("TIME").query_async::<(i64, i64)>(&mut link).await;
        let (seconds, micros) = self.call("read the time", ask).await?;
        Ok(seconds * 1_000_000 + micros)
    }

    /// Stores a mark: `owner` starts to fill its copy. The mark has no expiry: it is lost only if Redis is emptied, together with
    /// the copy.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn mark_copy(&self, owner: &str, mark: &str) -> Result<(), StoreError> {
        self.set_mark(&Key::copy_mark(owner), mark).await
    }

    /// Stores a mark under this key.
    ///
    /// # Errors
    /// The error of the server.
    pub async fn set_mark(&self, key: &Key<'_>, mark: &str) -> Result<(), StoreError> {
        let key = self.named(key);
        self.call("mark copy", async |mut link| link.set(&key, mark).await)
            .await
    }
}

async fn set_one(mut link: Link, key: String, value: String, seconds: u64) -> Result<(), RedisError> {
    link.set_ex(key, value, seconds).await
}

/// A field of the response to INFO.
fn told(info: &str, field: &'static str) -> Result<String, StoreError> {
    let found = info
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let missing = || {
        StoreError::unexpected(
            Store::Redis,
            "read copy state",
            format!("INFO does not contain {field}"),
        )
    };
    found.map(|value| value.trim().to_owned()).ok_or_else(missing)
}
