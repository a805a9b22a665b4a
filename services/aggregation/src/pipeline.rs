//! The path of a tick through aggregation.
//!
//! ```text
//! enriched.market.ticks.v1 ──▶ sequencer ──▶ windows ──┬──▶ aggregation.bars.v1  ──▶ ClickHouse bars
//!                                                      ├──▶ aggregation.late.v1  ──▶ ClickHouse late_ticks
//!                                                      └──▶ aggregation.state.v1 (checkpoints)
//!
//! enriched.market.ticks.v1 ──▶ legs of derived series ──▶ aggregation.legs.v1, by tenant and series
//! aggregation.legs.v1 ──▶ values at each time ──▶ aggregation.derived.v1 ──▶ ClickHouse derived_prices
//!
//! enriched.market.ticks.v1 ──▶ quotes of curves, and marks of the clock ──▶ aggregation.legs.v1, by tenant and curve
//! aggregation.legs.v1 ──▶ snapshots at the end of each interval ──▶ aggregation.curves.v1 ──▶ ClickHouse curve_snapshots
//!
//! aggregation.late.v1 ──▶ windows by newest offset ──▶ SQL over ClickHouse enriched_ticks ──▶ aggregation.bars.v1
//! ```

use std::sync::Arc;
use std::time::Duration;

use service::clients::Dependency;
use service::writer::tables::{CURVE_SNAPSHOTS, DERIVED_PRICES, ENRICHED_TICKS, MARKET_TICKS};
use service::{Context, StartError};
use stores::History;
use stream::Pace;
use stream::hop::Hop;

use crate::config::Config;
use crate::http::{self, Completeness, CurveTable, DerivedTable, MergedTables, Shown, Stored};
use crate::metrics::{CurveMeters, DerivedMeters, RestateMeters, RestateTotals};
use crate::stages::aggregate::Aggregator;
use crate::stages::curves::{self, Curves};
use crate::stages::derived::{self, Derive};
use crate::stages::lane;
use crate::stages::legs;
use crate::stages::outbox::{OutputTopics, Shared};
use crate::stages::restate::{self, RestateHandler};
use crate::view::Views;
use crate::{completeness, hourly};

/// The view of the newest version of each bar.
const BARS_VIEW: &str = "bars_latest";
/// The view of the intervals of market days that have a price.
const INTERVALS_VIEW: &str = "market_intervals";
/// The shortest bar lasts a minute, and open bars are sent once a second: inputs and outputs may wait to be batched.
const WAIT: Duration = Duration::from_millis(250);
/// A value needs a price of each leg, and the slowest leg comes minutes later: prices may wait as long as rows do.
const DERIVED_WAIT: Duration = Duration::from_secs(1);
/// Late ticks are rare, and wait for the table anyway.
const RESTATE_WAIT: Duration = Duration::from_secs(1);
/// A snapshot is due a minute after its quotes, so they may wait longer than anything else.
const CURVES_WAIT: Duration = Duration::from_secs(2);

/// Builds the service: source, the stages, sinks, then its HTTP.
///
/// # Errors
/// A client cannot be created.
pub fn build(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let views = Arc::new(Views::default());
    let topics = OutputTopics {
        bars: ctx.names.bars.clone(),
        late: ctx.names.late.clone(),
        legs: ctx.names.legs.clone(),
        state: ctx.names.state.clone(),
        partitions: ctx.settings.topic_partitions,
    };
    stream_stage(ctx, topics.clone(), Arc::clone(&views));
    let restated = restate_stage(ctx, topics)?;
    derived_stage(ctx);
    curves_stage(ctx);
    ctx.writer()?;

    ctx.routes(http::routes(Shown {
        views: Arc::clone(&views),
        stored: Stored {
            clickhouse: ctx.clients.clickhouse()?,
            view: ctx.names.table(BARS_VIEW),
        },
        merged: MergedTables {
            clickhouse: ctx.clients.clickhouse()?,
            breaker: ctx.clients.breaker(Dependency::ClickHouse)?,
            runtime: ctx.runtime.clone(),
            suffix: ctx.names.table_suffix(),
        },
        rules: ctx.own.rules,
        completeness: Completeness {
            clickhouse: ctx.clients.clickhouse()?,
            breaker: ctx.clients.breaker(Dependency::ClickHouse)?,
            runtime: ctx.runtime.clone(),
            view: ctx.names.table(INTERVALS_VIEW),
        },
        derived: DerivedTable {
            clickhouse: ctx.clients.clickhouse()?,
            breaker: ctx.clients.breaker(Dependency::ClickHouse)?,
            runtime: ctx.runtime.clone(),
            table: ctx.names.table(DERIVED_PRICES.name),
            configured: ctx
                .own
                .derived
                .series
                .iter()
                .map(|series| series.series.clone())
                .collect(),
        },
        curves: CurveTable {
            clickhouse: ctx.clients.clickhouse()?,
            breaker: ctx.clients.breaker(Dependency::ClickHouse)?,
            runtime: ctx.runtime.clone(),
            table: ctx.names.table(CURVE_SNAPSHOTS.name),
        },
    }));
    watches(ctx)?;
    ctx.stats(move || http::stats::of_stream(&views));
    ctx.stats(move || http::stats::of_restate(&restated));
    Ok(())
}

/// The metrics that are asked for, of the tenant of this service.
fn watches(ctx: &mut Context<Config>) -> Result<(), StartError> {
    let (clickhouse, tenant) = (ctx.clients.clickhouse()?, ctx.settings.tenant_id.clone());
    let view = ctx.names.table(INTERVALS_VIEW);
    ctx.tasks.spawn(
        "completeness",
        completeness::watch(clickhouse.clone(), view, tenant.clone(), ctx.shutdown.clone()),
    );
    let table = ctx.names.table(MARKET_TICKS.name);
    ctx.tasks.spawn(
        "hourly reports",
        hourly::watch(clickhouse, table, tenant, ctx.shutdown.clone()),
    );
    Ok(())
}

/// The first stage: bars in the stream.
fn stream_stage(ctx: &mut Context<Config>, topics: OutputTopics, views: Arc<Views>) {
    let (config, wire, enriched) = ((*ctx.own).clone(), ctx.wire.clone(), ctx.names.enriched.clone());
    let source = [enriched.clone()];
    ctx.workers(lane::STAGE, &source, Pace::Within(WAIT), move || {
        let aggregator = Aggregator::new(config.clone(), wire.clone(), topics.clone(), &enriched, &views);
        Ok(Box::new(aggregator))
    });
    ctx.dead_letter_codes(lane::STAGE, &lane::CODES);
}

/// The third stage: derived prices from legs. Without series there is nothing to do.
fn derived_stage(ctx: &mut Context<Config>) {
    if ctx.own.derived.series.is_empty() {
        return;
    }
    let (config, wire, output) = (ctx.own.derived.clone(), ctx.wire.clone(), ctx.names.derived.clone());
    let group = ctx.names.derived_group(ctx.service);
    let source = [ctx.names.legs.clone()];
    ctx.second_stage(derived::STAGE, group, &source, Pace::Within(DERIVED_WAIT), move || {
        let stage = Derive::new(&config, wire.clone(), DerivedMeters::default());
        Ok(Box::new(Hop::new(stage, output.clone())))
    });
    ctx.dead_letter_codes(derived::STAGE, &legs::CODES);
}

/// The fourth stage: snapshots of curves from quotes. It always runs: which curves there are is in the log.
fn curves_stage(ctx: &mut Context<Config>) {
    let (limits, wire, output) = (ctx.own.curves, ctx.wire.clone(), ctx.names.curves.clone());
    let group = ctx.names.curves_group(ctx.service);
    let source = [ctx.names.legs.clone()];
    ctx.second_stage(curves::STAGE, group, &source, Pace::Within(CURVES_WAIT), move || {
        let stage = Curves::new(limits, wire.clone(), CurveMeters::default());
        Ok(Box::new(Hop::new(stage, output.clone())))
    });
    ctx.dead_letter_codes(curves::STAGE, &legs::CODES);
}

/// The second stage: bars of late ticks from the table, in parallel with the stream.
fn restate_stage(ctx: &mut Context<Config>, topics: OutputTopics) -> Result<Arc<RestateTotals>, StartError> {
    let config = ctx.own.restate.clone();
    let enriched_table = ctx.names.table(ENRICHED_TICKS.name);
    let history = History::new(
        ctx.clients.clickhouse()?,
        ctx.names.enriched.clone(),
        (enriched_table, ctx.names.table(BARS_VIEW)),
        config.limits,
        config.products,
    );
    let totals = Arc::new(RestateTotals::default());
    let meters = RestateMeters::new(Arc::clone(&totals));
    let (wire, runtime) = (ctx.wire.clone(), ctx.runtime.clone());
    let group = ctx.names.restate_group(ctx.service);
    let source = [ctx.names.late.clone()];
    ctx.second_stage(restate::STAGE, group, &source, Pace::Within(RESTATE_WAIT), move || {
        let shared = Shared::new(wire.clone(), topics.clone());
        let handler = RestateHandler::new(config.rules, history.clone(), runtime.clone(), shared, meters.clone());
        Ok(Box::new(handler))
    });
    ctx.dead_letter_codes(restate::STAGE, &restate::CODES);
    Ok(totals)
}
