//! How data is shown: one table for people, JSON for programs.

use std::io::{self, Write};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use domain::Micros;
use serde::Serialize;

/// Prints a value as one JSON document. A reader that has gone away (`| head`) ends the program quietly.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("write JSON")?;
    print_line(&text)
}

/// Prints a value as one line of JSON.
pub fn print_json_line(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string(value).context("write JSON")?;
    print_line(&text)
}

/// Prints a line to stdout.
pub fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("write to stdout"),
    }
}

/// A table whose columns after the first `left` ones are numbers.
pub fn table(headers: &[&str], left: usize, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(headers);
    for row in rows {
        table.add_row(row);
    }
    for index in left..headers.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time for people and programs alike: ISO 8601 in UTC.
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
    fn long_numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (-1_234_567, "-1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
