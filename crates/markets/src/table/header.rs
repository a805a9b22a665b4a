//! A header inside of a table: the files of two reports were joined, and what follows is of another market, product or day.
//!
//! Invariant: a line is a second header only if no cell of it begins like a number, and its first cell is that of the header, or two of
//! its cells are names of the header. So a damaged row never ends a document.

use memchr::memrchr;

use super::{is_plain, plain};
use crate::rejection::{RejectCode, Rejection};

/// The names of a header, as they are compared.
#[derive(Debug)]
pub(super) struct Header(Vec<String>);

impl Header {
    pub(super) fn of(names: &[String]) -> Header {
        Header(names.iter().map(|name| plain(name)).collect())
    }

    /// Whether a line is a header, too: the same one, or one with other columns or in another order.
    pub(super) fn is_in(&self, line: &str) -> bool {
        // Nearly every row begins or ends with a number or a date.
        let bytes = line.as_bytes();
        let last = memrchr(b',', bytes).map_or(0, |at| at + 1);
        if begins_like_a_number(bytes) || begins_like_a_number(bytes.get(last..).unwrap_or_default()) {
            return false;
        }
        let mut cells = line.split(',').map(|cell| cell.trim_matches(is_around));
        if cells.clone().any(|cell| cell.starts_with(is_of_number)) {
            return false;
        }
        let is_first = |cell: &str| {
            let first = self.0.first().filter(|first| !first.is_empty());
            first.is_some_and(|first| is_plain(cell, first))
        };
        let is_name = |cell: &&str| self.0.iter().any(|name| !name.is_empty() && is_plain(cell, name));
        cells.clone().next().is_some_and(is_first) || cells.by_ref().filter(is_name).nth(1).is_some()
    }
}

fn begins_like_a_number(cell: &[u8]) -> bool {
    let first = cell.iter().find(|byte| !matches!(byte, b' ' | b'"' | b'\t'));
    first.is_some_and(|byte| is_of_number(char::from(*byte)))
}

fn is_around(character: char) -> bool {
    matches!(character, ' ' | '"' | '\t' | '\r' | '\u{FEFF}')
}

fn is_of_number(character: char) -> bool {
    matches!(character, '0'..='9' | '-' | '+' | '.')
}

/// Why a line is refused that is not before `first`, the first line of another report.
#[cold]
pub(crate) fn of_another_report(line: u64, first: u64) -> Rejection {
    let message = if line == first {
        "another report begins here: send each report as a document of its own".to_owned()
    } else {
        format!("the row is of the report that begins in line {first}: send each report as a document of its own")
    };
    Rejection::new(RejectCode::SchemaViolation, message)
}
