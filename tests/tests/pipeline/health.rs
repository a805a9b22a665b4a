//! Each dependency stopped, frozen, slow and back, on the real servers: what health, readiness, breakers and metrics of all
//! four services show, and how soon.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::{PATIENCE, Pipeline, SERVICES};
use localstack::{Server, Service};
use serde_json::{Value, json};

/// A fault or its end must be visible within this time.
const WITHIN: Duration = Duration::from_secs(5);
/// Margin for querying four services on a busy machine.
const ASKING: Duration = Duration::from_secs(3);

/// Whether the service cannot work without the server; `None` if it does not use it.
fn use_of(service: Service, server: Server) -> Option<bool> {
    match (service, server) {
        (_, Server::Kafka) | (Service::Projection, Server::Postgres) => Some(true),
        (Service::Enrichment | Service::Projection, Server::Redis) | (Service::Enrichment, Server::Postgres) => {
            Some(false)
        }
        (_, Server::ClickHouse) => Some(false),
        _ => None,
    }
}

/// What a service reports about one dependency.
#[derive(Debug, Clone, PartialEq)]
struct Reported {
    status: String,
    flat: bool,
    breaker: String,
    breaker_metric: Option<f64>,
    health: u16,
    ready: u16,
    duration_ms: u64,
}

fn ask(pipeline: &Pipeline, service: Service, server: Server) -> anyhow::Result<Reported> {
    let (health, body) = pipeline.get(service, "/health")?;
    let body: Value = serde_json::from_str(&body)?;
    let name = server.name();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let record = &body["checks"][name];
    Ok(Reported {
        status: text(&record["status"]),
        flat: body[name] == true,
        breaker: text(&body["circuit_breakers"][name]),
        breaker_metric: metric(&pipeline.get(service, "/metrics")?.1, "circuit_breaker_state", name),
        health,
        ready: pipeline.get(service, "/health/ready")?.0,
        duration_ms: record["duration_ms"].as_u64().unwrap_or(0),
    })
}

/// The value of the series with this name and label value.
fn metric(scrape: &str, name: &str, value: &str) -> Option<f64> {
    let has = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(&format!("\"{value}\""));
    scrape.lines().find(has)?.rsplit_once(' ')?.1.parse().ok()
}

/// Polls until there is no problem, at most for `limit`.
fn soon(what: &str, limit: Duration, mut problem: impl FnMut() -> Option<String>) {
    let begun = Instant::now();
    while let Some(problem) = problem() {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}: {problem}");
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("{what}: {:.1} s", begun.elapsed().as_secs_f64());
}

/// The first service that does not yet report the server as down.
fn not_seen(pipeline: &Pipeline, server: Server, outcome: &str) -> Option<String> {
    SERVICES.into_iter().find_map(|service| {
        let reported = match ask(pipeline, service, server) {
            Ok(reported) => reported,
            Err(error) => return Some(format!("{service:?}: {error:#}")),
        };
        let right = match use_of(service, server) {
            Some(critical) => {
                let code = if critical { 503 } else { 200 };
                (reported.status == outcome
                    && !reported.flat
                    && reported.breaker == "open"
                    && reported.breaker_metric == Some(1.0))
                    && (reported.health, reported.ready) == (code, code)
            }
            None => reported.status.is_empty() && (reported.health, reported.ready) == (200, 200),
        };
        (!right).then(|| format!("{service:?} reports {reported:?}"))
    })
}

/// The first service that does not yet report the server as up.
fn not_back(pipeline: &Pipeline, server: Server) -> Option<String> {
    let users = SERVICES
        .into_iter()
        .filter(|service| use_of(*service, server).is_some());
    users
        .into_iter()
        .find_map(|service| match ask(pipeline, service, server) {
            Ok(reported) => {
                let right = reported.status == "pass"
                    && reported.flat
                    && reported.breaker == "closed"
                    && reported.breaker_metric == Some(0.0);
                (!right).then(|| format!("{service:?} reports {reported:?}"))
            }
            Err(error) => Some(format!("{service:?}: {error:#}")),
        })
}

fn projection_is_healthy(pipeline: &Pipeline) -> Option<f64> {
    let (_, scrape) = pipeline.get(Service::Projection, "/metrics").ok()?;
    metric(&scrape, "projection_status", "latest_price")
}

fn goes_away_and_comes_back(pipeline: &Pipeline, server: Server) {
    let stack = pipeline.stack();
    let is_projections = matches!(server, Server::Postgres | Server::Redis);
    let check_away = |outcome: &str| {
        soon(&format!("{server:?} away, {outcome}"), WITHIN + ASKING, || {
            not_seen(pipeline, server, outcome)
        });
        if is_projections {
            assert_eq!(projection_is_healthy(pipeline), Some(0.0));
        }
    };
    let check_back = || {
        soon(&format!("{server:?} back"), WITHIN + ASKING, || {
            not_back(pipeline, server)
        });
        // Consumers that lost their broker must rejoin their groups first.
        soon(&format!("everything ready after {server:?}"), PATIENCE, || {
            let ready = |service: &Service| {
                pipeline
                    .get(*service, "/health/ready")
                    .is_ok_and(|(status, _)| status == 200)
            };
            SERVICES
                .iter()
                .find(|service| !ready(service))
                .map(|service| format!("{service:?} is not ready"))
        });
        if is_projections {
            soon("projection_status is 1 again", WITHIN + ASKING, || {
                (projection_is_healthy(pipeline) != Some(1.0)).then(|| "it is 0".to_owned())
            });
        }
    };
    stack.pause(server).unwrap();
    check_away("timeout");
    stack.resume(server).unwrap();
    check_back();
    stack.kill9(server).unwrap();
    check_away("fail");
    stack.start(server).unwrap();
    stack.wait_ready(server, PATIENCE).unwrap();
    check_back();
}

/// A server that is paused most of the time answers late, which is not an outage.
fn is_slow(pipeline: &Pipeline, server: Server) {
    let (stack, done) = (pipeline.stack(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                stack.pause(server).unwrap();
                std::thread::sleep(Duration::from_millis(500));
                stack.resume(server).unwrap();
                std::thread::sleep(Duration::from_millis(250));
            }
        });
        let (mut waited, begun) = (Vec::new(), Instant::now());
        let problem = loop {
            if begun.elapsed() > PATIENCE {
                break Some(format!("{server:?} slow: only {waited:?} had to wait"));
            }
            let reported = SERVICES
                .into_iter()
                .filter(|service| use_of(*service, server).is_some());
            let reported: Vec<(Service, anyhow::Result<Reported>)> = reported
                .map(|service| (service, ask(pipeline, service, server)))
                .collect();
            let is_healthy = |reported: &Reported| {
                (reported.status.as_str(), reported.breaker.as_str(), reported.ready) == ("pass", "closed", 200)
            };
            if let Some(wrong) = reported
                .iter()
                .find(|(_, reported)| !reported.as_ref().is_ok_and(is_healthy))
            {
                break Some(format!("{server:?} slow: {wrong:?}"));
            }
            waited.extend(
                reported
                    .iter()
                    .filter(|(_, reported)| reported.as_ref().is_ok_and(|reported| reported.duration_ms >= 100))
                    .map(|(service, _)| *service),
            );
            if reported.iter().all(|(service, _)| waited.contains(service)) {
                break None;
            }
        };
        done.store(true, Ordering::Relaxed);
        assert_eq!(problem, None);
    });
}

#[test]
fn health_readiness_breakers_and_metrics_follow_the_state_of_each_dependency() {
    let pipeline = Pipeline::shared();
    for server in [Server::Redis, Server::ClickHouse, Server::Postgres, Server::Kafka] {
        soon(&format!("{server:?} is healthy"), PATIENCE, || {
            not_back(&pipeline, server)
        });
        is_slow(&pipeline, server);
        goes_away_and_comes_back(&pipeline, server);
    }
}

#[test]
fn bad_requests_of_a_client_open_no_breaker() {
    let pipeline = Pipeline::shared();
    soon("postgres is healthy", PATIENCE, || {
        not_back(&pipeline, Server::Postgres)
    });
    for path in [
        "/taxonomy/NO_SUCH_ONE?tenant_id=%00",
        "/taxonomy/NO_SUCH_ONE?tenant_id=x",
    ] {
        for _ in 0..8 {
            pipeline.get(Service::Enrichment, path).unwrap();
        }
    }
    assert_eq!(not_back(&pipeline, Server::Postgres), None);
}

#[test]
fn the_cluster_has_a_quorum_until_half_of_it_is_stopped() {
    let pipeline = Pipeline::shared();
    let asked = |service: Service| -> anyhow::Result<(u16, Value)> {
        let (code, body) = pipeline.get(service, "/health/cluster")?;
        Ok((code, serde_json::from_str(&body)?))
    };
    for service in SERVICES {
        soon(
            &format!("{service:?} sees all services work"),
            PATIENCE,
            || match asked(service) {
                Ok((200, body)) if body["total"] == 4 && body["unhealthy"] == json!([]) => None,
                other => Some(format!("{other:?}")),
            },
        );
    }
    let stack = pipeline.stack();
    assert!(stack.stop(Service::Enrichment).unwrap());
    for service in SERVICES.into_iter().filter(|service| *service != Service::Enrichment) {
        // On a busy machine, another service may answer too late once.
        soon(
            &format!("{service:?} sees that one is stopped"),
            PATIENCE,
            || match asked(service) {
                Ok((200, body)) if body["quorum"] == true && body["unhealthy"] == json!(["enrichment"]) => None,
                other => Some(format!("{other:?}")),
            },
        );
        let (_, body) = asked(service).unwrap();
        assert_eq!(
            (&body["scope"], &body["service"]),
            (&json!("cluster"), &json!(service.name()))
        );
        let nodes = body["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), 4, "{body}");
        let stopped = nodes.iter().find(|node| node["name"] == "enrichment").unwrap();
        assert_eq!(stopped["status"], "down", "{body}");
        assert!(stopped["error"].as_str().unwrap().contains("refused"), "{body}");
        assert!(nodes.iter().all(|node| node["duration_ms"].is_u64()), "{body}");
    }
    assert!(stack.stop(Service::Normalization).unwrap());
    let (code, body) = asked(Service::Aggregation).unwrap();
    assert_eq!((code, &body["quorum"]), (503, &json!(false)), "{body}");
    for service in [Service::Normalization, Service::Enrichment] {
        stack.start(service).unwrap();
        stack.wait_ready(service, PATIENCE).unwrap();
    }
}
