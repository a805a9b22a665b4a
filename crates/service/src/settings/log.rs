//! Reads what is logged, and in which format.

use super::{LogFormat, LogSettings, Reader};
use crate::telemetry::level::LEVELS;

/// Problems are noted in the reader.
pub(super) fn read(r: &mut Reader<'_>) -> LogSettings {
    let fallback = r
        .lookup("LOG_LEVEL")
        .unwrap_or_else(|| "info".to_owned())
        .to_ascii_lowercase();
    let level = r.text(
        "DATA_PROC_LOG_LEVEL",
        &fallback,
        "error, warn, info, debug or trace (RUST_LOG overrides it, falls back to LOG_LEVEL)",
    );
    // As a filter, any other word would be the name of a module, and nothing would be logged.
    if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
        let name = match r.is_set("DATA_PROC_LOG_LEVEL") {
            true => "DATA_PROC_LOG_LEVEL",
            false => "LOG_LEVEL",
        };
        r.problem(format!(
            "{name} must be error, warn, info, debug or trace, got '{level}'"
        ));
    }
    let filter = r.lookup("RUST_LOG").unwrap_or_else(|| level.to_ascii_lowercase());
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&filter)
        && r.lookup("RUST_LOG").is_some()
    {
        r.problem(format!("RUST_LOG '{filter}' is invalid: {error}"));
    }
    let fallback = r.lookup("LOG_FORMAT").unwrap_or_else(|| "json".to_owned());
    let format = match r
        .text(
            "DATA_PROC_LOG_FORMAT",
            &fallback,
            "json or pretty (falls back to LOG_FORMAT)",
        )
        .as_str()
    {
        "json" => LogFormat::Json,
        "pretty" | "text" => LogFormat::Pretty,
        other => {
            r.problem(format!("DATA_PROC_LOG_FORMAT must be json or pretty, got '{other}'"));
            LogFormat::Json
        }
    };
    LogSettings { filter, format }
}
