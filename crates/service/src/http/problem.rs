//! Errors of HTTP as RFC 9457 problem documents, with the fields that existing clients read (`message` is the detail).

use actix_web::error::{PathError, QueryPayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use domain::Classified;
use serde_json::{Value, json};
use stores::StoreError;

use super::limit::RateLimit;

/// An error response: what happened, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    status: StatusCode,
    error: &'static str,
    message: String,
    details: Value,
    retry_after: Option<u64>,
    allow: Option<String>,
}

impl Problem {
    fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Problem {
        Problem {
            status,
            error,
            message: message.into(),
            details: Value::Null,
            retry_after: None,
            allow: None,
        }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 403: a web page of another site sends the request.
    pub(super) fn foreign_page() -> Problem {
        let message =
            "the Origin header names another site; a web page may call this service only from a loopback address";
        Problem::new(StatusCode::FORBIDDEN, "foreign_origin", message)
    }

    /// 403: the route is for operators on the machine of the service.
    pub(super) fn other_machine() -> Problem {
        let message = "this route answers only clients on the machine of the service; call it from there, such as inside the \
                       container or the pod";
        Problem::new(StatusCode::FORBIDDEN, "other_machine", message)
    }

    /// 421: the client reached a loopback address under another name.
    pub(super) fn foreign_host() -> Problem {
        let message = "this service listens on a loopback address and accepts only the hosts localhost, 127.0.0.0/8 and [::1]; \
                       call it by one of these, or set DATA_PROC_HTTP_HOST to the address that clients use";
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", message)
    }

    /// 404: the resource does not exist.
    pub fn not_found(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// 405: the route exists, with the methods `allowed` (as in the `Allow` header).
    pub fn method_not_allowed(method: &str, path: &str, allowed: &str) -> Problem {
        let message = format!("{path} does not support {method}; it supports {allowed}");
        let mut problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
        problem.allow = Some(allowed.to_owned());
        problem
    }

    /// 409: the state does not allow it.
    pub fn conflict(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", message)
    }

    /// 413: the body is larger than the limit.
    pub fn too_large(limit: usize) -> Problem {
        let message = format!("the body is larger than the limit of {limit} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    /// 422: the request can be read, but its content is invalid.
    pub fn unprocessable(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", message)
    }

    /// 429: this client has sent more than `limit` allows; retry after so many seconds.
    pub fn too_many_requests(limit: &RateLimit, retry_after_seconds: u64) -> Problem {
        let message = format!(
            "too many requests: the limit per client address is {limit} (DATA_PROC_RATE_LIMIT_MAX_REQUESTS, \
             DATA_PROC_RATE_LIMIT_WINDOW); try again in {retry_after_seconds} s"
        );
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message);
        problem.retry_after = Some(retry_after_seconds);
        problem
    }

    /// 503: too many connections are open; only probes are served.
    pub(super) fn too_many_connections() -> Problem {
        let mut problem = Problem::unavailable(
            "too many connections are open; close idle ones, or raise DATA_PROC_HTTP_MAX_CONNECTIONS and ulimit -n",
        );
        problem.retry_after = Some(1);
        problem
    }

    /// 503: a dependency is unavailable.
    pub fn unavailable(message: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// 503: a store failed. The log has the store's message; clients do not see it.
    pub fn store(error: &StoreError) -> Problem {
        tracing::warn!(error = %error, code = error.code(), "a request failed in a store");
        Problem::unavailable(format!("{}; try again, and see GET /health", error.summary()))
            .with_details(json!({"dependency": error.store().name(), "code": error.code()}))
    }

    /// 400: the query string cannot be read.
    pub(super) fn of_query(error: &QueryPayloadError) -> Problem {
        match error {
            QueryPayloadError::Deserialize(error) => Problem::bad_request(format!("the query string: {error}")),
            _ => Problem::of_status(StatusCode::BAD_REQUEST),
        }
    }

    /// 400: a part of the path cannot be read.
    pub(super) fn of_path(error: &PathError) -> Problem {
        match error {
            PathError::Deserialize(error) => Problem::bad_request(format!("the path: {error}")),
            _ => Problem::of_status(StatusCode::BAD_REQUEST),
        }
    }

    /// The problem document for a status that the HTTP server itself returned.
    pub(super) fn of_status(status: StatusCode) -> Problem {
        let (error, message) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => ("payload_too_large", "the body is larger than the limit of this route"),
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                "headers_too_large",
                "the request headers are larger than 16 KiB in total",
            ),
            StatusCode::BAD_REQUEST => ("bad_request", "the request cannot be read"),
            StatusCode::NOT_FOUND => ("not_found", "the resource does not exist"),
            status if status.is_server_error() => ("internal", "the request failed; see the log of the service"),
            _ => ("refused", "the request was rejected"),
        };
        Problem::new(status, error, message)
    }

    /// Adds machine-readable details.
    pub fn with_details(mut self, details: Value) -> Problem {
        self.details = details;
        self
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("error"),
            "status": self.status.as_u16(),
            "error": self.error,
            "message": self.message,
            "details": self.details,
            "timestamp": format!("{:.3}", jiff::Timestamp::now()),
        });
        let mut response = HttpResponse::build(self.status);
        response.content_type("application/problem+json");
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_str()));
        }
        response.body(body.to_string())
    }
}
