//! Reads the `DATA_PROC_*` variables, group by group: name, default, meaning, and what is invalid.

use std::time::Duration;

use stream::Compression;

use super::{
    BreakerSettings, Environment, Kind, Reader, Retention, RetentionSettings, Settings, http, kafka, log, refused,
    servers, traces,
};
use crate::names::is_internal;
use security::Trust;

/// The raw topic if none is configured.
const RAW_TOPIC: &str = "ingestion.market.raw.v1";

const DAY_HOURS: u64 = 24;
/// A leg may be read again for 13.5 days (docs/derived.md).
const LEGS_HOURS: u64 = 14 * DAY_HOURS;
/// Ten years.
const LONGEST_HOURS: u64 = 3_650 * DAY_HOURS;

/// The shared settings; problems are noted in the reader.
pub(super) fn read(r: &mut Reader<'_>, default_port: u16) -> Settings {
    let environment = environment(r);
    let local = environment == Environment::Local;
    let trust = trust(r);
    let settings = Settings {
        environment,
        tenant_id: tenant(r),
        kafka_bootstrap: kafka::brokers(r, &trust),
        kafka_replication: r.number(
            "DATA_PROC_KAFKA_REPLICATION_FACTOR",
            if local { 1 } else { 3 },
            1..=9,
            "replication factor of the topics that `dp topics create` creates",
        ) as i32,
        trust,
        kafka_compression: kafka_compression(r, local),
        clickhouse: servers::clickhouse(r),
        postgres_dsn: servers::postgres_dsn(r),
        redis_url: servers::redis_url(r),
        log: log::read(r),
        http: http::read(r, local, default_port),
        max_batch_size: r.number(
            "DATA_PROC_MAX_BATCH_SIZE",
            10_000,
            1..=1_000_000,
            "maximum number of rows per ClickHouse insert",
        ) as usize,
        flush_interval: flush_interval(r),
        db_pool_size: r.number(
            "DATA_PROC_DB_POOL_SIZE",
            20,
            1..=1_000,
            "maximum number of PostgreSQL connections",
        ) as usize,
        processing_timeout: r.duration("DATA_PROC_PROCESSING_TIMEOUT", "30", "time limit of one HTTP request"),
        schema_registry_url: servers::schema_registry_url(r),
        raw_topics: raw_topics(r),
        topic_partitions: r.number(
            "DATA_PROC_TOPIC_PARTITIONS",
            if local { 4 } else { 12 },
            1..=10_000,
            "number of partitions of every topic after the raw ones",
        ) as i32,
        retention: retention(r),
        workers: r.number("DATA_PROC_WORKERS", 1, 1..=256, "number of threads of the main stage") as usize,
        generation: generation(r),
        instance_id: kafka::instance_id(r),
        breaker: breaker(r),
        otlp_endpoint: traces::endpoint(r),
        cluster_peers: r.peers("DATA_PROC_CLUSTER_PEERS"),
    };
    if !local {
        refuse_local_defaults(r, &settings);
        refused::outside_of_local(r, &settings);
    }
    settings
}

/// Variables without a default outside of `local`, and the older name of each.
pub(super) const REQUIRED_ELSEWHERE: [(&str, Option<&str>); 5] = [
    ("DATA_PROC_KAFKA_BOOTSTRAP", Some("KAFKA_ADDR")),
    ("DATA_PROC_CLICKHOUSE_URL", None),
    ("DATA_PROC_CLICKHOUSE_PASSWORD", None),
    ("DATA_PROC_POSTGRES_DSN", None),
    ("DATA_PROC_REDIS_URL", Some("REDIS_ADDR")),
];

/// Rejects defaults of a local machine: elsewhere they name the wrong server or are insecure.
fn refuse_local_defaults(r: &mut Reader<'_>, settings: &Settings) {
    let environment = settings.environment.name();
    for (name, fallback) in REQUIRED_ELSEWHERE {
        if !r.is_set(name) && fallback.is_none_or(|fallback| r.lookup(fallback).is_none()) {
            r.problem(format!(
                "{name} must be set if DATA_PROC_ENV is {environment}: its default is for a local machine only"
            ));
        }
    }
}

/// The private authority for all TLS connections except Kafka, if configured.
fn trust(r: &mut Reader<'_>) -> Trust {
    const NAME: &str = "DATA_PROC_TLS_CA";
    let path = r.text_of(
        Kind::Path,
        NAME,
        "",
        "PEM file with a private CA for TLS to stores, schema registry and HTTP services; empty = the system's CAs",
    );
    if path.is_empty() {
        return Trust::default();
    }
    Trust::with_authority(path).unwrap_or_else(|error| {
        r.problem(format!("{NAME}: {error}"));
        Trust::default()
    })
}

fn environment(r: &mut Reader<'_>) -> Environment {
    let name = r.text(
        "DATA_PROC_ENV",
        "local",
        "local, dev, staging or prod; part of the group names",
    );
    Environment::from_name(&name).unwrap_or_else(|| {
        r.problem(format!(
            "DATA_PROC_ENV must be local, dev, staging or prod, got '{name}'"
        ));
        Environment::Local
    })
}

fn tenant(r: &mut Reader<'_>) -> String {
    let tenant = r.text(
        "DATA_PROC_TENANT_ID",
        "default",
        "tenant of documents and requests that name none",
    );
    if let Err(error) = domain::instrument::check_identifier(&tenant) {
        r.problem(format!("DATA_PROC_TENANT_ID {error}, got '{}'", tenant.escape_debug()));
    }
    tenant
}

fn kafka_compression(r: &mut Reader<'_>, local: bool) -> Compression {
    let default = if local { Compression::None } else { Compression::Lz4 };
    let name = r.text(
        "DATA_PROC_KAFKA_COMPRESSION",
        default.name(),
        "compression of outputs: none, lz4 or zstd; none costs disk and network, lz4 and zstd cost CPU",
    );
    let named = Compression::ALL.into_iter().find(|one| one.name() == name);
    named.unwrap_or_else(|| {
        r.problem(format!(
            "DATA_PROC_KAFKA_COMPRESSION must be none, lz4 or zstd, got '{name}'"
        ));
        default
    })
}

fn flush_interval(r: &mut Reader<'_>) -> Option<Duration> {
    const NAME: &str = "DATA_PROC_FLUSH_INTERVAL_MS";
    let meaning = "maximum wait in milliseconds before a smaller batch is inserted, for every table; empty = 5000 for market_ticks, 2000 for the others";
    let text = r.text_of(Kind::Integer(10, 600_000), NAME, "", meaning);
    if text.is_empty() {
        return None;
    }
    let interval = text.parse().ok().filter(|interval| (10..=600_000).contains(interval));
    if interval.is_none() {
        r.problem(format!(
            "{NAME} must be an integer from 10 to 600000 or empty, got '{text}'"
        ));
    }
    interval.map(Duration::from_millis)
}

fn raw_topics(r: &mut Reader<'_>) -> Vec<String> {
    let topics = r.list_of_some(
        "DATA_PROC_RAW_TOPICS",
        RAW_TOPIC,
        "raw topics that normalization reads, separated by commas",
    );
    for topic in &topics {
        // Normalization would read its own output.
        if is_internal(topic) {
            r.problem(format!(
                "DATA_PROC_RAW_TOPICS contains '{topic}', which the pipeline itself writes: name only topics of producers"
            ));
        }
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if topic.len() > 249 || !topic.bytes().all(legal) {
            r.problem(format!(
                "DATA_PROC_RAW_TOPICS contains '{topic}', which is not a valid topic name"
            ));
        }
    }
    topics
}

fn retention(r: &mut Reader<'_>) -> RetentionSettings {
    let mut of = |name: &str, days: u64, shortest: u64, meaning: &'static str| Retention {
        hours: r.number(name, days * DAY_HOURS, shortest..=LONGEST_HOURS, meaning),
        is_set: r.is_set(name),
    };
    RetentionSettings {
        raw: of(
            "DATA_PROC_RETENTION_RAW_HOURS",
            7,
            DAY_HOURS,
            "how long raw topics keep messages; `dp topics create` sets it, for an existing topic only if it is given here, and a \
             shorter time only with `--yes`",
        ),
        stages: of(
            "DATA_PROC_RETENTION_STAGES_HOURS",
            7,
            DAY_HOURS,
            "the same of the topics between the stages",
        ),
        legs: of(
            "DATA_PROC_RETENTION_LEGS_HOURS",
            14,
            LEGS_HOURS,
            "the same of aggregation.legs.v1, which may be read again for 13.5 days",
        ),
        dlq: of(
            "DATA_PROC_RETENTION_DLQ_HOURS",
            30,
            DAY_HOURS,
            "the same of the dead letters",
        ),
    }
}

fn generation(r: &mut Reader<'_>) -> String {
    let generation = r.text(
        "DATA_PROC_GENERATION",
        "",
        "suffix of the topics, groups and tables of a generation, such as g2; empty = the first",
    );
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if generation.len() > 16 || !generation.bytes().all(legal) {
        r.problem(format!(
            "DATA_PROC_GENERATION may contain up to 16 lower-case letters and digits, got '{generation}'"
        ));
    }
    generation
}

fn breaker(r: &mut Reader<'_>) -> BreakerSettings {
    let settings = BreakerSettings {
        failure_threshold: r.number(
            "DATA_PROC_CIRCUIT_BREAKER_FAILURE_THRESHOLD",
            5,
            1..=1_000,
            "consecutive failures that open a breaker",
        ) as u32,
        success_threshold: r.number(
            "DATA_PROC_CIRCUIT_BREAKER_SUCCESS_THRESHOLD",
            2,
            1..=1_000,
            "consecutive successes that close it",
        ) as u32,
        base_timeout: r.duration(
            "DATA_PROC_CIRCUIT_BREAKER_BASE_TIMEOUT",
            "30s",
            "how long a breaker first stays open; doubles each time it reopens",
        ),
        max_timeout: r.duration(
            "DATA_PROC_CIRCUIT_BREAKER_MAX_TIMEOUT",
            "300s",
            "maximum time that a breaker stays open",
        ),
    };
    if settings.base_timeout > settings.max_timeout {
        r.problem(
            "DATA_PROC_CIRCUIT_BREAKER_BASE_TIMEOUT must not exceed DATA_PROC_CIRCUIT_BREAKER_MAX_TIMEOUT".to_owned(),
        );
    }
    settings
}
