//! Log lines: one JSON object per line on stdout, or a readable form for a terminal (features C).
//!
//! Role: installs the one subscriber of the process and a panic hook, so that a process never ends without a line that
//! says why. Level words are those that operators grep: ERROR, WARN, INFO, DEBUG, TRACE, and FATAL for what ends the
//! process (an ERROR event with the field `fatal = true`).
//! Invariant: every WARN, ERROR and FATAL line carries a `correlation_id`; where no message is concerned, it is the id of
//! this run of the process.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::settings::{LogFormat, LogSettings};

/// Logs what ends the process: level word FATAL, and what to do next in `error`.
#[macro_export]
macro_rules! fatal {
    ($($arg:tt)+) => { ::tracing::error!(fatal = true, $($arg)+) };
}

/// Installs logging for the process. A second call changes nothing (tests start several services in one process).
///
/// `run_id` stands in for the correlation id where a line concerns no message.
pub fn install(service: &str, run_id: &str, log: &LogSettings) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let format = LineFormat {
        service: service.to_owned(),
        run_id: run_id.to_owned(),
        format: log.format,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(format)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(fatal = true, place, error = %panic, "a thread panicked");
        }));
    }
}

/// Formats one event as one line.
struct LineFormat {
    service: String,
    run_id: String,
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = if fields.fatal {
            "FATAL"
        } else {
            level_word(*metadata.level())
        };
        match self.format {
            LogFormat::Json => {
                let line = self.json(level, metadata.target(), fields);
                writeln!(writer, "{line}")
            }
            LogFormat::Pretty => writeln!(writer, "{}", self.pretty(level, metadata.target(), &fields)),
        }
    }
}

impl LineFormat {
    fn json(&self, level: &str, target: &str, fields: Fields) -> Value {
        let mut line = Map::new();
        line.insert("timestamp".into(), timestamp().into());
        line.insert("level".into(), level.into());
        line.insert("message".into(), fields.message.into());
        line.insert("service".into(), self.service.clone().into());
        line.insert("target".into(), target.into());
        line.extend(fields.values);
        if matches!(level, "WARN" | "ERROR" | "FATAL") && !line.contains_key("correlation_id") {
            line.insert("correlation_id".into(), self.run_id.clone().into());
        }
        Value::Object(line)
    }

    fn pretty(&self, level: &str, target: &str, fields: &Fields) -> String {
        // The level stands in the third column, which `awk` counts.
        let mut line = format!(
            "{} {} {level:<5} {target}: {}",
            timestamp(),
            self.service,
            fields.message
        );
        for (name, value) in &fields.values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // Writing to a String cannot fail.
            _ = write!(line, " {name}={text}");
        }
        line
    }
}

fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

/// The fields of one event.
#[derive(Default)]
struct Fields {
    message: String,
    fatal: bool,
    values: Map<String, Value>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        self.values.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.set(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.set(field, value.into());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "fatal" {
            self.fatal = value;
        } else {
            self.set(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
        let captured = Captured::default();
        let sink = captured.clone();
        let format = LineFormat {
            service: "normalization".into(),
            run_id: "run-1".into(),
            format,
        };
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("debug"))
            .event_format(format)
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_is_one_json_object_with_the_fields_that_operators_query() {
        let lines = lines(LogFormat::Json, || {
            tracing::error!(event = "dlq", offset = 7, correlation_id = "c-1", error = %"no \"price\"\nhere", "message refused");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        for (name, value) in [
            ("level", Value::from("ERROR")),
            ("message", "message refused".into()),
            ("service", "normalization".into()),
            ("event", "dlq".into()),
            ("offset", 7.into()),
            ("correlation_id", "c-1".into()),
            ("error", "no \"price\"\nhere".into()),
        ] {
            assert_eq!(line[name], value, "{name}");
        }
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(
            timestamp.ends_with('Z') && timestamp.len() == "2026-01-01T00:00:00.000Z".len(),
            "{timestamp}"
        );
    }

    #[test]
    fn what_ends_the_process_is_called_fatal_and_every_warning_can_be_correlated() {
        let lines = lines(LogFormat::Json, || {
            crate::fatal!(error = "port in use", "cannot start");
            tracing::warn!("waiting");
            tracing::info!("fine");
        });
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["level"], "FATAL");
        assert!(lines[0].get("fatal").is_none());
        assert_eq!(lines[1]["level"], "WARN");
        assert_eq!(
            (&lines[0]["correlation_id"], &lines[1]["correlation_id"]),
            (&"run-1".into(), &"run-1".into())
        );
        assert!(lines[2].get("correlation_id").is_none());
    }

    #[test]
    fn the_readable_form_has_the_level_at_a_fixed_column() {
        let lines = lines(LogFormat::Pretty, || tracing::warn!(offset = 7, "waiting"));
        assert_eq!(lines[0].split_whitespace().nth(2), Some("WARN"));
        assert!(lines[0].ends_with("waiting offset=7"), "{}", lines[0]);
    }
}
