#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod description;
mod foreign;
mod log_level;
mod profile;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::*;
use crate::health::Check;
use crate::life::Threads;
use stream::{Shutdown, WorkerStatus};

/// More than the kernel buffers of an unread response.
const LARGE: usize = 64 << 20;
const BUSY: Duration = Duration::from_millis(150);

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
        max_connections: 1_000,
        write_timeout: Duration::from_secs(30),
    }
}

fn started(rate_limit: u64) -> Running {
    started_with(&settings(rate_limit))
}

fn started_with(settings: &HttpSettings) -> Running {
    let health = Health::new(Shutdown::default());
    let shown = Shown {
        service: "tested",
        started: Instant::now(),
        health: Arc::clone(&health),
        metrics: metrics::install("tested", &[]).unwrap(),
        info: json!({"service": "tested", "generation": ""}),
        fingerprint: "0123456789abcdef".to_owned(),
        stats: vec![Arc::new(|| Map::from_iter([("cache_hits".to_owned(), 3.into())]))],
        levels: Arc::new(telemetry::level::Levels::new("info", Box::new(|_| Ok(())))),
        cluster: Cluster::default(),
        default_tenant: "default".to_owned(),
    };
    let routes = Routes::default()
        .of_service(Method::GET, "/things/{id}", "One", |path: web::Path<u32>| async move {
            HttpResponse::Ok().json(*path)
        })
        .of_service(Method::GET, "/slow", "Never", std::future::pending::<HttpResponse>)
        .of_service(Method::GET, "/large", "Much", || async { "x".repeat(LARGE) })
        .of_service(Method::GET, "/busy", "Work", || async {
            let computed = web::block(compute);
            computed.await.map(|()| "done")
        })
        .of_service(Method::POST, "/bytes", "Count", |body: web::Bytes| async move {
            body.len().to_string()
        })
        .of_tenant(Method::GET, "/of/{id}", "One of a tenant", &["limit"], of)
        .of_tenant(Method::POST, "/of", "One in a body", &[], of_body)
        .accepting("application/json");
    Running {
        server: start(settings, Duration::from_millis(500), shown, routes).unwrap(),
        health,
        runtime: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
    }
}

/// Not inlined: a profile shows its name.
#[inline(never)]
fn compute() {
    let until = Instant::now() + BUSY;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

#[derive(serde::Deserialize)]
struct Asked {
    instrument_id: InstrumentId,
    tenant_id: Option<String>,
}

async fn of(tenant: Tenant, id: web::Path<InstrumentId>) -> HttpResponse {
    HttpResponse::Ok().json((tenant.id(), id.into_inner().into_inner()))
}

async fn of_body(tenant: Tenant, body: web::Payload) -> Result<HttpResponse, Problem> {
    let Asked {
        instrument_id,
        tenant_id,
    } = body::json(body).await?;
    let tenant = tenant.also_named("the body", tenant_id.as_deref())?;
    Ok(HttpResponse::Ok().json((tenant.id(), instrument_id.into_inner())))
}

/// Status and headers, and the body.
fn get(running: &Running, path: &str, headers: &str) -> (String, String) {
    send(running, &format!("GET {path}"), headers, "")
}

/// Sends a request with any method and body.
fn send(running: &Running, line: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(running.server.addresses()[0]).unwrap();
    let length = match body.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    // A server that rejects a request early may not read the rest.
    let _ = write!(
        stream,
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}{headers}\r\n{body}"
    );
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
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
        ("/openapi.json", "200"),
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
fn responses_have_the_callers_request_id_and_a_trace_context() {
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
    let body = json_of(&body);
    assert_eq!(body["error"], "too_many_requests");
    let message = body["message"].as_str().unwrap();
    for words in ["2 requests in ", "DATA_PROC_RATE_LIMIT_MAX_REQUESTS"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(get(&running, "/health/live", "").0.starts_with("http/1.1 200"));
}

#[test]
fn a_failing_critical_dependency_is_named_and_returns_503() {
    let running = started(1000);
    running.health.add_worker(WorkerStatus::new("stage-0"), true);
    running.health.watch(
        &Threads::default().tasks(running.runtime.handle()),
        Check {
            name: "kafka",
            critical: true,
            target: "broker:9092".into(),
            ask: Box::new(|| Box::pin(async { Err("no broker responds".to_owned().into()) })),
            breaker: None,
        },
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    let body = loop {
        let (head, body) = get(&running, "/health", "");
        assert!(head.starts_with("http/1.1 503"), "{head}");
        let body = json_of(&body);
        if body["checks"]["kafka"]["error"] == "no broker responds" {
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

const JSON: &str = "content-type: application/json\r\n";

#[test]
fn a_request_is_for_its_named_tenant_or_else_for_the_default() {
    let running = started(1000);
    for (path, headers, tenant) in [
        ("/of/I", "", "default"),
        ("/of/I?tenant_id=a%3Ab", "", "a:b"),
        ("/of/I", "X-Tenant-Id: a:b\r\n", "a:b"),
        ("/of/I", "X-Tenant-Id: z\u{fc}rich\r\n", "z\u{fc}rich"),
        ("/of/I?limit=1&tenant_id=a", "X-Tenant-Id: a\r\n", "a"),
    ] {
        let (head, body) = get(&running, path, headers);
        assert!(head.starts_with("http/1.1 200"), "{path} {headers}: {head}\n{body}");
        assert_eq!(json_of(&body), json!([tenant, "I"]), "{path} {headers}");
    }
    let (_, body) = send(&running, "POST /of", JSON, r#"{"instrument_id":"a/b","tenant_id":"t"}"#);
    assert_eq!(json_of(&body), json!(["t", "a/b"]));
}

#[test]
fn conflicting_tenants_are_rejected_with_both_names() {
    let running = started(1000);
    let body = r#"{"instrument_id":"I","tenant_id":"beta"}"#;
    for (line, headers, body) in [
        ("GET /of/I?tenant_id=beta", "X-Tenant-Id: alpha\r\n".to_owned(), ""),
        ("GET /of/I?tenant_id=alpha&tenant_id=beta", String::new(), ""),
        (
            "GET /of/I",
            "X-Tenant-Id: alpha\r\nX-Tenant-Id: beta\r\n".to_owned(),
            "",
        ),
        ("POST /of", format!("{JSON}X-Tenant-Id: alpha\r\n"), body),
        ("POST /of?tenant_id=alpha", JSON.to_owned(), body),
    ] {
        let (head, answer) = send(&running, line, &headers, body);
        assert!(head.starts_with("http/1.1 400"), "{line} {headers}: {head}\n{answer}");
        let problem = json_of(&answer);
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains("alpha") && message.contains("beta"), "{message}");
    }
}

#[test]
fn ids_that_no_tick_can_have_are_rejected_with_the_reason() {
    let running = started(1000);
    let long = "x".repeat(257);
    for (path, reason) in [
        ("/of/I?tenant_id=%00", "control character"),
        ("/of/I?tenant_id=a%7Cb", "'|'"),
        ("/of/I?tenant_id=", "is empty"),
        ("/of/%00", "instrument_id contains '|' or a control character"),
        ("/of/a%7Cb", "instrument_id contains"),
        ("/of/%20", "instrument_id is empty"),
        (&format!("/of/{long}"), "instrument_id is longer than 256 bytes"),
        (&format!("/of/I?tenant_id={long}"), "is longer than 256 bytes"),
        ("/of/%FF", "not UTF-8"),
        ("/of/I?tenant_id=%FF", "not UTF-8"),
        ("/of/I?tenant=a", "no parameter 'tenant'; it has limit, tenant_id"),
        ("/of/I?limit=1&limit=2", "limit is given twice"),
        ("/info?tenant_id=a", "it has none"),
    ] {
        let (head, body) = get(&running, path, "");
        assert!(head.starts_with("http/1.1 400"), "{path}: {head}\n{body}");
        let problem = json_of(&body);
        assert!(
            problem["message"].as_str().unwrap().contains(reason),
            "{path}: {problem}"
        );
    }
    let (head, body) = send(&running, "POST /of", JSON, r#"{"instrument_id":"a\u0000"}"#);
    assert!(
        head.starts_with("http/1.1 422") && body.contains("control character"),
        "{head}\n{body}"
    );
}

#[test]
fn every_error_of_the_server_is_a_problem_document() {
    let running = started(1000);
    let large = "x".repeat(300_000);
    let long_header = format!("x-long: {}\r\n", "x".repeat(20_000));
    for (line, headers, body, status) in [
        ("DELETE /of/I", "", "", "405"),
        ("POST /health", "", "", "405"),
        ("GET /of", "", "", "405"),
        ("POST /bytes", "", large.as_str(), "413"),
        ("POST /of", "", "{}", "422"),
        ("POST /of", JSON, "{", "422"),
        ("GET /info", long_header.as_str(), "", "431"),
        ("GET /nothing", "", "", "404"),
    ] {
        let (head, answer) = send(&running, line, headers, body);
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{line}: {head}\n{answer}"
        );
        assert!(
            head.contains("content-type: application/problem+json"),
            "{line}: {head}"
        );
        let problem = json_of(&answer);
        assert_eq!(problem["status"].to_string(), status, "{problem}");
        assert!(
            problem["detail"].is_null() && problem["message"].is_string(),
            "{problem}"
        );
    }
    let (head, _) = send(&running, "PUT /of/I", "", "");
    assert!(head.contains("allow: get, head"), "{head}");
}

#[test]
fn get_routes_support_head_without_a_body() {
    let running = started(1000);
    for path in ["/health", "/metrics", "/of/I"] {
        let (head, body) = send(&running, &format!("HEAD {path}"), "", "");
        assert!(
            head.starts_with("http/1.1 200") && body.is_empty(),
            "{path}: {head}\n{body}"
        );
    }
}

#[test]
fn info_lists_every_route_with_its_scope() {
    let running = started(1000);
    let info = json_of(&get(&running, "/info", "").1);
    let routes = info["routes"].as_array().unwrap();
    let expected = json!({
        "method": "GET", "path": "/of/{id}", "summary": "One of a tenant", "scope": "tenant",
        "parameters": ["limit", "tenant_id"],
    });
    assert!(routes.contains(&expected), "{info}");
    let expected = json!({
        "method": "GET", "path": "/slow", "summary": "Never", "scope": "service", "parameters": [],
    });
    assert!(routes.contains(&expected), "{info}");
}

#[test]
fn a_body_is_read_with_any_content_type_and_a_too_large_one_is_rejected() {
    let running = started(1000);
    for headers in ["", "content-type: text/plain\r\n", "content-type: application/json\r\n"] {
        let (head, body) = send(&running, "POST /of", headers, r#"{"instrument_id":"I"}"#);
        assert!(head.starts_with("http/1.1 200"), "{headers}: {head}\n{body}");
    }
    let (head, body) = send(&running, "POST /of", "", &"x".repeat((1 << 20) + 1));
    assert!(head.starts_with("http/1.1 413"), "{head}");
    assert!(
        head.contains("application/problem+json") && body.contains("1048576"),
        "{head}\n{body}"
    );
}

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.server.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Polls until the condition holds, for at most 20 s.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_unread_response_closes_its_connection_and_a_read_one_is_complete() {
    let running = started_with(&HttpSettings {
        write_timeout: Duration::from_millis(500),
        ..settings(1000)
    });
    let mut silent = connect(&running);
    silent
        .write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    // Data that the kernel has buffered can be read; then the connection ends, long before the response does.
    let mut some = vec![0; 1024];
    silent.read_exact(&mut some).unwrap();
    let open = running.server.connections();
    eventually("the connection is closed", || open() == 0);
    let mut rest = Vec::new();
    let ended = silent.read_to_end(&mut rest);
    assert!(rest.len() < LARGE / 2, "{ended:?}, {} bytes", rest.len());
    assert_eq!(get(&running, "/large", "").1.len(), LARGE);
}

#[test]
fn excess_connections_are_closed_and_probes_still_work() {
    let running = started_with(&HttpSettings {
        max_connections: 10,
        ..settings(1000)
    });
    let mut held: Vec<TcpStream> = (0..10).map(|_| connect(&running)).collect();
    let open = running.server.connections();
    eventually("all are open", || open() == 10);
    // Idle connections beyond the limit are closed; the others stay open.
    let mut flood: Vec<TcpStream> = (0..100).map(|_| connect(&running)).collect();
    for stream in &mut flood {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "closed without an answer");
    }
    eventually("the flood is over", || open() == 10);
    let (head, _) = get(&running, "/health/live", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let (head, body) = get(&running, "/things/7", "");
    assert!(
        head.starts_with("http/1.1 503") && head.contains("retry-after: 1"),
        "{head}"
    );
    assert!(body.contains("DATA_PROC_HTTP_MAX_CONNECTIONS"), "{body}");
    held[0]
        .write_all(b"GET /things/7 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    held[0].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = get(&running, "/metrics", "").1;
    assert!(
        metrics.contains("http_connections_refused_total{service=\"tested\"}"),
        "{metrics}"
    );
}

#[test]
fn probes_do_not_wait_for_computing_handlers() {
    let running = started(1000);
    let mut busy: Vec<TcpStream> = (0..4).map(|_| connect(&running)).collect();
    for stream in &mut busy {
        stream
            .write_all(b"GET /busy HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let asked = Instant::now();
        assert!(get(&running, "/health/live", "").0.starts_with("http/1.1 200"));
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(100), "{slowest:?}");
    for stream in &mut busy {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}
