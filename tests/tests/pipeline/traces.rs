//! Traces: a message with a `traceparent` makes one span in each stage and for each table that it reaches, and a collector gets them. A message
//! without one makes none.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Context as _;
use e2e::{Pipeline, RAW, eventually};
use localstack::Service;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message as _;
use testkit::kafka::{self, Outgoing, Publisher, Record};

const PARTITION: i32 = 2;
const NORMALIZED: &str = "normalized.market.ticks.v1";
const ENRICHED: &str = "enriched.market.ticks.v1";
const LATE: &str = "aggregation.late.v1";
/// Attribute with the table that a span wrote.
const TABLE: &str = "db.collection.name";
/// Spans of a tick that is too late for the windows in memory: four of the stages that read its message or a tick, one of the stage that
/// computes its bars from the table, and one of each table that has a row of it (`market_ticks`, `enriched_ticks`, `late_ticks`).
const SPANS: usize = 8;
/// The span of the producer.
const SENDER: &str = "b7ad6b7169203331";
const STATE: &str = "rojo=1,congo=t61";

/// A span, and the service that sent it.
type Received = (String, Span);

/// A collector: it takes every request. It serves until the process ends.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Collector {
    fn start() -> anyhow::Result<Collector> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let kept = Arc::clone(&received);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A service may be killed while it sends.
                if let Ok(spans) = serve(stream) {
                    kept.lock().extend(spans);
                }
            }
        });
        Ok(Collector { url, received })
    }

    /// Those of this trace, in the order of the stages, then in that of the tables' names.
    fn of_trace(&self, trace: &str) -> Vec<Received> {
        let stages = ["normalize", "enrich", "aggregation", "project", "restate", "clickhouse"];
        let mut found = self.received.lock().clone();
        found.retain(|(_, span)| hex(&span.trace_id) == trace);
        found.sort_by_key(|(_, span)| {
            let stage = stages.iter().position(|stage| *stage == span.name);
            (stage, table_of(span))
        });
        found
    }
}

fn serve(mut stream: TcpStream) -> anyhow::Result<Vec<Received>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut lines, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse()?;
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let is_otlp = lines.first().is_some_and(|line| line == "post /v1/traces http/1.1")
        && lines.contains(&"content-type: application/x-protobuf".to_owned());
    let status = if is_otlp { "200 OK" } else { "400 Bad Request" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    anyhow::ensure!(is_otlp, "{lines:?}");
    let mut spans = Vec::new();
    for of_service in ExportTraceServiceRequest::decode(&body[..])?.resource_spans {
        let resource = of_service.resource.context("no resource")?;
        let service = attribute(&resource.attributes, "service.name");
        let of_scopes = of_service.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(of_scopes.map(|span| (service.clone(), span)));
    }
    Ok(spans)
}

/// The attribute as text, empty if there is none.
fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// The table that the span wrote; empty if it wrote none.
fn table_of(span: &Span) -> String {
    let has_table = span.attributes.iter().any(|attribute| attribute.key == TABLE);
    match has_table {
        true => attribute(&span.attributes, TABLE),
        false => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `traceparent` of a span.
fn sent_by(trace: &str, span: &str) -> String {
    format!("00-{trace}-{span}-01")
}

/// A tick of shape A at this second of a day long past, so that it is late whenever the test runs.
fn publish(pipeline: &Pipeline, second: u32, headers: &[(&str, &str)]) {
    let payload = format!(
        r#"{{"envelope":{{"event_type":"tick","event_id":"TRACES-{second}","timestamp":"2026-02-02T10:00:00Z","tenant_id":"traces","source":"traces","version":"1.0"}},"payload":{{"market":"MISO","instrument_id":"TRACES.A","raw_data":{{"timestamp":"2026-02-02T10:00:{second:02}Z","price":31.5,"volume":1}}}}}}"#
    );
    publish_bytes(pipeline, payload.as_bytes(), headers);
}

fn publish_bytes(pipeline: &Pipeline, payload: &[u8], headers: &[(&str, &str)]) {
    let mut publisher = Publisher::new(&pipeline.bootstrap(), RAW).unwrap();
    let headers = headers.iter();
    let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let outgoing = Outgoing {
        partition: Some(PARTITION),
        key: Some("TRACES.A".to_owned()),
        payload: payload.to_vec(),
        headers: headers.collect(),
    };
    publisher.send(&outgoing).unwrap();
    publisher.finish().unwrap();
}

/// The only record of a topic that this span sent.
fn record_of(pipeline: &Pipeline, topic: &str, traceparent: &str) -> Record {
    let mut records = kafka::read_all(&pipeline.bootstrap(), topic).unwrap();
    records.retain(|record| record.header("traceparent").as_deref() == Some(traceparent));
    assert_eq!(records.len(), 1, "{topic}, {traceparent}");
    records.remove(0)
}

/// Value of a metric without labels besides `service`.
fn metric(pipeline: &Pipeline, service: Service, name: &str) -> Option<String> {
    let (_, metrics) = pipeline.get(service, "/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name}{{")));
    line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
}

#[test]
fn a_traced_message_makes_one_span_in_each_stage_and_others_make_none() {
    let collector = Collector::start().unwrap();
    let endpoint = ("DATA_PROC_OTLP_ENDPOINT".to_owned(), collector.url.clone());
    let pipeline = Pipeline::with_settings([endpoint]).unwrap();
    let [first, refused, not_sampled, last] =
        ["a", "b", "c", "d"].map(|digit| format!("0af7651916cd43dd8448eb211c80319{digit}"));
    publish(
        &pipeline,
        1,
        &[("traceparent", &sent_by(&first, SENDER)), ("tracestate", STATE)],
    );
    publish(&pipeline, 2, &[]);
    publish(&pipeline, 3, &[("traceparent", "nonsense"), ("tracestate", STATE)]);
    let unrecorded = format!("00-{not_sampled}-{SENDER}-00");
    publish(&pipeline, 4, &[("traceparent", &unrecorded)]);
    publish_bytes(
        &pipeline,
        b"{\"oops\":1}",
        &[("traceparent", &sent_by(&refused, SENDER))],
    );
    // The partition keeps their order, so all spans of the messages before have arrived with these.
    publish(&pipeline, 5, &[("traceparent", &sent_by(&last, SENDER))]);
    eventually("the spans of the last message arrive", || {
        Ok(collector.of_trace(&last).len() == SPANS)
    })
    .unwrap();

    the_spans_of_a_message_form_a_tree(&pipeline, &collector.of_trace(&first), &first);
    a_dead_letter_names_the_span_that_refused_it(&pipeline, &collector.of_trace(&refused), &refused);
    assert!(collector.of_trace(&not_sampled).is_empty());
    for topic in [ENRICHED, LATE] {
        record_of(&pipeline, topic, &unrecorded);
    }
    // Those of two ticks, and that of the refused message: none of the others.
    assert_eq!(collector.received.lock().len(), 2 * SPANS + 1);
    assert_eq!(
        metric(&pipeline, Service::Normalization, "trace_headers_invalid_total").as_deref(),
        Some("1")
    );
    eventually("the exported spans are counted", || {
        let exported = metric(&pipeline, Service::Normalization, "trace_spans_exported_total");
        // Two ticks, the refused message, and the rows of the two ticks.
        Ok(exported.as_deref() == Some("5"))
    })
    .unwrap();
    let rows = "SELECT count() FROM enriched_ticks WHERE instrument_id = 'TRACES.A'";
    eventually(rows, || Ok(pipeline.clickhouse.number(rows)? == 5)).unwrap();
    a_trace_is_found_by_its_id(&pipeline);
    pipeline.agree().unwrap();
}

/// Normalization, then enrichment, then aggregation and projection side by side; the second stage of aggregation after the first; and the
/// writer of each table after the stage that sent the row.
fn the_spans_of_a_message_form_a_tree(pipeline: &Pipeline, spans: &[Received], trace: &str) {
    let ids: Vec<String> = spans.iter().map(|(_, span)| hex(&span.span_id)).collect();
    let raw = record_of(pipeline, RAW, &sent_by(trace, SENDER));
    let normalized = record_of(pipeline, NORMALIZED, &sent_by(trace, &ids[0]));
    let enriched = record_of(pipeline, ENRICHED, &sent_by(trace, &ids[1]));
    let late = record_of(pipeline, LATE, &sent_by(trace, &ids[2]));
    let expected = [
        ("normalization", "normalize", "", SENDER, &raw),
        ("enrichment", "enrich", "", ids[0].as_str(), &normalized),
        ("aggregation", "aggregation", "", ids[1].as_str(), &enriched),
        ("projection", "project", "", ids[1].as_str(), &enriched),
        ("aggregation", "restate", "", ids[2].as_str(), &late),
        ("enrichment", "clickhouse", "enriched_ticks", ids[1].as_str(), &enriched),
        ("aggregation", "clickhouse", "late_ticks", ids[2].as_str(), &late),
        (
            "normalization",
            "clickhouse",
            "market_ticks",
            ids[0].as_str(),
            &normalized,
        ),
    ];
    assert_eq!(spans.len(), expected.len());
    for ((service, span), (from, stage, table, parent, input)) in spans.iter().zip(expected) {
        assert_eq!((service.as_str(), span.name.as_str()), (from, stage));
        assert_eq!(table_of(span), table);
        assert_eq!(hex(&span.parent_span_id), parent, "{stage}");
        let of = |key: &str| attribute(&span.attributes, key);
        let place = [
            of("messaging.destination.name"),
            of("messaging.destination.partition.id"),
            of("messaging.kafka.offset"),
        ];
        let read = [
            input.topic.clone(),
            input.partition.to_string(),
            input.offset.to_string(),
        ];
        assert_eq!(place, read, "{stage}");
        assert_eq!(of("dp.outcome"), "success", "{stage}");
        assert_eq!(span.trace_state, STATE, "{stage}");
        assert_eq!(input.header("tracestate").as_deref(), Some(STATE), "{stage}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{stage}");
    }
}

fn a_dead_letter_names_the_span_that_refused_it(pipeline: &Pipeline, spans: &[Received], trace: &str) {
    let [(service, span)] = spans else {
        panic!("{spans:?}");
    };
    assert_eq!(
        (service.as_str(), hex(&span.parent_span_id).as_str()),
        ("normalization", SENDER)
    );
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    let letter = record_of(pipeline, "dlq", &sent_by(trace, &hex(&span.span_id)));
    assert_eq!(letter.payload, b"{\"oops\":1}");
}

/// `dp send` begins a trace, and `dp trace` finds its message by the id.
fn a_trace_is_found_by_its_id(pipeline: &Pipeline) {
    let json = |arguments: &[&str]| -> anyhow::Result<serde_json::Value> {
        let output = pipeline.dp(arguments).arg("--json").output()?;
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let tick = ["--market", "miso", "--instrument", "TRACES.SENT", "--price", "31.55"];
    let sent = json(&[&["send"][..], &tick, &["--traceparent", "new"]].concat()).unwrap();
    let trace = sent["trace_id"].as_str().unwrap();
    eventually("the tick of the trace is found", || {
        let found = json(&["trace", trace])?;
        let message = &found["messages"][0];
        let is_it = message["place"]["offset"] == sent["offset"] && message["place"]["partition"] == sent["partition"];
        Ok(is_it && message["ticks"][0]["tick_id"] == sent["tick_id"])
    })
    .unwrap();
}
