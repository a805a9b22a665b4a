//! Reads where ClickHouse, PostgreSQL, Redis and the schema registry are.

use super::{ClickHouseSettings, Reader, Secret};

/// The address of Redis, also from the host and port of `REDIS_ADDR`.
pub(super) fn redis_url(r: &mut Reader<'_>) -> Secret {
    let fallback = match r.lookup("REDIS_ADDR") {
        Some(address) if address.contains("://") => address,
        Some(address) => format!("redis://{address}/0"),
        None => "redis://localhost:6379/0".to_owned(),
    };
    r.secret(
        "DATA_PROC_REDIS_URL",
        &fallback,
        "Redis, for served values and look-ups (falls back to REDIS_ADDR)",
    )
}

/// How to connect to PostgreSQL.
pub(super) fn postgres_dsn(r: &mut Reader<'_>) -> Secret {
    r.secret(
        "DATA_PROC_POSTGRES_DSN",
        "postgresql://user:password@localhost:5432/db",
        "PostgreSQL, for reference data and projections",
    )
}

/// The address of the schema registry, if there is one.
pub(super) fn schema_registry_url(r: &mut Reader<'_>) -> Option<Secret> {
    let url = r.http_url(
        "DATA_PROC_SCHEMA_REGISTRY_URL",
        "",
        "URL of a schema registry; empty = single-object framing without a registry",
    );
    Some(url).filter(|url| !url.expose().is_empty())
}

/// ClickHouse and its database; problems are noted in the reader.
pub(super) fn clickhouse(r: &mut Reader<'_>) -> ClickHouseSettings {
    let url = r.http_url(
        "DATA_PROC_CLICKHOUSE_URL",
        "http://localhost:8123",
        "HTTP interface of ClickHouse",
    );
    let database = r.text("DATA_PROC_CLICKHOUSE_DATABASE", "market_data", "ClickHouse database");
    if database.is_empty()
        || !database
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        r.problem(format!(
            "DATA_PROC_CLICKHOUSE_DATABASE may contain letters, digits and '_', got '{database}'"
        ));
    }
    ClickHouseSettings {
        url,
        database,
        user: r.text("DATA_PROC_CLICKHOUSE_USER", "default", "ClickHouse user"),
        password: r.secret("DATA_PROC_CLICKHOUSE_PASSWORD", "", "ClickHouse password"),
        cluster: r.text(
            "DATA_PROC_CLICKHOUSE_CLUSTER",
            "",
            "name of the cluster of replicas at that address, whose tables are then replicated; empty: one server",
        ),
    }
}
