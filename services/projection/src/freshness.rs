//! How the projection is, as the outside sees it: gauges before each scrape, and fields of `/stats`.
//!
//! Role: workers write what they know after each turn, health checks tell whether the stores answer; both together make
//! `projection_status` and `projection_lag_seconds`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::Micros;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use service::health::{Outcome, Report};
use stream::status::wall_clock;

use crate::core::pending::earlier;
use crate::metrics;

/// What one worker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Time of the oldest event that a store does not hold yet.
    pub oldest: Option<Micros>,
    /// Whether the last writes succeeded, and every partition is being served.
    pub is_well: bool,
}

/// What all workers of the process know.
#[derive(Debug, Default)]
pub struct Freshness {
    workers: Mutex<BTreeMap<u64, Seen>>,
    updated: AtomicU64,
    invalidations: AtomicU64,
    refills: AtomicU64,
}

impl Freshness {
    /// What this worker sees now.
    pub fn see(&self, worker: u64, seen: Seen) {
        self.lock().insert(worker, seen);
    }

    /// The worker has ended.
    pub fn forget(&self, worker: u64) {
        self.lock().remove(&worker);
    }

    /// Prices stored in Postgres.
    pub fn updated(&self, prices: u64) {
        self.updated.fetch_add(prices, Ordering::Relaxed);
    }

    /// The copy in Redis can no longer be relied on.
    pub fn invalidated(&self) {
        self.invalidations.fetch_add(1, Ordering::Relaxed);
    }

    /// The copy in Redis was made again as a whole.
    pub fn refilled(&self) {
        self.refills.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the gauges.
    pub fn show(&self, report: &Report) {
        let answers = |name: &str| {
            report
                .checks
                .get(name)
                .is_some_and(|record| record.status == Outcome::Pass)
        };
        let workers = self.lock();
        let oldest = workers.values().fold(None, |oldest, seen| earlier(oldest, seen.oldest));
        let is_well = workers.values().all(|seen| seen.is_well) && answers("postgres") && answers("redis");
        drop(workers);
        metrics::show(is_well, lag_seconds(oldest, wall_clock()));
    }

    /// Fields of `/stats`.
    pub fn stats(&self) -> Map<String, Value> {
        let fields = [
            ("projections_updated", &self.updated),
            ("cache_invalidations", &self.invalidations),
            ("materialized_views_refreshed", &self.refills),
        ];
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.load(Ordering::Relaxed).into()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Seen>> {
        self.workers.lock()
    }
}

fn lag_seconds(oldest: Option<Micros>, now: Micros) -> f64 {
    oldest.map_or(0.0, |oldest| (now - oldest).max(0) as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_age_of_the_oldest_event_and_zero_when_all_is_stored() {
        assert_eq!(lag_seconds(None, 9_000_000), 0.0);
        assert_eq!(lag_seconds(Some(6_500_000), 9_000_000), 2.5);
        assert_eq!(lag_seconds(Some(9_000_001), 9_000_000), 0.0);
    }
}
