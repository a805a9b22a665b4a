//! HTTP of normalization: markets, quality rules, and validation of a message.

pub mod validation;

use std::sync::Arc;

use actix_web::http::header::CONTENT_LENGTH;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use markets::describe;
use serde_json::Value;
use service::http::{Problem, Routes, Tenant};
use stream::status::wall_clock;
use tokio::sync::Semaphore;

use validation::Validator;

/// Bodies up to this size are validated concurrently.
const SMALL_BODY: usize = 1 << 20;
/// How many of them at once: bounds their memory.
pub const SMALL_BODIES: usize = 32;

/// What the routes need.
pub struct Api {
    /// Validates messages.
    pub validator: Validator,
    /// Permit for a large body: one at a time bounds the memory.
    pub large_bodies: Arc<Semaphore>,
    /// Permits for small bodies: [`SMALL_BODIES`] at a time.
    pub small_bodies: Arc<Semaphore>,
    /// Base URL of the projection service.
    pub projection_url: String,
    /// Client for that URL.
    pub client: reqwest::Client,
}

/// The routes.
pub fn routes(api: Arc<Api>) -> Routes {
    let api = web::Data::from(api);
    Routes::default()
        .of_service(
            Method::GET,
            "/markets",
            "Markets and the formats of their messages",
            markets,
        )
        .of_service(
            Method::GET,
            "/quality-rules",
            "Quality rules and the flags they set",
            quality_rules,
        )
        .of_tenant(
            Method::POST,
            "/validate",
            "What would become of a message; nothing is published",
            &[],
            validate,
        )
        .accepting("application/octet-stream")
        .of_service(
            Method::GET,
            "/health/projections",
            "Projections and their positions, as the projection service reports them",
            projections,
        )
        .sharing(move |config| {
            config.app_data(api.clone());
        })
}

async fn markets(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(describe(&api.validator.config().venues))
}

async fn quality_rules(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(markets::quality::rules(&api.validator.config().quality))
}

// Body and headers (dp.format, dp.tenant_id) are those of a message to be published; nothing is published. Validation runs
// on a blocking thread: a document takes a while, and this thread also answers the probes.
async fn validate(
    tenant: Tenant,
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Payload,
) -> Result<HttpResponse, Problem> {
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        Some(markets::header_text(value.as_bytes()).to_owned())
    };
    let format = header("dp.format");
    let tenant = tenant.also_named("dp.tenant_id", header("dp.tenant_id").as_deref())?;
    let config = api.validator.config();
    let limit = config.max_tick_bytes.max(config.max_document_bytes);
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let permits = match length {
        Some(length) if length > limit => return Err(Problem::too_large(limit)),
        Some(0..=SMALL_BODY) => &api.small_bodies,
        _ => &api.large_bodies,
    };
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(|_| Problem::unavailable("the service is stopping"))?;
    let body = service::http::body::read(body, limit).await?;
    let validate = move || {
        let _permit = permit;
        api.validator
            .validate(&body, format.as_deref(), Some(tenant.id()), wall_clock())
    };
    let validation = web::block(validate)
        .await
        .map_err(|error| Problem::unavailable(format!("the message was not validated: {error}")))?;
    Ok(HttpResponse::Ok().json(validation))
}

// For dashboards: the answer of the projection service.
async fn projections(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let url = format!("{}/health/projections", api.projection_url.trim_end_matches('/'));
    let unreachable = |error: reqwest::Error| {
        tracing::warn!(error = %error.without_url(), "the projection service does not answer");
        Problem::unavailable("the projection service does not answer; check NORMALIZATION_PROJECTION_URL")
    };
    let answer = api.client.get(&url).send().await.map_err(unreachable)?;
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = answer.json().await.map_err(unreachable)?;
    Ok(HttpResponse::build(status).json(body))
}
