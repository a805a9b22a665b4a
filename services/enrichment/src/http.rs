//! HTTP of enrichment: the classification of an instrument, and the state of the cache.

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::Method;
use actix_web::{HttpResponse, web};
use domain::{Decimal, Enrichment};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service::health::Health;
use service::http::{InstrumentId, Problem, Routes, Tenant};
use stream::Outcome;
use stream::status::wall_clock;

use crate::core::taxonomy::Subject;
use crate::lookup::refresh::Refresher;
use crate::lookup::{Found, Key};
use crate::stages::enrich::enrich_subject;

/// Clients do not see the store's own error: it is in the log.
const NOT_LOADED: &str =
    "reference data could not be loaded; the cache keeps its entries, and the load is retried every few seconds";

/// What the routes need.
pub struct Api {
    /// Look-ups.
    pub refresher: Arc<Refresher>,
    /// Runtime of the store connections: store requests run there.
    pub runtime: tokio::runtime::Handle,
    /// See `ENRICHMENT_CONFIDENCE_THRESHOLD`.
    pub threshold_percent: i32,
}

/// The routes.
pub fn routes(api: Arc<Api>) -> Routes {
    let api = web::Data::from(api);
    Routes::default()
        .of_tenant(
            Method::GET,
            "/taxonomy/{instrument_id}",
            "Taxonomy, unit and sizes of an instrument",
            &["market"],
            taxonomy,
        )
        .of_tenant(
            Method::POST,
            "/enrich",
            "Taxonomy, unit and sizes of an instrument that the body describes",
            &[],
            enrich,
        )
        .accepting("application/json")
        .of_tenant(
            Method::GET,
            "/cache/status",
            "State of the reference data in memory",
            &[],
            cache_status,
        )
        .of_tenant(
            Method::POST,
            "/cache/refresh",
            "Loads the reference data again",
            &[],
            cache_refresh,
        )
        .sharing(move |config| {
            config.app_data(api.clone());
        })
}

/// The body of `POST /enrich`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrichRequest {
    instrument_id: InstrumentId,
    tenant_id: Option<String>,
    #[serde(default)]
    market: String,
    node: Option<String>,
    hub: Option<String>,
    zone: Option<String>,
}

#[derive(Debug, Deserialize)]
struct TaxonomyQuery {
    market: Option<String>,
}

async fn taxonomy(
    tenant: Tenant,
    api: web::Data<Api>,
    path: web::Path<InstrumentId>,
    query: web::Query<TaxonomyQuery>,
) -> Result<HttpResponse, Problem> {
    let instrument_id = path.into_inner().into_inner();
    // `MISO.INDIANA.HUB.RT5` contains its market.
    let from_id = || instrument_id.split('.').next().unwrap_or_default().to_owned();
    let market = query.into_inner().market.unwrap_or_else(from_id);
    let subject = Subject {
        instrument_id: &instrument_id,
        market: &market,
        ..Subject::default()
    };
    answer(&api, &tenant, &subject).await
}

async fn enrich(tenant: Tenant, api: web::Data<Api>, body: web::Payload) -> Result<HttpResponse, Problem> {
    let request: EnrichRequest = service::http::body::json(body).await?;
    let tenant = tenant.also_named("the body", request.tenant_id.as_deref())?;
    let instrument_id = request.instrument_id.into_inner();
    let subject = Subject {
        instrument_id: &instrument_id,
        market: &request.market,
        node: request.node.as_deref(),
        hub: request.hub.as_deref(),
        zone: request.zone.as_deref(),
    };
    answer(&api, &tenant, &subject).await
}

async fn answer(api: &Api, tenant: &Tenant, subject: &Subject<'_>) -> Result<HttpResponse, Problem> {
    let key = Key {
        tenant_id: tenant.id().to_owned(),
        instrument_id: subject.instrument_id.to_owned(),
    };
    let row = find(api, &key).await?;
    let guess = api
        .refresher
        .directory()
        .snapshot()
        .rules
        .of(&key.tenant_id)
        .classify(subject);
    let found = row.as_deref().map_or(Found::Guess(&guess), Found::Row);
    let enrichment = enrich_subject(found, subject, api.threshold_percent, wall_clock());
    Ok(HttpResponse::Ok().json(body(&key, &enrichment)))
}

/// The row from memory, else from Redis, else from Postgres.
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
        .map_err(|_| Problem::unavailable("the service is stopping"))?;
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

async fn cache_status(tenant: Tenant, api: web::Data<Api>) -> HttpResponse {
    let snapshot = api.refresher.directory().snapshot();
    let age = snapshot.loaded_at.map(|at| (wall_clock() - at) / 1_000_000);
    let mut body = Map::from_iter([
        ("tenant_id".to_owned(), json!(tenant.id())),
        ("entries".to_owned(), json!(snapshot.len_of(tenant.id()))),
        ("loaded".to_owned(), json!(snapshot.loaded_at.is_some())),
        ("age_seconds".to_owned(), json!(age)),
        (
            "last_error".to_owned(),
            json!(api.refresher.last_error().map(|_| NOT_LOADED)),
        ),
    ]);
    body.extend(cache_counts(&api.refresher));
    HttpResponse::Ok().json(body)
}

/// The fields of `/stats`.
pub fn stats(refresher: &Refresher, health: &Health) -> Map<String, Value> {
    let mut fields = cache_counts(refresher);
    let count = |outcome| -> u64 {
        let stages = health.stage_progress();
        stages.iter().map(|progress| progress.messages.of(outcome)).sum()
    };
    fields.insert("enrichment_count".to_owned(), count(Outcome::Success).into());
    fields.insert("enrichment_failures".to_owned(), count(Outcome::DeadLettered).into());
    fields
}

/// Hits, misses and hit rate.
fn cache_counts(refresher: &Refresher) -> Map<String, Value> {
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

async fn cache_refresh(tenant: Tenant, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let began = Instant::now();
    let refresher = Arc::clone(&api.refresher);
    let load = api.runtime.spawn(async move { refresher.load().await });
    let loaded = load
        .await
        .map_err(|_| Problem::unavailable("the service is stopping"))?;
    if let Err(error) = loaded {
        tracing::warn!(
            event = "reference_load_failed",
            error,
            "the requested load of reference data failed"
        );
        return Err(Problem::unavailable(NOT_LOADED));
    }
    let entries = api.refresher.directory().snapshot().len_of(tenant.id());
    Ok(HttpResponse::Ok().json(json!({
        "success": true,
        "tenant_id": tenant.id(),
        "entries": entries,
        "duration_ms": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })))
}
