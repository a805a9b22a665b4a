//! One error for all stores: the operation, the server's message, and the remedy.
//!
//! Codes are a closed set: `unreachable`, `timeout`, `overloaded`, `disk_full`, `read_only`, `cancelled`, `conflict`,
//! `server_error`, `fenced`, `drain_unconfirmed` (all transient), `access_denied`, `grant_missing`, `certificate_refused`,
//! `tls_mismatch`, `schema_missing`, `write_refused`, `invalid_statement`, `invalid_data`, `invalid_address`,
//! `topic_id_changed` (all fatal); `unexpected_answer` is transient if the response may have been cut off.
//! An error that an operator must fix names its setting ([`StoreError::remedy`]).

mod classify;

use std::fmt;

use domain::{Classified, ErrorClass};

use classify::{classify_clickhouse, classify_redis, classify_sqlstate, clickhouse_code, of_plaintext, of_tls};

/// A store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Store {
    ClickHouse,
    Postgres,
    Redis,
}

impl Store {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Store::ClickHouse => "clickhouse",
            Store::Postgres => "postgres",
            Store::Redis => "redis",
        }
    }
}

/// A store returned an error, failed or did not respond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    store: Store,
    class: ErrorClass,
    code: &'static str,
    operation: &'static str,
    message: String,
}

impl StoreError {
    pub(crate) fn transient(store: Store, operation: &'static str, code: &'static str, message: String) -> StoreError {
        StoreError {
            store,
            class: ErrorClass::Transient,
            code,
            operation,
            message,
        }
    }

    pub(crate) fn fatal(store: Store, operation: &'static str, code: &'static str, message: String) -> StoreError {
        StoreError {
            store,
            class: ErrorClass::Fatal,
            code,
            operation,
            message,
        }
    }

    pub(crate) fn timeout(store: Store, operation: &'static str, after: std::time::Duration) -> StoreError {
        StoreError::transient(
            store,
            operation,
            "timeout",
            format!("no response within {} ms", after.as_millis()),
        )
    }

    pub(crate) fn unexpected(store: Store, operation: &'static str, message: impl fmt::Display) -> StoreError {
        StoreError::fatal(store, operation, "unexpected_answer", message.to_string())
    }

    /// TLS is configured, and the server does not speak it.
    pub(crate) fn no_tls(store: Store, operation: &'static str) -> StoreError {
        let message = "the server does not speak TLS at this port".to_owned();
        StoreError::fatal(store, operation, "tls_mismatch", message)
    }

    /// Rejection of a topic that was deleted and created again.
    pub(crate) fn topic_id_changed(store: Store, topic: &str, stored: &str, found: &str) -> StoreError {
        let message = format!(
            "topic {topic} has the id {found}, but this store was written from the topic with the id {stored}: positions \
             and origins of the old topic are not valid in the new one. Restore the topic, or start a new generation \
             (DATA_PROC_GENERATION)"
        );
        StoreError::fatal(store, "check topic ids", "topic_id_changed", message)
    }

    /// Whether the store itself has failed: unreachable, silent, overloaded, full or read-only. A rejection because of the
    /// request (bad data, a conflict, a fence) shows that the store is available.
    pub fn is_outage(&self) -> bool {
        matches!(
            self.code,
            "unreachable" | "timeout" | "overloaded" | "disk_full" | "read_only"
        )
    }

    /// Whether the server refuses this client until an operator corrects something, which is possible while the service runs:
    /// a missing right, table or column, a login, a certificate, or a setting that makes rows inexact.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self.code,
            "access_denied"
                | "grant_missing"
                | "certificate_refused"
                | "tls_mismatch"
                | "schema_missing"
                | "write_refused"
        )
    }

    /// The error with its code, whose meaning docs/security.md lists: for health and logs.
    pub fn with_code(&self) -> String {
        format!("{}: {self}", self.code)
    }

    /// Whether it did not respond in time.
    pub fn is_timeout(&self) -> bool {
        self.code == "timeout"
    }

    /// Which store it was.
    pub fn store(&self) -> Store {
        self.store
    }

    /// What happened, without the text of the server or the network: for responses to clients.
    pub fn summary(&self) -> String {
        let what = match self.code {
            "unreachable" => "cannot be reached",
            "timeout" => "does not respond in time",
            "cancelled" => "took too long and was stopped",
            "overloaded" => "is overloaded",
            "disk_full" => "has no disk space left",
            "read_only" => "is read-only",
            "access_denied" => "rejects the configured user",
            "grant_missing" => "does not grant the configured user the required rights",
            "certificate_refused" => "has a certificate that is not accepted",
            "tls_mismatch" => "does not agree on TLS",
            "write_refused" => "is configured so that rows would not be exact",
            "schema_missing" => "lacks its tables: run `dp migrate`",
            "cluster_missing" => "does not have the configured cluster",
            _ => "failed to execute the request",
        };
        format!("{} {what}", self.store.name())
    }

    /// The remedy, with the name of the setting; `None` if the only remedy is to wait.
    pub fn remedy(&self) -> Option<String> {
        let (credentials, address, tls) = match self.store {
            Store::ClickHouse => (
                "DATA_PROC_CLICKHOUSE_USER and DATA_PROC_CLICKHOUSE_PASSWORD",
                "DATA_PROC_CLICKHOUSE_URL",
                "https:// (http:// without TLS)",
            ),
            Store::Postgres => (
                "the user and the password in DATA_PROC_POSTGRES_DSN",
                "DATA_PROC_POSTGRES_DSN",
                "sslmode=verify-full (sslmode=disable without TLS)",
            ),
            Store::Redis => (
                "the user and the password in DATA_PROC_REDIS_URL",
                "DATA_PROC_REDIS_URL",
                "rediss:// (redis:// without TLS)",
            ),
        };
        match self.code {
            "schema_missing" => Some("run `dp migrate`".to_owned()),
            "access_denied" => Some(format!("check {credentials}")),
            "grant_missing" => Some(format!(
                "grant it to the user of {address}: docs/security.md lists what each service needs"
            )),
            "certificate_refused" => Some(format!(
                "check the host in {address} and the server's certificate, and name a private authority in DATA_PROC_TLS_CA"
            )),
            "tls_mismatch" => Some(format!("use {tls} in {address}, as the server does")),
            "invalid_address" => Some(format!("correct {address}")),
            "cluster_missing" => Some(
                "set DATA_PROC_CLICKHOUSE_CLUSTER to a name in system.clusters, or leave it empty for a single server"
                    .to_owned(),
            ),
            "unreachable" => of_plaintext(&self.message, self.store).map(str::to_owned),
            _ => None,
        }
    }

    pub(crate) fn clickhouse(operation: &'static str, error: &clickhouse::error::Error) -> StoreError {
        use clickhouse::error::Error;
        let message = with_causes(error);
        let (class, code) = match error {
            Error::Network(_) => match of_tls(&message) {
                Some(code) => (ErrorClass::Fatal, code),
                None => (ErrorClass::Transient, "unreachable"),
            },
            Error::TimedOut => (ErrorClass::Transient, "timeout"),
            Error::BadResponse(text) => classify_clickhouse(clickhouse_code(text), text),
            Error::InvalidParams(_) | Error::Unsupported(_) => (ErrorClass::Fatal, "invalid_address"),
            // A server that is killed during a response leaves one that cannot be parsed.
            _ => (ErrorClass::Transient, "unexpected_answer"),
        };
        StoreError {
            store: Store::ClickHouse,
            class,
            code,
            operation,
            message,
        }
    }

    pub(crate) fn postgres(operation: &'static str, error: &tokio_postgres::Error) -> StoreError {
        let mut message = with_causes(error);
        let (class, code) = match error.code() {
            Some(state) => classify_sqlstate(state, &message),
            None => match of_tls(&message) {
                Some(code) => (ErrorClass::Fatal, code),
                None if error.is_closed()
                    || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>()) =>
                {
                    (ErrorClass::Transient, "unreachable")
                }
                // Errors while connecting contain the cause as text; nothing was changed, so a retry is safe.
                None if message.contains("connect") => (ErrorClass::Transient, "unreachable"),
                None => (ErrorClass::Fatal, "unexpected_answer"),
            },
        };
        if let Some(state) = error.code() {
            message = format!("{message} (SQLSTATE {})", state.code());
        }
        StoreError {
            store: Store::Postgres,
            class,
            code,
            operation,
            message,
        }
    }

    pub(crate) fn pool(operation: &'static str, error: &deadpool_postgres::PoolError) -> StoreError {
        match error {
            deadpool_postgres::PoolError::Backend(error) => StoreError::postgres(operation, error),
            deadpool_postgres::PoolError::Timeout(_) => StoreError::transient(
                Store::Postgres,
                operation,
                "timeout",
                format!("no connection from the pool: {error}"),
            ),
            _ => StoreError::transient(Store::Postgres, operation, "unreachable", with_causes(error)),
        }
    }

    pub(crate) fn redis(operation: &'static str, error: &redis::RedisError) -> StoreError {
        let message = with_causes(error);
        let (class, code) = match of_tls(&message) {
            Some(code) => (ErrorClass::Fatal, code),
            None if error.is_timeout() => (ErrorClass::Transient, "timeout"),
            None => classify_redis(error.kind(), error.code(), &message),
        };
        StoreError {
            store: Store::Redis,
            class,
            code,
            operation,
            message,
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.store.name(), self.operation, self.message)?;
        match self.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for StoreError {}

impl Classified for StoreError {
    fn class(&self) -> ErrorClass {
        self.class
    }

    fn code(&self) -> &'static str {
        self.code
    }
}

/// An error with its causes, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests;
