//! HTTP of enrichment: what is known of an instrument, and the state of the cache.

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use domain::{Decimal, Enrichment};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service::http::Problem;
use stream::status::wall_clock;

use crate::lookup::refresh::Refresher;
use crate::lookup::{Found, Key};
use crate::stages::enrich::enrich_subject;
use crate::taxonomy::Subject;

/// What the routes need.
pub struct Api {
    /// Look-ups.
    pub refresher: Arc<Refresher>,
    /// Where store requests run, since their connections live there.
    pub runtime: tokio::runtime::Handle,
    /// Tenant of requests that name none.
    pub default_tenant: String,
    /// See `ENRICHMENT_CONFIDENCE_THRESHOLD`.
    pub threshold_percent: i32,
}

/// Adds the routes.
pub fn routes(api: Arc<Api>) -> impl Fn(&mut web::ServiceConfig) + Send + Sync {
    let api = web::Data::from(api);
    move |config| {
        config
            .app_data(api.clone())
            .route("/taxonomy/{instrument_id}", web::get().to(taxonomy))
            .route("/enrich", web::post().to(enrich))
            .route("/cache/status", web::get().to(cache_status))
            .route("/cache/refresh", web::post().to(cache_refresh));
    }
}

/// An instrument as a client describes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    instrument_id: String,
    tenant_id: Option<String>,
    #[serde(default)]
    market: String,
    node: Option<String>,
    hub: Option<String>,
    zone: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TaxonomyQuery {
    tenant_id: Option<String>,
    market: Option<String>,
}

async fn taxonomy(
    api: web::Data<Api>,
    request: HttpRequest,
    path: web::Path<String>,
    query: web::Query<TaxonomyQuery>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let instrument_id = path.into_inner();
    // `MISO.INDIANA.HUB.RT5` names its market itself.
    let market = query
        .market
        .unwrap_or_else(|| instrument_id.split('.').next().unwrap_or_default().to_owned());
    let asked = Asked {
        instrument_id,
        tenant_id: query.tenant_id,
        market,
        node: None,
        hub: None,
        zone: None,
    };
    answer(&api, &request, asked).await
}

async fn enrich(api: web::Data<Api>, request: HttpRequest, asked: web::Json<Asked>) -> Result<HttpResponse, Problem> {
    answer(&api, &request, asked.into_inner()).await
}

async fn answer(api: &Api, request: &HttpRequest, asked: Asked) -> Result<HttpResponse, Problem> {
    if let Err(error) = domain::instrument::check_identifier(&asked.instrument_id) {
        return Err(Problem::unprocessable(format!("instrument_id {error}")));
    }
    let from_header = || {
        request
            .headers()
            .get("x-tenant-id")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let tenant_id = asked
        .tenant_id
        .clone()
        .or_else(from_header)
        .unwrap_or_else(|| api.default_tenant.clone());
    let key = Key {
        tenant_id,
        instrument_id: asked.instrument_id.clone(),
    };
    let row = find(api, &key).await?;
    let subject = Subject {
        instrument_id: &asked.instrument_id,
        market: &asked.market,
        node: asked.node.as_deref(),
        hub: asked.hub.as_deref(),
        zone: asked.zone.as_deref(),
    };
    let guess = api
        .refresher
        .directory()
        .snapshot()
        .rules
        .of(&key.tenant_id)
        .classify(&subject);
    let found = row.as_deref().map_or(Found::Guess(&guess), Found::Row);
    let enrichment = enrich_subject(found, &subject, api.threshold_percent, wall_clock());
    Ok(HttpResponse::Ok().json(body(&key, &enrichment)))
}

/// The row from memory, else from Redis or Postgres.
async fn find(api: &Api, key: &Key) -> Result<Option<Arc<crate::lookup::Reference>>, Problem> {
    let directory = Arc::clone(api.refresher.directory());
    if let Some(row) = directory.snapshot().get(key) {
        return Ok(Some(Arc::clone(row)));
    }
    let (refresher, wanted) = (Arc::clone(&api.refresher), key.clone());
    let look_up = api
        .runtime
        .spawn(async move { refresher.look_up(std::slice::from_ref(&wanted)).await });
    let rows = look_up
        .await
        .map_err(|error| Problem::unavailable(format!("the look-up ended early: {error}")))?;
    Ok(rows.into_iter().next().map(Arc::new))
}

fn body(key: &Key, enrichment: &Enrichment<'_>) -> Value {
    let decimal = |value: Option<Decimal>| value.map(|decimal| decimal.to_string());
    json!({
        "instrument_id": key.instrument_id,
        "tenant_id": key.tenant_id,
        "taxonomy": {
            "commodity": enrichment.commodity,
            "region": enrichment.region,
            "product_tier": enrichment.product_tier,
        },
        "unit": enrichment.unit,
        "contract_size": decimal(enrichment.contract_size),
        "tick_size": decimal(enrichment.tick_size),
        "curve_id": enrichment.curve_id,
        "classification_confidence": f64::from(enrichment.confidence_percent) / 100.0,
        "classification_method": enrichment.method.name(),
        "low_confidence_classification": enrichment.low_confidence,
    })
}

async fn cache_status(api: web::Data<Api>) -> HttpResponse {
    let snapshot = api.refresher.directory().snapshot();
    let age = snapshot.loaded_at.map(|at| (wall_clock() - at) / 1_000_000);
    let mut body = Map::from_iter([
        ("entries".to_owned(), json!(snapshot.len())),
        ("loaded".to_owned(), json!(snapshot.loaded_at.is_some())),
        ("age_seconds".to_owned(), json!(age)),
        ("last_error".to_owned(), json!(api.refresher.last_error())),
    ]);
    body.extend(cache_counts(&api.refresher));
    HttpResponse::Ok().json(body)
}

/// Hits, misses and their rate, as `/stats` shows them.
pub fn cache_counts(refresher: &Refresher) -> Map<String, Value> {
    let (hits, misses) = refresher.directory().counts();
    let total = hits + misses;
    let rate = if total == 0 {
        0.0
    } else {
        hits as f64 * 100.0 / total as f64
    };
    Map::from_iter([
        ("cache_hits".to_owned(), json!(hits)),
        ("cache_misses".to_owned(), json!(misses)),
        ("cache_hit_rate_percent".to_owned(), json!(rate)),
    ])
}

async fn cache_refresh(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let began = Instant::now();
    let refresher = Arc::clone(&api.refresher);
    let load = api.runtime.spawn(async move { refresher.load().await });
    let entries = load
        .await
        .map_err(|error| error.to_string())
        .and_then(|result| result)
        .map_err(|error| {
            Problem::unavailable(format!(
                "reference data could not be loaded: {error}; the cache keeps what it has"
            ))
        })?;
    Ok(HttpResponse::Ok().json(json!({
        "success": true,
        "entries": entries,
        "duration_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })))
}
