//! Every metric that all services share, declared once: name, kind, help, buckets, and the series that exist from the start.
//!
//! Role: installs the recorder of the process, describes what is declared, and keeps the recorder's memory bounded.
//! Services declare their own in the same form (`Definition::metrics`). Names that dashboards use are fixed
//! (interfaces section 11); units are seconds and bytes; label values come from closed sets only.
//! Invariant: a declared counter is in the very first scrape, with value 0, so that `rate()` sees its first increment.

use std::sync::OnceLock;
use std::time::Instant;

use ::metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::health::{Health, Level};

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

/// The declaration of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// Public name.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: Kind,
    /// One sentence for people.
    pub help: &'static str,
    /// Label sets that exist from the start; every series carries `service` besides.
    pub series: &'static [&'static [(&'static str, &'static str)]],
}

impl Declared {
    /// A metric whose series are made where their labels are known.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Declared {
        Declared {
            name,
            kind,
            help,
            series: &[],
        }
    }

    /// The same with series that exist from the start.
    pub const fn with(mut self, series: &'static [&'static [(&'static str, &'static str)]]) -> Declared {
        self.series = series;
        self
    }
}

/// Seconds, from a tenth of a millisecond to half a minute.
pub const DURATION_SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Seconds from the append of a raw message to a stage: fine below 250 ms, where the goal lies.
pub const LATENCY_SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Counter `{method,path,status}`.
pub const HTTP_REQUESTS: &str = "http_requests_total";
/// Histogram `{method,path,status}`.
pub const HTTP_DURATION: &str = "http_request_duration_seconds";
/// Gauge `{dependency}`.
pub const BREAKER_STATE: &str = "circuit_breaker_state";

/// What every service exports.
pub const SHARED: &[Declared] = &[
    Declared::new(
        stream::metrics::MESSAGES_PROCESSED,
        Kind::Counter,
        "Messages handled, by input topic and outcome.",
    ),
    Declared::new(
        stream::metrics::PROCESSING_DURATION,
        Kind::Histogram(DURATION_SECONDS),
        "Seconds that one batch of polled messages took.",
    ),
    Declared::new(stream::metrics::ERRORS, Kind::Counter, "Errors by type and component.")
        .with(&[&[("error_type", "kafka_unavailable"), ("component", "worker")]]),
    Declared::new(
        stream::metrics::CONSUMER_LAG,
        Kind::Gauge,
        "Messages between the position and the end of the log.",
    ),
    Declared::new(
        stream::metrics::DLQ_MESSAGES,
        Kind::Counter,
        "Messages sent to the dead letter topic, by stage and code.",
    ),
    Declared::new(
        stream::metrics::END_TO_END_LATENCY,
        Kind::Histogram(LATENCY_SECONDS),
        "Seconds from the append of the raw message to this stage.",
    ),
    Declared::new(
        stream::metrics::REPETITIONS_REFUSED,
        Kind::Counter,
        "Records that a sequencer had seen before, by input topic.",
    ),
    Declared::new(
        stream::metrics::ROWS_WRITTEN,
        Kind::Counter,
        "Rows inserted into ClickHouse, by table.",
    ),
    Declared::new(
        stream::metrics::WRITES_FENCED,
        Kind::Counter,
        "Inserts that ClickHouse refused because another writer owns the partition.",
    ),
    Declared::new(
        HTTP_REQUESTS,
        Kind::Counter,
        "HTTP requests by method, route and status.",
    )
    .with(&[&[("method", "GET"), ("path", "/health"), ("status", "200")]]),
    Declared::new(
        HTTP_DURATION,
        Kind::Histogram(DURATION_SECONDS),
        "Seconds until an HTTP request was answered.",
    ),
    Declared::new(BREAKER_STATE, Kind::Gauge, "0 closed, 1 open, 2 half-open."),
    Declared::new("connection_pool_size", Kind::Gauge, "Open connections, by store."),
    Declared::new("connection_pool_max", Kind::Gauge, "Connections that a pool may open."),
    Declared::new(
        "connection_pool_idle",
        Kind::Gauge,
        "Open connections that nobody uses.",
    ),
    Declared::new("connection_pool_active", Kind::Gauge, "Open connections in use."),
    Declared::new(
        "connection_pool_wait",
        Kind::Gauge,
        "Requests that wait for a connection.",
    ),
    Declared::new("health_status", Kind::Gauge, "1 healthy, 0.5 degraded, 0 unhealthy.").with(&[&[]]),
    Declared::new("uptime_seconds", Kind::Gauge, "Seconds since the process started.").with(&[&[]]),
    Declared::new("memory_usage_bytes", Kind::Gauge, "Resident memory of the process.").with(&[&[]]),
    Declared::new("build_info", Kind::Gauge, "Always 1; the version is a label.")
        .with(&[&[("version", env!("CARGO_PKG_VERSION"))]]),
];

/// Installs the recorder, describes the shared metrics and `own`, and makes their declared series.
///
/// A second call in one process (tests) gives the same handle and adds what is new.
///
/// # Errors
/// A text for people where buckets are refused or another recorder is installed.
pub fn install(service: &'static str, own: &[Declared]) -> Result<PrometheusHandle, String> {
    static HANDLE: OnceLock<Result<PrometheusHandle, String>> = OnceLock::new();
    let handle = HANDLE.get_or_init(|| {
        let recorder = builder(service, own)?.build_recorder();
        let handle = recorder.handle();
        ::metrics::set_global_recorder(recorder).map_err(|error| format!("install metrics: {error}"))?;
        Ok(handle)
    });
    let handle = handle.clone()?;
    declare(own);
    Ok(handle)
}

/// Describes the shared metrics and `own` to the recorder in effect, and makes their series.
fn declare(own: &[Declared]) {
    for declared in SHARED.iter().chain(own) {
        describe(declared);
        for labels in declared.series {
            touch(declared, labels);
        }
    }
}

fn builder(service: &'static str, own: &[Declared]) -> Result<PrometheusBuilder, String> {
    let mut builder = PrometheusBuilder::new().add_global_label("service", service);
    for declared in SHARED.iter().chain(own) {
        if let Kind::Histogram(buckets) = declared.kind {
            let matcher = Matcher::Full(declared.name.to_owned());
            builder = builder
                .set_buckets_for_metric(matcher, buckets)
                .map_err(|error| format!("buckets of {}: {error}", declared.name))?;
        }
    }
    Ok(builder)
}

fn describe(declared: &Declared) {
    let unit = if declared.name.contains("_seconds") {
        Unit::Seconds
    } else if declared.name.contains("_bytes") {
        Unit::Bytes
    } else {
        Unit::Count
    };
    match declared.kind {
        Kind::Counter => describe_counter!(declared.name, unit, declared.help),
        Kind::Gauge => describe_gauge!(declared.name, unit, declared.help),
        Kind::Histogram(_) => describe_histogram!(declared.name, unit, declared.help),
    }
}

/// Makes the series exist.
fn touch(declared: &Declared, labels: &[(&'static str, &'static str)]) {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::from_static_parts(name, value))
        .collect();
    match declared.kind {
        Kind::Counter => counter!(declared.name, labels).increment(0),
        Kind::Gauge => gauge!(declared.name, labels).increment(0.0),
        Kind::Histogram(_) => drop(histogram!(declared.name, labels)),
    }
}

/// Makes a counter series exist whose labels are known only now.
pub fn counter_exists(name: &'static str, labels: &[(&'static str, String)]) {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::new(*name, value.clone()))
        .collect();
    counter!(name, labels).increment(0);
}

/// Refreshes the gauges of the process, and drains histogram samples so that memory stays bounded between scrapes.
pub fn upkeep(handle: &PrometheusHandle, started: Instant, health: &Health) {
    let report = health.report();
    gauge!("health_status").set(match report.level {
        Level::Healthy => 1.0,
        Level::Degraded => 0.5,
        Level::Unhealthy => 0.0,
    });
    for breaker in health.breakers() {
        gauge!(BREAKER_STATE, "dependency" => breaker.dependency()).set(f64::from(breaker.state() as u8));
    }
    gauge!("build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("uptime_seconds").set(started.elapsed().as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        gauge!("memory_usage_bytes").set(bytes as f64);
    }
    handle.run_upkeep();
}

/// Resident memory of this process, where the system tells it.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use stream::Shutdown;

    #[test]
    fn the_first_scrape_names_every_declared_series_with_zero() {
        let own: &[Declared] = &[
            Declared::new("things_total", Kind::Counter, "Things.").with(&[&[("flag", "valid")]]),
            Declared::new("thing_seconds", Kind::Histogram(&[0.5]), "Seconds.").with(&[&[]]),
        ];
        let recorder = builder("tested", own).unwrap().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, || declare(own));
        let text = handle.render();
        for declared in SHARED.iter().chain(own) {
            for labels in declared.series {
                let name = match declared.kind {
                    Kind::Histogram(_) => format!("{}_count", declared.name),
                    _ => declared.name.to_owned(),
                };
                let line = text.lines().find(|line| {
                    line.starts_with(&format!("{name}{{"))
                        && labels
                            .iter()
                            .all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
                });
                let line = line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"));
                assert!(line.contains("service=\"tested\""), "{line}");
                assert!(line.ends_with(" 0"), "{line}");
            }
        }
        assert!(text.contains("# HELP things_total Things."), "{text}");
        ::metrics::with_local_recorder(&recorder, || {
            upkeep(&handle, Instant::now(), &Health::new(Shutdown::default()))
        });
        let text = handle.render();
        assert!(
            text.lines()
                .any(|line| line.starts_with("health_status{") && line.ends_with(" 1")),
            "{text}"
        );
    }

    #[test]
    fn names_follow_their_kind_and_unit() {
        for declared in SHARED {
            assert_eq!(
                declared.kind == Kind::Counter,
                declared.name.ends_with("_total"),
                "{}",
                declared.name
            );
            if let Kind::Histogram(buckets) = declared.kind {
                assert!(declared.name.ends_with("_seconds"), "{}", declared.name);
                assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]));
            }
        }
    }
}
