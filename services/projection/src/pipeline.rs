//! The way of a tick through projection, in order.
//!
//! ```text
//! enriched.market.ticks.v1 ─▶ sequencer ─▶ newest per instrument ─▶ Redis ─▶ Postgres (rows + position)
//! ```

use std::sync::Arc;
use std::time::Duration;

use service::clients::Dependency;
use service::{Context, StartError};
use stores::LatestPriceStore;
use stream::{Handler, Pace};

use crate::config::Config;
use crate::copy_count::CopyCount;
use crate::core::work::Cadence;
use crate::freshness::Freshness;
use crate::http::{self, Api};
use crate::metrics::Meters;
use crate::stages::Stores;
use crate::stages::project::{self, Parts, Projector};

/// Prices go to Redis by the batch of some milliseconds, so a fetch may wait for as long.
const WAIT: Duration = Duration::from_millis(5);
/// Prices of one call to a store: bounds the memory of a refill, and of a commit of very many.
const PART: usize = 10_000;
/// HTTP has connections of its own, and Postgres ends what it asks for too long: however many ask, commits continue.
const READERS: usize = 4;
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Builds the service.
///
/// # Errors
/// Where a client cannot be made.
pub fn build(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let stores = Stores {
        prices: LatestPriceStore::new(ctx.clients.postgres()?, ctx.names.generation()),
        redis: ctx.clients.redis()?,
        was_let_in: Arc::default(),
    };
    let cadence = Cadence {
        redis: micros(ctx.own.redis_interval),
        postgres: micros(ctx.own.postgres_interval),
        part: PART,
    };
    let (wire, feeds, runtime) = (ctx.wire.clone(), ctx.names.raw.clone(), ctx.runtime.clone());
    let (enriched, served) = (ctx.names.enriched.clone(), stores.clone());
    let topics = [enriched.clone()];
    let freshness = Arc::new(Freshness::default());
    let (seen, shown, counted) = (Arc::clone(&freshness), Arc::clone(&freshness), freshness);
    ctx.health.add_gauges(move |report| shown.show(report));
    ctx.stats(move || counted.stats());
    ctx.workers(project::NAME, &topics, Pace::Within(WAIT), move || {
        Ok(Box::new(Projector::new(Parts {
            wire: wire.clone(),
            stores: served.clone(),
            cadence,
            feeds: feeds.clone(),
            runtime: runtime.clone(),
            meters: Meters::new(&enriched),
            freshness: Arc::clone(&seen),
        })) as Box<dyn Handler>)
    });
    ctx.dead_letter_codes(project::NAME, project::DEAD_LETTER_CODES);
    let readers = ctx.clients.postgres()?.for_readers(READERS, READ_LIMIT)?;
    let api = Arc::new(Api {
        prices: LatestPriceStore::new(readers, ctx.names.generation()),
        copies: CopyCount::new(
            stores.redis,
            ctx.clients.breaker(Dependency::Redis)?,
            ctx.runtime.clone(),
        ),
        runtime: ctx.runtime.clone(),
        postgres_breaker: ctx.clients.breaker(Dependency::Postgres)?,
    });
    ctx.routes(http::routes(api));
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
