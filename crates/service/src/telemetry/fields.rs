//! The fields of one event, each cut to a size limit.
//!
//! Invariant: no value is written longer than its limit, and a cut value ends with its original length.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};

/// Explanations of a failure, including the remedy.
const LONG: usize = 2_048;
/// Ids, names, keys.
const SHORT: usize = 256;

/// The fields of one event.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) fatal: bool,
    pub(super) values: Map<String, Value>,
}

impl Fields {
    /// The value of a string field, if it exists and is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn set(&mut self, field: &Field, value: Value) {
        self.values.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut cut = Cut::new(limit(field.name()));
        // Writing to a `Cut` cannot fail.
        _ = write!(cut, "{value:?}");
        let text = cut.finish();
        if field.name() == "message" {
            self.message = text;
        } else {
            self.set(field, text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
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

fn limit(field: &str) -> usize {
    match field {
        "message" | "error" | "reason" | "detail" => LONG,
        _ => SHORT,
    }
}

/// Keeps the first bytes of the written text, and counts all of them.
struct Cut {
    kept: String,
    limit: usize,
    length: usize,
}

impl Cut {
    fn new(limit: usize) -> Cut {
        Cut {
            kept: String::new(),
            limit,
            length: 0,
        }
    }

    fn finish(mut self) -> String {
        if self.length > self.kept.len() {
            // Writing to a String cannot fail.
            _ = write!(self.kept, "… ({} bytes)", self.length);
        }
        self.kept
    }
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nothing is kept after the first cut, since later text would look adjacent to the cut.
        if self.kept.len() == self.length {
            let room = text.floor_char_boundary(self.limit - self.kept.len());
            self.kept.push_str(text.get(..room).unwrap_or_default());
        }
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters_and_shows_its_length() {
        for (text, limit, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc… (4 bytes)"),
            ("aéé", 2, "a… (5 bytes)"),
            ("", 3, ""),
        ] {
            let mut cut = Cut::new(limit);
            _ = cut.write_str(text);
            assert_eq!(cut.finish(), expected);
        }
    }

    #[test]
    fn pieces_after_a_cut_are_counted_and_not_kept() {
        let mut cut = Cut::new(4);
        for piece in ["ab", "éé", "c"] {
            _ = cut.write_str(piece);
        }
        assert_eq!(cut.finish(), "abé… (7 bytes)");
    }
}
