#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::*;
use crate::health::Check;
use stream::{Shutdown, WorkerStatus};

struct Running {
    server: Server,
    health: Arc<Health>,
    runtime: tokio::runtime::Runtime,
}

fn settings(rate_limit: u64) -> HttpSettings {
    HttpSettings {
        host: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        metrics_port: None,
        rate_limit,
        rate_limit_window: Duration::from_secs(60),
    }
}

fn started(rate_limit: u64) -> Running {
    let health = Health::new(Shutdown::default());
    let shown = Shown {
        service: "tested",
        started: Instant::now(),
        health: Arc::clone(&health),
        metrics: metrics::install("tested", &[]).unwrap(),
        info: json!({"service": "tested", "generation": ""}),
        stats: vec![Arc::new(|| Map::from_iter([("cache_hits".to_owned(), 3.into())]))],
    };
    let routes: Routes = Arc::new(|config| {
        config.route(
            "/things/{id}",
            web::get().to(|path: web::Path<u32>| async move { HttpResponse::Ok().json(*path) }),
        );
        config.route("/slow", web::get().to(std::future::pending::<HttpResponse>));
    });
    Running {
        server: start(&settings(rate_limit), Duration::from_millis(500), shown, vec![routes]).unwrap(),
        health,
        runtime: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
    }
}

/// Status and headers, and the body.
fn get(running: &Running, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(running.server.addresses()[0]).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn every_shared_route_answers_a_real_request() {
    let running = started(1000);
    for (path, status) in [
        ("/health", "200"),
        ("/health/live", "200"),
        ("/health/ready", "200"),
        ("/metrics", "200"),
        ("/info", "200"),
        ("/stats", "200"),
        ("/things/7", "200"),
        ("/things/x", "400"),
        ("/nothing", "404"),
        ("/slow", "503"),
    ] {
        let (head, body) = get(&running, path, "");
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{path}: {head}\n{body}"
        );
    }
    assert_eq!(json_of(&get(&running, "/stats", "").1)["cache_hits"], 3);
    let text = get(&running, "/metrics", "").1;
    assert!(text.contains("path=\"/things/{id}\""), "{text}");
    assert!(text.contains("path=\"unmatched\""), "{text}");
    let Running { server, runtime, .. } = running;
    server.stop(runtime.handle());
}

#[test]
fn answers_carry_the_callers_request_id_and_a_trace_context() {
    let running = started(1000);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (head, _) = get(
        &running,
        "/info",
        &format!("x-request-id: abc-1\r\ntraceparent: {trace}\r\n"),
    );
    assert!(
        head.contains("x-request-id: abc-1") && head.contains(trace) && head.contains("x-process-time: 0."),
        "{head}"
    );
    let (head, _) = get(&running, "/info", "x-correlation-id: c-9\r\ntraceparent: nonsense\r\n");
    assert!(
        head.contains("x-request-id: c-9") && head.contains("traceparent: 00-") && !head.contains("nonsense"),
        "{head}"
    );
}

#[test]
fn an_error_is_a_problem_document() {
    let running = started(1000);
    let (head, body) = get(&running, "/nothing", "");
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let body = json_of(&body);
    assert_eq!((&body["status"], &body["error"]), (&404.into(), &"not_found".into()));
    assert!(body["message"].as_str().unwrap().contains("/nothing"));
    assert!(body["timestamp"].is_string());
}

#[test]
fn one_client_is_limited_and_probes_are_not() {
    let running = started(2);
    get(&running, "/info", "");
    get(&running, "/info", "");
    let (head, body) = get(&running, "/info", "");
    assert!(
        head.starts_with("http/1.1 429") && head.contains("retry-after: "),
        "{head}"
    );
    assert_eq!(json_of(&body)["error"], "too_many_requests");
    assert!(get(&running, "/health/live", "").0.starts_with("http/1.1 200"));
}

#[test]
fn a_failing_critical_dependency_is_named_and_answers_503() {
    let running = started(1000);
    running.health.add_worker(WorkerStatus::new("stage-0"), true);
    running.health.watch(
        running.runtime.handle(),
        Check {
            name: "kafka",
            critical: true,
            target: "broker:9092".into(),
            ask: Box::new(|| Box::pin(async { Err("no broker answers".to_owned()) })),
        },
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    let body = loop {
        let (head, body) = get(&running, "/health", "");
        assert!(head.starts_with("http/1.1 503"), "{head}");
        let body = json_of(&body);
        if body["checks"]["kafka"]["error"] == "no broker answers" {
            break body;
        }
        assert!(Instant::now() < deadline, "{body}");
    };
    assert_eq!((&body["status"], &body["kafka"]), (&"unhealthy".into(), &false.into()));
    assert_eq!(body["checks"]["kafka"]["target"], "broker:9092");
    assert_eq!(body["circuit_breaker_state"], "closed");
    assert!(get(&running, "/health/ready", "").0.starts_with("http/1.1 503"));
    assert!(get(&running, "/health/live", "").0.starts_with("http/1.1 200"));
}

#[test]
fn a_port_in_use_is_named_with_the_variable_that_changes_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut settings = settings(1);
    settings.port = taken.local_addr().unwrap().port();
    let error = bind_all(&settings).unwrap_err();
    assert!(
        error.contains(&settings.port.to_string()) && error.contains("DATA_PROC_HEALTH_PORT"),
        "{error}"
    );
}
