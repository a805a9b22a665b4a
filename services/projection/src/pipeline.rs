//! The path of a tick through projection.
//!
//! ```text
//! enriched.market.ticks.v1 ─▶ sequencer ─▶ newest per instrument ─▶ Redis ─▶ Postgres (rows + position)
//! ```

use std::sync::Arc;
use std::time::Duration;

use service::clients::Dependency;
use service::{Context, StartError};
use stores::postgres::VerifyRuns;
use stores::{LatestPriceStore, Postgres, Redis};
use stream::{Handler, Pace};

use crate::config::Config;
use crate::core::work::Cadence;
use crate::freshness::Freshness;
use crate::http::copy_count::CopyCount;
use crate::http::live::LivePrices;
use crate::http::{self, Api};
use crate::metrics::Meters;
use crate::stages::Stores;
use crate::stages::project::{self, Parts, Projector};
use crate::verify_runs;

/// Writes to Redis have an interval of their own, and their results need turns.
const PACE: Pace = Pace::Prompt(Duration::ZERO);
/// Prices per call to a store: bounds the memory of a refill and of a large commit.
const PART: usize = 10_000;
/// Readers have their own connections, and Postgres cancels its slow queries: commits continue under any load of requests.
const READERS: usize = 4;
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Builds the service: source, stage, stores, then its HTTP.
///
/// # Errors
/// A client cannot be created.
pub fn build(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let stores = Stores {
        prices: LatestPriceStore::new(ctx.clients.postgres()?, ctx.names.generation()),
        redis: ctx.clients.redis()?,
        was_let_in: Arc::default(),
    };
    let freshness = Arc::new(Freshness::default());
    stage(ctx, stores.clone(), Arc::clone(&freshness));

    let readers = ctx.clients.postgres()?.for_readers(READERS, READ_LIMIT)?;
    ctx.tasks.spawn(
        "verify-runs",
        verify_runs::watch(
            VerifyRuns::new(readers.clone(), ctx.names.generation()),
            ctx.clients.breaker(Dependency::Postgres)?,
        ),
    );
    let live = Arc::new(LivePrices::new(
        stores.redis.clone(),
        ctx.clients.breaker(Dependency::Redis)?,
    ));
    ctx.tasks
        .spawn("live prices", Arc::clone(&live).follow(ctx.shutdown.clone()));
    ctx.routes(http::routes(Arc::new(api(ctx, readers, stores.redis, live)?)));
    let gauges = Arc::clone(&freshness);
    ctx.health.add_gauges(move |report| gauges.show(report));
    ctx.stats(move || freshness.stats());
    Ok(())
}

/// The stage that reads enriched ticks and writes both stores.
fn stage(ctx: &mut Context<Config>, stores: Stores, freshness: Arc<Freshness>) {
    let cadence = Cadence {
        redis: micros(ctx.own.redis_interval),
        postgres: micros(ctx.own.postgres_interval),
        part: PART,
    };
    let (wire, feeds, runtime) = (ctx.wire.clone(), ctx.names.raw.clone(), ctx.runtime.clone());
    let enriched = ctx.names.enriched.clone();
    let topics = [enriched.clone()];
    ctx.workers(project::NAME, &topics, PACE, move || {
        Ok(Box::new(Projector::new(Parts {
            wire: wire.clone(),
            stores: stores.clone(),
            cadence,
            feeds: feeds.clone(),
            runtime: runtime.clone(),
            meters: Meters::new(&enriched),
            freshness: Arc::clone(&freshness),
        })) as Box<dyn Handler>)
    });
    ctx.dead_letter_codes(project::NAME, project::DEAD_LETTER_CODES);
}

fn api(ctx: &Context<Config>, readers: Postgres, redis: Redis, live: Arc<LivePrices>) -> Result<Api, StartError> {
    let redis_breaker = ctx.clients.breaker(Dependency::Redis)?;
    Ok(Api {
        prices: LatestPriceStore::new(readers, ctx.names.generation()),
        copies: CopyCount::new(redis.clone(), Arc::clone(&redis_breaker), ctx.runtime.clone()),
        redis,
        redis_breaker,
        live,
        runtime: ctx.runtime.clone(),
        postgres_breaker: ctx.clients.breaker(Dependency::Postgres)?,
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
