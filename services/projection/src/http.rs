//! HTTP of projection: latest prices from Postgres, so that every replica answers for all partitions.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use service::http::Problem;

use crate::stages::Stores;

const MOST: i64 = 1000;

/// What the routes need.
pub struct Api {
    /// Where prices are.
    pub stores: Stores,
    /// Where store requests run, since their connections live there.
    pub runtime: tokio::runtime::Handle,
    /// Tenant of requests that name none.
    pub default_tenant: String,
}

/// Adds the routes.
pub fn routes(api: Arc<Api>) -> impl Fn(&mut web::ServiceConfig) + Send + Sync {
    let api = web::Data::from(api);
    move |config| {
        config
            .app_data(api.clone())
            .route("/prices/latest", web::get().to(latest))
            .route("/health/projections", web::get().to(projections))
            .route("/cache/status", web::get().to(cache_status));
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    instrument_id: Option<String>,
    tenant_id: Option<String>,
    #[serde(default = "usual_limit")]
    limit: i64,
}

fn usual_limit() -> i64 {
    100
}

async fn latest(api: web::Data<Api>, request: HttpRequest, query: web::Query<Query>) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    if !(1..=MOST).contains(&query.limit) {
        return Err(Problem::unprocessable(format!(
            "limit is {}; it must be from 1 to {MOST}",
            query.limit
        )));
    }
    let header = request
        .headers()
        .get("x-tenant-id")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let tenant = query.tenant_id.or(header).unwrap_or_else(|| api.default_tenant.clone());
    let (stores, instrument, limit) = (api.stores.clone(), query.instrument_id.clone(), query.limit);
    let asked = tenant.clone();
    let found = api
        .runtime
        .spawn(async move { stores.prices.find(Some(&asked), instrument.as_deref(), limit).await })
        .await
        .map_err(|error| Problem::unavailable(format!("the look-up ended early: {error}")))?
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    if let (Some(instrument), true) = (&query.instrument_id, found.is_empty()) {
        return Err(Problem::not_found(format!(
            "no price of instrument {instrument} for tenant {tenant}"
        )));
    }
    let prices: Vec<String> = found.iter().map(stores::LatestPrice::to_public_json).collect();
    // Written as text, since prices are exact decimals that no JSON number type of ours may touch.
    let body = format!("{{\"count\":{},\"prices\":[{}]}}", prices.len(), prices.join(","));
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// Every projection with its positions, as stored.
async fn projections(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let stores = api.stores.clone();
    let positions = api
        .runtime
        .spawn(async move { stores.prices.positions().await })
        .await
        .map_err(|error| Problem::unavailable(format!("the look-up ended early: {error}")))?
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    let partitions: Vec<Value> = positions
        .iter()
        .map(|stored| {
            json!({
                "topic": stored.topic, "partition": stored.partition,
                "next_offset": stored.next_offset, "updated_seconds_ago": stored.updated_seconds_ago,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "projections": [{ "name": "latest_price", "partitions": partitions }] })))
}

async fn cache_status(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let redis = api.stores.redis.clone();
    let keys = api
        .runtime
        .spawn(async move { redis.scan("served:latest_price:*").await })
        .await
        .map_err(|error| Problem::unavailable(format!("the look-up ended early: {error}")))?
        .map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(HttpResponse::Ok().json(json!({ "redis": true, "latest_prices": keys.len() })))
}
