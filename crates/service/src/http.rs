//! HTTP of a service: health, metrics, info, statistics, and the service's own routes.
//!
//! Role: actix-web on its own thread and runtime, so that a busy or blocked pipeline can still be observed. Health is
//! answered from memory. A handler that computes for long uses the few blocking threads ([`BLOCKING`]), so the thread that
//! answers probes never waits for it. The number of connections is limited, and so is the time that a response may stay
//! unread ([`connections`]). Every response has a request id, its processing time and a trace context; every error is a
//! [`Problem`]. Routes are declared in [`Routes`]; the [`Tenant`] of a request selects the data.
//! Failure: a port that cannot be bound is an error before any message is consumed; it names the port and the variable.

pub mod body;
mod cluster;
mod connections;
mod entries;
pub mod hook;
mod host;
mod instant;
mod limit;
mod log_level;
mod observe;
pub mod openapi;
mod problem;
mod profile;
mod routes;
pub mod shapes;
mod tenant;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::{App, HttpResponse, HttpServer, middleware, web};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};

pub use entries::limit_of;
pub use instant::{instant, time_of};
pub use problem::Problem;
pub use profile::MAX_SECONDS as MAX_PROFILE_SECONDS;
pub use routes::{OfTenant, Routes, Scope};
pub use tenant::{InstrumentId, Tenant};

use crate::breaker::{Breaker, Denied};
use crate::cluster::Cluster;
use crate::health::{Health, Level, Outcome};
use crate::machine::Machine;
use crate::settings::HttpSettings;
use crate::{metrics, stats, telemetry};
use connections::Connections;
use limit::RateLimit;

/// Threads for computing handlers (`web::block`): they must leave a core to the pipeline.
const BLOCKING: usize = 2;

/// Returns a part of `/stats`.
pub type Stats = Arc<dyn Fn() -> Map<String, Value> + Send + Sync>;

/// What the shared routes return.
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
    /// The settings that decide results, as one word.
    pub fingerprint: String,
    /// Parts of `/stats`.
    pub stats: Vec<Stats>,
    /// The log level, which operators change.
    pub levels: Arc<telemetry::level::Levels>,
    /// The other services.
    pub cluster: Cluster,
    /// Tenant of requests without one.
    pub default_tenant: String,
}

struct State {
    shown: Shown,
    limit: RateLimit,
    timeout: Duration,
    routes: Routes,
    /// Whether only this machine can connect, so that only its own names are accepted ([`host`]).
    is_loopback: bool,
}

/// A running server.
pub struct Server {
    addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    thread: JoinHandle<()>,
    #[cfg(test)]
    connections: Arc<Connections>,
}

impl Server {
    /// Addresses that it listens on, with the real port if 0 was configured.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Counts the open connections.
    #[cfg(test)]
    fn connections(&self) -> impl Fn() -> usize + use<> {
        let connections = Arc::clone(&self.connections);
        move || connections.open()
    }

    /// Stops listening and waits for requests in progress.
    pub fn stop(self, runtime: &tokio::runtime::Handle) {
        runtime.block_on(self.handle.stop(true));
        if self.thread.join().is_err() {
            tracing::error!("the http thread panicked");
        }
    }
}

/// Binds and serves. `timeout` limits each request, except where a route may last longer.
///
/// # Errors
/// A message for operators: which port, and how to change it.
pub fn start(settings: &HttpSettings, timeout: Duration, shown: Shown, routes: Routes) -> Result<Server, String> {
    let listeners = bind_all(settings)?;
    let addresses = listeners
        .iter()
        .filter_map(|listener| listener.local_addr().ok())
        .collect();
    let routes = shared_routes()
        .and(cluster::routes())
        .and(log_level::routes())
        .and(profile::routes())
        .and(routes);
    let state = web::Data::new(State {
        routes: routes.clone(),
        shown,
        limit: RateLimit::new(settings.rate_limit, settings.rate_limit_window),
        timeout,
        is_loopback: settings.host.is_loopback(),
    });
    let connections = Connections::new(settings.max_connections, settings.write_timeout);
    #[cfg(test)]
    let counted = Arc::clone(&connections);
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || serve(listeners, state, routes, connections, &sender))
        .map_err(|error| format!("start the http thread: {error}"))?;
    let handle = receiver
        .recv()
        .map_err(|_| "the http server ended during start-up".to_owned())??;
    Ok(Server {
        addresses,
        handle,
        thread,
        #[cfg(test)]
        connections: counted,
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
    let advice = format!("stop the process that uses the port, or set another one with {variable}");
    TcpListener::bind((host, port)).map_err(|error| format!("cannot listen on {host}:{port}: {error}; {advice}"))
}

fn serve(
    listeners: Vec<TcpListener>,
    state: web::Data<State>,
    routes: Routes,
    connections: Arc<Connections>,
    started: &mpsc::Sender<Result<ServerHandle, String>>,
) {
    actix_web::rt::System::new().block_on(async move {
        let mut server = HttpServer::new(move || {
            let routes = routes.clone();
            App::new()
                .app_data(state.clone())
                .app_data(web::QueryConfig::default().error_handler(|error, _| Problem::of_query(&error).into()))
                .app_data(web::PathConfig::default().error_handler(|error, _| Problem::of_path(&error).into()))
                .wrap(middleware::from_fn(observe::observe))
                .configure(|config| routes.configure(config))
                .default_service(web::to(unknown_route))
        })
        .on_connect(move |io, extensions| connections.opened(io, extensions))
        .workers(1)
        .worker_max_blocking_threads(BLOCKING)
        .disable_signals()
        .shutdown_timeout(5);
        for listener in listeners {
            server = match server.listen(listener) {
                Ok(server) => server,
                Err(error) => {
                    // The receiver waits for this message.
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

/// Calls a store on the runtime of its connections, unless its breaker is open.
///
/// # Errors
/// A problem that names the store.
pub async fn ask<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    breaker: &Arc<Breaker>,
    question: impl Future<Output = Result<T, stores::StoreError>> + Send + 'static,
) -> Result<T, Problem> {
    let breaker = Arc::clone(breaker);
    match runtime.spawn(async move { breaker.call(question).await }).await {
        Ok(answer) => answer.map_err(|denied| match denied {
            Denied::Failed(error) => Problem::store(&error),
            open @ Denied::Open(_) => Problem::unavailable(open.to_string()),
        }),
        // The runtime has been shut down.
        Err(_) => Err(Problem::unavailable("the service is stopping")),
    }
}

fn shared_routes() -> Routes {
    Routes::default()
        .of_service(
            Method::GET,
            "/health",
            "State of the service and of its dependencies",
            health,
        )
        .returning(&openapi::HEALTH)
        .of_service(Method::GET, "/health/live", "Whether the process makes progress", live)
        .returning(&openapi::PROBE)
        .of_service(Method::GET, "/health/ready", "Whether the service can take work", ready)
        .returning(&openapi::PROBE)
        .of_service(
            Method::GET,
            "/metrics",
            "Metrics in the text format of Prometheus",
            scrape,
        )
        .returning(&openapi::Shape::Plain)
        .of_service(
            Method::GET,
            "/info",
            "Version, configuration without secrets, workers and routes",
            info,
        )
        .returning(&openapi::INFO)
        .of_service(
            Method::GET,
            "/stats",
            "Counts and rates since the start of the process",
            statistics,
        )
        .returning(&openapi::STATS)
        .of_service(
            Method::GET,
            "/openapi.json",
            "This description of the routes (OpenAPI 3.1)",
            description,
        )
}

async fn description(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(openapi::document(state.shown.service, state.routes.declared()))
}

async fn unknown_route(request: actix_web::HttpRequest) -> Result<HttpResponse, Problem> {
    let message = format!(
        "no route {} {}; GET /info lists the routes",
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
    body.insert("settings_fingerprint".into(), shown.fingerprint.clone().into());
    // Scripts grep the top-level keys of the dependencies.
    for name in ["kafka", "redis", "clickhouse", "postgres"] {
        if let Some(record) = report.checks.get(name) {
            body.insert(name.into(), (record.status == Outcome::Pass).into());
        }
    }
    body.insert("circuit_breaker_state".into(), report.breaker.name().into());
    let breakers: Map<String, Value> = report
        .breakers
        .iter()
        .map(|(dependency, state)| ((*dependency).to_owned(), state.name().into()))
        .collect();
    body.insert("circuit_breakers".into(), breakers.into());
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
    let mut body = state.shown.info.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.insert("routes".to_owned(), json!(state.routes.declared()));
    }
    HttpResponse::Ok().json(body)
}

async fn statistics(state: web::Data<State>) -> HttpResponse {
    let shown = &state.shown;
    let mut body = Map::new();
    body.insert("service".into(), shown.service.into());
    body.insert("uptime_seconds".into(), shown.started.elapsed().as_secs().into());
    body.insert("memory_usage_bytes".into(), json!(metrics::resident_bytes()));
    let workers: Vec<Value> = shown.health.workers().iter().map(|status| worker(status)).collect();
    body.insert("workers".into(), workers.into());
    body.insert("machine".into(), json!(Machine::now()));
    body.insert("calls".into(), json!(stores::metrics::summaries()));
    body.extend(stats::of_stage(
        &shown.health.stage_progress(),
        stream::status::wall_clock(),
    ));
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
    let progress = status.progress();
    let assigned: Vec<String> = status.assigned().iter().map(ToString::to_string).collect();
    json!({
        "name": status.name(),
        "state": format!("{:?}", status.state()),
        "messages": status.messages(),
        "messages_by_status": stats::by_status(&progress.messages),
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
