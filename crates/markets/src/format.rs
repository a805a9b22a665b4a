//! The document formats that header `dp.format` may name, and how to detect them.

use std::sync::LazyLock;

use crate::archive;
use crate::registry;
use crate::table::plain;

/// Bytes of the member of an archive from which its format is detected.
const HEAD_BYTES: u64 = 64 * 1024;

/// One format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The value of the header.
    pub name: &'static str,
    /// Name of the market, as in instrument ids; `None` if its rows name their market.
    pub market: Option<&'static str>,
    /// What its documents hold.
    pub description: &'static str,
    /// Whether its documents become ticks. The others are dead-lettered as `unsupported_format`.
    pub has_parser: bool,
}

/// Every known format.
pub static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| {
    registry::formats()
        .map(|(market, format)| Format {
            name: format.name,
            market: market.map(|market| market.name),
            description: format.description,
            has_parser: true,
        })
        .collect()
});

/// The beginning of a document, for recognising its format.
pub(crate) struct Head<'h> {
    /// Lower case.
    pub file_name: &'h str,
    pub text: &'h str,
    /// The first line with text.
    pub first_line: &'h str,
    /// The cells of that line: letters and digits in lower case.
    columns: Vec<String>,
}

impl<'h> Head<'h> {
    fn new(file_name: &'h str, text: &'h str) -> Head<'h> {
        let first_line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Head {
            file_name,
            text,
            first_line,
            columns: first_line.split(',').map(plain).collect(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.text.starts_with(['{', '['])
    }

    pub(crate) fn is_xml(&self) -> bool {
        self.text.starts_with('<')
    }

    /// Whether the text holds this.
    pub(crate) fn holds(&self, needle: &str) -> bool {
        self.text.contains(needle)
    }

    /// Whether one of these words is in the name of the file: between its separators, or as two of them (`day_ahead`).
    pub(crate) fn is_named(&self, words: &[&str]) -> bool {
        let parts: Vec<&str> = self
            .file_name
            .split(|character: char| !character.is_alphanumeric())
            .collect();
        let pairs = parts.iter().zip(parts.iter().skip(1));
        parts.iter().any(|part| words.contains(part))
            || pairs
                .map(|(first, second)| format!("{first}{second}"))
                .any(|pair| words.contains(&pair.as_str()))
    }

    /// Whether the first line has all these columns.
    pub(crate) fn has_columns(&self, names: &[&str]) -> bool {
        names
            .iter()
            .all(|name| self.columns.iter().any(|column| column == name))
    }

    /// Whether the first line has a column that begins like this.
    pub(crate) fn has_column_like(&self, start: &str) -> bool {
        self.columns.iter().any(|column| column.starts_with(start))
    }
}

/// Detects the format of a file from its content, and from its name if two formats look the same.
///
/// `head` is the beginning of the file (a few KiB are enough), or an archive with one file as a whole. `None` if no format
/// matches, or more than one: it never guesses.
pub fn detect_format(file_name: &str, head: &[u8]) -> Option<&'static str> {
    if archive::is_zip(head) {
        let (name, head) = archive::peek(head, HEAD_BYTES)?;
        // The archive may have the name that tells.
        return detect(&format!("{name} {file_name}"), &head);
    }
    detect(file_name, head)
}

fn detect(file_name: &str, head: &[u8]) -> Option<&'static str> {
    let name = file_name.to_ascii_lowercase();
    let text = String::from_utf8_lossy(head);
    let head = Head::new(&name, text.trim_start_matches('\u{feff}').trim_start());
    let mut found = registry::formats().filter(|(_, format)| (format.recognise)(&head));
    let (_, first) = found.next()?;
    found.next().is_none().then_some(first.name)
}
