//! The way of a tick through this service.
//!
//! ```text
//! enriched.market.ticks.v1 ──▶ sequencer ──▶ windows ──┬──▶ aggregation.bars.v1  ──▶ ClickHouse bars
//!                                                      ├──▶ aggregation.late.v1  ──▶ ClickHouse late_ticks
//!                                                      └──▶ aggregation.state.v1 (checkpoints)
//! ```

use std::sync::Arc;
use std::time::Duration;

use service::writer::Table;
use service::{Context, StartError};
use stream::Pace;

use crate::http::{self, Shown};
use crate::settings::AggregationSettings;
use crate::stages::aggregate::Aggregator;
use crate::stages::lane;
use crate::stages::outbox::OutputTopics;
use crate::view::Views;

/// The shortest bar lasts a minute: it may wait for company, in and out.
const WAIT: Duration = Duration::from_millis(20);

/// Registers the workers, the ClickHouse writer, the routes and the statistics.
///
/// # Errors
/// Where a client that the service needs is missing.
pub fn build(context: &mut Context<AggregationSettings>) -> Result<(), StartError> {
    let views = Arc::new(Views::default());
    let names = context.names.clone();

    let settings = (*context.own).clone();
    let shown = Shown {
        views: Arc::clone(&views),
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

    context.writer(&[(names.bars, Table::Bars), (names.late, Table::LateTicks)])?;
    context.dead_letter_codes(lane::STAGE, &lane::CODES);
    context.routes(http::routes(shown));
    context.stats(move || http::stats(&views));
    Ok(())
}
