//! One log entry: JSON of our services, or text of them and of the servers. Pure.
//!
//! Invariant: the lines of a stack trace belong to the entry before them.

use domain::Micros;
use jiff::civil;
use serde::Serialize;
use serde_json::{Map, Value};

/// The level of an entry, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Level {
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
    /// The line does not say.
    #[serde(rename = "-")]
    None,
}

impl Level {
    /// Its word, as our services write it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Fatal => "FATAL",
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
            Level::Trace => "TRACE",
            Level::None => "-",
        }
    }

    /// Every level that a line can have, the worst first.
    pub const ALL: [Level; 6] = [
        Level::Fatal,
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// The level with this name, in any case.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL
            .into_iter()
            .find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// The word of any of the programs.
    fn of(word: &str) -> Option<Level> {
        Some(match word.trim_matches(|c: char| !c.is_ascii_alphabetic()) {
            "FATAL" | "PANIC" | "Fatal" | "Critical" => Level::Fatal,
            "ERROR" | "Error" => Level::Error,
            "WARN" | "WARNING" | "Warning" => Level::Warn,
            "INFO" | "LOG" | "NOTICE" | "Information" | "Notice" => Level::Info,
            "DEBUG" | "Debug" => Level::Debug,
            "TRACE" | "Trace" => Level::Trace,
            _ => return None,
        })
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written; `None` if the line does not say.
    pub at: Option<Micros>,
    /// Level.
    pub level: Level,
    /// Service by its own name, or the process.
    pub service: String,
    /// Module of the program; empty for servers.
    pub target: String,
    /// Code of an error, or the name of the event; may be empty.
    pub code: String,
    /// The message; of a server the whole line.
    pub message: String,
    /// Message, error, reason and detail: what a pattern is searched in.
    pub text: String,
    /// How many entries it stands for: those that the service has suppressed included.
    pub lines: u64,
}

/// Chooses lines of one log by level and time. A line that says neither belongs to the one before it.
#[derive(Debug)]
pub struct Choice {
    process: String,
    /// This level and those that are worse.
    least: Option<Level>,
    since: Option<Micros>,
    /// Whether the last line that says something was chosen.
    is_chosen: bool,
}

impl Choice {
    /// Of the log of this process. Without a level and a time, every line.
    pub fn of(process: &str, least: Option<Level>, since: Option<Micros>) -> Choice {
        Choice {
            process: process.to_owned(),
            least,
            since,
            is_chosen: least.is_none() && since.is_none(),
        }
    }

    /// Whether the next line is chosen.
    pub fn takes(&mut self, line: &str) -> bool {
        if self.least.is_none() && self.since.is_none() {
            return true;
        }
        let entry = json(&self.process, line).unwrap_or_else(|| text(&self.process, line));
        if entry.at.is_some() || entry.level != Level::None {
            let is_bad_enough = self.least.is_none_or(|least| entry.level <= least);
            let is_recent = match (entry.at, self.since) {
                (Some(at), Some(since)) => at >= since,
                _ => true,
            };
            self.is_chosen = is_bad_enough && is_recent;
        }
        self.is_chosen
    }
}

/// Puts the entries of one log together.
pub struct Lines {
    process: String,
    open: Option<Entry>,
}

/// A stack trace is kept up to this length.
const LONGEST_TEXT: usize = 8 << 10;
/// The level of a text line is one of its first words.
const WORDS: usize = 10;

impl Lines {
    /// Of the log of this process.
    pub fn of(process: &str) -> Lines {
        Lines {
            process: process.to_owned(),
            open: None,
        }
    }

    /// Takes the next line; returns the entry that it ends.
    pub fn next(&mut self, line: &str) -> Option<Entry> {
        if line.trim().is_empty() {
            return None;
        }
        let entry = match json(&self.process, line) {
            Some(entry) => entry,
            None => text(&self.process, line),
        };
        let continues = entry.at.is_none() && entry.level == Level::None;
        match &mut self.open {
            Some(open) if continues => {
                if open.text.len() + line.len() < LONGEST_TEXT {
                    open.text.push('\n');
                    open.text.push_str(line);
                }
                None
            }
            open => open.replace(entry),
        }
    }

    /// The last entry.
    pub fn end(&mut self) -> Option<Entry> {
        self.open.take()
    }
}

/// A JSON line of a service, also behind the prefix of docker compose (`name  | {…}`).
fn json(process: &str, line: &str) -> Option<Entry> {
    let object = line.get(line.find('{')?..)?;
    let fields: Map<String, Value> = serde_json::from_str(object).ok()?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let level = Level::of(text("level"))?;
    let suppressed = fields.get("suppressed").and_then(Value::as_u64).unwrap_or(0);
    // A summary stands for the suppressed lines only, another line for itself as well.
    let is_summary = text("message").ends_with("more lines like this were suppressed");
    let parts = ["message", "error", "reason", "detail", "event", "code"].map(text);
    Some(Entry {
        at: text("timestamp")
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_microsecond),
        level,
        service: Some(text("service"))
            .filter(|name| !name.is_empty())
            .unwrap_or(process)
            .to_owned(),
        target: text("target").to_owned(),
        code: Some(text("code"))
            .filter(|code| !code.is_empty())
            .unwrap_or_else(|| text("event"))
            .to_owned(),
        message: text("message").to_owned(),
        text: parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": "),
        lines: if is_summary { suppressed } else { suppressed + 1 },
    })
}

fn text(process: &str, line: &str) -> Entry {
    let word = || line.split_whitespace().take(WORDS).find_map(Level::of);
    let (at, level) = match redis(line) {
        Some((at, level)) => (Some(at), level),
        None => (time(line), word().unwrap_or(Level::None)),
    };
    Entry {
        at,
        level,
        service: process.to_owned(),
        target: String::new(),
        code: String::new(),
        message: line.to_owned(),
        text: line.to_owned(),
        lines: 1,
    }
}

/// Time and level of a line of Redis, such as `12:M 01 Oct 2026 00:00:00.250 # Server initialized`: the mark is the level.
fn redis(line: &str) -> Option<(Micros, Level)> {
    let mut words = line.split_whitespace();
    let (pid, _) = words.next()?.split_once(':')?;
    pid.parse::<u32>().ok()?;
    let written = [words.next()?, words.next()?, words.next()?, words.next()?].join(" ");
    let level = match words.next()? {
        "#" => Level::Warn,
        "*" => Level::Info,
        "-" => Level::Debug,
        "." => Level::Trace,
        _ => return None,
    };
    let at = civil::DateTime::strptime("%d %b %Y %H:%M:%S%.f", &written).ok()?;
    Some((
        at.to_zoned(jiff::tz::TimeZone::system())
            .ok()?
            .timestamp()
            .as_microsecond(),
        level,
    ))
}

/// The time at the beginning of a line, such as `[2026-10-01 00:00:00,123]`, `2026.10.01 00:00:00.123456` or
/// `2026-10-01T00:00:00.123Z`. A time without a zone is one of this machine.
fn time(line: &str) -> Option<Micros> {
    let line = line.trim_start_matches('[');
    let stamp: String = line.get(..19)?.replace('.', "-").replacen([' ', 'T'], "T", 1);
    let local: civil::DateTime = stamp.parse().ok()?;
    let rest = line.get(19..)?;
    let zone = rest
        .trim_start_matches([',', '.'])
        .trim_start_matches(|c: char| c.is_ascii_digit());
    let is_utc = zone.starts_with('Z') || zone.trim_start().starts_with("UTC") || zone.trim_start().starts_with("GMT");
    let zone = if is_utc {
        jiff::tz::TimeZone::UTC
    } else {
        jiff::tz::TimeZone::system()
    };
    Some(local.to_zoned(zone).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn entries(process: &str, lines: &[&str]) -> Vec<Entry> {
        let mut reader = Lines::of(process);
        let mut found: Vec<Entry> = lines.iter().filter_map(|line| reader.next(line)).collect();
        found.extend(reader.end());
        found
    }

    #[test]
    fn a_json_line_has_its_fields_and_counts_what_it_stands_for() {
        let line = r#"{"timestamp":"2026-10-01T00:00:00.250Z","level":"WARN","message":"insert refused","service":"enrichment","target":"service::writer","code":"overloaded","error":"too many parts","suppressed":4}"#;
        let plain = entries("enrichment-2", &[line]).pop().unwrap();
        assert_eq!(
            (plain.level, plain.lines, plain.code.as_str()),
            (Level::Warn, 5, "overloaded")
        );
        assert_eq!(plain.at, Some(1_790_812_800_250_000));
        assert_eq!(
            (plain.service.as_str(), plain.target.as_str()),
            ("enrichment", "service::writer")
        );
        assert_eq!(plain.text, "insert refused: too many parts: overloaded");
        // With the prefix of docker compose.
        let prefixed = entries("x", &[&format!("enrichment-1  | {line}")]).pop().unwrap();
        assert_eq!(prefixed, plain);
        let summary =
            r#"{"level":"ERROR","message":"a: 7 more lines like this were suppressed","suppressed":7,"event":"dlq"}"#;
        let summary = entries("x", &[summary]).pop().unwrap();
        assert_eq!(
            (summary.lines, summary.code.as_str(), summary.service.as_str()),
            (7, "dlq", "x")
        );
    }

    #[test]
    fn the_lines_of_every_server_have_a_level_and_a_time() {
        for (process, line, level) in [
            (
                "kafka",
                "[2026-10-01 00:00:00,250] ERROR [Broker id=1] failed (kafka.server.X)",
                Level::Error,
            ),
            ("kafka", "[2026-10-01 00:00:00,250] WARN slow", Level::Warn),
            (
                "clickhouse",
                "2026.10.01 00:00:00.250000 [ 12 ] {} <Error> TCPHandler: Code: 241",
                Level::Error,
            ),
            (
                "postgres",
                "2026-10-01 00:00:00.250 UTC [12] FATAL:  sorry, too many clients already",
                Level::Fatal,
            ),
            (
                "postgres",
                "2026-10-01 00:00:00.250 UTC [12] LOG:  checkpoint starting",
                Level::Info,
            ),
            (
                "normalization",
                "2026-10-01T00:00:00.250Z normalization ERROR stream: broken key=1",
                Level::Error,
            ),
        ] {
            let found = entries(process, &[line]).pop().unwrap();
            assert_eq!((found.level, found.at.is_some()), (level, true), "{line}");
        }
        let utc = time("2026-10-01 00:00:00.250 UTC [12] LOG").unwrap();
        assert_eq!(utc, 1_790_812_800_000_000);
        assert_eq!(time("at org.apache.kafka.Something.run(Something.java:17)"), None);
    }

    #[test]
    fn lines_are_chosen_by_level_and_time_with_their_stack_traces() {
        let log = [
            "\tat the end of an older file",
            "[2026-10-01 00:00:00,250] ERROR old",
            "\tat a.b.C.d(C.java:1)",
            "[2026-10-01 00:00:01,250] INFO quiet",
            "\tat a.b.C.d(C.java:2)",
            "[2026-10-01 00:00:02,250] WARN new",
            r#"{"timestamp":"2026-10-01T00:00:03Z","level":"FATAL","message":"worst"}"#,
        ];
        let chosen = |least, since: Option<usize>| {
            let since = since.map(|line| time(log[line]).unwrap());
            let mut choice = Choice::of("kafka", least, since);
            let taken = log.iter().enumerate().filter(|(_, line)| choice.takes(line));
            taken.map(|(index, _)| index).collect::<Vec<_>>()
        };
        assert_eq!(chosen(None, None), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(chosen(Some(Level::Warn), None), [1, 2, 5, 6]);
        assert_eq!(chosen(Level::from_name("error"), None), [1, 2, 6]);
        assert_eq!(chosen(None, Some(3))[..3], [3, 4, 5]);
        assert_eq!(chosen(Some(Level::Warn), Some(3))[..1], [5]);
        assert_eq!(Level::from_name("-"), None);
    }

    #[test]
    fn a_stack_trace_belongs_to_its_error() {
        let found = entries(
            "kafka",
            &[
                "[2026-10-01 00:00:00,250] ERROR failed",
                "java.io.IOException: No space left on device",
                "\tat a.b.C.d(C.java:1)",
                "",
                "[2026-10-01 00:00:01,250] INFO next",
            ],
        );
        assert_eq!(found.len(), 2);
        assert!(found[0].text.contains("No space left") && found[0].message.ends_with("failed"));
    }

    #[test]
    fn a_line_without_any_form_is_an_entry_of_its_own_only_at_the_beginning() {
        let found = entries("x", &["usage: x", "more", "{\"no\":\"level\"}"]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].level, found[0].at), (Level::None, None));
    }
}
