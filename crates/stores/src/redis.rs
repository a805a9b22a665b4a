//! Redis: a copy for readers, and a cache shared by replicas. Nothing of value lives here alone.
//!
//! Invariant: a price is replaced only by one whose rank is not lower; the script compares on the
//! server, so any number of writers in any order leave the newest.
//! Failure: every call is bounded by a second or two; after a lost connection the next call tries a new one once.

pub mod key;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{AsyncCommands, Client, RedisError, Script};

use tokio::sync::OnceCell;

pub use key::Key;

use crate::price::LatestPrice;
use crate::{Store, StoreError};

/// How long a price stays readable without an update.
pub const PRICE_TTL: Duration = Duration::from_secs(3600);
/// Prices that one call of the script takes: bounds how long it holds the server (about 2 µs each).
const CHUNK: usize = 500;
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Each value begins with `{"order":"…"` ([`crate::price::RANK`]), and ranks compare by bytes (not by the server's locale, as `<` would).
const KEEP_NEWER: &str = r#"
local function older(a, b)
    for i = 1, math.min(#a, #b) do
        local x, y = string.byte(a, i), string.byte(b, i)
        if x ~= y then return x < y end
    end
    return #a < #b
end
local rank, written = '^{"order":"([^"]*)"', 0
for i, key in ipairs(KEYS) do
    local stored = redis.call('GET', key)
    local old = stored and string.match(stored, rank)
    if not old or not older(string.match(ARGV[i + 1], rank), old) then
        redis.call('SET', key, ARGV[i + 1], 'EX', ARGV[1])
        written = written + 1
    end
end
return written
"#;

/// What the server says about a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// Id of this run of the server.
    pub run_id: String,
    /// The mark that was left for the owner.
    pub mark: Option<String>,
    /// Keys that this run has evicted for want of memory.
    pub evicted_keys: u64,
}

/// A connection that is made when it is first used. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    /// Made in the first call, since it needs the async runtime.
    manager: Arc<OnceCell<ConnectionManager>>,
    keep_newer: Script,
    /// Begins every key: empty, or `g2:`. Generations that run side by side must not serve each other's prices.
    namespace: String,
}

impl Redis {
    /// A client for `redis://host:port/db`. Nothing is sent yet.
    ///
    /// # Errors
    /// Where the address cannot be read.
    pub fn new(url: &str) -> Result<Redis, StoreError> {
        let refused =
            |error: RedisError| StoreError::fatal(Store::Redis, "read address", "invalid_address", error.to_string());
        let client = Client::open(url).map_err(refused)?;
        Ok(Redis {
            client,
            manager: Arc::default(),
            keep_newer: Script::new(KEEP_NEWER),
            namespace: String::new(),
        })
    }

    /// The keys of this generation (empty for the first).
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

    async fn connection(&self) -> Result<ConnectionManager, RedisError> {
        let make = || async {
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT));
            ConnectionManager::new_lazy_with_config(self.client.clone(), config)
        };
        self.manager.get_or_try_init(make).await.cloned()
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let _: String = bounded("ping", async { self.connection().await?.ping().await }).await?;
        Ok(())
    }

    /// The values of these keys, in their order.
    ///
    /// # Errors
    /// As the server says.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<String>>, StoreError> {
        let mut values = Vec::with_capacity(keys.len());
        let keys: Vec<String> = keys.iter().map(|key| self.named(key)).collect();
        for chunk in keys.chunks(CHUNK) {
            let found: Vec<Option<String>> =
                bounded("get", async { self.connection().await?.mget(chunk).await }).await?;
            values.extend(found);
        }
        Ok(values)
    }

    /// Stores values that live for `ttl`.
    ///
    /// # Errors
    /// As the server says.
    pub async fn set_many(&self, values: &[(String, String)], ttl: Duration) -> Result<(), StoreError> {
        for chunk in values.chunks(CHUNK) {
            let mut pipeline = ::redis::pipe();
            for (key, value) in chunk {
                pipeline.set_ex(self.named(key), value, ttl.as_secs().max(1)).ignore();
            }
            bounded::<()>("set", async {
                pipeline.query_async(&mut self.connection().await?).await
            })
            .await?;
        }
        Ok(())
    }

    /// Removes keys; answers how many were there.
    ///
    /// # Errors
    /// As the server says.
    pub async fn delete(&self, keys: &[String]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let keys: Vec<String> = keys.iter().map(|key| self.named(key)).collect();
        bounded("delete", async { self.connection().await?.del(keys).await }).await
    }

    /// Keys that match a pattern.
    ///
    /// # Errors
    /// As the server says.
    pub async fn scan(&self, pattern: &str) -> Result<Vec<String>, StoreError> {
        let pattern = self.named(pattern);
        let mut keys = Vec::new();
        let mut cursor = 0u64;
        loop {
            let mut command = ::redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let call = async { command.query_async(&mut self.connection().await?).await };
            let (next, found): (u64, Vec<String>) = bounded("scan", call).await?;
            let own = |key: String| key.strip_prefix(&self.namespace).map(str::to_owned);
            keys.extend(found.into_iter().filter_map(own));
            if next == 0 {
                // A scan may name a key twice.
                keys.sort();
                keys.dedup();
                return Ok(keys);
            }
            cursor = next;
        }
    }

    /// Counts the newest prices of every tenant. Keys come in thousands, and the server answers others in between.
    ///
    /// # Errors
    /// As the server says.
    pub async fn count_latest_prices(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let pattern = self.named(key::every_latest_price());
        // A scan may name a key twice. Hashes are enough to know it, and smaller.
        let (hasher, mut seen) = (RandomState::new(), HashSet::new());
        let mut counts = BTreeMap::new();
        let mut cursor = 0u64;
        loop {
            let mut command = ::redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(2_000);
            let call = async { command.query_async(&mut self.connection().await?).await };
            let (next, found): (u64, Vec<String>) = bounded("count", call).await?;
            for key in found.iter().filter_map(|key| key.strip_prefix(&self.namespace)) {
                if let Some(Key::LatestPrice { tenant_id, .. }) = Key::parse(key)
                    && seen.insert(hasher.hash_one(key))
                {
                    *counts.entry(tenant_id.into_owned()).or_default() += 1;
                }
            }
            if next == 0 {
                return Ok(counts);
            }
            cursor = next;
        }
    }

    /// Stores prices that are not older than the stored ones; answers how many were written.
    ///
    /// # Errors
    /// As the server says; some may be written then.
    pub async fn put_prices<'a>(&self, prices: impl IntoIterator<Item = &'a LatestPrice>) -> Result<u64, StoreError> {
        let prices: Vec<&LatestPrice> = prices.into_iter().collect();
        let mut written = 0;
        for chunk in prices.chunks(CHUNK) {
            let mut call = self.keep_newer.prepare_invoke();
            call.arg(PRICE_TTL.as_secs());
            for price in chunk {
                call.key(self.named(Key::latest_price(&price.tenant_id, &price.instrument_id)))
                    .arg(price.to_json());
            }
            let done = async { call.invoke_async(&mut self.connection().await?).await };
            written += bounded::<u64>("put prices", done).await?;
        }
        Ok(written)
    }

    /// Which run of the server holds the copy, the mark that was left for `owner`, and what the run has evicted.
    ///
    /// # Errors
    /// As the server says.
    pub async fn copy_state(&self, owner: &str) -> Result<CopyState, StoreError> {
        let mut pipeline = ::redis::pipe();
        pipeline
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("stats")
            .get(self.named(Key::copy_mark(owner)));
        let call = async { pipeline.query_async(&mut self.connection().await?).await };
        let (server, stats, mark): (String, String, Option<String>) = bounded("read copy state", call).await?;
        let told = |info: &str, field: &'static str| {
            let found = info
                .lines()
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let missing =
                || StoreError::unexpected(Store::Redis, "read copy state", format!("INFO does not name {field}"));
            found.map(|value| value.trim().to_owned()).ok_or_else(missing)
        };
        let evicted = told(&stats, "evicted_keys")?;
        let unreadable = |_| {
            let reason = format!("INFO says evicted_keys:{evicted}, which is not a number");
            StoreError::unexpected(Store::Redis, "read copy state", reason)
        };
        Ok(CopyState {
            run_id: told(&server, "run_id")?,
            mark,
            evicted_keys: evicted.parse().map_err(unreadable)?,
        })
    }

    /// Leaves a mark: `owner` fills its copy from now on. It has no expiry: it goes only when Redis is emptied, and with it
    /// what was filled.
    ///
    /// # Errors
    /// As the server says.
    pub async fn mark_copy(&self, owner: &str, mark: &str) -> Result<(), StoreError> {
        let key = self.named(Key::copy_mark(owner));
        bounded("mark copy", async { self.connection().await?.set(key, mark).await }).await
    }
}

/// Bounds a call as a whole (connecting and answer), and makes its error ours.
async fn bounded<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, StoreError> {
    let limit = CONNECT_TIMEOUT + RESPONSE_TIMEOUT;
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(|error| StoreError::redis(operation, &error)),
        Err(_) => Err(StoreError::timeout(Store::Redis, operation, limit)),
    }
}
