//! What a lane's work has written, for metrics and `/stats`.

use domain::Micros;

use super::project::Parts;
use crate::core::work::{Answers, Committed, Work};

/// Counts the writes; returns whether all of them succeeded.
pub(super) fn count(parts: &Parts, work: &Work, answers: &Answers, now: Micros) -> bool {
    let Parts { meters, freshness, .. } = parts;
    if let Some(copy) = &answers.copy {
        meters.evicted.set(copy.evicted as f64);
    }
    let postgres_ok = answers.committed.is_none_or(|committed| committed == Committed::Yes);
    if answers.redis_ok {
        meters.redis.increment(work.redis.len() as u64);
        freshness.invalidated(work.notices.len() as u64);
        freshness.wrote(work.redis.iter().map(|price| price.event_time));
        if work.refill.is_some_and(|part| part.ends) {
            meters.refills.increment(1);
            freshness.refilled();
            if work.after_eviction {
                tracing::warn!(
                    event = "prices_evicted",
                    "redis has evicted keys; all latest prices were written to it again; raise its maxmemory, else it evicts more; GET /prices/latest is not affected, it reads postgres"
                );
            }
        }
        if work.refill.is_none() {
            work.redis
                .iter()
                .for_each(|price| meters.reached_redis(price.appended_at, now));
        }
    }
    if !answers.redis_ok
        || answers
            .copy
            .as_ref()
            .is_some_and(|copy| !copy.is_marked && work.refill.is_none())
    {
        freshness.invalidated(1);
    }
    if let (Some(commit), true) = (&work.commit, postgres_ok) {
        meters.postgres.increment(commit.prices.len() as u64);
        freshness.updated(commit.prices.len() as u64);
    }
    answers.redis_ok && postgres_ok && (!work.read_position || answers.stored.is_some())
}
