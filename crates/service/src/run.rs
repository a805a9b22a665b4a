//! One order for every service: config → telemetry → clients → pipeline → HTTP → run until shutdown → drain → exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};
use stream::Shutdown;
use stream::status::wall_clock;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use uuid::Uuid;

use crate::check;
use crate::clients::{self, Clients, Use};
use crate::cluster::Cluster;
use crate::context::Context;
use crate::control::Control;
use crate::dump;
use crate::fingerprint;
use crate::health::Health;
use crate::help;
use crate::http::{self, Server, Shown};
use crate::lag;
use crate::life::{self, Exit, StartError, Tasks, Threads};
use crate::metrics::{self, Declared};
use crate::names::Names;
use crate::settings::{self, Env, Loaded, LogFormat, LogSettings, Reader};
use crate::telemetry::{self, level::Levels};
use crate::traces::Traces;

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// The description of a service.
pub struct Definition<S> {
    /// Name in logs, metrics and groups.
    pub name: &'static str,
    /// What it does, as a sentence for `--help`.
    pub about: &'static str,
    /// Its own routes, for `--help`.
    pub routes: &'static [&'static str],
    /// HTTP port if `DATA_PROC_HEALTH_PORT` is not set.
    pub default_port: u16,
    /// Dependencies that need a client and a health check.
    pub uses: &'static [Use],
    /// Metrics in addition to the shared ones.
    pub metrics: &'static [Declared],
    /// Variables that decide its results, which therefore must be equal on all replicas.
    pub deciding: &'static [&'static str],
    /// Reads the service's own settings.
    pub settings: fn(&mut Reader<'_>) -> S,
    /// Registers workers, writers, routes and statistics.
    pub build: fn(&mut Context<S>) -> Result<(), StartError>,
}

/// Runs the service with the environment of the process until a signal or a failure.
pub fn run<S>(definition: &Definition<S>) -> ExitCode {
    if let Some(code) = help::answer(definition, std::env::args_os()) {
        return code;
    }
    // None of our names or values contains invalid Unicode.
    let env: Env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let shutdown = Shutdown::default();
    run_with(definition, &env, &shutdown, life::listen_to_signals).into()
}

/// Runs the service with this environment until `shutdown` is requested; tests pass `signals` that do nothing.
pub fn run_with<S>(
    definition: &Definition<S>,
    env: &Env,
    shutdown: &Shutdown,
    signals: fn(&tokio::runtime::Handle, Shutdown) -> Result<(), String>,
) -> Exit {
    security::install_provider();
    let run_id = Uuid::new_v4().to_string();
    let loaded = match settings::load(env, definition.default_port, definition.settings) {
        Ok(loaded) => loaded,
        Err(error) => {
            let log = LogSettings {
                filter: "info".to_owned(),
                format: LogFormat::Json,
            };
            telemetry::install(definition.name, &run_id, &log);
            report_problems(&error.problems);
            return Exit::Misconfigured;
        }
    };
    let levels = telemetry::install(definition.name, &run_id, &loaded.settings.log);
    for unknown in &loaded.unknown {
        tracing::warn!(
            variable = unknown.name,
            nearest = unknown.nearest,
            "unknown variable in the environment; `dp config env` lists the known ones"
        );
    }
    let exit = serve(definition, loaded, (&run_id, levels), shutdown, signals).unwrap_or_else(|error| {
        crate::fatal!(error = %error, "service cannot start");
        Exit::Failed
    });
    telemetry::report_suppressed(true);
    exit
}

fn serve<S>(
    definition: &Definition<S>,
    loaded: Loaded<S>,
    (run_id, levels): (&str, Arc<Levels>),
    shutdown: &Shutdown,
    signals: fn(&tokio::runtime::Handle, Shutdown) -> Result<(), String>,
) -> Result<Exit, StartError> {
    let started = Instant::now();
    let runtime = runtime()?;
    let problems = {
        let _context = runtime.enter();
        check::address_problems(definition.uses, &loaded.settings, &loaded.variables)
    };
    if !problems.is_empty() {
        report_problems(&problems);
        return Ok(Exit::Misconfigured);
    }
    signals(runtime.handle(), shutdown.clone())?;
    let dump_signal = dump::take_signal(runtime.handle())?;
    let recorder = metrics::install(definition.name, definition.metrics)?;
    stores::metrics::record(true);
    let fingerprint = fingerprint::of(&loaded.variables, definition.deciding)?;
    let info = base_info(definition, &loaded, run_id, &fingerprint);
    let mut threads = Threads::default();
    let tasks = threads.tasks(runtime.handle());
    let mut context = build_context(definition, loaded, (&runtime, run_id), &tasks, shutdown)?;
    (definition.build)(&mut context)?;
    metrics::settings(&context.names.group(definition.name), &fingerprint);

    let facts = Facts {
        started,
        info,
        fingerprint,
        recorder: recorder.clone(),
        levels,
    };
    let server = show(&mut context, facts, dump_signal)?;
    tracing::info!(event = "started", addresses = ?server.addresses(), version = env!("CARGO_PKG_VERSION"), run_id, "service started");

    follow_orders(&context, &mut threads)?;
    for pending in std::mem::take(&mut context.pending) {
        threads.spawn(&pending.name, pending.body)?;
    }
    watch(&context, started, recorder);
    let exit = life::wait_for_end(threads, shutdown);
    server.stop(runtime.handle());
    std::mem::take(&mut context.traces).finish(&runtime);
    runtime.shutdown_timeout(Duration::from_secs(1));
    tracing::info!(event = "stopped", clean = exit == Exit::Clean, "service stopped");
    Ok(exit)
}

/// What a process knows of itself beside its context.
struct Facts {
    started: Instant,
    info: Map<String, Value>,
    fingerprint: String,
    recorder: PrometheusHandle,
    levels: Arc<Levels>,
}

/// Starts HTTP, and the tasks that keep the log level and write the state of the process on a signal.
fn show<S>(context: &mut Context<S>, facts: Facts, dump_signal: Signal) -> Result<Server, StartError> {
    let Facts { mut info, levels, .. } = facts;
    info.insert("workers".to_owned(), context.groups.clone().into());
    let shown = Shown {
        service: context.service,
        started: facts.started,
        health: Arc::clone(&context.health),
        metrics: facts.recorder.clone(),
        info: info.into(),
        fingerprint: facts.fingerprint,
        stats: std::mem::take(&mut context.stats),
        levels: Arc::clone(&levels),
        cluster: Cluster::new(&context.settings.cluster_peers, &context.settings.trust)?,
        default_tenant: context.settings.tenant_id.clone(),
    };
    let sources = dump::Sources {
        service: context.service,
        info: shown.info.clone(),
        health: Arc::clone(&context.health),
        stats: shown.stats.clone(),
        metrics: facts.recorder,
    };
    let tasks = &context.tasks;
    tasks.spawn("log level", async move { levels.keep().await });
    tasks.spawn("state dump", dump::on_signal(dump_signal, sources));
    let routes = std::mem::take(&mut context.routes);
    let (settings, timeout) = (&context.settings.http, context.settings.processing_timeout);
    Ok(http::start(settings, timeout, shown, routes)?)
}

fn report_problems(problems: &[String]) {
    for problem in problems {
        crate::fatal!(error = problem, "configuration rejected");
    }
}

/// Starts the thread that passes the orders of operators to the workers.
fn follow_orders<S>(context: &Context<S>, threads: &mut Threads) -> Result<(), String> {
    if context.pending.is_empty() {
        return Ok(());
    }
    let (control, shutdown) = (Arc::clone(&context.control), context.shutdown.clone());
    let (bootstrap, topic) = (context.settings.kafka_bootstrap.clone(), context.names.control.clone());
    let client_id = format!("{}-orders", context.service);
    threads.spawn("orders", move || {
        control.watch(&bootstrap, &topic, &client_id, &shutdown);
        Ok(())
    })
}

/// Starts the periodic tasks of the process.
fn watch<S>(context: &Context<S>, started: Instant, recorder: PrometheusHandle) {
    let (ending, clients) = (context.shutdown.clone(), context.clients.clone());
    let health = Arc::clone(&context.health);
    let (control, names) = (Arc::clone(&context.control), context.names.clone());
    let is_paused = move |group: &str| {
        let stage = names.stage_of(group);
        stage.is_some_and(|stage| control.is_paused(stage, wall_clock()))
    };
    let lag = lag::watch(
        Arc::clone(&clients.probe),
        (context.names.groups(), context.names.optional_groups(), is_paused),
        context.service,
        Arc::clone(&health),
        context.shutdown.clone(),
    );
    context.tasks.spawn("lag", lag);
    context.tasks.spawn("upkeep", async move {
        while !ending.is_requested() {
            metrics::upkeep(&recorder, started, &health);
            clients.report_pools();
            telemetry::report_suppressed(false);
            tokio::time::sleep(UPKEEP_INTERVAL).await;
        }
    });
}

fn runtime() -> Result<Runtime, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .thread_name("io")
        .enable_all()
        .build();
    runtime.map_err(|error| format!("start the async runtime: {error}").into())
}

fn build_context<S>(
    definition: &Definition<S>,
    loaded: Loaded<S>,
    (runtime, run_id): (&Runtime, &str),
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> Result<Context<S>, StartError> {
    let Loaded { settings, own, .. } = loaded;
    let names = Names::new(&settings);
    let clients = {
        let _context = runtime.enter();
        Clients::connect(definition.uses, &settings, &names)?
    };
    clients::check_kafka(definition.uses, &settings.kafka_bootstrap)?;
    let control = Arc::<Control>::default();
    let shown = Arc::clone(&control);
    let health = Health::with_orders(shutdown.clone(), Arc::clone(&control));
    for check in clients.checks(definition.uses, &settings, &names) {
        health.watch(tasks, check);
    }
    for check in clients.room_checks(definition.uses, &settings) {
        health.watch_slowly(tasks, check, clients::room::EVERY);
    }
    for check in Clients::certificate_checks(definition.uses, &settings) {
        health.watch_slowly(tasks, check, clients::certificates::EVERY);
    }
    let wire = runtime.block_on(clients::wire(&settings))?;
    let traces = Traces::start(runtime, definition.name, run_id, &settings)?;
    Ok(Context {
        service: definition.name,
        settings,
        own: Arc::new(own),
        names,
        runtime: runtime.handle().clone(),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
        wire,
        clients,
        health,
        control,
        traces,
        pending: Vec::new(),
        routes: http::Routes::default(),
        stats: vec![Arc::new(move || Map::from_iter([("orders".to_owned(), shown.stats())]))],
        groups: Vec::new(),
    })
}

fn base_info<S>(definition: &Definition<S>, loaded: &Loaded<S>, run_id: &str, fingerprint: &str) -> Map<String, Value> {
    let settings = &loaded.settings;
    let configuration: Map<String, Value> = loaded
        .variables
        .iter()
        .map(|variable| (variable.name.clone(), variable.value.clone().into()))
        .collect();
    let fields = [
        ("service", json!(definition.name)),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("environment", json!(settings.environment.name())),
        ("generation", json!(settings.generation)),
        ("pid", json!(std::process::id())),
        ("run_id", json!(run_id)),
        ("started_at", json!(format!("{:.3}", jiff::Timestamp::now()))),
        ("settings_fingerprint", json!(fingerprint)),
        ("configuration", configuration.into()),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
