//! The path of a tick through enrichment.
//!
//! ```text
//! normalized.market.ticks.v1 ─▶ enrich ─▶ enriched.market.ticks.v1 ─▶ ClickHouse writer ─▶ enriched_ticks
//!                                 ▲
//!        Postgres ─▶ Redis ─▶ directory (memory)
//! ```

use std::sync::Arc;
use std::time::Duration;

use service::clients::Dependency;
use service::health::Check;
use service::{Context, StartError};
use stream::hop::Hop;
use stream::{Handler, Pace};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::http::{self, Api};
use crate::lookup::refresh::Refresher;
use crate::lookup::stored::{PostgresReference, RedisCopies};
use crate::lookup::{Directory, View};
use crate::stages::enrich::{self, Enrich};

/// Capacity of the queue of missed keys.
const MISSES: usize = 10_000;
/// How long start-up waits for reference data, so that the first ticks are not guesses.
const FIRST_LOAD: Duration = Duration::from_secs(10);

/// Builds the service: reference data, source, stage, sink, then its HTTP.
///
/// # Errors
/// A client cannot be created.
pub fn build(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let refresher = reference_data(ctx)?;
    let threshold_percent = ctx.own.threshold_percent;
    stage(ctx, Arc::clone(refresher.directory()), threshold_percent);
    ctx.writer()?;

    ctx.routes(http::routes(Arc::new(Api {
        refresher: Arc::clone(&refresher),
        runtime: ctx.runtime.clone(),
        threshold_percent,
    })));
    let health = Arc::clone(&ctx.health);
    ctx.stats(move || http::stats(&refresher, &health));
    Ok(())
}

/// The stage that reads normalized ticks and writes enriched ones.
fn stage(ctx: &mut Context<Config>, directory: Arc<Directory>, threshold_percent: i32) {
    let (wire, output) = (ctx.wire.clone(), ctx.names.enriched.clone());
    let source = [ctx.names.normalized.clone()];
    ctx.workers(enrich::NAME, &source, Pace::PROMPT, move || {
        let stage = Enrich::new(wire.clone(), View::new(Arc::clone(&directory)), threshold_percent);
        Ok(Box::new(Hop::new(stage, output.clone())) as Box<dyn Handler>)
    });
    ctx.dead_letter_codes(enrich::NAME, enrich::DEAD_LETTER_CODES);
}

/// Loads reference data and keeps it fresh.
fn reference_data(ctx: &mut Context<Config>) -> Result<Arc<Refresher>, StartError> {
    let (sender, misses) = mpsc::channel(MISSES);
    let breakers = (
        ctx.clients.breaker(Dependency::Postgres)?,
        ctx.clients.breaker(Dependency::Redis)?,
    );
    let source = Arc::new(PostgresReference::new(&ctx.clients)?);
    let cache = Arc::new(RedisCopies::new(ctx.clients.redis()?));
    let refresher = Arc::new(Refresher::new(
        Arc::new(Directory::new(sender)),
        Arc::clone(&source) as _,
        cache,
        breakers,
    ));

    let first = ctx
        .runtime
        .block_on(async { tokio::time::timeout(FIRST_LOAD, refresher.load()).await });
    match first {
        Ok(Ok(rows)) => tracing::info!(event = "reference_loaded", rows, "reference data loaded"),
        Ok(Err(error)) => tracing::warn!(
            event = "reference_load_failed",
            error,
            "reference data could not be loaded; starting with redis and the rules"
        ),
        Err(_) => tracing::warn!(
            event = "reference_load_failed",
            error = "time-out",
            "reference data could not be loaded; starting with redis and the rules"
        ),
    }
    let refresh = Arc::clone(&refresher).run(misses, ctx.own.refresh_interval);
    ctx.tasks.spawn("reference data", refresh);
    let follow = source.follow_changes(Arc::clone(&refresher), ctx.own.refresh_interval);
    ctx.tasks.spawn("changes of reference data", follow);

    let watched = Arc::clone(&refresher);
    ctx.check(Check {
        name: "reference_data",
        critical: false,
        target: "taxonomy_instruments".to_owned(),
        ask: Box::new(move || {
            let error = watched.last_error();
            Box::pin(async move { error.map_or(Ok(()), |error| Err(error.into())) })
        }),
        breaker: None,
    });
    Ok(refresher)
}
