//! The number of prices per tenant in Redis, for `GET /cache/status`.
//!
//! Role: the duration of a count grows with the keys in Redis, so one background task counts for all tenants and all
//! requests. A request starts a count if the last one is older than [`FRESH`], waits for it at most [`PATIENCE`], and
//! otherwise returns the last count.
//! Failure: if Redis does not answer, the request gets the error; the next request tries again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::Breaker;
use service::breaker::Denied;
use stores::Redis;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

/// Maximum age of a count that is returned without a new one.
const FRESH: Duration = Duration::from_secs(1);
/// How long a request waits for a count: too short for a dashboard to show.
const PATIENCE: Duration = Duration::from_millis(25);

/// The result of a count.
#[derive(Debug, Clone)]
struct Count {
    by_tenant: Result<BTreeMap<String, u64>, String>,
    at: Instant,
}

/// The count of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Number of prices.
    pub prices: u64,
    /// Age of the count.
    pub age: Duration,
}

/// Counts the prices in Redis on request.
pub struct CopyCount {
    redis: Redis,
    breaker: Arc<Breaker>,
    runtime: Handle,
    counts: watch::Sender<Option<Arc<Count>>>,
    /// Locked during a count.
    counting: Arc<Mutex<()>>,
}

impl CopyCount {
    /// Counts on `runtime`, the runtime of the Redis connection.
    pub fn new(redis: Redis, breaker: Arc<Breaker>, runtime: Handle) -> CopyCount {
        CopyCount {
            redis,
            breaker,
            runtime,
            counts: watch::Sender::new(None),
            counting: Arc::default(),
        }
    }

    /// The last count of a tenant; `None` while the first count is running.
    ///
    /// # Errors
    /// Why the prices could not be counted, for users.
    pub async fn of(&self, tenant_id: &str) -> Result<Option<Counted>, String> {
        let mut counts = self.counts.subscribe();
        let is_fresh = |count: &Option<Arc<Count>>| count.as_ref().is_some_and(|count| count.at.elapsed() < FRESH);
        if !is_fresh(&counts.borrow_and_update()) {
            self.begin();
            // After the time-out the last count is returned.
            let _ = tokio::time::timeout(PATIENCE, counts.changed()).await;
        }
        let Some(count) = counts.borrow().clone() else {
            return Ok(None);
        };
        let by_tenant = count.by_tenant.as_ref().map_err(String::clone)?;
        Ok(Some(Counted {
            prices: by_tenant.get(tenant_id).copied().unwrap_or(0),
            age: count.at.elapsed(),
        }))
    }

    /// Starts a count, unless one is running.
    fn begin(&self) {
        let Ok(turn) = Arc::clone(&self.counting).try_lock_owned() else {
            return;
        };
        let (redis, breaker, counts) = (self.redis.clone(), Arc::clone(&self.breaker), self.counts.clone());
        self.runtime.spawn(async move {
            let counted = breaker.call(async { redis.count_latest_prices().await }).await;
            let by_tenant = counted.map_err(|denied| match denied {
                Denied::Failed(error) => {
                    tracing::warn!(error = %error, "the latest prices in redis could not be counted");
                    error.summary()
                }
                open @ Denied::Open(_) => open.to_string(),
            });
            let at = Instant::now();
            counts.send_replace(Some(Arc::new(Count { by_tenant, at })));
            drop(turn);
        });
    }
}
