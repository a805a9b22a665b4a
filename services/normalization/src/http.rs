//! HTTP of normalization: the markets, the quality rules, and what would become of a message.

use std::sync::Arc;

use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use domain::QualityFlag;
use markets::{Normalizer, NormalizerConfig, RawMessage, RejectCode, RejectedRow, Rejection, describe};
use serde::Serialize;
use serde_json::Value;
use service::http::{Problem, Routes, Tenant};
use stream::status::wall_clock;

/// What the routes need.
pub struct Api {
    /// How messages are read.
    pub config: NormalizerConfig,
    /// Base URL of the projection service.
    pub projection_url: String,
    /// Asks it.
    pub client: reqwest::Client,
}

/// The routes.
pub fn routes(api: Arc<Api>) -> Routes {
    let api = web::Data::from(api);
    Routes::default()
        .of_service(Method::GET, "/markets", markets)
        .of_service(Method::GET, "/quality-rules", quality_rules)
        .of_tenant(Method::POST, "/validate", &[], validate)
        .of_service(Method::GET, "/health/projections", projections)
        .sharing(move |config| {
            let largest = api.config.max_tick_bytes.max(api.config.max_document_bytes);
            config
                .app_data(api.clone())
                .app_data(web::PayloadConfig::new(largest.saturating_add(1)));
        })
}

async fn markets(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(describe(&api.config.venues))
}

async fn quality_rules(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(markets::quality::rules(&api.config.quality))
}

/// What `POST /validate` answers.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Validation {
    /// Whether the whole message would be taken.
    valid: bool,
    /// Flags of its ticks, each once.
    quality_flags: Vec<&'static str>,
    errors: Vec<ValidationError>,
    /// Ticks that it would become.
    ticks: usize,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct ValidationError {
    code: &'static str,
    message: String,
    /// Of a document, the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<i32>,
}

// The body is a message as it would be published, its headers dp.format and dp.tenant_id included; nothing is published.
async fn validate(
    tenant: Tenant,
    api: web::Data<Api>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, Problem> {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .map(|value| markets::header_text(value.as_bytes()))
    };
    let tenant = tenant.also_named("dp.tenant_id", header("dp.tenant_id"))?;
    let (config, format) = (&api.config, header("dp.format"));
    Ok(HttpResponse::Ok().json(validation(config, &body, format, Some(tenant.id()))))
}

fn validation(config: &NormalizerConfig, payload: &[u8], format: Option<&str>, tenant: Option<&str>) -> Validation {
    let now = wall_clock();
    let message = RawMessage {
        feed: "validate",
        partition: 0,
        offset: 0,
        appended_at: now,
        key: None,
        payload,
        format,
        tenant,
        replay: None,
    };
    let (mut ticks, mut flags) = (0, 0);
    let outcome = Normalizer::new(config.clone()).normalize(&message, now, &mut |tick| {
        ticks += 1;
        flags |= tick.quality_flags.bits();
    });
    let errors: Vec<ValidationError> = match outcome {
        Ok(outcome) => outcome.rejected.first.into_iter().map(row_error).collect(),
        Err(rejection) => vec![error(rejection, None)],
    };
    Validation {
        valid: errors.is_empty(),
        quality_flags: QualityFlag::ALL
            .into_iter()
            .filter(|flag| flags & (1 << *flag as u16) != 0)
            .map(QualityFlag::name)
            .collect(),
        errors,
        ticks,
    }
}

fn row_error(row: RejectedRow) -> ValidationError {
    error(row.rejection, Some(row.index))
}

fn error(rejection: Rejection, row: Option<i32>) -> ValidationError {
    ValidationError {
        code: RejectCode::name(rejection.code),
        message: rejection.message,
        row,
    }
}

// Dashboards ask here for what the projection service knows.
async fn projections(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let url = format!("{}/health/projections", api.projection_url.trim_end_matches('/'));
    let unreachable = |error: reqwest::Error| {
        tracing::warn!(error = %error.without_url(), "the projection service does not answer");
        Problem::unavailable(
            "the projection service does not answer; NORMALIZATION_PROJECTION_URL says where it is asked",
        )
    };
    let answer = api.client.get(&url).send().await.map_err(unreachable)?;
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let body: Value = answer.json().await.map_err(unreachable)?;
    Ok(HttpResponse::build(status).json(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_judged_as_the_stage_would_and_every_reason_is_told() {
        let config = NormalizerConfig::default();
        let envelope = |price: Value| {
            json!({
                "envelope": {"event_type": "t", "event_id": "e", "timestamp": "x", "tenant_id": "t", "source": "s", "version": "1.0"},
                "payload": {"market": "MISO", "instrument_id": "I", "raw_data": {"timestamp": wall_clock(), "price": price, "node": "N", "zone": "Z"}}
            })
            .to_string()
        };
        let good = validation(&config, envelope(json!(-1)).as_bytes(), None, None);
        assert_eq!(
            (good.valid, good.ticks, good.quality_flags),
            (true, 1, vec!["price_negative", "missing_volume"])
        );
        let bad = validation(&config, envelope(json!("x")).as_bytes(), None, None);
        assert_eq!((bad.valid, bad.ticks, bad.errors.len()), (false, 0, 1));
        assert!(
            bad.errors
                .iter()
                .all(|error| error.code == "invalid_price" && error.row.is_none())
        );
        let document = br#"{"headers":["INTERVAL","CPNODE","LMP","MLC","MCC"],"data":[["2024-10-02T05:00:00","A","1","0","0"],[]]}"#;
        let part = validation(&config, document, Some("miso.rt5.expost.json"), None);
        assert_eq!(
            (part.valid, part.ticks, part.errors.first().and_then(|error| error.row)),
            (false, 1, Some(1))
        );
    }
}
