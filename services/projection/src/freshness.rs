//! The state of each projection for operators: gauges at each scrape, and fields of `/stats`.
//!
//! Role: combines the state that workers report after each turn with the health checks of the stores into
//! `projection_status` and `projection_lag_seconds`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use domain::Micros;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Map, Value};
use service::health::{Outcome, Report};
use stores::OwnedOrigin;
use stream::status::wall_clock;

use crate::core::ages::Ages;
use crate::core::pending::earlier;
use crate::metrics;

/// Seconds of lag from which the status changes.
const WARNING_LAG: f64 = 300.0;
const CRITICAL_LAG: f64 = 1_800.0;
/// Seconds of lag that degrade the service: a store holds up its writes, or it works off a backlog.
const BEHIND: f64 = 30.0;

/// The state of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerState {
    /// Time of the oldest event that a store does not have yet.
    pub oldest: Option<Micros>,
    /// Whether the last writes succeeded, and all partitions are being served.
    pub is_well: bool,
}

/// The name of the projection of latest prices.
pub const LATEST_PRICE: &str = "latest_price";

/// The state of a projection in all workers of the process.
#[derive(Debug)]
pub struct Freshness {
    projection: &'static str,
    workers: Mutex<BTreeMap<u64, WorkerState>>,
    ages: Mutex<BTreeMap<u64, Ages>>,
    updated: AtomicU64,
    invalidations: AtomicU64,
    refills: AtomicU64,
    /// Newest event time, or time of a snapshot, that was written; 0 until there is one.
    newest: AtomicI64,
    /// The event before the position that was stored last; always `None` for a projection whose rows are of no single event.
    last_event: Mutex<Option<String>>,
}

/// How the projection stands in this process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// `healthy`, `warning` or `critical`, with the limits of `dp projection list`.
    pub status: &'static str,
    /// Age of the oldest event that a store does not have yet.
    pub lag_seconds: f64,
    /// Newest event time, or time of a snapshot, that this process has written; `None` if it has written none.
    pub last_event: Option<Micros>,
}

impl Freshness {
    /// Of the projection of this name.
    pub fn of(projection: &'static str) -> Freshness {
        Freshness {
            projection,
            workers: Mutex::default(),
            ages: Mutex::default(),
            updated: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
            refills: AtomicU64::new(0),
            newest: AtomicI64::new(0),
            last_event: Mutex::default(),
        }
    }

    /// Its name.
    pub fn projection(&self) -> &'static str {
        self.projection
    }

    /// Sets the state of a worker.
    pub fn report(&self, worker: u64, state: WorkerState) {
        self.lock().insert(worker, state);
    }

    /// Removes a worker that has ended.
    pub fn forget(&self, worker: u64) {
        self.lock().remove(&worker);
        self.ages.lock().remove(&worker);
    }

    /// Sets the ages of a worker's instruments.
    pub fn aged(&self, worker: u64, ages: Ages) {
        self.ages.lock().insert(worker, ages);
    }

    /// The ages of all instruments of the process.
    fn ages(&self) -> Ages {
        let mut sum = Ages::default();
        self.ages.lock().values().for_each(|ages| sum.add(ages));
        sum
    }

    /// Prices or snapshots of these times were written.
    pub fn wrote(&self, event_times: impl Iterator<Item = Micros>) {
        if let Some(newest) = event_times.max() {
            self.newest.fetch_max(newest, Ordering::Relaxed);
        }
    }

    /// A position was stored, and this is the last tick before it.
    pub fn stored(&self, tick: Option<&OwnedOrigin>) {
        if let Some(tick) = tick {
            *self.last_event.lock() = Some(tick.as_origin().to_string());
        }
    }

    /// Id of the tick that this process has stored last, which names no tenant; `None` if it has stored none.
    pub fn last_event_id(&self) -> Option<String> {
        self.last_event.lock().clone()
    }

    /// The standing of the projection.
    pub fn standing(&self, now: Micros) -> Standing {
        let WorkerState { oldest, is_well } = self.of_all_workers();
        let lag_seconds = lag_seconds(oldest, now);
        Standing {
            status: match lag_seconds {
                lag if lag > CRITICAL_LAG => "critical",
                lag if lag > WARNING_LAG || !is_well => "warning",
                _ => "healthy",
            },
            lag_seconds,
            last_event: Some(self.newest.load(Ordering::Relaxed)).filter(|newest| *newest > 0),
        }
    }

    /// What keeps prices from a store, for the health check.
    pub fn problem(&self, now: Micros) -> Option<String> {
        let lag = self.standing(now).lag_seconds;
        (lag > BEHIND).then(|| {
            format!(
                "{} {lag:.0} s behind in PostgreSQL or Redis; nothing is lost. `dp postgres locks` shows a session that \
                 holds up the writes, `dp kafka lag` a backlog",
                self.words()
            )
        })
    }

    fn words(&self) -> &'static str {
        match self.projection {
            LATEST_PRICE => "latest prices are",
            "curve_snapshot" => "curve snapshots are",
            _ => "derived prices are",
        }
    }

    /// Counts rows stored in Postgres.
    pub fn updated(&self, prices: u64) {
        self.updated.fetch_add(prices, Ordering::Relaxed);
    }

    /// Counts invalidations: by a rule, by hand, or by a loss of the copy in Redis, which can no longer be relied on.
    pub fn invalidated(&self, count: u64) {
        self.invalidations.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a complete refill of Redis.
    pub fn refilled(&self) {
        self.refills.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the gauges of status and lag.
    pub fn show(&self, report: &Report) {
        let answers = |name: &str| {
            report
                .checks
                .get(name)
                .is_some_and(|record| record.status == Outcome::Pass)
        };
        let WorkerState { oldest, is_well } = self.of_all_workers();
        let is_well = is_well && answers("postgres") && answers("redis");
        metrics::show(self.projection, is_well, lag_seconds(oldest, wall_clock()));
    }

    /// Sets the gauges of the instruments' ages.
    pub fn show_ages(&self) {
        metrics::show_ages(&self.ages());
    }

    /// Fields of `/stats`, of all projections together.
    pub fn stats(all: &[Arc<Freshness>]) -> Map<String, Value> {
        let sum = |of: fn(&Freshness) -> &AtomicU64| -> Value {
            let counts = all.iter().map(|freshness| of(freshness).load(Ordering::Relaxed));
            counts.sum::<u64>().into()
        };
        [
            ("projections_updated", sum(|freshness| &freshness.updated)),
            ("cache_invalidations", sum(|freshness| &freshness.invalidations)),
            ("materialized_views_refreshed", sum(|freshness| &freshness.refills)),
        ]
        .into_iter()
        .map(|(name, sum)| (name.to_owned(), sum))
        .collect()
    }

    /// The oldest event that any worker waits for, and whether all of them are well.
    fn of_all_workers(&self) -> WorkerState {
        let workers = self.lock();
        WorkerState {
            oldest: workers
                .values()
                .fold(None, |oldest, state| earlier(oldest, state.oldest)),
            is_well: workers.values().all(|state| state.is_well),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, WorkerState>> {
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
    fn prices_that_wait_for_more_than_half_a_minute_are_a_problem() {
        let freshness = Freshness::of(LATEST_PRICE);
        let now = 10_000_000_000;
        for (lag_seconds, is_problem) in [(0, false), (30, false), (31, true)] {
            let oldest = Some(now - lag_seconds * 1_000_000);
            freshness.report(1, WorkerState { oldest, is_well: true });
            assert_eq!(freshness.problem(now).is_some(), is_problem, "{lag_seconds}");
        }
        let curves = Freshness::of("curve_snapshot");
        let oldest = Some(0);
        curves.report(1, WorkerState { oldest, is_well: true });
        assert!(
            curves
                .problem(now)
                .is_some_and(|problem| problem.starts_with("curve snapshots are"))
        );
    }

    #[test]
    fn the_counts_are_those_of_all_projections() {
        let all = ["latest_price", "curve_snapshot"].map(|name| Arc::new(Freshness::of(name)));
        all.iter().for_each(|freshness| freshness.updated(2));
        all[1].refilled();
        let stats = Freshness::stats(&all);
        assert_eq!(
            (&stats["projections_updated"], &stats["materialized_views_refreshed"]),
            (&4.into(), &1.into())
        );
    }

    #[test]
    fn the_standing_is_that_of_the_worst_worker() {
        let freshness = Freshness::of(LATEST_PRICE);
        let now = 10_000_000_000;
        let state = |lag_seconds: i64, is_well| WorkerState {
            oldest: (lag_seconds > 0).then(|| now - lag_seconds * 1_000_000),
            is_well,
        };
        assert_eq!(
            freshness.standing(now),
            Standing {
                status: "healthy",
                lag_seconds: 0.0,
                last_event: None
            }
        );
        for (one, other, status) in [
            (state(0, true), state(300, true), "healthy"),
            (state(301, true), state(0, true), "warning"),
            (state(0, true), state(1, false), "warning"),
            (state(1_801, true), state(301, true), "critical"),
        ] {
            freshness.report(1, one);
            freshness.report(2, other);
            assert_eq!(freshness.standing(now).status, status, "{one:?} {other:?}");
        }
        freshness.wrote([6, 7].into_iter());
        freshness.wrote([5].into_iter());
        freshness.wrote(std::iter::empty());
        assert_eq!(freshness.standing(now).last_event, Some(7));
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_event_and_zero_when_all_is_stored() {
        assert_eq!(lag_seconds(None, 9_000_000), 0.0);
        assert_eq!(lag_seconds(Some(6_500_000), 9_000_000), 2.5);
        assert_eq!(lag_seconds(Some(9_000_001), 9_000_000), 0.0);
    }
}
