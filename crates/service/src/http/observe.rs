//! The middleware around every request: rate limit, deadline, request id, trace context, time, metrics.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use stream::trace::{self, Traceparent};
use uuid::Uuid;

use super::connections::Connection;
use super::routes::decoded;
use super::{Problem, State, cluster, host};
use crate::{metrics, traces};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const TRACE_PARENT: HeaderName = HeaderName::from_static(trace::TRACEPARENT);

/// Limit on the bytes of all header names and values together.
const MAX_HEADERS: usize = 16 << 10;

/// The middleware of the whole application.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let method = method_label(request.method().as_str());
    let request_id = request_id(request.headers());
    let trace = trace_parent(request.headers());
    let mut response = answer(request, next, started).await?;
    let seconds = started.elapsed().as_secs_f64();
    let path = response
        .request()
        .match_pattern()
        .unwrap_or_else(|| "unmatched".to_owned());
    metrics::http_request(method, &path, response.status().as_str(), seconds);
    let headers = response.headers_mut();
    for (name, value) in [
        (REQUEST_ID, request_id),
        (PROCESS_TIME, format!("{seconds:.6}")),
        (TRACE_PARENT, trace),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

async fn answer(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    now: Instant,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = request.app_data::<web::Data<State>>().cloned();
    let Some(state) = state else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if state.is_loopback
        && let Err(problem) = host::check(request.head())
    {
        return Ok(request.into_response(problem.error_response()));
    }
    let is_spare = request.conn_data::<Connection>().is_some_and(Connection::is_spare);
    // Probes and scrapes are frequent and come from one address: the rate limit does not apply to them. What asks other
    // services is no probe.
    let path = request.path();
    let is_probe = path == "/metrics" || (path.starts_with("/health") && path != cluster::PATH);
    if is_spare && !is_probe {
        let mut response = Problem::too_many_connections().error_response();
        response.head_mut().set_connection_type(ConnectionType::Close);
        return Ok(request.into_response(response));
    }
    if let (false, Some(client)) = (is_probe, request.peer_addr())
        && let Err(seconds) = state.limit.admit(client.ip(), now)
    {
        return Ok(request.into_response(Problem::too_many_requests(&state.limit, seconds).error_response()));
    }
    if let Err(problem) = readable(&request, &state) {
        return Ok(request.into_response(problem.error_response()));
    }
    let pattern = request.match_pattern().unwrap_or_default();
    let time = state.timeout + state.routes.lasts(request.method(), &pattern);
    match actix_web::rt::time::timeout(time, next.call(request)).await {
        Ok(response) => Ok(as_problem(response?.map_into_boxed_body())),
        Err(_) => Err(Problem::unavailable("the request exceeded its deadline and was cancelled").into()),
    }
}

/// Rejects requests that would be misread: oversized headers, invalid UTF-8, undeclared parameters.
fn readable(request: &ServiceRequest, state: &State) -> Result<(), Problem> {
    let headers = request.headers().iter();
    let bytes: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEADERS {
        return Err(Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    decoded(request.uri().path())?;
    decoded(request.query_string())?;
    let pattern = request.match_pattern().unwrap_or_default();
    state
        .routes
        .check_parameters(request.method(), &pattern, request.query_string())
}

/// Turns plain-text errors of the HTTP server itself (such as a body that is too large) into problem documents.
fn as_problem(response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let status = response.status();
    let content_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let is_json = content_type.is_some_and(|text| text.contains("json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, Problem::of_status(status).error_response())
}

fn request_id(headers: &HeaderMap) -> String {
    let text = |name: HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    text(REQUEST_ID)
        .or_else(|| text(CORRELATION_ID))
        .filter(|id| !id.is_empty() && id.len() <= 128)
        .unwrap_or_else(|| Uuid::new_v4().to_string())
}

/// The caller's trace context, else a new one.
fn trace_parent(headers: &HeaderMap) -> String {
    let given = headers.get(TRACE_PARENT);
    let given = given.and_then(|value| Traceparent::parse(value.as_bytes()));
    given.unwrap_or_else(|| traces::random(false)).to_string()
}

/// Method names come from the network: only known ones become labels.
fn method_label(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        _ => "other",
    }
}
