use redis::{ErrorKind, ServerErrorKind};
use tokio_postgres::error::SqlState;

use super::*;
use ErrorClass::{Fatal, Transient};

#[test]
fn clickhouse_codes_are_classified() {
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
        (
            "Code: 497. DB::Exception: user: Not enough privileges. To execute this query, it's necessary to have the grant \
             INSERT(price) ON market_data.market_ticks",
            Fatal,
            "grant_missing",
        ),
        (
            "Code: 153. DB::Exception: Division by zero: while pushing to view market_data.broken",
            Fatal,
            "write_refused",
        ),
        (
            "Code: 452. DB::Exception: Setting async_insert should not be changed",
            Fatal,
            "write_refused",
        ),
        ("Client sent an HTTP request to an HTTPS server.", Fatal, "tls_mismatch"),
        (
            "Code: 701. DB::Exception: Requested cluster 'prices' not found",
            Fatal,
            "cluster_missing",
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
fn sqlstates_are_classified() {
    for (state, class, code) in [
        ("08006", Transient, "unreachable"),
        ("57P01", Transient, "unreachable"),
        ("57014", Transient, "cancelled"),
        ("53300", Transient, "overloaded"),
        ("53100", Transient, "disk_full"),
        ("40P01", Transient, "conflict"),
        ("25006", Transient, "read_only"),
        ("28P01", Fatal, "access_denied"),
        ("28000", Fatal, "access_denied"),
        ("3D000", Fatal, "invalid_address"),
        ("42501", Fatal, "grant_missing"),
        ("42P01", Fatal, "schema_missing"),
        ("42601", Fatal, "invalid_statement"),
        ("22P05", Fatal, "invalid_data"),
        ("XX000", Transient, "server_error"),
    ] {
        assert_eq!(
            classify_sqlstate(&SqlState::from_code(state), ""),
            (class, code),
            "{state}"
        );
    }
}

#[test]
fn a_summary_contains_no_text_of_the_server() {
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
fn redis_errors_are_classified() {
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
        (ErrorKind::Extension, Some("NOPERM"), Fatal, "grant_missing"),
        (ErrorKind::AuthenticationFailed, None, Fatal, "access_denied"),
        (ErrorKind::InvalidClientConfig, None, Fatal, "invalid_address"),
    ] {
        assert_eq!(
            classify_redis(kind, code_word, ""),
            (class, code),
            "{kind:?} {code_word:?}"
        );
    }
}

#[test]
fn a_message_names_store_operation_and_remedy() {
    let error = clickhouse::error::Error::BadResponse("Code: 60. DB::Exception: Unknown table x".to_owned());
    let text = StoreError::clickhouse("read back", &error).to_string();
    assert!(text.starts_with("clickhouse: read back: "), "{text}");
    assert!(text.ends_with("; run `dp migrate`"), "{text}");
}

#[test]
fn ambiguous_sqlstates_are_classified_by_their_message() {
    for (state, message, class, code) in [
        ("08P01", "FATAL: SSL required", Fatal, "tls_mismatch"),
        ("08P01", "FATAL: password authentication failed", Fatal, "access_denied"),
        ("08P01", "FATAL: no such database: other", Fatal, "invalid_address"),
        (
            "08P01",
            "FATAL: server login has been failing, try again later",
            Transient,
            "unreachable",
        ),
        (
            "28000",
            "no pg_hba.conf entry for host \"10.0.0.1\", user \"user\", no encryption",
            Fatal,
            "tls_mismatch",
        ),
    ] {
        assert_eq!(
            classify_sqlstate(&SqlState::from_code(state), message),
            (class, code),
            "{message}"
        );
    }
}

#[test]
fn errors_that_an_operator_must_fix_name_their_setting() {
    for (store, settings) in [
        (
            Store::ClickHouse,
            ["DATA_PROC_CLICKHOUSE_PASSWORD", "DATA_PROC_CLICKHOUSE_URL", "https://"],
        ),
        (
            Store::Postgres,
            [
                "DATA_PROC_POSTGRES_DSN",
                "DATA_PROC_POSTGRES_DSN",
                "sslmode=verify-full",
            ],
        ),
        (
            Store::Redis,
            ["DATA_PROC_REDIS_URL", "DATA_PROC_REDIS_URL", "rediss://"],
        ),
    ] {
        let remedy = |code| StoreError::fatal(store, "test", code, "why".to_owned()).to_string();
        for (code, setting) in [
            ("access_denied", settings[0]),
            ("certificate_refused", settings[1]),
            ("certificate_refused", "DATA_PROC_TLS_CA"),
            ("tls_mismatch", settings[2]),
            ("grant_missing", "docs/security.md"),
        ] {
            assert!(remedy(code).contains(setting), "{}", remedy(code));
        }
    }
}
