//! How many prices of each tenant the copy in Redis holds, for `GET /cache/status`.
//!
//! Role: counting takes as long as Redis has keys, so it is done beside the requests, for all tenants at once and by one
//! task however many ask. A request begins a count where the last one is older than [`FRESH`], waits at most [`PATIENCE`]
//! for it, and else answers what was counted last.
//! Failure: where Redis does not answer, requests are told so; the next one tries again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::Breaker;
use service::breaker::Denied;
use stores::Redis;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};

/// A count is good for this long.
const FRESH: Duration = Duration::from_secs(1);
/// How long a request waits for a count: less than a dashboard notices.
const PATIENCE: Duration = Duration::from_millis(25);

/// The result of a count.
#[derive(Debug, Clone)]
struct Count {
    by_tenant: Result<BTreeMap<String, u64>, String>,
    at: Instant,
}

/// What is known of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Prices.
    pub prices: u64,
    /// Since they were counted.
    pub age: Duration,
}

/// Counts on request.
pub struct CopyCount {
    redis: Redis,
    breaker: Arc<Breaker>,
    runtime: Handle,
    counts: watch::Sender<Option<Arc<Count>>>,
    /// Held while somebody counts.
    counting: Arc<Mutex<()>>,
}

impl CopyCount {
    /// Nothing is counted yet. Redis is asked on `runtime`, where its connection lives.
    pub fn new(redis: Redis, breaker: Arc<Breaker>, runtime: Handle) -> CopyCount {
        CopyCount {
            redis,
            breaker,
            runtime,
            counts: watch::Sender::new(None),
            counting: Arc::default(),
        }
    }

    /// The prices of a tenant as counted last; `None` while the first count is under way.
    ///
    /// # Errors
    /// Why Redis was not counted, for people.
    pub async fn of(&self, tenant_id: &str) -> Result<Option<Counted>, String> {
        let mut counts = self.counts.subscribe();
        let is_fresh = |count: &Option<Arc<Count>>| count.as_ref().is_some_and(|count| count.at.elapsed() < FRESH);
        if !is_fresh(&counts.borrow_and_update()) {
            self.begin();
            // The time-out is an answer, too: with the last count.
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

    /// Begins a count, unless one is under way.
    fn begin(&self) {
        let Ok(turn) = Arc::clone(&self.counting).try_lock_owned() else {
            return;
        };
        let (redis, breaker, counts) = (self.redis.clone(), Arc::clone(&self.breaker), self.counts.clone());
        self.runtime.spawn(async move {
            let counted = breaker.call(async { redis.count_latest_prices().await }).await;
            let by_tenant = counted.map_err(|denied| match denied {
                Denied::Failed(error) => {
                    tracing::warn!(error = %error, "the copy of latest prices was not counted");
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
