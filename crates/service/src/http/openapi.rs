//! `GET /openapi.json`: an OpenAPI 3.1 description made from the declared routes.
//!
//! Invariant: it is derived from the same [`Declared`] list that is served, so a route cannot be missing.
//! A [`Shape`] describes a JSON body where a client needs its fields; other bodies are described as objects.

use actix_web::http::{Method, StatusCode};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder, Schema,
};

use super::cluster;
use super::routes::{Declared, Scope};
use super::tenant::{TENANT_HEADER, TENANT_PARAMETER};

/// What a JSON body contains.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Shape {
    Text,
    /// RFC 3339.
    Time,
    Integer,
    Number,
    Flag,
    Any,
    /// Text that is no JSON (only as a whole body).
    Plain,
    Nullable(&'static Shape),
    /// A field that may be missing.
    Optional(&'static Shape),
    List(&'static Shape),
    /// Values by names that differ from answer to answer.
    Map(&'static Shape),
    /// Fields; more may be added.
    Object(&'static [(&'static str, Shape)]),
}

/// Answer of `/health`.
pub(super) const HEALTH: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("version", Shape::Text),
    ("status", Shape::Text),
    ("uptime_seconds", Shape::Integer),
    ("settings_fingerprint", Shape::Text),
    ("kafka", Shape::Optional(&Shape::Flag)),
    ("redis", Shape::Optional(&Shape::Flag)),
    ("clickhouse", Shape::Optional(&Shape::Flag)),
    ("postgres", Shape::Optional(&Shape::Flag)),
    ("circuit_breaker_state", Shape::Text),
    ("circuit_breakers", Shape::Map(&Shape::Text)),
    (
        "checks",
        Shape::Map(&Shape::Object(&[
            ("status", Shape::Text),
            ("critical", Shape::Flag),
            ("duration_ms", Shape::Integer),
            ("target", Shape::Text),
            ("error", Shape::Optional(&Shape::Text)),
            ("lag", Shape::Optional(&Shape::Map(&Shape::Integer))),
            ("last_check", Shape::Nullable(&Shape::Time)),
        ])),
    ),
    ("timestamp", Shape::Time),
]);

/// Answer of `/health/live` and `/health/ready`.
pub(super) const PROBE: Shape = Shape::Object(&[
    ("status", Shape::Text),
    ("error", Shape::Optional(&Shape::Text)),
    ("timestamp", Shape::Time),
]);

/// Answer of `/health/cluster`.
pub(super) const CLUSTER: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("scope", Shape::Text),
    ("note", Shape::Optional(&Shape::Text)),
    ("status", Shape::Text),
    (
        "nodes",
        Shape::List(&Shape::Object(&[
            ("name", Shape::Text),
            ("service", Shape::Text),
            ("status", Shape::Text),
            ("duration_ms", Shape::Integer),
            ("error", Shape::Optional(&Shape::Text)),
        ])),
    ),
    ("healthy", Shape::Integer),
    ("total", Shape::Integer),
    ("degraded", Shape::List(&Shape::Text)),
    ("unhealthy", Shape::List(&Shape::Text)),
    ("left_out", Shape::Integer),
    ("quorum", Shape::Flag),
    ("timestamp", Shape::Time),
]);

/// Answer of `/info`.
pub(super) const INFO: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("version", Shape::Text),
    ("environment", Shape::Text),
    ("generation", Shape::Text),
    ("pid", Shape::Integer),
    ("run_id", Shape::Text),
    ("started_at", Shape::Time),
    ("settings_fingerprint", Shape::Text),
    ("configuration", Shape::Map(&Shape::Any)),
    (
        "workers",
        Shape::List(&Shape::Object(&[
            ("worker", Shape::Text),
            ("group", Shape::Text),
            ("topics", Shape::List(&Shape::Text)),
        ])),
    ),
    (
        "routes",
        Shape::List(&Shape::Object(&[
            ("method", Shape::Text),
            ("path", Shape::Text),
            ("summary", Shape::Text),
            ("scope", Shape::Text),
            ("parameters", Shape::List(&Shape::Text)),
        ])),
    ),
]);

/// Answer of `/log-level`.
pub(super) const LOG_LEVEL: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("level", Shape::Text),
    ("base_level", Shape::Text),
    ("until", Shape::Nullable(&Shape::Time)),
]);

/// Answer of `/stats`; each service adds counts of its own.
pub(super) const STATS: Shape = Shape::Object(&[
    ("service", Shape::Text),
    ("uptime_seconds", Shape::Integer),
    ("memory_usage_bytes", Shape::Any),
    (
        "workers",
        Shape::List(&Shape::Object(&[
            ("name", Shape::Text),
            ("state", Shape::Text),
            ("messages", Shape::Integer),
            ("messages_by_status", Shape::Map(&Shape::Integer)),
            ("rebuilds", Shape::Integer),
            ("assigned", Shape::List(&Shape::Text)),
            ("lag", Shape::Map(&Shape::Integer)),
        ])),
    ),
    ("messages_processed", Shape::Integer),
    ("messages_failed", Shape::Integer),
    ("messages_by_status", Shape::Map(&Shape::Integer)),
    ("processing_rate_per_second", Shape::Number),
    ("average_processing_time_ms", Shape::Number),
    ("error_rate_percent", Shape::Number),
    ("rate_window_seconds", Shape::Integer),
    ("last_processing_time", Shape::Nullable(&Shape::Time)),
    ("calls", Shape::List(&CALLS)),
    ("machine", Shape::Any),
    ("timestamp", Shape::Time),
]);

/// The newest calls of one operation of a dependency.
const CALLS: Shape = Shape::Object(&[
    ("dependency", Shape::Text),
    ("operation", Shape::Text),
    ("count", Shape::Integer),
    ("window_seconds", Shape::Number),
    ("per_second", Shape::Nullable(&Shape::Number)),
    ("success_ratio", Shape::Number),
    ("avg_ms", Shape::Number),
    ("min_ms", Shape::Number),
    ("p50_ms", Shape::Number),
    ("p95_ms", Shape::Number),
    ("p99_ms", Shape::Number),
    ("max_ms", Shape::Number),
    ("slow_total", Shape::Integer),
]);

const PROBLEM: Shape = Shape::Object(&[
    ("type", Shape::Text),
    ("title", Shape::Text),
    ("status", Shape::Integer),
    ("error", Shape::Text),
    ("message", Shape::Text),
    ("details", Shape::Any),
    ("timestamp", Shape::Time),
]);

const JSON: &str = "application/json";

/// The description of a service with these routes.
pub(super) fn document(service: &str, routes: &[Declared]) -> OpenApi {
    let mut paths = PathsBuilder::new().build();
    for route in routes {
        paths.add_path_operation(route.path, vec![http_method(&route.method)], operation(route));
    }
    let info = InfoBuilder::new().title(service).version(env!("CARGO_PKG_VERSION"));
    let components = ComponentsBuilder::new().schema("Problem", schema(&PROBLEM)).build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build()
}

fn http_method(method: &Method) -> HttpMethod {
    match method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "DELETE" => HttpMethod::Delete,
        "PATCH" => HttpMethod::Patch,
        _ => HttpMethod::Get,
    }
}

fn operation(route: &Declared) -> OperationBuilder {
    let mut operation = OperationBuilder::new().summary(Some(route.summary));
    let in_path = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    for name in in_path {
        operation = operation.parameter(parameter(name, ParameterIn::Path));
    }
    for name in &route.parameters {
        operation = operation.parameter(parameter(name, ParameterIn::Query));
    }
    if route.scope == Scope::Tenant {
        operation = operation.parameter(parameter(TENANT_HEADER, ParameterIn::Header));
    }
    if let Some(media_type) = route.accepts {
        let body = RequestBodyBuilder::new().required(Some(Required::True));
        let schema = schema(match media_type {
            JSON => &Shape::Object(&[]),
            _ => &Shape::Any,
        });
        operation = operation.request_body(Some(body.content(media_type, Content::new(Some(schema))).build()));
    }
    answers(route, operation)
}

fn parameter(name: &str, place: ParameterIn) -> Parameter {
    let text = |meaning| (meaning, ObjectBuilder::new().schema_type(Type::String));
    let (meaning, schema) = match name {
        TENANT_PARAMETER | TENANT_HEADER => {
            text("The tenant; the configured one by default. Header and parameter must agree.")
        }
        "instrument_id" => text("The instrument, as ticks name it."),
        "curve_id" => text("The curve, as the reference data names it."),
        "horizon" => text("How far the curve reaches: 1m, 3m, 6m, 1y or all."),
        "as_of" => text("Only what was known at this time of the log's clock, such as 2026-10-01T00:00:00Z."),
        "after" => text("The next page: \"next\" of the page before, or empty for the first page."),
        "market" => text("The market; by default the part of the instrument id before the first dot."),
        "interval" => text("Length of the bars: 1m, 5m, 15m, 1h or 1d; all by default."),
        "from" => text("Only windows that start at this time or later, such as 2026-10-01T00:00:00Z."),
        "to" => text("Only windows that start before this time."),
        "limit" => {
            let count = whole_number(1, 1_000);
            (
                "Most entries of the answer; 100 by default.",
                count.default(Some(100.into())),
            )
        }
        "seconds" => ("Length of the profile.", whole_number(1, super::MAX_PROFILE_SECONDS)),
        "frequency" => (
            "Samples in a second of CPU time; 99 by default.",
            whole_number(1, profile::cpu::MAX_FREQUENCY),
        ),
        _ => text(""),
    };
    let is_required = matches!(place, ParameterIn::Path) || name == "seconds";
    let parameter = ParameterBuilder::new().name(name).parameter_in(place);
    parameter
        .required(if is_required { Required::True } else { Required::False })
        .description(Some(meaning).filter(|meaning| !meaning.is_empty()))
        .schema(Some(schema))
        .build()
}

fn whole_number(least: u32, most: u32) -> ObjectBuilder {
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    number.minimum(Some(least)).maximum(Some(most))
}

fn answers(route: &Declared, operation: OperationBuilder) -> OperationBuilder {
    let body = |description: &str| {
        let shape = route.returns.unwrap_or(&Shape::Object(&[]));
        let media_type = match shape {
            Shape::Plain => "text/plain",
            _ => JSON,
        };
        let content = Content::new(Some(schema(shape)));
        ResponseBuilder::new()
            .description(description)
            .content(media_type, content)
            .build()
    };
    let problem = |description: &str| {
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new().description(description);
        response.content("application/problem+json", content).build()
    };
    let mut operation = operation.response("200", body("OK"));
    // The answer of a health route says what is wrong in its own form.
    let is_probe = ["/health", "/health/live", "/health/ready"].contains(&route.path);
    let mut refusals = vec![StatusCode::BAD_REQUEST];
    let names_one = |parameter: &&'static str| ["instrument_id", "curve_id"].contains(parameter);
    if route.path.contains('{') || route.parameters.iter().any(names_one) {
        refusals.push(StatusCode::NOT_FOUND);
    }
    if route.accepts.is_some() {
        refusals.push(StatusCode::PAYLOAD_TOO_LARGE);
    }
    if route.accepts.is_some() || route.parameters.contains(&"limit") {
        refusals.push(StatusCode::UNPROCESSABLE_ENTITY);
    }
    if !is_probe {
        refusals.push(StatusCode::TOO_MANY_REQUESTS);
    }
    let says_why = is_probe || route.path == cluster::PATH;
    if !says_why {
        refusals.push(StatusCode::SERVICE_UNAVAILABLE);
    }
    for status in refusals {
        let reason = status.canonical_reason().unwrap_or("Error");
        operation = operation.response(status.as_str(), problem(reason));
    }
    if says_why {
        operation = operation.response("503", body("Unhealthy, not ready or no quorum; the body says why"));
    }
    operation.response("default", problem("Any other error"))
}

fn schema(shape: &Shape) -> RefOr<Schema> {
    let typed = |kind| ObjectBuilder::new().schema_type(kind);
    let plain = match shape {
        Shape::Text | Shape::Plain => typed(Type::String),
        Shape::Time => typed(Type::String).format(Some(utoipa::openapi::SchemaFormat::Custom("date-time".to_owned()))),
        Shape::Integer => typed(Type::Integer),
        Shape::Number => typed(Type::Number),
        Shape::Flag => typed(Type::Boolean),
        Shape::Any => ObjectBuilder::new().schema_type(SchemaType::AnyValue),
        Shape::Optional(inner) => return schema(inner),
        Shape::Nullable(inner) => return nullable(schema(inner)),
        Shape::List(item) => return Schema::from(ArrayBuilder::new().items(schema(item)).build()).into(),
        Shape::Map(value) => typed(Type::Object).additional_properties(Some(schema(value))),
        Shape::Object(fields) => fields.iter().fold(typed(Type::Object), |object, (name, field)| {
            let object = object.property(*name, schema(field));
            match field {
                Shape::Optional(_) => object,
                _ => object.required(*name),
            }
        }),
    };
    plain.into()
}

/// OpenAPI 3.1 has no `nullable`: null is one of the types.
fn nullable(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::Object(mut object)) => {
            if let SchemaType::Type(kind) = object.schema_type {
                object.schema_type = SchemaType::Array(vec![kind, Type::Null]);
            }
            Schema::Object(object).into()
        }
        other => other,
    }
}
