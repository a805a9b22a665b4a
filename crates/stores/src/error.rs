//! One error for all stores: what was tried, what the server said, and what to do about it.
//!
//! Codes are a closed set: `unreachable`, `timeout`, `overloaded`, `disk_full`, `read_only`, `cancelled`, `conflict`,
//! `server_error`, `fenced`, `drain_unconfirmed` (all transient), `access_denied`, `schema_missing`,
//! `invalid_statement`, `invalid_data`, `invalid_address`, `topic_id_changed` (all fatal); `unexpected_answer` is transient
//! where it may be the rest of an answer that was cut.

use std::fmt;

use domain::{Classified, ErrorClass};
use redis::{ErrorKind, ServerErrorKind};
use tokio_postgres::error::SqlState;

/// Which store.
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

/// A store refused, failed or did not answer.
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
            format!("no answer within {} ms", after.as_millis()),
        )
    }

    pub(crate) fn unexpected(store: Store, operation: &'static str, message: impl fmt::Display) -> StoreError {
        StoreError::fatal(store, operation, "unexpected_answer", message.to_string())
    }

    /// Refusal of a topic that was made anew.
    pub(crate) fn topic_id_changed(store: Store, topic: &str, stored: &str, found: &str) -> StoreError {
        let message = format!(
            "topic {topic} has the id {found}, but this store was written from the topic with the id {stored}: positions \
             and origins of the old topic mean nothing in the new one. Restore the topic, or start a new generation \
             (DATA_PROC_GENERATION)"
        );
        StoreError::fatal(store, "check topic ids", "topic_id_changed", message)
    }

    /// Whether the store itself is to blame: away, silent, overloaded, full or read-only. What it refuses for its contents
    /// (bad data, a conflict, a fence) shows that it is there.
    pub fn is_outage(&self) -> bool {
        matches!(
            self.code,
            "unreachable" | "timeout" | "overloaded" | "disk_full" | "read_only"
        )
    }

    /// Whether it took too long to answer.
    pub fn is_timeout(&self) -> bool {
        self.code == "timeout"
    }

    /// Which store it was.
    pub fn store(&self) -> Store {
        self.store
    }

    /// What happened, without a word of the server's or the network's: for answers to clients.
    pub fn summary(&self) -> String {
        let what = match self.code {
            "unreachable" => "cannot be reached",
            "timeout" => "does not answer in time",
            "cancelled" => "took too long and was stopped",
            "overloaded" => "has too much to do",
            "disk_full" => "has no room left",
            "read_only" => "takes no changes",
            "access_denied" => "refuses the configured user",
            "schema_missing" => "lacks its tables: run `dp migrate`",
            _ => "did not do what it was asked",
        };
        format!("{} {what}", self.store.name())
    }

    pub(crate) fn clickhouse(operation: &'static str, error: &clickhouse::error::Error) -> StoreError {
        use clickhouse::error::Error;
        let (class, code) = match error {
            Error::Network(_) => (ErrorClass::Transient, "unreachable"),
            Error::TimedOut => (ErrorClass::Transient, "timeout"),
            Error::BadResponse(text) => classify_clickhouse(clickhouse_code(text), text),
            Error::InvalidParams(_) | Error::Unsupported(_) => (ErrorClass::Fatal, "invalid_address"),
            // A server that is killed in the middle of an answer leaves one that cannot be read.
            _ => (ErrorClass::Transient, "unexpected_answer"),
        };
        StoreError {
            store: Store::ClickHouse,
            class,
            code,
            operation,
            message: with_causes(error),
        }
    }

    pub(crate) fn postgres(operation: &'static str, error: &tokio_postgres::Error) -> StoreError {
        let (class, code) = match error.code() {
            Some(state) => classify_sqlstate(state),
            None if error.is_closed()
                || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>()) =>
            {
                (ErrorClass::Transient, "unreachable")
            }
            // Errors while connecting wrap the cause in text; nothing was changed, so trying again is safe.
            None if error.to_string().contains("connect") => (ErrorClass::Transient, "unreachable"),
            None => (ErrorClass::Fatal, "unexpected_answer"),
        };
        StoreError {
            store: Store::Postgres,
            class,
            code,
            operation,
            message: with_causes(error),
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
        let (class, code) = if error.is_timeout() {
            (ErrorClass::Transient, "timeout")
        } else {
            classify_redis(error.kind(), error.code())
        };
        StoreError {
            store: Store::Redis,
            class,
            code,
            operation,
            message: with_causes(error),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.store.name(), self.operation, self.message)?;
        match self.code {
            "schema_missing" => write!(f, "; run `dp migrate`"),
            "access_denied" => write!(f, "; check user and password in the configuration"),
            _ => Ok(()),
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

/// The number in `Code: 60. DB::Exception: …`.
fn clickhouse_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn classify_clickhouse(code: Option<u32>, text: &str) -> (ErrorClass, &'static str) {
    use ErrorClass::{Fatal, Transient};
    match code {
        Some(395) if text.contains(crate::clickhouse::FENCED) => (Transient, "fenced"),
        Some(16 | 47 | 60 | 81) => (Fatal, "schema_missing"),
        Some(192 | 193 | 194 | 497 | 516) => (Fatal, "access_denied"),
        Some(36 | 42 | 43 | 46 | 53 | 62 | 115) => (Fatal, "invalid_statement"),
        Some(6 | 27 | 32 | 33 | 38 | 69 | 70 | 72 | 117 | 131) => (Fatal, "invalid_data"),
        Some(201 | 202 | 241 | 252) => (Transient, "overloaded"),
        Some(159 | 160 | 209) => (Transient, "timeout"),
        Some(210 | 279) => (Transient, "unreachable"),
        Some(242) => (Transient, "read_only"),
        Some(243) => (Transient, "disk_full"),
        Some(75) if text.contains("No space left") => (Transient, "disk_full"),
        Some(246) => (Transient, "corrupted_data"),
        Some(236 | 394) => (Transient, "cancelled"),
        _ => (Transient, "server_error"),
    }
}

fn classify_sqlstate(state: &SqlState) -> (ErrorClass, &'static str) {
    use ErrorClass::{Fatal, Transient};
    match state.code() {
        "57014" => (Transient, "cancelled"),
        "53100" => (Transient, "disk_full"),
        "25006" => (Transient, "read_only"),
        "40001" | "40P01" | "55P03" => (Transient, "conflict"),
        "42P01" | "42703" | "42883" | "3D000" | "3F000" => (Fatal, "schema_missing"),
        "42501" => (Fatal, "access_denied"),
        other => match other.get(..2) {
            Some("08" | "57") => (Transient, "unreachable"),
            Some("53") => (Transient, "overloaded"),
            Some("28") => (Fatal, "access_denied"),
            Some("42") => (Fatal, "invalid_statement"),
            Some("22" | "23") => (Fatal, "invalid_data"),
            _ => (Transient, "server_error"),
        },
    }
}

fn classify_redis(kind: ErrorKind, code: Option<&str>) -> (ErrorClass, &'static str) {
    use ErrorClass::{Fatal, Transient};
    match (kind, code) {
        (_, Some("OOM")) => (Transient, "overloaded"),
        (_, Some("MISCONF")) => (Transient, "disk_full"),
        (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) | (ErrorKind::AuthenticationFailed, _) => (Fatal, "access_denied"),
        (ErrorKind::Io, _) => (Transient, "unreachable"),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => (Transient, "read_only"),
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => (Transient, "server_error"),
        (ErrorKind::InvalidClientConfig, _) => (Fatal, "invalid_address"),
        (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => (Fatal, "unexpected_answer"),
        // What the client itself reports (closed channels and the like) goes away with a new connection.
        _ => (Transient, "unreachable"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorClass::{Fatal, Transient};

    #[test]
    fn clickhouse_codes_say_what_to_do() {
        for (text, class, code) in [
            (
                "Code: 395. DB::Exception: dp_fenced: while executing…",
                Transient,
                "fenced",
            ),
            ("Code: 395. DB::Exception: something else", Transient, "server_error"),
            ("Code: 60. DB::Exception: Unknown table", Fatal, "schema_missing"),
            (
                "Code: 516. DB::Exception: Authentication failed",
                Fatal,
                "access_denied",
            ),
            ("Code: 62. DB::Exception: Syntax error", Fatal, "invalid_statement"),
            ("Code: 33. DB::Exception: Cannot read all data", Fatal, "invalid_data"),
            ("Code: 252. DB::Exception: Too many parts", Transient, "overloaded"),
            ("Code: 394. DB::Exception: Query was cancelled", Transient, "cancelled"),
            ("Code: 243. DB::Exception: Not enough space", Transient, "disk_full"),
            (
                "Code: 75. DB::ErrnoException: Cannot write to file: , errno: 28, strerror: No space left on device",
                Transient,
                "disk_full",
            ),
            (
                "Code: 246. DB::Exception: Empty marks file",
                Transient,
                "corrupted_data",
            ),
            ("Code: 99999. DB::Exception: new", Transient, "server_error"),
            ("a proxy's page", Transient, "server_error"),
        ] {
            let error = StoreError::clickhouse("test", &clickhouse::error::Error::BadResponse(text.to_owned()));
            assert_eq!((error.class(), error.code()), (class, code), "{text}");
        }
    }

    #[test]
    fn sqlstates_say_what_to_do() {
        for (state, class, code) in [
            ("08006", Transient, "unreachable"),
            ("57P01", Transient, "unreachable"),
            ("57014", Transient, "cancelled"),
            ("53300", Transient, "overloaded"),
            ("53100", Transient, "disk_full"),
            ("40P01", Transient, "conflict"),
            ("25006", Transient, "read_only"),
            ("28P01", Fatal, "access_denied"),
            ("42P01", Fatal, "schema_missing"),
            ("42601", Fatal, "invalid_statement"),
            ("22P05", Fatal, "invalid_data"),
            ("XX000", Transient, "server_error"),
        ] {
            assert_eq!(classify_sqlstate(&SqlState::from_code(state)), (class, code), "{state}");
        }
    }

    #[test]
    fn a_summary_has_none_of_the_servers_words() {
        for code in ["unreachable", "timeout", "cancelled", "invalid_data", "access_denied"] {
            let text = "invalid byte sequence for encoding \"UTF8\": 0x00 (os error 111)".to_owned();
            let error = StoreError::fatal(Store::Postgres, "find prices", code, text);
            let summary = error.summary();
            assert!(
                summary.starts_with("postgres ") && !summary.contains("0x00"),
                "{summary}"
            );
            assert!(
                !summary.contains("os error") && !summary.contains("find prices"),
                "{summary}"
            );
        }
    }

    #[test]
    fn redis_errors_say_what_to_do() {
        for (kind, code_word, class, code) in [
            (ErrorKind::Io, None, Transient, "unreachable"),
            (
                ErrorKind::Server(ServerErrorKind::BusyLoading),
                Some("LOADING"),
                Transient,
                "server_error",
            ),
            (
                ErrorKind::Server(ServerErrorKind::ReadOnly),
                Some("READONLY"),
                Transient,
                "read_only",
            ),
            (ErrorKind::Extension, Some("OOM"), Transient, "overloaded"),
            (ErrorKind::Extension, Some("WRONGPASS"), Fatal, "access_denied"),
            (ErrorKind::AuthenticationFailed, None, Fatal, "access_denied"),
            (ErrorKind::InvalidClientConfig, None, Fatal, "invalid_address"),
        ] {
            assert_eq!(classify_redis(kind, code_word), (class, code), "{kind:?} {code_word:?}");
        }
    }

    #[test]
    fn a_message_names_store_operation_and_remedy() {
        let error = clickhouse::error::Error::BadResponse("Code: 60. DB::Exception: Unknown table x".to_owned());
        let text = StoreError::clickhouse("read back", &error).to_string();
        assert!(text.starts_with("clickhouse: read back: "), "{text}");
        assert!(text.ends_with("; run `dp migrate`"), "{text}");
    }
}
