//! Log lines: one JSON object per line on stdout, or a readable form for a terminal (features C).
//!
//! Role: installs the process-wide subscriber and a panic hook, so that a process never ends without a line with the reason.
//! Level words are those that operators grep: ERROR, WARN, INFO, DEBUG, TRACE, and FATAL for errors that end the process (an
//! ERROR event with the field `fatal = true`).
//! Invariants: every WARN, ERROR and FATAL line has a `correlation_id`: that of the message, else the message's location in
//! the log, else the id of this run of the process. A flood of one kind becomes a few lines and a count, and every value is
//! cut at its limit: producers do not control how much is logged.

mod colour;
mod fields;
pub mod level;
mod throttle;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use self::fields::Fields;
use self::level::Levels;
use self::throttle::{Admission, Sample, Throttle};
use crate::settings::{LogFormat, LogSettings};

/// The lines of this process, for the summaries of suppressed lines, and its level.
static INSTALLED: OnceLock<(Arc<Lines>, Arc<Levels>)> = OnceLock::new();

/// Logs an error that ends the process, with level word FATAL; `error` also contains what to do next.
#[macro_export]
macro_rules! fatal {
    ($($arg:tt)+) => { ::tracing::error!(fatal = true, $($arg)+) };
}

/// Installs logging for the process. Later calls change nothing (tests start several services in one process). Returns the
/// level of the process.
///
/// `run_id` is the correlation id of lines that concern no message.
pub fn install(service: &str, run_id: &str, log: &LogSettings) -> Arc<Levels> {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = Arc::new(Lines {
        service: service.to_owned(),
        run_id: run_id.to_owned(),
        format: log.format,
        throttle: Throttle::default(),
        is_coloured: log.format == LogFormat::Pretty && colour::is_wanted(),
    });
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(LineFormat(Arc::clone(&lines)))
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    if tracing::subscriber::set_global_default(subscriber.finish()).is_ok() {
        let apply = move |filter| {
            handle
                .reload(filter)
                .map_err(|error| format!("change the log level: {error}"))
        };
        _ = INSTALLED.set((lines, Arc::new(Levels::new(&log.filter, Box::new(apply)))));
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(fatal = true, place, error = %panic, "a thread panicked");
        }));
    }
    let foreign = || {
        Levels::new(
            &log.filter,
            Box::new(|_| Err("the process has other logging".to_owned())),
        )
    };
    INSTALLED
        .get()
        .map_or_else(|| Arc::new(foreign()), |(_, levels)| Arc::clone(levels))
}

/// Writes one summary for each kind whose lines were suppressed since its last written line. Called every few seconds, and
/// once at the end with `ending`, for the intervals that are not over yet.
pub fn report_suppressed(ending: bool) {
    let Some((lines, _)) = INSTALLED.get() else { return };
    let now = Instant::now();
    let until = if ending { now + throttle::INTERVAL } else { now };
    for line in lines.summaries(until) {
        // Nobody may be reading stdout, which is not a failure.
        _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// Formats events as lines.
struct Lines {
    service: String,
    run_id: String,
    format: LogFormat,
    throttle: Throttle,
    is_coloured: bool,
}

struct LineFormat(Arc<Lines>);

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        match self.0.throttle.admit(event, &fields, Instant::now()) {
            Admission::Suppress => Ok(()),
            Admission::Write { suppressed } => {
                if suppressed > 0 {
                    fields.values.insert("suppressed".to_owned(), suppressed.into());
                }
                let metadata = event.metadata();
                writeln!(writer, "{}", self.0.line(*metadata.level(), metadata.target(), fields))
            }
        }
    }
}

impl Lines {
    fn line(&self, level: Level, target: &str, mut fields: Fields) -> String {
        let word = if fields.fatal { "FATAL" } else { level_word(level) };
        if level <= Level::WARN && fields.text("correlation_id").is_none() {
            let made = place(&fields).unwrap_or_else(|| self.run_id.clone());
            fields.values.insert("correlation_id".to_owned(), made.into());
        }
        match self.format {
            LogFormat::Json => self.json(word, target, fields),
            LogFormat::Pretty if self.is_coloured => {
                colour::painted(&self.pretty(word, target, &fields), level, fields.text("event"))
            }
            LogFormat::Pretty => self.pretty(word, target, &fields),
        }
    }

    /// Summaries of suppressed lines, for the intervals that are over at `now`.
    fn summaries(&self, now: Instant) -> Vec<String> {
        let summary = |(sample, suppressed): (Sample, u64)| {
            let is_dlq = sample.keys.get("event").is_some_and(|event| event == "dlq");
            let mut values = sample.keys;
            values.insert("suppressed".to_owned(), suppressed.into());
            if is_dlq {
                values.insert("see".to_owned(), "dp tail dlq".into());
            }
            let fields = Fields {
                message: format!("{}: {suppressed} more lines like this were suppressed", sample.message),
                fatal: false,
                values,
            };
            self.line(sample.level, sample.target, fields)
        };
        self.throttle.due(now).into_iter().map(summary).collect()
    }

    fn json(&self, level: &str, target: &str, fields: Fields) -> String {
        let mut line = Map::new();
        line.insert("timestamp".into(), timestamp().into());
        line.insert("level".into(), level.into());
        line.insert("message".into(), fields.message.into());
        line.insert("service".into(), self.service.clone().into());
        line.insert("target".into(), target.into());
        line.extend(fields.values);
        Value::Object(line).to_string()
    }

    fn pretty(&self, level: &str, target: &str, fields: &Fields) -> String {
        // The level is the third column, which scripts select with `awk`.
        let mut line = format!(
            "{} {} {level:<5} {target}: {}",
            timestamp(),
            self.service,
            fields.message
        );
        for (name, value) in &fields.values {
            // Values from producers may contain line ends or terminal controls: they are escaped as `\u{1b}`.
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), |text| text.escape_debug().to_string());
            // Writing to a String cannot fail.
            _ = write!(line, " {name}={value}");
        }
        line
    }
}

/// The location of the message that the line is about, `topic/partition/offset`, if its fields contain it.
fn place(fields: &Fields) -> Option<String> {
    let topic = fields.text("topic")?;
    let number = |name: &str| fields.values.get(name)?.as_i64();
    Some(format!("{topic}/{}/{}", number("partition")?, number("offset")?))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io;

    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
        let captured = Captured::default();
        let sink = captured.clone();
        let format = LineFormat(Arc::new(Lines {
            service: "normalization".into(),
            run_id: "run-1".into(),
            format,
            throttle: Throttle::default(),
            is_coloured: false,
        }));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("debug"))
            .event_format(format)
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = captured.0.lock().clone();
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
    fn errors_that_end_the_process_are_fatal_and_every_warning_has_a_correlation_id() {
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
        assert!(
            lines[0].ends_with("waiting correlation_id=run-1 offset=7"),
            "{}",
            lines[0]
        );
    }

    #[test]
    fn a_message_without_a_correlation_id_gets_its_location() {
        let lines = lines(LogFormat::Json, || {
            tracing::error!(
                topic = "raw",
                partition = 3,
                offset = 42,
                correlation_id = "",
                "refused"
            );
            tracing::error!(topic = "raw", correlation_id = "", "no place");
        });
        let ids: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["correlation_id"].clone())
            .collect();
        assert_eq!(ids, ["raw/3/42", "run-1"]);
    }

    #[test]
    fn a_long_value_from_a_producer_is_cut() {
        let id = "x".repeat(900_000);
        let lines = lines(LogFormat::Json, || {
            tracing::error!(correlation_id = id, error = %id, "refused");
        });
        assert!(lines[0].len() < 3_000, "{} bytes", lines[0].len());
        assert!(lines[0].contains("… (900000 bytes)"), "{}", lines[0]);
    }

    #[test]
    fn a_flood_of_one_kind_writes_its_first_lines_and_counts_the_rest() {
        let captured = Captured::default();
        let sink = captured.clone();
        let shared = Arc::new(Lines {
            service: "normalization".into(),
            run_id: "run-1".into(),
            format: LogFormat::Json,
            throttle: Throttle::default(),
            is_coloured: false,
        });
        let subscriber = tracing_subscriber::fmt()
            .event_format(LineFormat(Arc::clone(&shared)))
            .with_writer(move || sink.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for offset in 0..100_000 {
                let code = if offset % 4 == 0 { "invalid_time" } else { "broken_json" };
                tracing::error!(
                    event = "dlq",
                    topic = "raw",
                    partition = 0,
                    offset,
                    code,
                    "sent to the dlq"
                );
                tracing::warn!(error = %format!("no broker responds ({offset})"), "kafka client reports a problem");
            }
        });
        let bytes = captured.0.lock().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.len() < 20_000, "{} bytes", text.len());
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let written = lines.len();
        assert_eq!(
            shared.summaries(Instant::now()),
            Vec::<String>::new(),
            "the interval is not over"
        );
        lines.extend(shared.summaries(Instant::now() + throttle::INTERVAL));
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (name, value, events) in [
            ("code", "invalid_time", 25_000),
            ("code", "broken_json", 75_000),
            ("level", "WARN", 100_000),
        ] {
            let of_kind = lines.iter().filter(|line| line[name] == value);
            let (lines, left_out) = of_kind.fold((0, 0), |(lines, left_out), line| {
                (lines + 1, left_out + line["suppressed"].as_u64().unwrap_or(0))
            });
            // The summary stands for the lines that it counts.
            assert_eq!(lines - 1 + left_out, events, "{name}={value}");
        }
        assert_eq!((written, lines.len()), (41, 44));
        let summary = lines.iter().rfind(|line| line["code"] == "broken_json").unwrap();
        assert_eq!(
            (&summary["see"], &summary["level"]),
            (&"dp tail dlq".into(), &"ERROR".into())
        );
        assert_eq!(
            shared.summaries(Instant::now() + throttle::INTERVAL * 2),
            Vec::<String>::new()
        );
    }
}
