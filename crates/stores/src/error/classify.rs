//! Classifies server errors: tables of ClickHouse codes, SQLSTATEs and Redis error words.
//!
//! Role: pure functions from a client library's error to a class and a code of the closed set.
//! Failure: an unknown code is `server_error` and transient, so that a new server release stops nothing.

use domain::ErrorClass;
use redis::{ErrorKind, ServerErrorKind};
use tokio_postgres::error::SqlState;

use super::Store;
use ErrorClass::{Fatal, Transient};

/// The number in `Code: 60. DB::Exception: …`.
pub(super) fn clickhouse_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The code of a TLS error; client libraries wrap it in their own errors and keep its text.
pub(super) fn of_tls(message: &str) -> Option<&'static str> {
    const REFUSED: [&str; 2] = ["invalid peer certificate", "certificate required"];
    // The last two: a TLS alert parsed as HTTP, and a PostgreSQL server that responds `N` to the request for TLS.
    const MISMATCH: [&str; 5] = [
        "received corrupt message",
        "received fatal alert",
        "peer is incompatible",
        "invalid HTTP version parsed",
        "server does not support TLS",
    ];
    if REFUSED.iter().any(|words| message.contains(words)) {
        return Some("certificate_refused");
    }
    MISMATCH
        .iter()
        .any(|words| message.contains(words))
        .then_some("tls_mismatch")
}

/// A server that expects TLS closes a plaintext connection without a message: then this is the likely cause.
pub(super) fn of_plaintext(message: &str, store: Store) -> Option<&'static str> {
    const CLOSED: [&str; 4] = [
        "connection closed before message completed",
        "Connection reset by peer",
        "unexpected end of file",
        "Server closed connection",
    ];
    if !CLOSED.iter().any(|words| message.contains(words)) {
        return None;
    }
    match store {
        Store::ClickHouse => Some("if the server expects TLS, use https:// in DATA_PROC_CLICKHOUSE_URL"),
        Store::Redis => Some("if the server expects TLS, use rediss:// in DATA_PROC_REDIS_URL"),
        // Its own message names the cause.
        Store::Postgres => None,
    }
}

pub(super) fn classify_clickhouse(code: Option<u32>, text: &str) -> (ErrorClass, &'static str) {
    // The rows may be in the table but not in the view: the view must be removed or corrected.
    if text.contains("while pushing to view") {
        return (Fatal, "write_refused");
    }
    match code {
        Some(395) if text.contains(crate::clickhouse::FENCED) => (Transient, "fenced"),
        Some(16 | 47 | 60 | 81) => (Fatal, "schema_missing"),
        Some(497) => (Fatal, "grant_missing"),
        // No such cluster (an older and a newer code), and a server without Keeper.
        Some(139 | 170 | 701) => (Fatal, "cluster_missing"),
        Some(192 | 193 | 194 | 516) => (Fatal, "access_denied"),
        // A table constraint, and a profile constraint on a setting that the writer needs.
        Some(164 | 452 | 469) => (Fatal, "write_refused"),
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
        // The response of a TLS server to a plaintext request: "Client sent an HTTP request to an HTTPS server".
        None if text.contains("HTTPS") => (Fatal, "tls_mismatch"),
        _ => (Transient, "server_error"),
    }
}

pub(super) fn classify_sqlstate(state: &SqlState, message: &str) -> (ErrorClass, &'static str) {
    match state.code() {
        "57014" => (Transient, "cancelled"),
        "53100" => (Transient, "disk_full"),
        "25006" => (Transient, "read_only"),
        "40001" | "40P01" | "55P03" => (Transient, "conflict"),
        "3D000" => (Fatal, "invalid_address"),
        "42P01" | "42703" | "42883" | "3F000" => (Fatal, "schema_missing"),
        "42501" => (Fatal, "grant_missing"),
        "08P01" => of_pooler(message),
        "28000" if message.contains("no encryption") || message.contains("SSL off") => (Fatal, "tls_mismatch"),
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

/// PgBouncer uses one SQLSTATE for all its own errors.
fn of_pooler(message: &str) -> (ErrorClass, &'static str) {
    let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
    if has(&["SSL required", "TLS required"]) {
        (Fatal, "tls_mismatch")
    } else if has(&["authentication failed", "no such user", "not allowed"]) {
        (Fatal, "access_denied")
    } else if has(&["no such database", "unsupported startup parameter"]) {
        (Fatal, "invalid_address")
    } else {
        (Transient, "unreachable")
    }
}

pub(super) fn classify_redis(kind: ErrorKind, code: Option<&str>, message: &str) -> (ErrorClass, &'static str) {
    let says = |word: &str| code == Some(word) || message.contains(word);
    // An authentication failure while connecting has its own kind, with the server's text in the message.
    if says("NOPERM") {
        return (Fatal, "grant_missing");
    }
    match (kind, code) {
        (_, Some("OOM")) => (Transient, "overloaded"),
        (_, Some("MISCONF")) => (Transient, "disk_full"),
        (_, Some("NOAUTH" | "WRONGPASS")) | (ErrorKind::AuthenticationFailed, _) => (Fatal, "access_denied"),
        _ if says("WRONGPASS") || says("NOAUTH") => (Fatal, "access_denied"),
        (ErrorKind::Io, _) => (Transient, "unreachable"),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => (Transient, "read_only"),
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => (Transient, "server_error"),
        (ErrorKind::InvalidClientConfig, _) => (Fatal, "invalid_address"),
        (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) => (Fatal, "unexpected_answer"),
        // Errors of the client itself (such as closed channels) disappear with a new connection.
        _ => (Transient, "unreachable"),
    }
}
