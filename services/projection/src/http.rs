//! HTTP of projection: latest prices and curve snapshots from Postgres, so that every replica can answer for all partitions, and earlier
//! snapshots from ClickHouse.

pub mod copy_count;
mod curve_history;
mod curves;
pub mod live;

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use service::Breaker;
use service::http::openapi::Shape;
use service::http::{InstrumentId, Problem, Routes, Tenant, ask, body, limit_of};
use stores::postgres::StoredPosition;
use stores::{LatestPriceStore, Projection, ServedStore};
use stream::status::wall_clock;

use crate::core::invalidation::{Action, Request, Target};
use crate::freshness::{Freshness, LATEST_PRICE};
use crate::rewrite::Rewriter;
use copy_count::CopyCount;
pub use curve_history::CurveHistory;
use live::LivePrices;

/// Body of `/prices/latest`.
const PRICES: Shape = Shape::Object(&[
    ("count", Shape::Integer),
    ("truncated", Shape::Flag),
    ("prices", Shape::List(&PRICE)),
]);
/// As `stores::LatestPrice::to_public_json` writes it.
const PRICE: Shape = Shape::Object(&[
    ("tenant_id", Shape::Text),
    ("instrument_id", Shape::Text),
    ("price", Shape::Number),
    ("volume", Shape::Nullable(&Shape::Number)),
    ("event_time", Shape::Time),
    ("tick_id", Shape::Text),
    ("market", Shape::Text),
    ("product", Shape::Text),
    ("currency", Shape::Text),
    ("unit", Shape::Text),
    ("quality_flags", Shape::List(&Shape::Text)),
    ("appended_at", Shape::Time),
]);

/// Body of `/cache/invalidate`.
const INVALIDATED: Shape = Shape::Object(&[
    ("success", Shape::Flag),
    ("invalidated_keys", Shape::Integer),
    ("invalidation_time_ms", Shape::Number),
]);

/// What the routes need.
pub struct Api {
    /// Prices and positions, over the readers' own connections.
    pub prices: LatestPriceStore,
    /// Counts the prices in Redis.
    pub copies: CopyCount,
    /// Runtime of the store connections: store requests run there.
    pub runtime: tokio::runtime::Handle,
    /// The circuit breaker of Postgres.
    pub postgres_breaker: Arc<Breaker>,
    /// Drops and rewrites copies.
    pub rewriter: Rewriter,
    /// Curve snapshots and derived prices, over the same connections.
    pub served: [ServedStore; Projection::ALL.len()],
    /// Earlier curve snapshots.
    pub history: CurveHistory,
    /// How each projection stands, latest prices first.
    pub projections: Vec<Arc<Freshness>>,
    /// The circuit breaker of Redis.
    pub redis_breaker: Arc<Breaker>,
    /// The prices that WebSocket clients watch.
    pub live: Arc<LivePrices>,
}

/// The routes.
pub fn routes(api: Arc<Api>) -> Routes {
    let api = web::Data::from(api);
    Routes::default()
        .of_tenant(
            Method::GET,
            "/prices/latest",
            "Latest prices, newest first, or that of one instrument",
            &["instrument_id", "limit"],
            latest,
        )
        .returning(&PRICES)
        .of_tenant(
            Method::GET,
            "/curves/snapshots",
            "Newest snapshot of each curve and horizon, newest first, or the newest that was known at a time of the log's clock, by curve and horizon; or those of one curve",
            &["curve_id", "horizon", "as_of", "after", "limit"],
            curves::snapshots,
        )
        .returning(&curves::SNAPSHOTS)
        .of_service(
            Method::GET,
            "/health/projections",
            "Projections: status, lag, last event, events processed, and stored positions",
            projections,
        )
        .of_tenant(
            Method::GET,
            "/cache/status",
            "Number of prices in Redis",
            &[],
            cache_status,
        )
        .of_tenant(
            Method::POST,
            "/cache/invalidate",
            "Drops the copy of one price in Redis, and writes it again from Postgres",
            &[],
            invalidate,
        )
        .accepting("application/json")
        .returning(&INVALIDATED)
        .of_tenant(
            Method::GET,
            "/ws/prices",
            "WebSocket: the latest price of each subscribed instrument, whenever it changes",
            &[],
            live::connect,
        )
        .sharing(move |config| {
            config.app_data(api.clone());
        })
}

#[derive(Debug, Deserialize)]
struct Query {
    instrument_id: Option<InstrumentId>,
    limit: Option<String>,
}

async fn latest(tenant: Tenant, api: web::Data<Api>, query: web::Query<Query>) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let limit = limit_of(query.limit.as_deref())?;
    let instrument = query.instrument_id.map(InstrumentId::into_inner);
    let (prices, of_tenant, of_instrument) = (api.prices.clone(), tenant.id().to_owned(), instrument.clone());
    let found = ask(&api.runtime, &api.postgres_breaker, async move {
        match of_instrument {
            Some(id) => prices.find_one(&of_tenant, &id).await.map(Vec::from_iter),
            // One more than the limit says whether there are more.
            None => prices.newest_of(&of_tenant, i64::from(limit) + 1).await,
        }
    })
    .await?;
    if let (Some(instrument), true) = (&instrument, found.is_empty()) {
        return Err(Problem::not_found(format!(
            "no price of instrument {instrument} for tenant {}",
            tenant.id()
        )));
    }
    let prices: Vec<String> = found.iter().map(stores::LatestPrice::to_public_json).collect();
    let body = prices_body(prices, limit.into());
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// The first `limit` of these prices, and whether there are more. Written as text: serde_json's numbers would round the exact
/// decimals.
fn prices_body(mut prices: Vec<String>, limit: usize) -> String {
    let is_truncated = prices.len() > limit;
    prices.truncate(limit);
    format!(
        "{{\"count\":{},\"truncated\":{is_truncated},\"prices\":[{}]}}",
        prices.len(),
        prices.join(",")
    )
}

/// All projections: how they stand in this process, and the stored positions of all processes.
async fn projections(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let (prices, served) = (api.prices.clone(), api.served.clone());
    let read = async move {
        let mut all = vec![(LATEST_PRICE, prices.positions().await?)];
        for store in &served {
            all.push((store.projection().name(), store.positions().await?));
        }
        Ok(all)
    };
    let positions = ask(&api.runtime, &api.postgres_breaker, read).await?;
    let shown: Vec<Value> = api
        .projections
        .iter()
        .map(|freshness| {
            let own = positions.iter().find(|(name, _)| *name == freshness.projection());
            projection(freshness, own.map_or(&[], |(_, positions)| positions))
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "projections": shown })))
}

fn projection(freshness: &Freshness, positions: &[StoredPosition]) -> Value {
    let partitions: Vec<Value> = positions
        .iter()
        .map(|stored| {
            json!({
                "topic": stored.topic, "partition": stored.partition,
                "next_offset": stored.next_offset, "updated_seconds_ago": stored.updated_seconds_ago,
            })
        })
        .collect();
    let standing = freshness.standing(wall_clock());
    json!({
        "name": freshness.projection(),
        "status": standing.status,
        "lag_seconds": standing.lag_seconds,
        "last_event_time": standing.last_event.map(codec::json::time),
        "last_event_id": freshness.last_event_id(),
        // As `dp projection list` counts them: the events of the log before the positions.
        "events_processed": positions.iter().map(|stored| stored.next_offset).sum::<i64>(),
        "partitions": partitions,
    })
}

/// The number of the tenant's prices in Redis.
async fn cache_status(tenant: Tenant, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let unavailable = |reason| Problem::unavailable(format!("{reason}; try again, and see GET /health"));
    let counted = api.copies.of(tenant.id()).await.map_err(unavailable)?;
    Ok(HttpResponse::Ok().json(json!({
        "redis": true,
        "tenant_id": tenant.id(),
        "latest_prices": counted.map(|counted| counted.prices),
        "counted_seconds_ago": counted.map(|counted| counted.age.as_secs_f64()),
    })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalidation {
    instrument_id: InstrumentId,
    tenant_id: Option<String>,
    reason: Option<String>,
}

/// Drops the copy and writes it again. A newer price that arrives in between stays: copies never go back.
async fn invalidate(tenant: Tenant, api: web::Data<Api>, payload: web::Payload) -> Result<HttpResponse, Problem> {
    let began = Instant::now();
    let asked: Invalidation = body::json(payload).await?;
    let tenant = tenant.also_named("the body", asked.tenant_id.as_deref())?;
    let instrument = asked.instrument_id.into_inner();
    let request = Request {
        action: Action::Invalidate,
        target: Target::Price {
            tenant_id: tenant.id().to_owned(),
            instrument_id: instrument.clone(),
        },
        reason: asked.reason,
    };
    let (notice, of_tenant) = (request.notice(), tenant.id().to_owned());
    let prices = api.prices.clone();
    let find = async move { prices.find_one(&of_tenant, &instrument).await };
    let price = ask(&api.runtime, &api.postgres_breaker, find).await?;
    let (rewriter, asked) = (api.rewriter.clone(), request.clone());
    let write = async move { rewriter.write(&asked, price.as_ref()).await };
    let invalidated = ask(&api.runtime, &api.redis_breaker, write).await?;
    if let Some(prices) = api.projections.first() {
        prices.invalidated(1);
    }
    let rewriter = api.rewriter.clone();
    api.runtime.spawn(async move {
        if let Err(error) = rewriter.settle(&[request]).await {
            tracing::warn!(error = %error, "the dropped price was not written a second time; its next tick writes it");
        }
    });
    tracing::info!(
        event = "cache_invalidated",
        notice,
        keys = invalidated,
        "the copy of a price was written again"
    );
    Ok(HttpResponse::Ok().json(json!({
        "success": true,
        "invalidated_keys": invalidated,
        "invalidation_time_ms": began.elapsed().as_secs_f64() * 1e3,
    })))
}

#[cfg(test)]
mod tests {
    use super::prices_body;

    #[test]
    fn an_answer_says_whether_there_are_more_prices() {
        let prices = || vec!["1.50".to_owned(), "2".to_owned()];
        assert_eq!(
            prices_body(prices(), 2),
            r#"{"count":2,"truncated":false,"prices":[1.50,2]}"#
        );
        assert_eq!(
            prices_body(prices(), 1),
            r#"{"count":1,"truncated":true,"prices":[1.50]}"#
        );
    }
}
