//! The way of a tick through this service.
//!
//! ```text
//! enriched.market.ticks.v1 ──▶ sequencer ──▶ windows ──┬──▶ aggregation.bars.v1  ──▶ ClickHouse bars
//!                                                      ├──▶ aggregation.late.v1  ──▶ ClickHouse late_ticks
//!                                                      └──▶ aggregation.state.v1 (checkpoints)
//!
//! aggregation.late.v1 ──▶ windows by newest offset ──▶ SQL over ClickHouse enriched_ticks ──▶ aggregation.bars.v1
//! ```

use std::sync::Arc;
use std::time::Duration;

use service::writer::Table;
use service::{Context, StartError};
use stores::History;
use stream::Pace;

use crate::config::Config;
use crate::http::{self, Shown, Stored};
use crate::metrics::{RestateMeters, RestateTotals};
use crate::stages::aggregate::Aggregator;
use crate::stages::lane;
use crate::stages::outbox::{OutputTopics, Shared};
use crate::stages::restate::{self, RestateHandler};
use crate::view::Views;

/// The newest version of each bar.
const BARS_VIEW: &str = "bars_latest";
/// The shortest bar lasts a minute: it may wait to be batched, in and out.
const WAIT: Duration = Duration::from_millis(20);
/// Late ticks wait for the table anyway.
const RESTATE_WAIT: Duration = Duration::from_millis(100);

/// Registers the workers, the ClickHouse writer, the routes and the statistics.
///
/// # Errors
/// Where a client that the service needs is missing.
pub fn build(context: &mut Context<Config>) -> Result<(), StartError> {
    let views = Arc::new(Views::default());
    let names = context.names.clone();

    let settings = (*context.own).clone();
    let shown = Shown {
        views: Arc::clone(&views),
        stored: Stored {
            clickhouse: context.clients.clickhouse()?,
            view: names.table(BARS_VIEW),
        },
        rules: settings.rules,
    };
    let topics = OutputTopics {
        bars: names.bars.clone(),
        late: names.late.clone(),
        state: names.state.clone(),
    };
    let (wire, enriched, workers_views) = (context.wire.clone(), names.enriched.clone(), Arc::clone(&views));
    let topics_read = std::slice::from_ref(&names.enriched);
    context.workers(lane::STAGE, topics_read, Pace::Within(WAIT), move || {
        let aggregator = Aggregator::new(
            settings.clone(),
            wire.clone(),
            topics.clone(),
            &enriched,
            &workers_views,
        );
        Ok(Box::new(aggregator))
    });

    let restated = restate(context)?;
    context.writer(&[(names.bars, Table::Bars), (names.late, Table::LateTicks)])?;
    context.dead_letter_codes(lane::STAGE, &lane::CODES);
    context.routes(http::routes(shown));
    context.stats(move || http::stats::of_stream(&views));
    context.stats(move || http::stats::of_restate(&restated));
    Ok(())
}

/// The second stage: bars of late ticks from the table, beside the stream.
fn restate(context: &mut Context<Config>) -> Result<Arc<RestateTotals>, StartError> {
    let names = context.names.clone();
    let settings = context.own.restate.clone();
    let tables = (names.table(Table::EnrichedTicks.base_name()), names.table(BARS_VIEW));
    let history = History::new(
        context.clients.clickhouse()?,
        names.enriched.clone(),
        tables,
        settings.limits,
        settings.products,
    );
    let totals = Arc::new(RestateTotals::default());
    let meters = RestateMeters::new(Arc::clone(&totals));
    let (wire, runtime) = (context.wire.clone(), context.runtime.clone());
    let group = names.restate_group(context.service);
    let late = std::slice::from_ref(&names.late).to_vec();
    let topics = OutputTopics {
        bars: names.bars,
        late: names.late,
        state: names.state,
    };
    context.second_stage(restate::STAGE, group, &late, Pace::Within(RESTATE_WAIT), move || {
        let shared = Shared::new(wire.clone(), topics.clone());
        let handler = RestateHandler::new(settings.rules, history.clone(), runtime.clone(), shared, meters.clone());
        Ok(Box::new(handler))
    });
    context.dead_letter_codes(restate::STAGE, &restate::CODES);
    Ok(totals)
}
