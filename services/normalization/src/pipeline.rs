//! The path of a tick through normalization.
//!
//! ```text
//! ingestion.market.raw.v1 ─▶ normalize ─▶ normalized.market.ticks.v1 ─▶ ClickHouse writer ─▶ market_ticks
//!                               └─▶ dlq
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use markets::NormalizerConfig;
use security::http_client;
use service::{Context, StartError};
use stream::hop::Hop;
use stream::kafka::topic_settings::check_append_time;
use stream::{Handler, Pace};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::dead_letters;
use crate::http::validation::Validator;
use crate::http::{self, Api};
use crate::metrics;
use crate::replays::Replays;
use crate::stages::normalize::{self, Normalize};

/// Its outputs give all stages after it their rhythm: of the 100 ms from a raw message to the latest price,
/// half if messages are few.
const PACE: Pace = Pace::Prompt(Duration::from_millis(36));

/// Builds the service: source, stage, sink, then its HTTP.
///
/// # Errors
/// A client cannot be created.
pub fn build(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let config = ctx.own.normalizer(&ctx.settings.tenant_id, ctx.wire.clone());
    metrics::rejected_rows_exist();
    metrics::flags_exist(config.venues.iter().map(|venue| venue.name.as_str()));
    let forgotten = Arc::new(AtomicU64::new(0));
    stage(ctx, config.clone(), Arc::clone(&forgotten));
    let (bootstrap, dlq) = (ctx.settings.kafka_bootstrap.clone(), ctx.names.dlq.clone());
    ctx.tasks.spawn(
        "dead letters",
        dead_letters::watch(bootstrap, dlq, ctx.shutdown.clone()),
    );
    ctx.writer()?;

    ctx.routes(http::routes(Arc::new(Api {
        validator: Validator::new(config, ctx.own.window),
        large_bodies: Arc::new(Semaphore::new(1)),
        small_bodies: Arc::new(Semaphore::new(http::SMALL_BODIES)),
        projection_url: ctx.own.projection_url.expose().to_owned(),
        client: http_client(&ctx.settings.trust, Some(ctx.settings.processing_timeout))?,
    })));
    ctx.stats(move || {
        let forgotten = forgotten.load(Ordering::Relaxed);
        [("events_forgotten_early".to_owned(), forgotten.into())]
            .into_iter()
            .collect()
    });
    Ok(())
}

/// The stage that reads the raw topics and writes normalized ticks.
fn stage(ctx: &mut Context<Config>, config: NormalizerConfig, forgotten: Arc<AtomicU64>) {
    let (feeds, output) = (ctx.names.raw.clone(), ctx.names.normalized.clone());
    let (window, window_dir) = (ctx.own.window, ctx.own.window_dir.clone());
    // Two generations read the same raw topics.
    let window_dir = window_dir.map(|folder| folder.join(ctx.names.group(ctx.service)));
    let partitions = ctx.settings.topic_partitions;
    let tenants = ctx.held_tenants();
    let (runtime, bootstrap) = (ctx.runtime.clone(), ctx.settings.kafka_bootstrap.clone());
    ctx.workers(normalize::NAME, &feeds.clone(), PACE, move || {
        runtime.block_on(check_append_time(&bootstrap, &feeds))?;
        let (forgotten, replays) = (Arc::clone(&forgotten), Replays::new(&bootstrap));
        let stage = Normalize::new(config.clone(), window, partitions, forgotten, replays)
            .keeping_windows_in(window_dir.clone())
            .holding(Arc::clone(&tenants));
        Ok(Box::new(Hop::new(stage, output.clone())) as Box<dyn Handler>)
    });
    ctx.dead_letter_codes(normalize::NAME, &normalize::dead_letter_codes());
}
