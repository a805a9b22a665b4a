//! Every metric that all services share, declared once: name, kind, unit, help, labels, and the series that exist from the
//! start. Services declare their own metrics in the same form (`Definition::metrics`).
//!
//! Names that dashboards use are fixed. Units are seconds, bytes, or the counted thing. Label values come from closed sets
//! only. `docs/metrics.md` is generated from these declarations ([`document`]).

mod flaws;
mod page;

use stream::metrics as stage;

pub use flaws::flaws;
pub use page::document;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows; the name ends in `_total`.
    Counter,
    /// A level.
    Gauge,
    /// A distribution with these upper bounds, in the metric's unit.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As the exposition format names it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// Label sets of series.
pub type Series = &'static [&'static [(&'static str, &'static str)]];

/// The declaration of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// Public name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// `seconds`, `bytes`, or the plural of what is counted.
    pub unit: &'static str,
    /// One sentence for operators.
    pub help: &'static str,
    /// Its labels; every series also carries `service`.
    pub labels: &'static [&'static str],
    /// Label sets that exist from the start.
    pub series: Series,
}

impl Declared {
    /// A metric without labels. Its series is created when it is first set.
    pub const fn new(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Declared {
        Declared {
            name,
            kind,
            unit,
            help,
            labels: &[],
            series: &[],
        }
    }

    /// Adds labels whose values are known only at run time.
    pub const fn labels(mut self, labels: &'static [&'static str]) -> Declared {
        self.labels = labels;
        self
    }

    /// Adds series that exist from the start.
    pub const fn with(mut self, series: Series) -> Declared {
        self.series = series;
        self
    }
}

/// Seconds, from a tenth of a millisecond to half a minute.
pub const DURATION_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds from the append of a raw message to a stage: fine-grained below the target of 250 ms.
pub const LATENCY_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
    60.0, 300.0,
];
/// Seconds of a call. Few bounds, because there is a series for each of them and each operation.
const CALL_SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Messages of a batch.
const BATCH_SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Counter `{method,path,status}`.
pub const HTTP_REQUESTS: &str = "http_requests_total";
/// Histogram `{method,path,status}`.
pub const HTTP_DURATION: &str = "http_request_duration_seconds";
/// Gauges: open, allowed.
pub const HTTP_CONNECTIONS: [&str; 2] = ["http_connections", "http_connections_max"];
/// Counter.
pub const HTTP_REFUSED: &str = "http_connections_refused_total";
/// Gauge `{dependency}`.
pub const BREAKER_STATE: &str = "circuit_breaker_state";
/// Counter `{dependency,from,to}`.
pub const BREAKER_TRANSITIONS: &str = "circuit_breaker_transitions_total";
/// Gauge `{dependency}`.
pub const CERTIFICATE_EXPIRY: &str = "certificate_expiry_timestamp_seconds";
/// Gauge.
pub const DISK_FREE: &str = "clickhouse_disk_free_ratio";
/// Gauge.
pub const HEALTH_STATUS: &str = "health_status";
/// Gauge.
pub const UPTIME: &str = "uptime_seconds";
/// Gauge.
pub const MEMORY: &str = "memory_usage_bytes";
/// Gauge `{group,fingerprint}`.
pub const SETTINGS_INFO: &str = "service_settings_info";
/// Gauge `{version}`.
pub const BUILD_INFO: &str = "build_info";
/// Gauges `{store}`.
pub const POOL: [&str; 5] = [
    "connection_pool_size",
    "connection_pool_max",
    "connection_pool_idle",
    "connection_pool_active",
    "connection_pool_wait",
];

/// Counter.
pub const SPANS_EXPORTED: &str = "trace_spans_exported_total";
/// Reasons why spans are not exported, besides [`stage::QUEUE_FULL`]: the collector failed, or took a part of them only.
pub const SPANS_LOST: [&str; 2] = ["collector_failed", "collector_refused"];

const NO_LABELS: Series = &[&[]];
const HTTP_LABELS: &[&str] = &["method", "path", "status"];
const TOPIC: &[&str] = &["topic"];

/// What every service exports.
pub const SHARED: &[Declared] = &[
    Declared::new(
        stage::MESSAGES_PROCESSED,
        Kind::Counter,
        "messages",
        "Messages handled, by input topic and outcome: success, partial (some rows are dead letters), dead_lettered, \
         duplicate (seen before), observed (read again to rebuild memory).",
    )
    .labels(&["topic", "status"]),
    Declared::new(
        stage::PROCESSING_DURATION,
        Kind::Histogram(DURATION_SECONDS),
        "seconds",
        "Time to process one batch of polled messages.",
    )
    .labels(TOPIC),
    Declared::new(
        stage::BATCH_MESSAGES,
        Kind::Histogram(BATCH_SIZES),
        "messages",
        "Messages per polled batch.",
    )
    .labels(TOPIC),
    Declared::new(
        stage::EVENT_TIME_LAG,
        Kind::Histogram(LATENCY_SECONDS),
        "seconds",
        "Time from the log timestamp of the newest message in a batch to the end of that batch.",
    )
    .labels(TOPIC),
    Declared::new(
        stage::IN_FLIGHT,
        Kind::Gauge,
        "messages",
        "Handled messages whose outputs are not yet acknowledged: between the handled and the committed position.",
    )
    .labels(TOPIC),
    Declared::new(
        stage::ERRORS,
        Kind::Counter,
        "errors",
        "Errors by type and component: dead letters by code and stage, dependency failures, worker restarts.",
    )
    .labels(&["error_type", "component"])
    .with(&[&[("error_type", "kafka_unavailable"), ("component", "worker")]]),
    Declared::new(
        stage::CONSUMER_LAG,
        Kind::Gauge,
        "messages",
        "Messages that a group has not committed, for every group whose position decides what is stored, as reported by the broker \
         (NaN while it does not). Each service exports all of them: use max by (group, topic, partition).",
    )
    .labels(&["group", "topic", "partition"]),
    Declared::new(
        stage::CONSUMER_COMMITTED,
        Kind::Gauge,
        "offsets",
        "Offset from which a group goes on, for every group whose position decides what is stored, as reported by the broker (NaN while \
         it does not). Each service exports all of them: use max by (group, topic, partition).",
    )
    .labels(&["group", "topic", "partition"]),
    Declared::new(
        stage::PARTITION_BLOCKED,
        Kind::Gauge,
        "state",
        "1 while a partition cannot be read further (a batch that cannot be unpacked, an open transaction), else 0.",
    )
    .labels(&["group", "topic", "partition"]),
    Declared::new(
        stage::CONSUMER_PAUSED,
        Kind::Gauge,
        "state",
        "1 while an operator has paused the stage with this consumer group (dp pause), else 0.",
    )
    .labels(&["group", "stage"]),
    Declared::new(
        stage::DLQ_MESSAGES,
        Kind::Counter,
        "messages",
        "Messages sent to the dead letter topic, by stage and code.",
    )
    .labels(&["stage", "error_code"]),
    Declared::new(
        stage::END_TO_END_LATENCY,
        Kind::Histogram(LATENCY_SECONDS),
        "seconds",
        "Time from the append of the raw message to this stage.",
    )
    .labels(&["stage"]),
    Declared::new(
        stage::REPETITIONS_REFUSED,
        Kind::Counter,
        "records",
        "Records that a sequencer discarded as repetitions, by input topic.",
    )
    .labels(TOPIC),
    Declared::new(
        stage::ROWS_WRITTEN,
        Kind::Counter,
        "rows",
        "Rows inserted into ClickHouse, by table.",
    )
    .labels(&["table"]),
    Declared::new(
        stage::LAST_WRITE,
        Kind::Gauge,
        "seconds",
        "When ClickHouse last confirmed an insert, by table; no series before the first one. Its age: time() minus this.",
    )
    .labels(&["table"]),
    Declared::new(
        stage::INSERT_DURATION,
        Kind::Histogram(DURATION_SECONDS),
        "seconds",
        "Time until ClickHouse confirmed an insert, by table.",
    )
    .labels(&["table"]),
    Declared::new(
        stage::WRITES_FENCED,
        Kind::Counter,
        "inserts",
        "Inserts that ClickHouse rejected because another writer owns the partition.",
    )
    .labels(&["table"]),
    Declared::new(
        HTTP_REQUESTS,
        Kind::Counter,
        "requests",
        "HTTP requests by method, route and status.",
    )
    .labels(HTTP_LABELS)
    .with(&[&[("method", "GET"), ("path", "/health"), ("status", "200")]]),
    Declared::new(
        HTTP_DURATION,
        Kind::Histogram(DURATION_SECONDS),
        "seconds",
        "Time to answer an HTTP request.",
    )
    .labels(HTTP_LABELS),
    Declared::new(
        HTTP_CONNECTIONS[0],
        Kind::Gauge,
        "connections",
        "Open HTTP connections.",
    )
    .with(NO_LABELS),
    Declared::new(
        HTTP_CONNECTIONS[1],
        Kind::Gauge,
        "connections",
        "Maximum number of open HTTP connections; 32 more are served for 250 ms each, for probes only.",
    )
    .with(NO_LABELS),
    Declared::new(
        HTTP_REFUSED,
        Kind::Counter,
        "connections",
        "HTTP connections closed or answered with 503 because too many were open.",
    )
    .with(NO_LABELS),
    Declared::new(
        BREAKER_STATE,
        Kind::Gauge,
        "state",
        "Circuit breaker of a dependency: 0 closed, 1 open, 2 half-open.",
    )
    .labels(&["dependency"]),
    Declared::new(
        BREAKER_TRANSITIONS,
        Kind::Counter,
        "transitions",
        "Changes of a circuit breaker's state (closed, open, half_open).",
    )
    .labels(&["dependency", "from", "to"]),
    Declared::new(
        stores::metrics::CALL_SECONDS,
        Kind::Histogram(CALL_SECONDS),
        "seconds",
        "Time of one call of a dependency: a statement, an insert, a chunk of keys, a query to Kafka's brokers; outcome is success or \
         error.",
    )
    .labels(&["dependency", "operation", "outcome"]),
    Declared::new(
        SPANS_EXPORTED,
        Kind::Counter,
        "spans",
        "Spans that the collector has taken (DATA_PROC_OTLP_ENDPOINT).",
    )
    .with(NO_LABELS),
    Declared::new(
        stage::SPANS_DROPPED,
        Kind::Counter,
        "spans",
        "Spans that were not exported: queue_full (more than the export takes), collector_failed, collector_refused (of a request \
         that the collector took).",
    )
    .labels(&["reason"])
    .with(&[
        &[("reason", stage::QUEUE_FULL)],
        &[("reason", SPANS_LOST[0])],
        &[("reason", SPANS_LOST[1])],
    ]),
    Declared::new(
        stage::TRACE_HEADERS_INVALID,
        Kind::Counter,
        "messages",
        "Messages whose header traceparent cannot be read; they are processed without a trace.",
    )
    .with(NO_LABELS),
    pool(POOL[0], "Open connections."),
    pool(POOL[1], "Maximum number of connections."),
    pool(POOL[2], "Open connections that are idle."),
    pool(POOL[3], "Open connections that are in use."),
    Declared::new(POOL[4], Kind::Gauge, "requests", "Requests waiting for a connection.").labels(&["store"]),
    Declared::new(
        CERTIFICATE_EXPIRY,
        Kind::Gauge,
        "seconds",
        "When the certificate of a dependency that is reached over TLS expires (NaN while unknown).",
    )
    .labels(&["dependency"]),
    Declared::new(
        DISK_FREE,
        Kind::Gauge,
        "ratio",
        "Free share of the fullest disk of ClickHouse, as the services that use it see it (NaN while unknown).",
    ),
    Declared::new(
        HEALTH_STATUS,
        Kind::Gauge,
        "state",
        "1 healthy, 0.5 degraded, 0 unhealthy.",
    )
    .with(NO_LABELS),
    Declared::new(UPTIME, Kind::Gauge, "seconds", "Time since the process started.").with(NO_LABELS),
    Declared::new(MEMORY, Kind::Gauge, "bytes", "Resident memory of the process.").with(NO_LABELS),
    Declared::new(BUILD_INFO, Kind::Gauge, "state", "Always 1; the version is a label.")
        .labels(&["version"])
        .with(&[&[("version", env!("CARGO_PKG_VERSION"))]]),
    Declared::new(
        SETTINGS_INFO,
        Kind::Gauge,
        "state",
        "Always 1; the settings that decide results are the label `fingerprint`, which must be the same on all members of the consumer group.",
    )
    .labels(&["group", "fingerprint"]),
];

const fn pool(name: &'static str, help: &'static str) -> Declared {
    Declared::new(name, Kind::Gauge, "connections", help).labels(&["store"])
}
