//! Keeps the directory fresh in the background: full loads, and look-ups of keys that ticks missed.
//!
//! Role: full loads at start-up, on notification, periodically and on request; misses are looked up in batches, first in
//! Redis, then in Postgres, each bounded by [`LOOKUP_DEADLINE`] and protected by a circuit breaker.
//! Failure: while a store is down, the directory keeps its rows; health reports [`Refresher::last_error`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{RetryPolicy, Waits};
use parking_lot::Mutex;
use serde_json::{Value, json};
use service::Breaker;
use stream::status::wall_clock;
use tokio::sync::{Notify, mpsc};

use super::source::{Loaded, LookupError, ReferenceCache, ReferenceSource};
use super::{Directory, Key, Reference, Snapshot};
use crate::core::taxonomy::RuleBook;
use crate::metrics;

/// Time limit of one look-up in one store.
const LOOKUP_DEADLINE: Duration = Duration::from_millis(200);
/// Time limit of a full load.
const LOAD_DEADLINE: Duration = Duration::from_secs(30);
/// Keys per batch.
const BATCH: usize = 500;
/// When entries in Redis expire.
const TTL: Duration = Duration::from_secs(3600);

/// Runs the loads and look-ups.
pub struct Refresher {
    directory: Arc<Directory>,
    source: Arc<dyn ReferenceSource>,
    cache: Arc<dyn ReferenceCache>,
    source_breaker: Arc<Breaker>,
    cache_breaker: Arc<Breaker>,
    last_error: Mutex<Option<String>>,
    wanted: Notify,
}

impl Refresher {
    /// A refresher of this directory.
    pub fn new(
        directory: Arc<Directory>,
        source: Arc<dyn ReferenceSource>,
        cache: Arc<dyn ReferenceCache>,
        (source_breaker, cache_breaker): (Arc<Breaker>, Arc<Breaker>),
    ) -> Refresher {
        Refresher {
            directory,
            source,
            cache,
            source_breaker,
            cache_breaker,
            last_error: Mutex::new(Some("not loaded yet".to_owned())),
            wanted: Notify::new(),
        }
    }

    /// The directory that it keeps fresh.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Why the last full load failed.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().clone()
    }

    /// Requests a full load soon; several requests become one.
    pub fn request(&self) {
        self.wanted.notify_one();
    }

    /// Runs a full load now, and returns the number of rows.
    ///
    /// # Errors
    /// A message for operators; the directory then keeps its rows.
    pub async fn load(&self) -> Result<usize, String> {
        let result = within(LOAD_DEADLINE, &self.source_breaker, self.source.load()).await;
        let result = result.map_err(|error| error.message);
        metrics::refreshed(result.is_ok());
        *self.last_error.lock() = result.as_ref().err().cloned();
        let Loaded { rows, rules } = result?;
        let count = rows.len();
        let copies: Vec<(String, String)> = rows
            .iter()
            .map(|row| (cache_key(&row.tenant_id, &row.instrument_id), to_text(row)))
            .collect();
        let before = self.directory.snapshot();
        let next = Snapshot::loaded(rows, RuleBook::new(&rules), wall_clock());
        // A deleted row must not come back from the cache.
        let deleted = before
            .missing_in(&next)
            .into_iter()
            .map(|key| (cache_key(&key.tenant_id, &key.instrument_id), "null".to_owned()));
        let writes: Vec<(String, String)> = copies.into_iter().chain(deleted).collect();
        self.directory.publish(|_| next.clone());
        metrics::entries(count);
        self.copy(&writes).await;
        Ok(count)
    }

    /// Looks up these keys in Redis, then in Postgres, and publishes the rows found.
    pub async fn look_up(&self, keys: &[Key]) -> Vec<Reference> {
        let mut found = self.in_cache(keys).await;
        let rest: Vec<Key> = keys
            .iter()
            .filter(|key| !found.iter().any(|row| is_of(row, key)))
            .cloned()
            .collect();
        if !rest.is_empty() {
            let rows = self.in_source(&rest).await;
            let copies: Vec<(String, String)> = rows
                .iter()
                .map(|row| (cache_key(&row.tenant_id, &row.instrument_id), to_text(row)))
                .collect();
            self.copy(&copies).await;
            found.extend(rows);
        }
        if !found.is_empty() {
            self.directory.publish(|snapshot| snapshot.with(found.clone()));
        }
        found
    }

    /// Runs until the process ends: looks up misses as they arrive, runs full loads periodically and on request.
    pub async fn run(self: Arc<Refresher>, mut misses: mpsc::Receiver<Key>, interval: Duration) {
        let mut waits = RetryPolicy::STANDARD.waits();
        let first = self.last_error().map_or(interval, |_| waits.after_failure());
        let mut next_load = Instant::now() + first;
        let mut keys = Vec::with_capacity(BATCH);
        loop {
            keys.clear();
            tokio::select! {
                received = misses.recv_many(&mut keys, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    self.look_up(&keys).await;
                }
                () = self.wanted.notified() => next_load = self.load_and_plan(interval, &mut waits).await,
                () = tokio::time::sleep_until(next_load.into()) => next_load = self.load_and_plan(interval, &mut waits).await,
            }
        }
    }

    async fn load_and_plan(&self, interval: Duration, waits: &mut Waits) -> Instant {
        let wait = match self.load().await {
            Ok(rows) => {
                tracing::info!(event = "reference_loaded", rows, "reference data loaded");
                waits.succeeded();
                interval
            }
            Err(error) => {
                tracing::warn!(
                    event = "reference_load_failed",
                    error,
                    "reference data could not be loaded; the rows in memory are kept"
                );
                waits.after_failure()
            }
        };
        Instant::now() + wait
    }

    async fn in_cache(&self, keys: &[Key]) -> Vec<Reference> {
        if !self.cache_breaker.allows(Instant::now()) {
            return Vec::new();
        }
        let names: Vec<String> = keys
            .iter()
            .map(|key| cache_key(&key.tenant_id, &key.instrument_id))
            .collect();
        let answer = within(LOOKUP_DEADLINE, &self.cache_breaker, self.cache.get_many(&names)).await;
        let texts = answer.unwrap_or_default();
        let rows = keys
            .iter()
            .zip(&texts)
            .filter_map(|(key, text)| from_text(text.as_deref()?).filter(|row| is_of(row, key)));
        rows.collect()
    }

    async fn in_source(&self, keys: &[Key]) -> Vec<Reference> {
        if !self.source_breaker.allows(Instant::now()) {
            return Vec::new();
        }
        let answer = within(LOOKUP_DEADLINE, &self.source_breaker, self.source.lookup(keys)).await;
        let rows = answer.unwrap_or_default();
        rows.into_iter()
            .filter(|row| keys.iter().any(|key| is_of(row, key)))
            .collect()
    }

    async fn copy(&self, pairs: &[(String, String)]) {
        for chunk in pairs.chunks(BATCH) {
            if !self.cache_breaker.allows(Instant::now()) {
                return;
            }
            if within(LOOKUP_DEADLINE, &self.cache_breaker, self.cache.set_many(chunk, TTL))
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// Bounds a call, and reports to the store's breaker whether the store was available.
async fn within<T>(
    limit: Duration,
    breaker: &Breaker,
    call: impl Future<Output = Result<T, LookupError>>,
) -> Result<T, LookupError> {
    let timed_out = |_| LookupError {
        message: format!("no answer within {} ms", limit.as_millis()),
        is_outage: true,
    };
    let result = tokio::time::timeout(limit, call).await.map_err(timed_out).flatten();
    match &result {
        Err(error) if error.is_outage => breaker.failed(Instant::now()),
        _ => breaker.succeeded(),
    }
    result
}

fn is_of(row: &Reference, key: &Key) -> bool {
    row.instrument_id == key.instrument_id && row.tenant_id == key.tenant_id
}

fn cache_key(tenant_id: &str, instrument_id: &str) -> String {
    stores::redis::Key::reference(tenant_id, instrument_id).to_string()
}

fn to_text(row: &Reference) -> String {
    let decimal = |value: &Option<domain::Decimal>| value.map(|decimal| decimal.to_string());
    json!({
        "tenant_id": row.tenant_id,
        "instrument_id": row.instrument_id,
        "commodity": row.commodity,
        "region": row.region,
        "product_tier": row.product_tier,
        "unit": row.unit,
        "contract_size": decimal(&row.contract_size),
        "tick_size": decimal(&row.tick_size),
        "curve_id": row.curve_id,
    })
    .to_string()
}

/// `None` for the mark of a deleted row, and for the format of another version.
fn from_text(text: &str) -> Option<Reference> {
    let fields: HashMap<String, Value> = serde_json::from_str(text).ok()?;
    let optional = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let decimal = |name: &str| optional(name).map(|text| text.parse().ok());
    Some(Reference {
        tenant_id: optional("tenant_id")?,
        instrument_id: optional("instrument_id")?,
        commodity: optional("commodity")?,
        region: optional("region")?,
        product_tier: optional("product_tier")?,
        unit: optional("unit"),
        contract_size: decimal("contract_size").flatten(),
        tick_size: decimal("tick_size").flatten(),
        curve_id: optional("curve_id"),
        curve_definition: None,
    })
}

#[cfg(test)]
mod tests;
