//! The path of a tick through projection.
//!
//! ```text
//! enriched.market.ticks.v1 ─▶ sequencer ─▶ newest per instrument ─▶ Redis ─▶ Postgres (rows + position)
//! aggregation.curves.v1, aggregation.derived.v1 ─▶ newest per name ─▶ Postgres (rows + position) ─▶ Redis
//! projection.invalidation.v1 ─▶ Redis, from Postgres ─▶ cache:invalidation
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use service::clients::Dependency;
use service::health::Check;
use service::writer::tables::CURVE_SNAPSHOTS;
use service::{Context, StartError};
use stores::postgres::VerifyRuns;
use stores::{LatestPriceStore, Postgres, Projection, ServedStore};
use stream::status::wall_clock;
use stream::{Handler, Pace};

use crate::config::Config;
use crate::core::work::Cadence;
use crate::freshness::{Freshness, LATEST_PRICE};
use crate::http::copy_count::CopyCount;
use crate::http::live::LivePrices;
use crate::http::{self, Api, CurveHistory};
use crate::metrics::Meters;
use crate::rewrite::Rewriter;
use crate::stages::invalidate::{self, Invalidator};
use crate::stages::project::{self, Parts, Projector};
use crate::stages::serve::{self, Server};
use crate::stages::{ServedStores, Stores};
use crate::verify_runs;

/// Writes to Redis have an interval of their own, and their results need turns.
const PACE: Pace = Pace::Prompt(Duration::ZERO);
/// Requests are rare, and an idle member that is prompt costs the broker three requests a second.
const INVALIDATION_WAIT: Duration = Duration::from_secs(1);
/// Snapshots and derived prices come at most once a minute or so, and an idle member that is prompt costs the broker three requests a second.
const SERVED_WAIT: Duration = Duration::from_secs(1);
/// Prices per call to a store: bounds the memory of a refill and of a large commit.
const PART: usize = 10_000;
/// Readers have their own connections, and Postgres cancels its slow queries: commits continue under any load of requests.
const READERS: usize = 4;
const READ_LIMIT: Duration = Duration::from_secs(2);
/// A commit that is under way when a copy is dropped has ended by then, unless Postgres is overloaded.
const COMMIT_LIMIT: Duration = Duration::from_millis(500);

/// Builds the service: source, stage, stores, then its HTTP.
///
/// # Errors
/// A client cannot be created.
pub fn build(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let stores = Stores {
        prices: LatestPriceStore::new(ctx.clients.postgres()?, ctx.names.generation()),
        redis: ctx.clients.redis()?,
        custom: ctx.own.custom.clone(),
        was_let_in: Arc::default(),
    };
    let freshness = Arc::new(Freshness::of(LATEST_PRICE));
    let served = Projection::ALL.map(|projection| (projection, Arc::new(Freshness::of(projection.name()))));
    stage(ctx, stores.clone(), Arc::clone(&freshness));
    served_stage(ctx, &stores, served.iter().cloned().collect())?;

    let readers = ctx.clients.postgres()?.for_readers(READERS, READ_LIMIT)?;
    ctx.tasks.spawn(
        "verify-runs",
        verify_runs::watch(
            VerifyRuns::new(readers.clone(), ctx.names.generation()),
            ctx.clients.breaker(Dependency::Postgres)?,
        ),
    );
    let rewriter = Rewriter {
        prices: LatestPriceStore::new(readers.clone(), ctx.names.generation()),
        snapshots: ServedStore::new(readers.clone(), Projection::CurveSnapshot, ctx.names.generation()),
        derived: ServedStore::new(readers.clone(), Projection::DerivedPrice, ctx.names.generation()),
        redis: stores.redis.clone(),
        custom: ctx.own.custom.clone(),
        settle_after: 2 * ctx.own.postgres_interval + COMMIT_LIMIT,
    };
    invalidation_stage(ctx, rewriter.clone(), Arc::clone(&freshness));
    let live = Arc::new(LivePrices::new(
        stores.redis.clone(),
        ctx.clients.breaker(Dependency::Redis)?,
    ));
    ctx.tasks
        .spawn("live prices", Arc::clone(&live).follow(ctx.shutdown.clone()));
    let all: Vec<Arc<Freshness>> = std::iter::once(&freshness)
        .chain(served.iter().map(|(_, freshness)| freshness))
        .map(Arc::clone)
        .collect();
    ctx.routes(http::routes(Arc::new(api(
        ctx,
        (readers, rewriter),
        all.clone(),
        live,
    )?)));
    ctx.check(behind(all.clone()));
    ctx.health.add_gauges(move |report| {
        freshness.show(report);
        freshness.show_ages();
        for (_, freshness) in &served {
            freshness.show(report);
        }
    });
    ctx.stats(move || Freshness::stats(&all));
    Ok(())
}

/// What waits for a store. Both may answer all the same: a lock holds up the writes only.
fn behind(all: Vec<Arc<Freshness>>) -> Check {
    Check {
        name: "projections",
        critical: false,
        target: "latest prices, curve snapshots and derived prices".to_owned(),
        ask: Box::new(move || {
            let problem = all.iter().find_map(|freshness| freshness.problem(wall_clock()));
            Box::pin(async move { problem.map_or(Ok(()), |problem| Err(problem.into())) })
        }),
        breaker: None,
    }
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

/// The stage that serves the newest curve snapshots and derived prices.
fn served_stage(
    ctx: &mut Context<Config>,
    stores: &Stores,
    freshness: BTreeMap<Projection, Arc<Freshness>>,
) -> Result<(), StartError> {
    let postgres = ctx.clients.postgres()?;
    let of = |projection| ServedStore::new(postgres.clone(), projection, ctx.names.generation());
    let stores = ServedStores {
        curves: of(Projection::CurveSnapshot),
        derived: of(Projection::DerivedPrice),
        topics: stores.prices.clone(),
        redis: stores.redis.clone(),
        was_let_in: Arc::default(),
    };
    let names = &ctx.names;
    let (group, curves, derived) = (
        names.served_group(ctx.service),
        names.curves.clone(),
        names.derived.clone(),
    );
    let sources = [curves.clone(), derived.clone()];
    let (wire, feeds, runtime) = (ctx.wire.clone(), ctx.names.raw.clone(), ctx.runtime.clone());
    let interval = micros(ctx.own.postgres_interval);
    ctx.second_stage(serve::NAME, group, &sources, Pace::Within(SERVED_WAIT), move || {
        Ok(Box::new(Server::new(serve::Parts {
            wire: wire.clone(),
            stores: stores.clone(),
            interval,
            topics: vec![
                (curves.clone(), Projection::CurveSnapshot),
                (derived.clone(), Projection::DerivedPrice),
            ],
            feeds: feeds.clone(),
            runtime: runtime.clone(),
            freshness: freshness.clone(),
        })))
    });
    ctx.dead_letter_codes(serve::NAME, serve::DEAD_LETTER_CODES);
    Ok(())
}

/// The stage that carries out requests to drop or rewrite copies.
fn invalidation_stage(ctx: &mut Context<Config>, rewriter: Rewriter, freshness: Arc<Freshness>) {
    let (group, runtime) = (ctx.names.invalidation_group(ctx.service), ctx.runtime.clone());
    let source = [ctx.names.invalidation.clone()];
    ctx.second_stage(
        invalidate::NAME,
        group,
        &source,
        Pace::Within(INVALIDATION_WAIT),
        move || {
            let handler = Invalidator::new(rewriter.clone(), Arc::clone(&freshness), runtime.clone());
            Ok(Box::new(handler))
        },
    );
    ctx.dead_letter_codes(invalidate::NAME, invalidate::DEAD_LETTER_CODES);
}

fn api(
    ctx: &Context<Config>,
    (readers, rewriter): (Postgres, Rewriter),
    all: Vec<Arc<Freshness>>,
    live: Arc<LivePrices>,
) -> Result<Api, StartError> {
    let served = |projection| ServedStore::new(readers.clone(), projection, ctx.names.generation());
    let redis_breaker = ctx.clients.breaker(Dependency::Redis)?;
    Ok(Api {
        prices: LatestPriceStore::new(readers.clone(), ctx.names.generation()),
        served: Projection::ALL.map(served),
        copies: CopyCount::new(rewriter.redis.clone(), Arc::clone(&redis_breaker), ctx.runtime.clone()),
        rewriter,
        history: CurveHistory {
            clickhouse: ctx.clients.clickhouse()?,
            breaker: ctx.clients.breaker(Dependency::ClickHouse)?,
            table: ctx.names.table(CURVE_SNAPSHOTS.name),
        },
        projections: all,
        redis_breaker,
        live,
        runtime: ctx.runtime.clone(),
        postgres_breaker: ctx.clients.breaker(Dependency::Postgres)?,
    })
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
