//! Spans as OTLP messages. Pure.
//!
//! Role: names follow the conventions of OpenTelemetry for messaging. Additional ones begin with `dp.`.

use domain::Micros;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as proto;
use stream::Outcome;
use stream::spans::Span;

/// Route of a collector for spans, after its base URL.
const ROUTE: &str = "v1/traces";
/// Beside the flags of the trace: the span before is of another process.
const PARENT_IS_REMOTE: u32 =
    proto::SpanFlags::ContextHasIsRemoteMask as u32 | proto::SpanFlags::ContextIsRemoteMask as u32;

/// Where spans are sent to.
pub(super) fn url(endpoint: &str) -> String {
    format!("{}/{ROUTE}", endpoint.trim_end_matches('/'))
}

/// What all spans of a process have in common.
pub(super) fn resource(service: &str, run_id: &str, environment: &str) -> Resource {
    Resource {
        attributes: vec![
            text("service.name", service),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", run_id),
            text("deployment.environment.name", environment),
        ],
        ..Resource::default()
    }
}

/// A request with these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![proto::ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![proto::ScopeSpans {
                scope: Some(scope),
                spans: spans.into_iter().map(span).collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn span(span: Span) -> proto::Span {
    let is_refused = matches!(span.outcome, Outcome::DeadLettered | Outcome::Partial);
    let mut attributes = vec![
        text("messaging.system", "kafka"),
        text("messaging.operation.type", "process"),
        text("messaging.destination.name", &span.topic),
        text("messaging.destination.partition.id", &span.partition.to_string()),
        attribute("messaging.kafka.offset", Value::IntValue(span.offset)),
        text("dp.outcome", span.outcome.name()),
    ];
    if let Some(table) = &span.table {
        attributes.push(text("db.system.name", "clickhouse"));
        attributes.push(text("db.collection.name", table));
    }
    proto::Span {
        trace_id: span.own.trace().to_bytes().to_vec(),
        span_id: span.own.span().to_be_bytes().to_vec(),
        parent_span_id: span.parent.to_be_bytes().to_vec(),
        trace_state: String::from_utf8_lossy(&span.state).into_owned(),
        flags: u32::from(span.own.flags()) | PARENT_IS_REMOTE,
        name: span.stage,
        kind: proto::span::SpanKind::Consumer as i32,
        start_time_unix_nano: nanos(span.started),
        end_time_unix_nano: nanos(span.ended),
        attributes,
        status: is_refused.then(|| proto::Status {
            message: "the message, or a part of it, is a dead letter".to_owned(),
            code: proto::status::StatusCode::Error as i32,
        }),
        ..proto::Span::default()
    }
}

fn nanos(micros: Micros) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost::Message as _;
    use stream::trace::Traceparent;

    use super::*;

    #[test]
    fn the_route_follows_the_base_url() {
        for base in ["http://collector:4318", "http://collector:4318/"] {
            assert_eq!(url(base), "http://collector:4318/v1/traces");
        }
    }

    fn exported(outcome: Outcome) -> proto::Span {
        let parent = Traceparent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let recorded = Span {
            own: parent.child("normalize", "raw", 2, 17),
            parent: parent.span(),
            state: b"rojo=1".to_vec(),
            stage: "normalize".to_owned(),
            topic: "raw".to_owned(),
            partition: 2,
            offset: 17,
            started: 1_700_000_000_000_001,
            ended: 1_700_000_000_000_250,
            outcome,
            table: Some("market_ticks".to_owned()),
        };
        let resource = resource("normalization", "run-1", "local");
        let sent = request(&resource, vec![recorded]).encode_to_vec();
        let mut read = ExportTraceServiceRequest::decode(&sent[..]).unwrap();
        let mut of_resource = read.resource_spans.pop().unwrap();
        assert_eq!(of_resource.resource.unwrap(), resource);
        of_resource.scope_spans.pop().unwrap().spans.pop().unwrap()
    }

    #[test]
    fn a_span_keeps_its_ids_times_and_position() {
        let span = exported(Outcome::Success);
        assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
        assert_eq!(span.span_id.len(), 8);
        assert_ne!(span.span_id, span.parent_span_id);
        assert_eq!((span.trace_state.as_str(), span.flags), ("rojo=1", 0x301));
        assert_eq!((span.name.as_str(), span.kind), ("normalize", 5));
        assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_001_000);
        assert_eq!(span.end_time_unix_nano, 1_700_000_000_000_250_000);
        let expected = [
            text("messaging.system", "kafka"),
            text("messaging.operation.type", "process"),
            text("messaging.destination.name", "raw"),
            text("messaging.destination.partition.id", "2"),
            attribute("messaging.kafka.offset", Value::IntValue(17)),
            text("dp.outcome", "success"),
            text("db.system.name", "clickhouse"),
            text("db.collection.name", "market_ticks"),
        ];
        assert_eq!(span.attributes, expected);
        assert_eq!(span.status, None);
    }

    #[test]
    fn a_dead_letter_is_an_error() {
        for (outcome, code) in [
            (Outcome::Success, None),
            (Outcome::Duplicate, None),
            (Outcome::Partial, Some(2)),
            (Outcome::DeadLettered, Some(2)),
        ] {
            assert_eq!(exported(outcome).status.map(|status| status.code), code, "{outcome:?}");
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
