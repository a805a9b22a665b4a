//! HTTP of a service: health, metrics, info, statistics, and the service's own routes.
//!
//! Role: actix-web on its own thread and runtime, so that a busy or blocked pipeline can still be observed. Health is
//! answered from memory. Every answer carries a request id, its processing time and a trace context; every error is a
//! [`Problem`].
//! Failure: a port that cannot be bound is an error before anything is consumed, naming the port and the variable.

mod limit;
mod observe;
mod problem;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, middleware, web};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};

pub use problem::Problem;

use crate::health::{Health, Level, Outcome};
use crate::metrics;
use crate::settings::HttpSettings;
use limit::RateLimit;

/// Adds routes to the application; called once per server thread.
pub type Routes = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;
/// Answers a part of `/stats`.
pub type Stats = Arc<dyn Fn() -> Map<String, Value> + Send + Sync>;

/// What the shared routes show.
pub struct Shown {
    /// Service name.
    pub service: &'static str,
    /// When the process started.
    pub started: Instant,
    /// Checks and workers.
    pub health: Arc<Health>,
    /// The recorder's view.
    pub metrics: PrometheusHandle,
    /// Body of `/info`.
    pub info: Value,
    /// Parts of `/stats`.
    pub stats: Vec<Stats>,
}

struct State {
    shown: Shown,
    limit: RateLimit,
    timeout: Duration,
}

/// A server that runs.
pub struct Server {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    thread: JoinHandle<()>,
}

impl Server {
    /// Where it listens (the port that the system chose, where 0 was asked for).
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops listening and waits for the answers under way.
    pub fn stop(self, runtime: &tokio::runtime::Handle) {
        runtime.block_on(self.handle.stop(true));
        if self.thread.join().is_err() {
            tracing::error!("the http thread panicked");
        }
    }
}

/// Binds and serves. `timeout` bounds each request.
///
/// # Errors
/// A text for people: which port, and how to change it.
pub fn start(settings: &HttpSettings, timeout: Duration, shown: Shown, routes: Vec<Routes>) -> Result<Server, String> {
    let listeners = bind_all(settings)?;
    let addresses = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .collect();
    let state = web::Data::new(State {
        shown,
        limit: RateLimit::new(settings.rate_limit, settings.rate_limit_window),
        timeout,
    });
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || serve(listeners, state, routes, &sender))
        .map_err(|error| format!("start the http thread: {error}"))?;
    let handle = receiver
        .recv()
        .map_err(|_| "the http server ended while it started".to_owned())??;
    Ok(Server {
        addresses,
        handle,
        thread,
    })
}

fn bind_all(settings: &HttpSettings) -> Result<Vec<TcpListener>, String> {
    let mut listeners = vec![bind(settings.host, settings.port, "DATA_PROC_HEALTH_PORT")?];
    if let Some(port) = settings.metrics_port.filter(|port| *port != settings.port) {
        listeners.push(bind(settings.host, port, "DATA_PROC_METRICS_PORT")?);
    }
    Ok(listeners)
}

fn bind(host: IpAddr, port: u16, variable: &str) -> Result<TcpListener, String> {
    let advice = format!("stop what uses the port, or choose another with {variable}");
    TcpListener::bind((host, port)).map_err(|error| format!("cannot listen on {host}:{port}: {error}; {advice}"))
}

fn serve(
    listeners: Vec<TcpListener>,
    state: web::Data<State>,
    routes: Vec<Routes>,
    started: &mpsc::Sender<Result<ServerHandle, String>>,
) {
    actix_web::rt::System::new().block_on(async move {
        let mut server = HttpServer::new(move || {
            let routes = routes.clone();
            App::new()
                .app_data(state.clone())
                .app_data(
                    web::JsonConfig::default()
                        .error_handler(|error, _| Problem::unprocessable(error.to_string()).into()),
                )
                .app_data(
                    web::QueryConfig::default()
                        .error_handler(|error, _| Problem::bad_request(error.to_string()).into()),
                )
                .app_data(
                    web::PathConfig::default().error_handler(|error, _| Problem::bad_request(error.to_string()).into()),
                )
                .wrap(middleware::from_fn(observe::observe))
                .configure(shared_routes)
                .configure(move |config| routes.iter().for_each(|add| add(config)))
                .default_service(web::to(unknown_route))
        })
        .workers(1)
        .disable_signals()
        .shutdown_timeout(5);
        for listener in listeners {
            server = match server.listen(listener) {
                Ok(server) => server,
                Err(error) => {
                    // The receiver waits for exactly this message.
                    _ = started.send(Err(format!("listen: {error}")));
                    return;
                }
            };
        }
        let server = server.run();
        _ = started.send(Ok(server.handle()));
        if let Err(error) = server.await {
            tracing::error!(error = %error, "http server ended");
        }
    });
}

fn shared_routes(config: &mut web::ServiceConfig) {
    config
        .route("/health", web::get().to(health))
        .route("/health/live", web::get().to(live))
        .route("/health/ready", web::get().to(ready))
        .route("/metrics", web::get().to(scrape))
        .route("/info", web::get().to(info))
        .route("/stats", web::get().to(stats));
}

async fn unknown_route(request: actix_web::HttpRequest) -> Result<HttpResponse, Problem> {
    let message = format!(
        "there is no {} {}; GET /info names the service",
        request.method(),
        request.path()
    );
    Err(Problem::not_found(message))
}

async fn health(state: web::Data<State>) -> HttpResponse {
    let shown = &state.shown;
    let report = shown.health.report();
    let mut body = Map::new();
    body.insert("service".into(), shown.service.into());
    body.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    body.insert("status".into(), json!(report.level));
    body.insert("uptime_seconds".into(), shown.started.elapsed().as_secs().into());
    // Scripts grep the flat keys of the dependencies.
    for name in ["kafka", "redis", "clickhouse", "postgres"] {
        if let Some(record) = report.checks.get(name) {
            body.insert(name.into(), (record.status == Outcome::Pass).into());
        }
    }
    body.insert("circuit_breaker_state".into(), report.breaker.name().into());
    body.insert("checks".into(), json!(report.checks));
    body.insert("timestamp".into(), now().into());
    let mut response = match report.level {
        Level::Unhealthy => HttpResponse::ServiceUnavailable(),
        Level::Healthy | Level::Degraded => HttpResponse::Ok(),
    };
    response.json(body)
}

async fn live(state: web::Data<State>) -> HttpResponse {
    probe(state.shown.health.is_live())
}

async fn ready(state: web::Data<State>) -> HttpResponse {
    probe(state.shown.health.is_ready())
}

fn probe(result: Result<(), String>) -> HttpResponse {
    match result {
        Ok(()) => HttpResponse::Ok().json(json!({"status": "ok", "timestamp": now()})),
        Err(reason) => {
            HttpResponse::ServiceUnavailable().json(json!({"status": "failing", "error": reason, "timestamp": now()}))
        }
    }
}

async fn scrape(state: web::Data<State>) -> HttpResponse {
    let shown = &state.shown;
    metrics::upkeep(&shown.metrics, shown.started, &shown.health);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(shown.metrics.render())
}

async fn info(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(&state.shown.info)
}

async fn stats(state: web::Data<State>) -> HttpResponse {
    let shown = &state.shown;
    let mut body = Map::new();
    body.insert("service".into(), shown.service.into());
    body.insert("uptime_seconds".into(), shown.started.elapsed().as_secs().into());
    body.insert("memory_usage_bytes".into(), json!(metrics::resident_bytes()));
    let workers: Vec<Value> = shown.health.workers().iter().map(|status| worker(status)).collect();
    body.insert("workers".into(), workers.into());
    for part in &shown.stats {
        body.extend(part());
    }
    body.insert("timestamp".into(), now().into());
    HttpResponse::Ok().json(body)
}

fn worker(status: &stream::WorkerStatus) -> Value {
    let lag: Map<String, Value> = status
        .lag()
        .iter()
        .map(|(partition, lag)| (partition.to_string(), (*lag).into()))
        .collect();
    let assigned: Vec<String> = status.assigned().iter().map(ToString::to_string).collect();
    json!({
        "name": status.name(),
        "state": format!("{:?}", status.state()),
        "messages": status.messages(),
        "rebuilds": status.rebuilds(),
        "assigned": assigned,
        "lag": lag,
    })
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

#[cfg(test)]
mod tests;
