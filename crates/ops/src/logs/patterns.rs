//! Finds problems in log lines: known ones with cause and next command, and unknown errors. Pure.
//!
//! Invariant: only lines of level WARN or worse are searched, so a line that reports a success never matches. The first pattern that
//! matches a line counts it; an error that none matches is listed as unknown.

use std::collections::BTreeMap;

use domain::Micros;
use serde::Serialize;

use super::known::{PATTERNS, Pattern};
use super::line::{Entry, Level};
use crate::present::iso;

pub use super::severity::Severity;

/// Kinds of unknown errors that are kept.
const UNKNOWN: usize = 200;
/// Bytes of an unknown message by which lines are grouped.
const NAMED: usize = 120;
/// Characters of an id: those of a number of a process or a port are fewer.
const SHORTEST_ID: usize = 8;
/// Words before the mark of a statement in a line of PostgreSQL: time, zone, process and what `log_line_prefix` adds.
const STATEMENT_WITHIN: usize = 10;
/// Characters of a line that are shown.
const SHOWN: usize = 300;

/// A problem that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Its name; of an unknown error, the message without its numbers.
    pub name: String,
    /// Whether one of the patterns has recognized it.
    pub is_known: bool,
    /// Number of lines, suppressed ones included.
    pub lines: u64,
    /// The services that wrote them.
    pub services: Vec<String>,
    /// When the newest was written, in ISO 8601; empty if no line says it.
    pub newest: String,
    /// The newest line, shortened.
    pub example: String,
    /// Likely cause; empty if unknown.
    pub cause: String,
    /// The command to type next.
    pub next: String,
}

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Analysis {
    /// The worst first; of equal ones the most frequent.
    pub problems: Vec<Problem>,
    /// Lines that were read.
    pub lines: u64,
    /// Errors of further unknown kinds.
    pub uncounted: u64,
}

#[derive(Default)]
struct Hits {
    lines: u64,
    newest: Option<Micros>,
    example: String,
    services: Vec<String>,
}

impl Hits {
    fn add(&mut self, entry: &Entry) {
        self.lines += entry.lines;
        if entry.at >= self.newest || self.example.is_empty() {
            self.newest = entry.at.or(self.newest);
            self.example = entry.text.replace('\n', " ").chars().take(SHOWN).collect();
        }
        if !self.services.contains(&entry.service) {
            self.services.push(entry.service.clone());
        }
    }

    fn problem(mut self, severity: Severity, name: &str, pattern: Option<&Pattern>) -> Problem {
        self.services.sort();
        Problem {
            severity,
            name: name.to_owned(),
            is_known: pattern.is_some(),
            lines: self.lines,
            newest: self.newest.map(iso).unwrap_or_default(),
            example: self.example,
            cause: pattern.map_or("", |pattern| pattern.cause).to_owned(),
            next: pattern.map_or_else(
                || format!("dp logs {} -n 100", self.services.first().map_or("", String::as_str)),
                |pattern| pattern.next.to_owned(),
            ),
            services: self.services,
        }
    }
}

/// Searches entries for problems.
#[derive(Default)]
pub struct Analyzer {
    known: BTreeMap<usize, Hits>,
    unknown: BTreeMap<String, (Severity, Hits)>,
    lines: u64,
    uncounted: u64,
}

impl Analyzer {
    /// Searches one entry.
    pub fn add(&mut self, entry: &Entry) {
        self.lines += entry.lines;
        if matches!(entry.level, Level::Info | Level::Debug | Level::Trace) || is_statement(entry) {
            return;
        }
        let text = entry.text.to_lowercase();
        if let Some(number) = PATTERNS
            .iter()
            .position(|pattern| pattern.any.iter().any(|part| text.contains(part)))
        {
            return self.known.entry(number).or_default().add(entry);
        }
        let severity = match entry.level {
            Level::Fatal => Severity::Critical,
            Level::Error => Severity::Error,
            _ => return,
        };
        let name = kind(&entry.message);
        if self.unknown.len() >= UNKNOWN && !self.unknown.contains_key(&name) {
            self.uncounted += entry.lines;
            return;
        }
        let (worst, hits) = self.unknown.entry(name).or_insert_with(|| (severity, Hits::default()));
        *worst = (*worst).min(severity);
        hits.add(entry);
    }

    /// What was found.
    pub fn analysis(self) -> Analysis {
        let known = self.known.into_iter().filter_map(|(number, hits)| {
            let pattern = PATTERNS.get(number)?;
            Some(hits.problem(pattern.severity, pattern.name, Some(pattern)))
        });
        let unknown = self
            .unknown
            .into_iter()
            .map(|(name, (severity, hits))| hits.problem(severity, &name, None));
        let mut problems: Vec<Problem> = known.chain(unknown).collect();
        problems.sort_by_key(|problem| (problem.severity, std::cmp::Reverse(problem.lines)));
        Analysis {
            problems,
            lines: self.lines,
            uncounted: self.uncounted,
        }
    }
}

/// The statement that PostgreSQL logs after an error: its words (`ON CONFLICT`) say nothing of what went wrong.
fn is_statement(entry: &Entry) -> bool {
    let mut words = entry.message.split_whitespace().take(STATEMENT_WITHIN);
    entry.level == Level::None && words.any(|word| matches!(word, "STATEMENT:" | "QUERY:"))
}

/// A message without what differs from line to line: times, ids, offsets. The time, thread and session at its begin are left out.
fn kind(message: &str) -> String {
    let words = message.split_whitespace().map(masked);
    let mut kind = String::new();
    for word in words.skip_while(|word| is_mark(word)) {
        if !kind.is_empty() && kind.len() + word.len() > NAMED {
            break;
        }
        if !kind.is_empty() {
            kind.push(' ');
        }
        kind += &word;
    }
    let shown = if kind.is_empty() { masked(message) } else { kind };
    shown.chars().take(NAMED).collect()
}

/// A word with `#` for each number, and as a whole for an id.
fn masked(word: &str) -> String {
    if is_id(word) {
        return "#".to_owned();
    }
    let mut masked = String::new();
    for character in word.chars() {
        match character {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            _ => masked.push(character),
        }
    }
    masked
}

/// Whether a masked word is a time, a number, a bracket or an id, as at the begin of the lines of ClickHouse and PostgreSQL.
fn is_mark(word: &str) -> bool {
    word == "UTC" || !word.chars().any(char::is_alphabetic)
}

/// Whether a word is a hexadecimal id, such as that of a query.
fn is_id(word: &str) -> bool {
    let inner = word.trim_matches(|character: char| !character.is_ascii_alphanumeric());
    let is_hexadecimal = inner.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    inner.len() >= SHORTEST_ID && is_hexadecimal && inner.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(level: Level, text: &str) -> Entry {
        Entry {
            at: Some(1_000_000),
            level,
            service: "s".to_owned(),
            target: String::new(),
            code: String::new(),
            message: text.to_owned(),
            text: text.to_owned(),
            lines: 1,
        }
    }

    fn analyzed(entries: &[Entry]) -> Vec<(Severity, String, u64)> {
        let mut analyzer = Analyzer::default();
        entries.iter().for_each(|entry| analyzer.add(entry));
        let problems = analyzer.analysis().problems;
        problems
            .into_iter()
            .map(|problem| (problem.severity, problem.name, problem.lines))
            .collect()
    }

    #[test]
    fn each_problem_is_recognized_in_a_line_that_a_program_writes() {
        for (line, name) in [
            (
                "Code: 243. DB::Exception: Cannot reserve 1.00 MiB, not enough space",
                "full disk",
            ),
            ("java.io.IOException: No space left on device", "full disk"),
            (
                "DB::Exception: Memory limit (total) exceeded: would use 7 GiB",
                "out of memory",
            ),
            ("java.lang.OutOfMemoryError: Java heap space", "out of memory"),
            ("FATAL:  sorry, too many clients already", "no free connection"),
            ("Connection pool exhausted", "no free connection"),
            ("service cannot start: address in use", "process cannot start"),
            ("SASL authentication failed", "login or right refused"),
            (
                "FATAL:  password authentication failed for user \"user\"",
                "login or right refused",
            ),
            (
                "invalid peer certificate: certificate has expired",
                "certificate refused",
            ),
            (
                "ERROR:  relation \"served_latest_prices\" does not exist",
                "table or topic missing",
            ),
            ("partition is blocked: open transaction", "partition blocked"),
            ("message 0/7: unknown schema id 12", "schema mismatch"),
            ("sent to the dlq: dlq: no_price", "poison message"),
            (
                "insert refused; no data is lost. Fix the cause in `error`; the service retries",
                "write refused",
            ),
            (
                "dependency check fails: Connection refused (os error 111)",
                "connection refused or lost",
            ),
            (
                "<Error> StaticRequestHandler: Code: 210. DB::NetException: Connection reset by peer, while writing to socket",
                "client left early",
            ),
            (
                "<Error> cancelWithException(): Failed to send exception to the response write buffer.: Write buffer has been canceled",
                "client left early",
            ),
            ("command timed out", "time-out"),
            ("Execution Timeout Expired", "time-out"),
            (
                "insert refused: another writer owns one of its partitions",
                "fenced writer or conflict",
            ),
            (
                "could not serialize access due to concurrent update",
                "fenced writer or conflict",
            ),
            ("Preparing to rebalance group normalization-local", "rebalance"),
            ("Projection lag is 17 s", "projection or group behind"),
            (
                "a consumer group has messages to read and commits nothing",
                "projection or group behind",
            ),
            ("clickhouse took long to confirm an insert", "slow inserts"),
            (
                "a call of a dependency took longer than 1000 ms; `dp analyze` compares it with the others",
                "slow calls",
            ),
            (
                "another program has set the committed offsets of this group",
                "offsets set by another program",
            ),
            (
                "dependency check fails: PostgreSQL has 250 of 300 connections in use; when all are, new ones are refused",
                "little room",
            ),
            (
                "dependency check fails: disk default of ClickHouse has 90 of 3000 MB left; when it is full, inserts are refused",
                "little room",
            ),
            (
                "dependency check fails: the certificate of redis at r:6380 expires in 2 days; after that, new connections fail",
                "certificate refused",
            ),
        ] {
            let found = analyzed(&[entry(Level::Warn, line)]);
            assert_eq!(found.first().map(|(_, name, _)| name.as_str()), Some(name), "{line}");
        }
    }

    #[test]
    fn a_line_that_reports_no_problem_never_matches() {
        for level in [Level::Info, Level::Debug, Level::Trace] {
            assert_eq!(analyzed(&[entry(level, "connection refused, out of memory")]), []);
        }
        assert_eq!(analyzed(&[entry(Level::Warn, "something new")]), []);
    }

    #[test]
    fn the_statement_of_an_error_is_no_problem_of_its_own() {
        let statement =
            "2026-10-01 00:00:00.000 UTC [71] STATEMENT:  INSERT INTO prices VALUES ($1) ON CONFLICT DO NOTHING";
        assert_eq!(analyzed(&[entry(Level::None, statement)]), []);
        // Our own line of a real conflict has a level.
        assert_eq!(analyzed(&[entry(Level::Warn, "write conflict")]).len(), 1);
    }

    #[test]
    fn unknown_errors_are_listed_by_kind_and_the_worst_comes_first() {
        let found = analyzed(&[
            entry(Level::Error, "offset 17 is odd"),
            entry(Level::Error, "offset 4 is odd"),
            entry(Level::Warn, "timed out"),
            entry(Level::Fatal, "gone"),
            entry(Level::Warn, "rebalance"),
        ]);
        let expected = [
            (Severity::Critical, "gone", 1),
            (Severity::Error, "offset # is odd", 2),
            (Severity::Error, "time-out", 1),
            (Severity::Warning, "rebalance", 1),
        ];
        assert_eq!(
            found,
            expected.map(|(severity, name, lines)| (severity, name.to_owned(), lines))
        );
    }

    #[test]
    fn lines_that_differ_by_time_and_query_only_are_of_one_kind() {
        let of_query = |id: &str, at: u8| {
            kind(&format!(
                "2026.11.30 17:05:{at:02}.123456 [ 41{at} ] {{{id}}} <Error> executeQuery: Code: 62. DB::Exception: Syntax error"
            ))
        };
        let one = of_query("c1bd2e77-09ef-4f1b-8d0a-5fc1b0d1e2f3", 1);
        assert_eq!(one, "<Error> executeQuery: Code: #. DB::Exception: Syntax error");
        assert_eq!(of_query("00aabbcc-ffee-4dcb-9abc-0123456789ab", 2), one);
        let of_postgres = kind("2026-11-30 17:05:01.123 UTC [4711] FATAL:  role \"x1\" does not exist");
        assert_eq!(of_postgres, "FATAL: role \"x#\" does not exist");
        assert_eq!(kind(&"y".repeat(500)).len(), NAMED);
        assert!(kind(&"word ".repeat(100)).ends_with("word"));
    }

    #[test]
    fn the_newest_line_is_the_example_and_kinds_are_limited() {
        let mut analyzer = Analyzer::default();
        for (at, text) in [(3, "timeout new"), (1, "timeout old")] {
            let entry = Entry {
                at: Some(at),
                ..entry(Level::Error, text)
            };
            analyzer.add(&entry);
        }
        for number in 0..UNKNOWN + 3 {
            let name: String = format!("{number:03}")
                .bytes()
                .map(|digit| char::from(digit - b'0' + b'a'))
                .collect();
            analyzer.add(&entry(Level::Error, &format!("odd {name}")));
        }
        let analysis = analyzer.analysis();
        assert_eq!(analysis.uncounted, 3);
        let known = analysis.problems.iter().find(|problem| problem.is_known).unwrap();
        assert_eq!((known.example.as_str(), known.lines), ("timeout new", 2));
        assert!(analysis.problems.iter().all(|problem| !problem.next.is_empty()));
    }

    #[test]
    fn the_parts_of_every_pattern_are_in_lower_case() {
        for pattern in &PATTERNS {
            assert!(
                pattern.any.iter().all(|part| part.to_lowercase() == **part),
                "{}",
                pattern.name
            );
        }
    }
}
