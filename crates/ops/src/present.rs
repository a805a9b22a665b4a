//! Output on stdout: tables and text for people, JSON for programs.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use comfy_table::{CellAlignment, ColumnConstraint, Table, Width, presets};
use console::Term;
use domain::Micros;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::columns::{parted, widths};
use crate::hints::localized;
use crate::progress;

/// Prints a value as one JSON document. If the reader of the pipe has exited (`| head`), the program exits with code 0.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("write JSON")?;
    write_line(&json_escaped(&text))
}

/// Prints a value as one line of JSON.
pub fn print_json_line(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value).context("write JSON")?;
    write_line(&json_escaped(&text))
}

/// Prints text of this program to stdout, as one line or several: its commands name the stack of this run. Other control characters are
/// escaped, since much of the text comes from producers and must not control the terminal.
pub fn print_line(text: &str) -> anyhow::Result<()> {
    print_data(&localized(text))
}

/// Prints text to stdout as it is, except for control characters.
pub fn print_data(text: &str) -> anyhow::Result<()> {
    write_line(&escaped(text, |character| matches!(character, '\n' | '\t')))
}

/// A string as part of one line: control characters, line breaks, marks of the writing direction and invisible characters are
/// escaped.
pub fn printable(text: &str) -> String {
    escaped(text, |_| false)
}

/// The text with every control character escaped, except those that `keeps` accepts.
pub fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_control(character) && !keeps(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// JSON requires escapes only for the first 32 characters; this escapes the other control characters, such as `\u009b`.
fn json_escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' => shown.push(character),
            _ if is_control(character) => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => shown.push(character),
        }
    }
    shown
}

fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

fn write_line(text: &str) -> anyhow::Result<()> {
    // Else the text would be behind the spinner.
    progress::clear();
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("write to stdout"),
    }
}

/// A table whose columns after the first `left` ones are numbers. On a terminal it is as wide as the terminal at most, and breaks cells at
/// blanks, words only if it must; a file or another program gets each row on one line.
pub fn table(headers: &[&str], left: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let width = Term::stdout().size_checked().map(|(_, columns)| columns);
    table_within(width, headers, left, rows)
}

fn table_within(
    width: Option<u16>,
    headers: &[&str],
    left: usize,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> String {
    let first: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    let cells: Vec<Vec<String>> = std::iter::once(first).chain(rows).collect();
    // Of a column that is not in the list, and without a terminal, the content tells the width.
    let widths = width.map_or_else(Vec::new, |width| widths(&cells, left, width));
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    for (number, row) in cells.into_iter().enumerate() {
        let row: Vec<String> = row
            .into_iter()
            .enumerate()
            .map(|(index, cell)| match widths.get(index) {
                Some(width) => parted(&cell, *width),
                None => cell,
            })
            .collect();
        match number {
            0 => table.set_header(row),
            _ => table.add_row(row),
        };
    }
    for index in 0..headers.len() {
        let Some(column) = table.column_mut(index) else {
            continue;
        };
        if index >= left {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if let Some(width) = widths.get(index) {
            let padded = u16::try_from(width + 2).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(padded)));
        }
    }
    table.to_string()
}

/// Wraps the words into lines of at most `width` characters. A longer word gets its own line.
pub fn wrapped(words: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        if let Some(line) = lines.last_mut()
            && (line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width)
        {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            continue;
        }
        lines.push(word.to_owned());
    }
    lines
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", HumanCount(number.unsigned_abs()))
}

/// Prints a result: JSON for programs, text for people.
pub fn print_either(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    match json {
        true => print_json(value),
        false => print_line(&text()),
    }
}

/// The exit code of a command that searches: 1 if it has found something.
pub fn found(something: bool) -> ExitCode {
    ExitCode::from(u8::from(something))
}

/// Parses a time of the command line.
///
/// # Errors
/// The message shows a valid time.
pub fn time(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse()
        .map_err(|_| "not a valid time; use ISO 8601 with a time zone: 2026-10-01T00:05Z, 2026-10-01T00:05:00.5Z or 2026-10-01T00:05-05:00"
            .to_owned())
}

/// Parses a length of time of the command line: with a unit, or a number of seconds.
///
/// # Errors
/// The message shows valid ones.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => with_unit(&format!("{text}s")),
        false => with_unit(text),
    }
}

/// Parses a length of time that is not zero.
///
/// # Errors
/// The message shows valid ones.
pub fn time_limit(text: &str) -> Result<std::time::Duration, String> {
    match duration(text)? {
        limit if limit.is_zero() => Err("must be longer than zero".to_owned()),
        limit => Ok(limit),
    }
}

/// Parses a length of time with a unit; a number alone could be a time.
fn with_unit(text: &str) -> Result<std::time::Duration, String> {
    let parsed: Option<jiff::Span> = text.parse().ok();
    parsed
        .and_then(|length| length.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok())
        .and_then(|length| std::time::Duration::try_from(length).ok())
        .ok_or_else(|| {
            "not a valid length of time; use seconds, or a number with a unit: 600, 500ms, 30s, 5m, 2h, 7d".to_owned()
        })
}

/// Parses a time of the command line, or a length of time before now.
///
/// # Errors
/// The message shows both.
pub fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(length) = with_unit(text) {
        return jiff::Timestamp::now()
            .checked_sub(length)
            .map_err(|_| "the time is too long ago".to_owned());
    }
    time(text).map_err(|refused| format!("{refused}, or a length of time before now: 5m, 2h, 7d"))
}

/// A period of time as microseconds.
///
/// # Errors
/// It ends before it begins.
pub fn period(
    from: Option<jiff::Timestamp>,
    to: Option<jiff::Timestamp>,
) -> anyhow::Result<(Option<Micros>, Option<Micros>)> {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        anyhow::bail!("--from {from} is not before --to {to}");
    }
    let micros = |time: jiff::Timestamp| time.as_microsecond();
    Ok((from.map(micros), to.map(micros)))
}

/// Milliseconds in the unit that fits: `870 ms`, `12.5 s`, `7 min`, `3.2 h`.
pub fn milliseconds(millis: i64) -> String {
    let value = millis as f64;
    match millis {
        ..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{:.1} s", value / 1e3),
        120_000..7_200_000 => format!("{:.0} min", value / 6e4),
        _ => format!("{:.1} h", value / 3.6e6),
    }
}

/// A number of bytes in the unit that fits.
pub fn bytes(number: u64) -> String {
    HumanBytes(number).to_string()
}

/// A time as ISO 8601 in UTC.
pub fn iso(time: Micros) -> String {
    match jiff::Timestamp::from_microsecond(time) {
        Ok(timestamp) => timestamp.to_string(),
        Err(_) => format!("{time} µs since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal_and_a_file_gets_each_row_on_one_line() {
        let reason = "clickhouse: cannot be reached ".repeat(30);
        let rows = || {
            [vec![
                "aggregation".to_owned(),
                "degraded".to_owned(),
                reason.trim().to_owned(),
                "12 ms".to_owned(),
            ]]
        };
        let of = |width| table_within(width, &["name", "state", "reason", "time"], 3, rows());
        let longest = |text: &str| text.lines().map(|line| line.chars().count()).max();
        let narrow = of(Some(60));
        assert!(longest(&narrow).is_some_and(|longest| longest <= 60), "{narrow}");
        assert!(of(None).contains(reason.trim()));
        // A table that is not wider than the terminal stays as it is.
        assert_eq!(of(Some(2_000)), of(None));
    }

    #[test]
    fn at_80_columns_times_codes_and_numbers_stay_whole_and_longer_ids_break_between_their_parts() {
        let span = "2026-11-30 13:00:05 – 2026-12-01 14:15:16";
        let place = "ingestion.market.raw.v1/2/104212";
        let rows = ["broken_json", "price_out_of_bounds"]
            .map(|code| ["normalize", code, span, place, "1,234"].map(str::to_owned).to_vec());
        let headers = ["stage", "code", "oldest – newest", "example", "letters"];
        let text = table_within(Some(80), &headers, 4, rows.clone());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || "│┆".contains(c)).collect();
        for (whole, times) in [
            ("normalize", 2),
            ("broken_json", 1),
            ("price_out_of_bounds", 1),
            ("2026-11-30", 2),
            ("13:00:05", 2),
            ("2026-12-01", 2),
            ("14:15:16", 2),
            ("ingestion.market.", 2),
            ("raw.v1/2/104212", 2),
            ("1,234", 2),
        ] {
            let found = words.iter().filter(|word| **word == whole).count();
            assert_eq!(found, times, "{whole} in\n{text}");
        }
        let wide = table_within(Some(200), &headers, 4, rows);
        assert!(wide.contains(span) && wide.contains(place), "{wide}");
    }

    #[test]
    fn control_characters_are_escaped_and_tables_keep_their_lines() {
        let odd = "a\u{1b}[2Jb\rc\u{9b}d\u{202e}e\nf\tg";
        assert_eq!(printable(odd), r"a\u{1b}[2Jb\rc\u{9b}d\u{202e}e\nf\tg");
        assert_eq!(
            escaped(odd, |character| matches!(character, '\n' | '\t')),
            "a\\u{1b}[2Jb\\rc\\u{9b}d\\u{202e}e\nf\tg"
        );
        assert_eq!(printable("│ é 日 │"), "│ é 日 │");
        let json = json_escaped(&serde_json::json!({ "a": odd }).to_string());
        assert!(!json.chars().any(is_control), "{json}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
        assert_eq!(read["a"].as_str(), Some(odd));
    }

    #[test]
    fn invisible_characters_are_escaped_and_every_shown_time_is_accepted() {
        for invisible in ['\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{61c}', '\u{202e}'] {
            assert!(is_control(invisible), "{invisible:?}");
        }
        let refused = time("yesterday").err().unwrap_or_default();
        let forms: Vec<&str> = refused
            .split([' ', ','])
            .filter(|word| word.starts_with("2026"))
            .collect();
        assert_eq!(forms.len(), 3, "{refused}");
        assert!(forms.iter().all(|form| time(form).is_ok()), "{refused}");
    }

    #[test]
    fn a_period_ends_after_it_begins() {
        let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
        let (earlier, later) = (time("2026-10-01T00:00Z"), time("2026-10-01T00:01Z"));
        assert!(earlier.is_some() && later.is_some());
        assert!(period(earlier, later).is_ok() && period(None, None).is_ok() && period(earlier, None).is_ok());
        assert!(period(later, earlier).is_err() && period(earlier, earlier).is_err());
    }

    #[test]
    fn lengths_of_time_are_read_with_a_unit_and_shown_in_the_unit_that_fits() {
        use std::time::Duration;
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1m30s", 90_000),
            ("7d", 604_800_000),
            ("600", 600_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert!(time_limit("0s").is_err() && time_limit("50ms").is_ok());
        // Beside a time, a number alone has no unit.
        assert!(moment("5").is_err() && moment("5m").is_ok());
        for text in ["-5", "-5s", "1mo", "soon", ""] {
            let refused = duration(text).err().unwrap_or_default();
            assert!(refused.contains("5m"), "{text}: {refused}");
        }
        let shown = [870, 12_500, 420_000, 11_520_000].map(milliseconds);
        assert_eq!(shown, ["870 ms", "12.5 s", "7 min", "3.2 h"]);
    }

    #[test]
    fn words_are_wrapped_and_never_cut() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two", 6), ["one", "two"]);
        assert_eq!(wrapped("ä ö ü longest", 5), ["ä ö ü", "longest"]);
        assert_eq!(wrapped("", 5), [""]);
    }

    #[test]
    fn long_numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
