//! The recorder of the process: installs it, describes declared metrics, creates their declared series, and bounds its memory.
//!
//! Invariants: only the recorder adds label `service`, to every series. A declared counter is in the first scrape with value
//! 0, so that `rate()` detects its first increment.
#![allow(clippy::disallowed_macros)]

use std::sync::OnceLock;
use std::time::Instant;

use ::metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use procfs::process::Process;
use stream::Outcome;
use stream::kafka::groups::PartitionLag;

pub use crate::declared::{Declared, Kind, SHARED, Series, document, flaws};

use crate::declared::{
    BREAKER_STATE, BREAKER_TRANSITIONS, BUILD_INFO, CERTIFICATE_EXPIRY, DISK_FREE, HEALTH_STATUS, HTTP_CONNECTIONS,
    HTTP_DURATION, HTTP_REFUSED, HTTP_REQUESTS, MEMORY, POOL, SETTINGS_INFO, SPANS_EXPORTED, UPTIME,
};
use crate::health::{Health, Level};

/// Installs the recorder, describes the shared metrics and `own`, and creates their declared series.
///
/// A second call in one process (tests) returns the same handle and adds new metrics.
///
/// # Errors
/// A message for operators if buckets are invalid or another recorder is installed.
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

/// Describes the shared metrics and `own` to the installed recorder, and creates their series.
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
    let unit = match declared.unit {
        "seconds" => Unit::Seconds,
        "bytes" => Unit::Bytes,
        _ => Unit::Count,
    };
    match declared.kind {
        Kind::Counter => describe_counter!(declared.name, unit, declared.help),
        Kind::Gauge => describe_gauge!(declared.name, unit, declared.help),
        Kind::Histogram(_) => describe_histogram!(declared.name, unit, declared.help),
    }
}

/// Creates the series.
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

/// Creates a counter series whose labels are known only at run time.
pub fn counter_exists(name: &'static str, labels: &[(&'static str, String)]) {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::new(*name, value.clone()))
        .collect();
    counter!(name, labels).increment(0);
}

/// Creates the message counters of a topic, for every outcome.
pub(crate) fn topic_exists(topic: &str) {
    for outcome in Outcome::COUNTED {
        let labels = [("topic", topic.to_owned()), ("status", outcome.name().to_owned())];
        counter_exists(stream::metrics::MESSAGES_PROCESSED, &labels);
    }
}

/// Creates the counters of a dead letter.
pub(crate) fn dead_letter_exists(stage: &str, code: &str) {
    let (stage, code) = (stage.to_owned(), code.to_owned());
    let labels = [("stage", stage.clone()), ("error_code", code.clone())];
    counter_exists(stream::metrics::DLQ_MESSAGES, &labels);
    error_exists(&code, &stage);
}

/// Creates the counter of this kind of error.
pub(crate) fn error_exists(error_type: &str, component: &str) {
    let labels = [
        ("error_type", error_type.to_owned()),
        ("component", component.to_owned()),
    ];
    counter_exists(stream::metrics::ERRORS, &labels);
}

/// The lag of a group in one partition.
pub(crate) fn consumer_lag(group: &str, lag: &PartitionLag, value: f64) {
    let (topic, partition) = (lag.partition.topic.to_string(), lag.partition.number.to_string());
    let group = group.to_owned();
    gauge!(stream::metrics::CONSUMER_LAG, "group" => group, "topic" => topic, "partition" => partition).set(value);
}

/// The offset from which a group goes on in one partition.
pub(crate) fn consumer_committed(group: &str, lag: &PartitionLag, value: f64) {
    let (topic, partition) = (lag.partition.topic.to_string(), lag.partition.number.to_string());
    let group = group.to_owned();
    gauge!(stream::metrics::CONSUMER_COMMITTED, "group" => group, "topic" => topic, "partition" => partition)
        .set(value);
}

/// When the certificate of a dependency expires, in seconds since 1970.
pub(crate) fn certificate_expiry(dependency: &'static str, seconds: f64) {
    gauge!(CERTIFICATE_EXPIRY, "dependency" => dependency).set(seconds);
}

/// The free share of ClickHouse's fullest disk.
pub(crate) fn clickhouse_disk_free(ratio: f64) {
    gauge!(DISK_FREE).set(ratio);
}

/// Counts a change of a breaker's state.
pub(crate) fn breaker_changed(dependency: &'static str, from: &'static str, to: &'static str) {
    counter!(BREAKER_TRANSITIONS, "dependency" => dependency, "from" => from, "to" => to).increment(1);
}

/// Creates the counters of a breaker's changes.
pub(crate) fn breaker_exists(dependency: &'static str) {
    for [from, to] in [
        ["closed", "open"],
        ["open", "half_open"],
        ["half_open", "open"],
        ["half_open", "closed"],
    ] {
        counter!(BREAKER_TRANSITIONS, "dependency" => dependency, "from" => from, "to" => to).increment(0);
    }
}

/// Sets whether a stage is paused.
pub(crate) fn consumer_paused(group: &str, stage: &'static str, is_paused: bool) {
    let group = group.to_owned();
    gauge!(stream::metrics::CONSUMER_PAUSED, "group" => group, "stage" => stage).set(if is_paused { 1.0 } else { 0.0 });
}

/// Records an HTTP request.
pub(crate) fn http_request(method: &'static str, path: &str, status: &str, seconds: f64) {
    let labels = [
        ("method", method.to_owned()),
        ("path", path.to_owned()),
        ("status", status.to_owned()),
    ];
    counter!(HTTP_REQUESTS, &labels).increment(1);
    histogram!(HTTP_DURATION, &labels).record(seconds);
}

/// Sets the number of open HTTP connections, and the maximum.
pub(crate) fn http_connections(open: usize, max: usize) {
    for (name, value) in HTTP_CONNECTIONS.into_iter().zip([open, max]) {
        gauge!(name).set(value as f64);
    }
}

/// Counts a rejected HTTP connection.
pub(crate) fn http_connection_refused() {
    counter!(HTTP_REFUSED).increment(1);
}

/// Counts spans that the collector has taken.
pub(crate) fn spans_exported(spans: u64) {
    counter!(SPANS_EXPORTED).increment(spans);
}

/// Sets the usage of a store's pool: open, allowed, idle, in use, waiting requests.
pub(crate) fn pool(store: &'static str, values: [usize; 5]) {
    for (name, value) in POOL.into_iter().zip(values) {
        gauge!(name, "store" => store).set(value as f64);
    }
}

/// Shows the settings that decide the results of this member of a group.
pub(crate) fn settings(group: &str, fingerprint: &str) {
    let (group, fingerprint) = (group.to_owned(), fingerprint.to_owned());
    gauge!(SETTINGS_INFO, "group" => group, "fingerprint" => fingerprint).set(1.0);
}

/// Refreshes the gauges of the process, and drains histogram samples so that memory stays bounded between scrapes.
pub fn upkeep(handle: &PrometheusHandle, started: Instant, health: &Health) {
    let report = health.report();
    gauge!(HEALTH_STATUS).set(match report.level {
        Level::Healthy => 1.0,
        Level::Degraded => 0.5,
        Level::Unhealthy => 0.0,
    });
    health.refresh(&report);
    for breaker in health.breakers() {
        gauge!(BREAKER_STATE, "dependency" => breaker.dependency()).set(f64::from(breaker.state() as u8));
    }
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!(UPTIME).set(started.elapsed().as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        gauge!(MEMORY).set(bytes as f64);
    }
    handle.run_upkeep();
}

/// Resident memory of this process, if the system reports it.
pub fn resident_bytes() -> Option<u64> {
    // Seven numbers: cheaper to read than `status`, and present in sandboxes whose `status` is short.
    let memory = Process::myself().and_then(|process| process.statm()).ok()?;
    Some(memory.resident * procfs::page_size())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use stream::Shutdown;

    #[test]
    fn the_first_scrape_names_every_declared_series_with_zero() {
        let own: &[Declared] = &[
            Declared::new("things_total", Kind::Counter, "things", "Things.")
                .labels(&["flag"])
                .with(&[&[("flag", "valid")]]),
            Declared::new("thing_seconds", Kind::Histogram(&[0.5]), "seconds", "Seconds.").with(&[&[]]),
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
}
