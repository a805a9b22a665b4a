//! The exporter against a stub collector: what is taken, refused or lost is counted.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;
use security::Trust;
use stream::Outcome;

use super::*;

/// Answers one request after the other with these; returns its port.
fn collector(answers: Vec<(&'static str, ExportTraceServiceResponse)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (status, answer) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = bytes.trim().parse().unwrap();
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let body = answer.encode_to_vec();
            let head = format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
    });
    port
}

fn exporter(port: u16) -> Exporter {
    Exporter {
        client: http_client(&Trust::default(), Some(LIMIT)).unwrap(),
        endpoint: Secret::new(format!("http://127.0.0.1:{port}")),
        resource: otlp::resource("tested", "run-1", "local"),
        is_failing: false,
    }
}

fn spans(count: i64) -> Vec<Span> {
    let own = random(true);
    let span = |offset| Span {
        own,
        parent: 1,
        state: Vec::new(),
        stage: "normalize".to_owned(),
        topic: "raw".to_owned(),
        partition: 0,
        offset,
        started: 1,
        ended: 2,
        outcome: Outcome::Success,
        table: None,
    };
    (0..count).map(span).collect()
}

#[test]
fn what_the_collector_takes_refuses_or_loses_is_counted() {
    let taken = ExportTraceServiceResponse::default();
    let partly = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 1,
            error_message: "too old".to_owned(),
        }),
    };
    let port = collector(vec![
        ("503 Service Unavailable", taken.clone()),
        ("200 OK", partly),
        ("200 OK", taken.clone()),
        ("200 OK", taken),
    ]);
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    ::metrics::with_local_recorder(&recorder, || {
        runtime.unwrap().block_on(async {
            let mut exporter = exporter(port);
            for (count, is_failing) in [(3, true), (5, true), (7, false)] {
                exporter.export(spans(count)).await;
                assert_eq!(exporter.is_failing, is_failing, "after {count}");
            }
            // What waits when the process ends is sent at once.
            let (queue, waiting) = mpsc::channel(8);
            for span in spans(8) {
                queue.try_send(span).unwrap();
            }
            drop(queue);
            timeout(LINGER / 2, exporter.run(waiting)).await.unwrap();
        });
    });
    let text = handle.render();
    for line in [
        "trace_spans_exported_total 19",
        "trace_spans_dropped_total{reason=\"collector_failed\"} 3",
        "trace_spans_dropped_total{reason=\"collector_refused\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn without_a_collector_there_is_no_recorder() {
    assert!(Traces::default().recorder("normalize").is_none());
}
