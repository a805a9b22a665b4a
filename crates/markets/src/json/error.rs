//! Errors of a JSON text with their location.

use crate::rejection::{RejectCode, Rejection, excerpt};

/// Why a text is not the expected JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    pub(super) code: RejectCode,
    /// JSON pointer.
    pub(super) path: String,
    pub(super) what: &'static str,
    pub(super) at: usize,
    /// The text at that location, truncated.
    pub(super) found: String,
}

impl JsonError {
    /// Converts it to a rejection. `place` is the pointer of the text, empty for the whole message.
    pub(crate) fn rejection(self, place: &str) -> Rejection {
        let separator = if place.is_empty() && self.path.is_empty() {
            ""
        } else {
            ": "
        };
        let found = if self.found.is_empty() {
            "the end".to_owned()
        } else {
            format!("'{}'", self.found)
        };
        Rejection::new(
            self.code,
            format!(
                "{place}{}{separator}{} at byte {}, found {found}",
                self.path, self.what, self.at
            ),
        )
    }
}

/// Prepends the key to the path of the error, for the enclosing object.
#[cold]
pub(super) fn inside(mut error: Box<JsonError>, key: &str) -> Box<JsonError> {
    let key = excerpt(key);
    error.path = format!("/{}{}", key.replace('~', "~0").replace('/', "~1"), error.path);
    error
}
